"""Parameters and bodies of the API, for checking and for the OpenAPI document.

Catalog objects are made from the values themselves, so that the two can't differ; what pydantic
lets through, `Kind.build` checks again, as for file and command line.
"""

import enum
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model

from sendback.database.kinds import Kind
from sendback.model.events import EVENT_TYPES

MAX_SEQ = 2**63 - 1
MAX_MS = 253_402_300_799_999
_DOCUMENTS = ("apple_app_site_association", "android_asset_links")


_HOST = r"([A-Za-z0-9]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?\.){0,5}[a-z]{2,20}"
_WEB = r"^https?://[^/?#\s]+"
#: What the values themselves check, told to readers of the document.
_NAME: dict[str, Any] = {"pattern": "^[A-Za-z0-9_.-]{1,100}$"}
_RULES: dict[tuple[str, str], dict[str, Any]] = {
    ("url_domain", "domain"): {"pattern": f"^{_HOST}$"},
    ("url_domain", "link_base"): {"pattern": r"^(https?://[^/?#\s]+)?$"},
    ("mail_class", "name"): {"pattern": "^[A-Za-z_]{2,64}$"},
    ("mail_class", "listid"): {"pattern": "^[A-Za-z0-9_+.-]{0,100}$"},
    ("bounce_mailbox", "address"): {"pattern": f"^[a-z0-9_-]{{1,7}}@{_HOST}$"},
    ("complaint_mailbox", "address"): {"pattern": f"^[a-z0-9_-]{{1,64}}@{_HOST}$"},
    ("database_connection", "port"): {"minimum": 1, "maximum": 65535},
    ("destination", "max_batch_size"): {"minimum": 1, "maximum": 10_000},
    ("destination", "parallel"): {"minimum": 1, "maximum": 64},
    ("destination", "url"): {"minLength": 1},
    ("destination", "events"): {"items": {"enum": ["all", *EVENT_TYPES]}, "minItems": 1},
    ("destination", "mail_classes"): {"minItems": 1},
    ("destination", "max_retry_hours"): {"exclusiveMinimum": 0, "maximum": 168},
    ("destination", "headers"): {
        "propertyNames": {"pattern": r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"},
        "additionalProperties": {"type": "string", "pattern": r"^[\t\x20-\x7e\x80-\xff]*$"},
    },
    ("peer", "admin_url"): {"pattern": _WEB},
    ("peer", "name"): _NAME,
    ("destination", "name"): _NAME,
    ("database_connection", "name"): _NAME,
    ("mail_class", "url_domain"): {"pattern": f"^({_HOST})?$"},
    ("mail_class", "bounce_mailbox"): {"pattern": f"^([a-z0-9_-]{{1,7}}@{_HOST})?$"},
}
_NO_SPACE = r"[^<>@\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
ADDRESS = f"^{_NO_SPACE}@{_NO_SPACE}$"
BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$"


class Strict(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid")


class Name(Strict):
    """The name of an object."""

    name: str = Field(min_length=1, max_length=400)


class Paged(Strict):
    """A page of a list."""

    limit: int = Field(100, ge=1, le=1000, description="Items at most.")
    cursor: str | None = Field(None, max_length=1000, description="`next` of the page before.")


class Nothing(Strict):
    """No parameters."""


class Items(BaseModel):
    """A page: its items, and the cursor of the next page."""

    items: list[dict[str, Any]]
    next: str | None


class JsonObject(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(extra="allow")


def object_model(kind: Kind) -> type[BaseModel]:
    """A whole object of the kind."""
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind.type):
        default = ... if field.required else _plain(field)
        told = Field(default, json_schema_extra=_RULES.get((kind.name, field.name)))
        fields[field.name] = (_type(field), told)
    title = _title(kind)
    return create_model(title, __base__=Strict, __doc__=f"A {kind.title}.", **fields)


def change_model(kind: Kind) -> type[BaseModel]:
    """Some fields of an object; the others stay as they are."""
    fields: dict[str, Any] = {
        field.name: (_type(field) | None, None) for field in msgspec.structs.fields(kind.type)
    }
    title = f"{_title(kind)}Change"
    return create_model(title, __base__=Strict, __doc__=f"Changes of a {kind.title}.", **fields)


def stored_model(kind: Kind) -> type[BaseModel]:
    """An object as it is answered."""
    fields: dict[str, Any] = {
        "origin": (Literal["file", "database", "built-in"], ...),
        "version": (int, ...),
    }
    return create_model(f"Stored{_title(kind)}", __base__=object_model(kind), **fields)


def _title(kind: Kind) -> str:
    return "".join(part.capitalize() for part in kind.name.split("_"))


def _type(field: msgspec.structs.FieldInfo) -> Any:
    if field.name in _DOCUMENTS:
        return str | dict[str, Any] | list[Any]
    found = msgspec.inspect.type_info(field.type)
    if isinstance(found, msgspec.inspect.VarTupleType):
        return list[str]
    return field.type


def _plain(field: msgspec.structs.FieldInfo) -> Any:
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(default, enum.Enum):
        return default
    return list(default) if isinstance(default, tuple) else default
