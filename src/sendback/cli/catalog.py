"""The commands of catalog objects: add, list, show, set, remove for each kind, from one factory.

Options are made from the fields of the kind, so file, command line and API can't differ. The rules
are those of the values themselves (`model.catalog`); a value that breaks one is a usage error.
"""

from __future__ import annotations

import enum
import getpass
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sendback.cli.context import EXIT_USAGE, Node, NodeCommand, NodeGroup, fail, pass_node
from sendback.cli.output import emit
from sendback.database.kinds import KINDS, Kind
from sendback.errors import Malformed

if TYPE_CHECKING:
    from sendback.database.catalog import Stored

_DOCUMENTS = frozenset(["apple_app_site_association", "android_asset_links"])
_COLUMNS = {
    "url_domain": ("domain", "tls", "default", "link_base", "origin"),
    "mail_class": ("name", "default", "listid", "track_clicks", "track_opens", "origin"),
    "database_connection": ("name", "type", "hostname", "port", "database", "origin"),
    "destination": ("name", "type", "url", "events", "origin"),
    "peer": ("name", "admin_url", "origin"),
}


def actor() -> str:
    """Who types, for the audit log."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name
        return "cli"


@contextmanager
def usage_errors() -> Iterator[None]:
    """A wrong value is a usage error: its text, the JSON document with --json, exit 2."""
    try:
        yield
    except Malformed as error:
        fail(str(error), code="malformed", hint=error.field and f"look at {_flag(error.field)}")
        click.get_current_context().exit(EXIT_USAGE)


def shown(kind: Kind, stored: Stored) -> dict[str, Any]:
    """An object as commands print it: its fields, where it stands, its version."""
    return {**kind.plain(stored.item), "origin": stored.origin, "version": stored.version}


def catalog_group(kind: Kind) -> click.Group:
    """The group of this kind with its five commands."""
    article = "an" if kind.title[0] in "aeiou" else "a"
    group = NodeGroup(kind.slug, help=f"{kind.titles[0].upper()}{kind.titles[1:]} of this node.")

    def command(name: str, help_text: str, *params: click.Parameter) -> Callable[..., Any]:
        def add(function: Callable[..., None]) -> Callable[..., None]:
            group.add_command(
                NodeCommand(name, callback=function, params=list(params), help=help_text)
            )
            return function

        return add

    @command("add", f"Add {article} {kind.title}.", _name_of(kind), *_options(kind))
    @pass_node
    def add(node: Node, /, name: str, **values: Any) -> None:
        with usage_errors():
            item = kind.build({**_given(kind, values), kind.key: name})
            stored = node.core.catalog_store.add(kind, item, actor=actor())
        emit(node, shown(kind, stored))

    @command("list", f"List every {kind.title}.")
    @pass_node
    def list_(node: Node) -> None:
        rows = [shown(kind, stored) for stored in node.core.catalog_store.stored(kind)]
        emit(node, rows, columns=_COLUMNS.get(kind.name, (kind.key, "origin")))

    @command("show", f"Show {article} {kind.title}.", _name_of(kind))
    @pass_node
    def show(node: Node, name: str) -> None:
        emit(node, shown(kind, node.core.catalog_store.get(kind, name)))

    @command(
        "set",
        f"Change fields of {article} {kind.title}; what is not given stays.",
        _name_of(kind),
        *_options(kind),
    )
    @pass_node
    def set_(node: Node, /, name: str, **values: Any) -> None:
        with usage_errors():
            given = _given(kind, values)
            if not given:
                raise Malformed("say what to change; --help lists the options")
            stored = node.core.catalog_store.change(kind, name, given, actor=actor())
        emit(node, shown(kind, stored))

    @command("remove", f"Remove {article} {kind.title}.", _name_of(kind))
    @pass_node
    def remove(node: Node, name: str) -> None:
        node.core.catalog_store.remove(kind, name, actor=actor())
        emit(node, {"removed": name})

    return group


def _name_of(kind: Kind) -> click.Argument:
    return click.Argument(["name"], metavar=kind.key.upper())


def _options(kind: Kind) -> list[click.Parameter]:
    """An option for each field; a secret can be read from a file, where `ps` does not show it."""
    options: list[click.Parameter] = []
    for field in msgspec.structs.fields(kind.type):
        if field.name == kind.key:
            continue
        options.append(_option(field))
        if field.name in kind.secrets and field.type is str:
            flag = f"{_flag(field.name)}-file"
            path = click.Path(path_type=Path, dir_okay=False)
            help_text = f"Read {field.name} from the first line of a file."
            options.append(click.Option([flag], type=path, help=help_text))
    return options


def _option(field: msgspec.structs.FieldInfo) -> click.Option:
    flag = _flag(field.name)
    default = "" if field.default is msgspec.NODEFAULT else field.default
    if isinstance(default, enum.Enum):
        default = default.value
    help_text = f"Default: {default}." if default not in ("", None, (), False) else None
    if field.type is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=help_text)
    found = msgspec.inspect.type_info(field.type)
    if isinstance(found, msgspec.inspect.VarTupleType):
        return click.Option([flag], multiple=True, help="May be repeated, or comma separated.")
    if isinstance(found, msgspec.inspect.DictType):
        return click.Option([flag], multiple=True, metavar="NAME=VALUE", help="May be repeated.")
    if isinstance(found, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        number = int if isinstance(found, msgspec.inspect.IntType) else float
        return click.Option([flag], type=number, help=help_text)
    choices = _choices(found)
    if choices:
        return click.Option([flag], type=click.Choice(choices), help=help_text)
    if field.name in _DOCUMENTS:
        help_text = "JSON text, or @FILE; '' for none."
    return click.Option([flag], help=help_text)


def _choices(found: msgspec.inspect.Type) -> Sequence[str]:
    """The texts a field takes; with "" in front where it may be unset."""
    if isinstance(found, msgspec.inspect.UnionType):
        return ["", *(text for one in found.types for text in _choices(one))]
    if isinstance(found, msgspec.inspect.LiteralType):
        return [str(value) for value in found.values]
    if isinstance(found, msgspec.inspect.EnumType):
        return [str(one.value) for one in found.cls]
    return []


def _given(kind: Kind, values: dict[str, Any]) -> dict[str, Any]:
    """The fields that were given, as plain values."""
    given: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind.type):
        value = values.get(field.name)
        path: Path | None = values.get(f"{field.name}_file")
        if path is not None:
            value = _read(path, field.name).splitlines()[:1]
            value = value[0] if value else ""
        if value is None or value == ():
            continue
        found = msgspec.inspect.type_info(field.type)
        if isinstance(found, msgspec.inspect.VarTupleType):
            value = [part for text in value for part in text.split(",") if part]
        elif isinstance(found, msgspec.inspect.DictType):
            value = dict(_pair(text, field.name) for text in value)
        elif value == "" and isinstance(found, msgspec.inspect.UnionType):
            value = None
        elif field.name in _DOCUMENTS and value.startswith("@"):
            value = _read(Path(value[1:]), field.name)
        given[field.name] = value
    return given


def _read(path: Path, field: str) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as file:  # the text byte for byte
            return file.read(1 << 20)
    except (OSError, UnicodeError) as error:
        raise Malformed(f"{path} can't be read: {error}", field=field) from None


def _pair(text: str, field: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Malformed(f"{text!r} is not NAME=VALUE", field=field)
    return name, value


def _flag(field: str) -> str:
    return f"--{field.replace('_', '-')}"


url_domain = catalog_group(KINDS["url_domain"])
mail_class = catalog_group(KINDS["mail_class"])
bounce_mailbox = catalog_group(KINDS["bounce_mailbox"])
complaint_mailbox = catalog_group(KINDS["complaint_mailbox"])
database_connection = catalog_group(KINDS["database_connection"])
destination = catalog_group(KINDS["destination"])
peer = catalog_group(KINDS["peer"])
