"""The OpenAPI document, and a page to read it without any script or outside resource."""

import copy
from functools import lru_cache
from typing import Any

from flask import Response, render_template

from sendback.admin.api.answers import PROBLEM, answer
from sendback.admin.api.routes import Routes

_PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_ALWAYS = {
    "400": "The request can't be read.",
    "401": "No valid API key or session.",
    "403": "The key lacks the scope.",
    "404": "There is no such thing.",
    "422": "A field is wrong; `errors` names each.",
    "429": "Too many failures.",
    "500": "A fault of ours; nothing about it is said here.",
    "503": "A part of the node does not answer now.",
}
_CHANGING = {
    "409": "It exists already, is in use, or stands in the configuration file.",
    "412": "Somebody else changed it since it was read.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag that was read; 412 when it is another one by now.",
    "schema": {"type": "string"},
}
_ONE_OBJECT = ("put", "patch", "delete")


def add_document(routes: Routes) -> None:
    """`/openapi.json` and `/docs`, open to everybody on the admin port: they hold no secret."""

    @lru_cache(maxsize=1)
    def document() -> dict[str, Any]:
        return _completed(copy.deepcopy(routes.app.api_doc))

    @routes.app.get("/openapi.json", doc_ui=False)
    def openapi_json() -> Response:
        return answer(document())

    @routes.app.get("/docs", doc_ui=False)
    def docs() -> str:
        return render_template("api.html", document=document(), by_tag=_by_tag(document()))


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """With the answers that every endpoint may give."""
    document["openapi"] = "3.1.0"
    document["servers"] = [{"url": "/api/v1"}]
    document["components"]["schemas"] = {
        name: schema
        for name, schema in document["components"]["schemas"].items()
        if name != "ValidationErrorModel"
    } | {"Problem": _PROBLEM}
    for operations in document["paths"].values():
        for method, operation in operations.items():
            errors = _ALWAYS | (_CHANGING if method != "get" else {})
            for status, description in errors.items():
                schema = {"$ref": "#/components/schemas/Problem"}
                content = {PROBLEM: {"schema": schema}}
                operation["responses"][status] = {"description": description, "content": content}
            if method in _ONE_OBJECT and "Catalog" in operation.get("tags", ()):
                operation.setdefault("parameters", []).append(_IF_MATCH)
    return document


def _by_tag(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            entry = {"path": path, "method": method.upper(), **operation}
            found.setdefault(operation["tags"][0], []).append(entry)
    return dict(sorted(found.items()))
