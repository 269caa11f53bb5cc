"""The reference page of the REST API, from the OpenAPI document that the API itself answers."""

from typing import Any

from sendback.admin.api import PREFIX, Services, create_api
from sendback.admin.auth import Access
from sendback.database.accounts import Accounts
from sendback.database.catalog import CatalogStore
from sendback.database.engine import Database

INTRODUCTION = f"""\
On the admin port, below `{PREFIX}`. The same as a document for programs: `{PREFIX}/openapi.json`
(OpenAPI 3.1); as a page of the running node: `{PREFIX}/docs`.

* **Access**: `Authorization: Bearer sb_...`; `sendback api-key create NAME --scope read` makes a
  key. Scopes: `read`; `messages` (submit and rewrite, sees nothing); `operate` (read, messages,
  deliveries, suppression, link rules); `admin` (everything). A key in the URL is ignored.
* **Bodies** are JSON objects of at most 1 MB (messages: 50 MB), not compressed.
* **Errors** are `application/problem+json` (RFC 9457): `status`, `title`, `detail`; a 422 also has
  `errors`, each with the `field` that is wrong. 503 means: try again after `Retry-After` seconds.
* **Lists** come in pages: `{{"items": [...], "next": "..."}}`; give `next` back as `cursor`.
* **Changing an object**: an answer's `ETag` given back as `If-Match` makes the change fail with
  412 when somebody else was faster. `PATCH` changes the fields it names and nothing else.
  A secret is shown as `********`; sent back like that it stays as it is.
* **Once**: endpoints marked so take an `Idempotency-Key` header; a request repeated with the same
  key within a day gets the first answer, and nothing is done twice.
* **Destinations** made here reach neither private networks nor files outside `events/` of the data
  directory; the configuration file and the command line may go further.
* **People** log in at `/login` of the admin port (a session cookie; requests that change something
  send `X-CSRF-Token` from `GET /me`); the log of the first start has the link that makes the first
  administrator, `sendback user invite` makes more. Five wrong logins: 15 minutes of rest.
* **Following events**: `GET /events/follow` speaks server-sent events; `Last-Event-ID` goes on
  where a connection broke. `GET /events/stream` is everything up to now, one event a line.

```sh
curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8081{PREFIX}/url-domains
curl -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
     -d '{{"domain": "links.example.com", "tls": true, "default": true}}' \\
     http://127.0.0.1:8081{PREFIX}/url-domains
```
"""


def api_page(mark: str) -> str:
    """The page as Markdown."""
    document = _document()
    lines = ["# REST API", "", mark, "", INTRODUCTION]
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append((method, path, operation))
    for tag, operations in sorted(by_tag.items()):
        lines += [
            f"## {tag}",
            "",
            "| request | scope | what | body | answer |",
            "|---|---|---|---|---|",
        ]
        lines += [_row(*operation) for operation in operations]
        lines.append("")
    lines += ["## Bodies", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        if schema.get("properties") and not name.startswith("Stored"):
            lines += _schema(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def _document() -> dict[str, Any]:
    database = Database("sqlite://")  # never opened
    services = Services(
        database=database,
        store=CatalogStore(database),
        server_id="",
        status=dict,
        parse_bounce=lambda _: {},
        decode_link=lambda _: {},
    )
    api = create_api(services, Access(Accounts(database), b"-" * 32))
    found: dict[str, Any] = api.test_client().get("/openapi.json").get_json()
    return found


def _row(method: str, path: str, operation: dict[str, Any]) -> str:
    query = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    url = path + (f"?{'&'.join(query)}" if query else "")
    scope, _, once = operation["description"].removeprefix("Scope: `").partition("`.")
    body = _name(operation.get("requestBody"))
    status = next(code for code in operation["responses"] if code.startswith("2"))
    answer = " ".join(filter(None, [status, _name(operation["responses"][status])]))
    what = operation["summary"] + (" (once)" if once else "")
    return f"| `{method.upper()} {url}` | {scope} | {what} | {body} | {answer} |"


def _name(holder: dict[str, Any] | None) -> str:
    for content in (holder or {}).get("content", {}).values():
        return str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]
    return ""


def _schema(name: str, schema: dict[str, Any]) -> list[str]:
    rows = [f"### {name}", ""]
    if schema.get("description"):
        rows += [schema["description"], ""]
    rows += ["| field | type | default | |", "|---|---|---|---|"]
    required = schema.get("required", [])
    for field, value in schema["properties"].items():
        default = "required" if field in required else _shown(value.get("default"))
        text = value.get("description", "")
        rows.append(f"| `{field}` | {_kind(value)} | {default} | {text} |")
    return [*rows, ""]


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def _shown(default: object) -> str:
    return "" if default in (None, "", [], {}) else f"`{default}`"
