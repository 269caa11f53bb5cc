"""Parameters and bodies of the API, for checking and for the OpenAPI document.

Catalog objects are made from the values themselves, so that the two can't differ; what pydantic
lets through, `Kind.build` checks again, as for file and command line.
"""

import enum
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model

from sendback.database.kinds import Kind

MAX_SEQ = 2**63 - 1
MAX_MS = 253_402_300_799_999
_DOCUMENTS = ("apple_app_site_association", "android_asset_links")


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
        fields[field.name] = (_type(field), default)
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
