"""Where settings come from: a TOML file with the line of each key, and SENDBACK_* variables."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sendback.config.settings import Settings
from sendback.errors import Misconfigured

_PREFIX = "SENDBACK_"
#: Read by processes, not settings: where the file is, and what a supervisor hands its children.
_NOT_SETTINGS = ("SENDBACK_CONFIG", "SENDBACK_CHILD_")
_HEADER = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\"'-]+)\s*\]\]?")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+|\"[^\"]*\")\s*=")


def read_file(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The file's tree and each key's `FILE:LINE`; raises Misconfigured with the line."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"can't be read: {error.strerror}", place=str(path)) from None
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise Misconfigured("not UTF-8", place=f"{path}:{line}") from None
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        message = re.sub(r"\s*\(at .*\)\Z", "", str(error))
        raise Misconfigured(message, place=f"{path}:{line}") from None
    return tree, {key: f"{path}:{line}" for key, line in _lines(text).items()}


def _lines(text: str) -> dict[str, int]:
    """Dotted key -> line. Arrays of tables count from 0: `url_domain.0.domain`."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = header[2].replace('"', "").replace("'", "")
            if header[1] == "[[":
                found.setdefault(table, number)
                count = counts[table] = counts.get(table, -1) + 1
                table = f"{table}.{count}"
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault(f"{table}.{key[1]}".strip(".").replace('"', ""), number)
    return found


def read_environment(
    environ: Mapping[str, str], tree: dict[str, Any], origins: dict[str, str]
) -> None:
    """Lay SENDBACK_SECTION__KEY and SENDBACK_SECTION__KEY_FILE over the tree.

    Lists and tables are JSON. Raises Misconfigured for an unknown variable, for both forms of one
    key, and for a value that does not read.
    """
    for variable in sorted(environ):
        if not variable.startswith(_PREFIX) or variable.startswith(_NOT_SETTINGS):
            continue
        value = environ[variable]
        path, type_ = _directive(variable.removeprefix(_PREFIX).lower())
        if path is None and variable.endswith("_FILE"):
            plain = variable.removesuffix("_FILE")
            path, type_ = _directive(plain.removeprefix(_PREFIX).lower())
            if path is not None and plain in environ:
                raise Misconfigured(f"{plain} and {variable} are both set", place=variable)
            value = _file_value(variable, value) if path is not None else value
        if path is None:
            raise Misconfigured("no such setting", place=variable, hint=_nearest_variable(variable))
        _lay(tree, path, _read(value, type_))
        origins[".".join(path)] = variable


def _directive(name: str) -> tuple[list[str] | None, Any]:
    """The path and type that a variable's lower-case name means; (None, None) for none."""
    path = name.split("__")
    type_: Any = Settings
    for part in path:
        fields = (
            {field.name: field.type for field in msgspec.structs.fields(type_)}
            if isinstance(type_, type) and issubclass(type_, msgspec.Struct)
            else {}
        )
        if part not in fields:
            return None, None
        type_ = fields[part]
    return path, type_


def _nearest_variable(variable: str) -> str:
    import difflib

    names = [_PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)]
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            names += [
                f"{_PREFIX}{field.name}__{inner.name}".upper()
                for inner in msgspec.structs.fields(field.type)
            ]
    near = difflib.get_close_matches(variable, names, 1, 0.4)
    return f"did you mean {near[0]}?" if near else "see `sendback config show` for the names"


def _file_value(variable: str, path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: {error}", place=variable) from None
    return text.removesuffix("\n")


def _read(value: str, type_: Any) -> Any:
    """A variable's text as the type wants it; what does not read stays text and fails later."""
    try:
        if value.lstrip().startswith(("[", "{")):
            return msgspec.json.decode(value)
        return msgspec.convert(value, type_, strict=False)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return value


def _lay(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise Misconfigured(f"{part} is a table", place=".".join(path))
    tree[path[-1]] = value
