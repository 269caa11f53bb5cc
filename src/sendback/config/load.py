"""From file, environment and flags to one checked `Settings`.

The tree is built from the sources in order and each key remembers where it came from, so that an
error names the line or the variable. Values that only make sense together are checked here too.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sendback.config.settings import CATALOG_KINDS, Settings
from sendback.config.sources import read_environment, read_file
from sendback.errors import Malformed, Misconfigured

_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d+)\s*([kmgt]?)(?:i?b)?\Z", re.IGNORECASE)
_SIZE_KEYS = (
    "bouncemaxbytes",
    "journal.max_bytes",
    "events.max_bytes",
    "events.disk_reserve_bytes",
    "submission.max_message_bytes",
)


def load(
    path: Path | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> Settings:
    """The settings of this node; raises Misconfigured for anything that can't work."""
    return load_with_origins(path, flags=flags, environ=environ, cwd=cwd)[0]


def load_with_origins(
    path: Path | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> tuple[Settings, dict[str, str]]:
    """As `load`, and for each key that was set, where: `FILE:LINE`, the variable, or "flag"."""
    cwd = cwd or Path.cwd()
    file = find_file(path, environ, cwd)
    tree, origins = read_file(file) if file else ({}, {})
    read_environment(environ, tree, origins)
    for key, value in (flags or {}).items():
        _put(tree, key, value)
        origins[key] = "flag"
    _fill_places(tree, environ, cwd)
    return _checked(_convert(tree, origins), origins), origins


def find_file(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The first configuration file that exists; one named by flag or variable must."""
    named = path or (Path(environ["SENDBACK_CONFIG"]) if environ.get("SENDBACK_CONFIG") else None)
    if named is not None:
        return named
    candidates = (cwd / "config" / "sendback.toml", Path("/etc/sendback/sendback.toml"))
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[key] = value


def _fill_places(tree: dict[str, Any], environ: Mapping[str, str], cwd: Path) -> None:
    if not tree.get("data_dir"):
        in_checkout = (cwd / "pyproject.toml").exists() and (cwd / "src" / "sendback").is_dir()
        home = Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
        tree["data_dir"] = environ.get("STATE_DIRECTORY") or str(
            cwd / "data" if in_checkout else home / "sendback"
        )
    tree.setdefault("server_id", socket.gethostname())


def _convert(tree: dict[str, Any], origins: Mapping[str, str]) -> Settings:
    for key in _SIZE_KEYS:
        _convert_size(tree, key, origins)
    objects = {
        kind: _objects(kind, tree.pop(kind), origins) for kind in CATALOG_KINDS if kind in tree
    }
    try:
        settings = msgspec.convert(tree, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise _explained(error, Settings, "", origins) from None
    return msgspec.structs.replace(settings, **objects)


def _convert_size(tree: dict[str, Any], dotted: str, origins: Mapping[str, str]) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        found = tree.get(section)
        if not isinstance(found, dict):
            return
        tree = found
    value = tree.get(key)
    if isinstance(value, str):
        match = _SIZE.match(value.strip())
        if not match:
            raise Misconfigured(
                f"{dotted}: {value!r} is no size",
                place=origins.get(dotted),
                hint="a number of bytes, or a text such as '10 GiB', '500 MB' or '64k'",
            )
        tree[key] = int(match[1]) * _SIZES[match[2].lower()]


def _objects(kind: str, rows: Any, origins: Mapping[str, str]) -> tuple[msgspec.Struct, ...]:
    """The catalog objects of one kind; every error names the object's line."""
    type_, name_field = CATALOG_KINDS[kind]
    if not isinstance(rows, list):
        raise Misconfigured(
            f"{kind} is a list of tables", place=origins.get(kind), hint=f"write [[{kind}]]"
        )
    made: dict[str, msgspec.Struct] = {}
    for number, row in enumerate(rows):
        at = f"{kind}.{number}"
        place = origins.get(at, origins.get(kind))
        try:
            item = msgspec.convert(_with_files(row, place), type_, strict=True)
        except msgspec.ValidationError as error:
            raise _explained(error, type_, at, origins) from None
        except Malformed as error:
            where = origins.get(f"{at}.{error.field}", place)
            raise Misconfigured(f"{kind}.{error.field}: {error}", place=where) from None
        name = str(getattr(item, name_field)).lower()
        if name in made:
            raise Misconfigured(f"{kind} {name!r} stands twice", place=place)
        made[name] = item
    return tuple(made.values())


def _with_files(row: Any, place: str | None) -> Any:
    """`@FILE` in a document field becomes the file's text (CONTRACT section 4)."""
    if not isinstance(row, dict):
        return row
    row = dict(row)
    for field in ("apple_app_site_association", "android_asset_links"):
        value = row.get(field)
        if isinstance(value, str) and value.startswith("@"):
            try:
                row[field] = Path(value[1:]).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise Misconfigured(f"{field}: {value[1:]}: {error}", place=place) from None
    return row


_UNKNOWN = re.compile(r"Object contains unknown field `(.+?)`(?: - at `\$\.?(.*?)`)?\Z")
_WRONG = re.compile(r"(.+?)(?: - at `\$\.?(.*?)`)?\Z", re.DOTALL)


def _explained(
    error: msgspec.ValidationError, type_: type, prefix: str, origins: Mapping[str, str]
) -> Misconfigured:
    """Msgspec's complaint with the place it came from, and the nearest right name."""
    unknown = _UNKNOWN.match(str(error))
    if unknown:
        inside = unknown[2] or ""
        names = _field_names(type_, inside)
        key = ".".join(filter(None, (prefix, inside, unknown[1])))
        near = difflib.get_close_matches(unknown[1], names, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(names))}"
        return Misconfigured(
            f"unknown key {unknown[1]!r}{f' in [{inside}]' if inside else ''}",
            place=_place(key, origins),
            hint=hint,
        )
    wrong = _WRONG.match(str(error))
    assert wrong
    key = ".".join(filter(None, (prefix, re.sub(r"\[(\d+|\.\.\.)\]", "", wrong[2] or ""))))
    return Misconfigured(f"{key or 'the file'}: {wrong[1]}", place=_place(key, origins))


def _place(key: str, origins: Mapping[str, str]) -> str | None:
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return None


def _field_names(type_: type, inside: str) -> list[str]:
    for part in filter(None, inside.split(".")):
        by_name = {field.name: field.type for field in msgspec.structs.fields(type_)}
        found = by_name.get(part)
        if not (isinstance(found, type) and issubclass(found, msgspec.Struct)):
            return []
        type_ = found
    return [field.name for field in msgspec.structs.fields(type_)]


def _checked(settings: Settings, origins: Mapping[str, str]) -> Settings:
    """What a type can't say: addresses, networks, names that refer to each other."""

    def wrong(key: str, message: str, hint: str | None = None) -> Misconfigured:
        return Misconfigured(f"{key}: {message}", place=_place(key, origins), hint=hint)

    for section in ("web", "admin", "smtp", "submission"):
        try:
            parse_listen(getattr(settings, section).listen)
        except Malformed as error:
            raise wrong(f"{section}.listen", str(error)) from None
    networks = {
        "http_trusted_proxy_ips": settings.http_trusted_proxy_ips,
        "smtp_trusted_proxy_ips": settings.smtp_trusted_proxy_ips,
        "submission.allowed_networks": settings.submission.allowed_networks,
    }
    for key, cidrs in networks.items():
        for cidr in cidrs:
            try:
                ipaddress.ip_network(cidr)
            except ValueError as error:
                raise wrong(key, str(error), "write it as 192.0.2.0/24 or 2001:db8::/32") from None
    if settings.incoming_smtp_accept_proxy_protocol and not settings.smtp_trusted_proxy_ips:
        raise wrong(
            "incoming_smtp_accept_proxy_protocol", "needs smtp_trusted_proxy_ips: who may send it"
        )
    failover = "external_metadata_event_tracking_database_read_failover"
    if getattr(settings, failover) and not settings.external_metadata_event_tracking_database:
        raise wrong(
            failover, "needs external_metadata_event_tracking_database: who it stands in for"
        )
    for section, listener in (("smtp", settings.smtp), ("submission", settings.submission)):
        if bool(listener.tls_certificate) != bool(listener.tls_key):
            given = "tls_key" if listener.tls_key else "tls_certificate"
            raise wrong(f"{section}.{given}", "give tls_certificate and tls_key together")
    host, port = parse_listen(settings.submission.listen)
    networks_are_set = "submission.allowed_networks" in origins
    open_to = networks_are_set and settings.submission.allowed_networks
    if not _is_loopback(host) and not open_to and not settings.submission.users:
        raise wrong(
            "submission.listen",
            "not a loopback address, and neither allowed_networks nor users is set",
            "an open relay is never started: say who may send",
        )
    if settings.submission.users and not settings.submission.tls_certificate:
        raise wrong("submission.users", "AUTH needs tls_certificate and tls_key: never in clear")
    for route in settings.smtp_route:
        if route.port == port and (route.host == host or _is_loopback(route.host)):
            raise wrong("smtp_route", f"{route.host}:{port} is this node's own submission port")
    return settings


def parse_listen(text: str) -> tuple[str, int]:
    """`host:port`, `[v6]:port` or `:port` as (host, port); Malformed otherwise."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise Malformed(f"{text!r} is not address:port", field="listen")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in bare and bare == host:
        raise Malformed(f"{text!r}: write an IPv6 address as [::1]:8080", field="listen")
    return bare or "0.0.0.0", int(port)  # noqa: S104 - ":8080" asks for every address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
