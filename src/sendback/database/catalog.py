"""The catalog store: what operators named, merged from file, main database and built-ins.

Objects of the configuration file win and are read-only here. Every change takes the lock of the
one-row `catalog_version` first, so two operators never interleave, and leaves an audit entry in
the same transaction. Nothing here serves recipients; that is `snapshot.py`.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from sendback.database import audit, link_rules
from sendback.database.engine import Database
from sendback.database.kinds import (
    KINDS,
    NAMED_BY_OTHERS,
    CatalogObject,
    Kind,
    check_references,
    objects,
    users_of,
)
from sendback.database.schema import (
    catalog_objects,
    catalog_version,
)
from sendback.errors import Conflict, Malformed, Misconfigured, NotFound
from sendback.model.catalog import Catalog, Destination, MailClass, UrlDomain, built_in

Origin = Literal["file", "database", "built-in"]


class Stored(msgspec.Struct, frozen=True):
    """An object, where it stands, and the version to name when changing it (0: read-only)."""

    item: CatalogObject
    origin: Origin
    version: int = 0


class Stale(Conflict):
    """The object is not at the version any more that the caller has read."""


class CatalogStore:
    """The catalog of the main database under the configuration file's objects.

    Every method: Unavailable when the database is down. Changing methods: Conflict when the object
    is the file's, exists already or is in use, Stale when it is not at `expected` any more;
    Malformed when it is wrong by itself or names something that is not there. `actor` goes to the
    audit log.
    """

    def __init__(
        self,
        database: Database,
        *,
        file_catalog: Catalog | None = None,
        web_port: int = 8080,
        validate_bounce_address: bool = True,
        named_connections: Mapping[str, str] = MappingProxyType({}),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`named_connections`: the directive by the name of the connection that it names."""
        self._database = database
        self._named_connections = named_connections
        self._file = file_catalog if file_catalog is not None else Catalog()
        self._web_port = web_port
        self._validate_bounce_address = validate_bounce_address
        self._clock = clock

    # -- reading -----------------------------------------------------------------------------

    def version(self) -> int:
        """Grows with every change by anybody; one cheap query."""
        with self._database.read() as connection:
            return _version(connection)

    def load(self, file_catalog: Catalog | None = None, web_port: int | None = None) -> Catalog:
        """The whole catalog now: file, then database, then built-ins for kinds without any."""
        with self._database.read() as connection:
            return self._load(connection, file_catalog, web_port)

    def stored(self, kind: Kind) -> list[Stored]:
        """Every object of the kind, by name, with its origin."""
        return sorted(self._all(kind).values(), key=lambda one: kind.key_of(one.item))

    def get(self, kind: Kind, name: str) -> Stored:
        """The object of this name; NotFound."""
        try:
            return self._all(kind)[_folded(kind, name)]
        except KeyError:
            raise NotFound(f"there is no {kind.title} {name!r}") from None

    def _all(self, kind: Kind) -> dict[str, Stored]:
        query = sa.select(catalog_objects).where(catalog_objects.c.kind == kind.name)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        found = dict[str, Stored]()
        for row in rows:
            item = kind.stored(row.name, row.body)
            found[_folded(kind, row.name)] = Stored(item, "database", row.version)
        for item in objects(self._file, kind):
            found[_folded(kind, kind.key_of(item))] = Stored(item, "file")
        if not found:
            for item in objects(built_in(self._web_port), kind):
                found[_folded(kind, kind.key_of(item))] = Stored(item, "built-in")
        return found

    def _load(
        self,
        connection: sa.Connection,
        file_catalog: Catalog | None = None,
        web_port: int | None = None,
    ) -> Catalog:
        in_file = self._file if file_catalog is None else file_catalog
        fallback = built_in(self._web_port if web_port is None else web_port)
        version = _version(connection)
        rows: dict[str, list[tuple[str, str]]] = {name: [] for name in KINDS}
        table = catalog_objects.c
        query = sa.select(table.kind, table.name, table.body).order_by(table.name)
        for of_kind, name, body in connection.execute(query):
            rows.setdefault(of_kind, []).append((name, body))
        found: dict[str, Any] = {}
        for kind in KINDS.values():
            merged = {_folded(kind, kind.key_of(item)): item for item in objects(in_file, kind)}
            for name, body in rows[kind.name]:
                item = kind.stored(name, body)
                merged.setdefault(_folded(kind, kind.key_of(item)), item)
            found[kind.plural] = tuple(merged.values()) or objects(fallback, kind)
        overrides, blocks = link_rules.load(connection)
        return Catalog(
            version=version,
            overrides={**overrides, **in_file.overrides},
            blocks=tuple(dict.fromkeys([*in_file.blocks, *blocks])),
            **found,
        )

    # -- changing ----------------------------------------------------------------------------

    def add(self, kind: Kind, item: CatalogObject, *, actor: str) -> Stored:
        """Put a new object in."""
        name = kind.key_of(item)
        with self._database.write() as connection:
            version = self._begin_change(connection)
            self._refuse_file(kind, name)
            if self._row(connection, kind, name) is not None:
                raise Conflict(f"{kind.title} {name!r} exists already")
            self._check(connection, item)
            now = self._now()
            values = {
                "kind": kind.name,
                "name": name,
                "body": _body(item),
                "version": version,
                "created_ms": now,
                "updated_ms": now,
            }
            connection.execute(sa.insert(catalog_objects).values(values))
            self._only_default(connection, kind, item, version)
            self._audit(connection, actor, "add", kind, name, after=item)
        return Stored(item, "database", version)

    def replace(
        self, kind: Kind, item: CatalogObject, *, actor: str, expected: int | None = None
    ) -> Stored:
        """Put this object in place of the one of the same name; `expected`: the version read."""
        name = kind.key_of(item)
        with self._database.write() as connection:
            return self._replace(connection, kind, name, item, actor, expected)

    def change(
        self,
        kind: Kind,
        name: str,
        values: Mapping[str, Any],
        *,
        actor: str,
        expected: int | None = None,
    ) -> Stored:
        """Change some fields of the object, leaving the others as they are at that moment."""
        with self._database.write() as connection:
            version = self._begin_change(connection)
            row = self._found(connection, kind, name, expected)
            old = kind.stored(row.name, row.body)
            merged = kind.plain(old, secrets=True) | kind.unmasked(values, old)
            if isinstance(old, UrlDomain):
                _follow_tls(old, values, merged)
            item = kind.build(merged)
            if _folded(kind, kind.key_of(item)) != _folded(kind, kind.key_of(old)):
                raise Malformed(f"a {kind.title} can't be renamed", field=kind.key)
            return self._replace(connection, kind, name, item, actor, expected, version)

    def remove(self, kind: Kind, name: str, *, actor: str, expected: int | None = None) -> None:
        """Take the object away; Conflict while another object names it."""
        with self._database.write() as connection:
            self._begin_change(connection)
            row = self._found(connection, kind, name, expected)
            key, users = str(row.name), list[str]()
            if kind.name in NAMED_BY_OTHERS:
                users += users_of(self._load(connection), kind, key)
            if kind.name == "database_connection" and key.lower() in self._named_connections:
                users.append(self._named_connections[key.lower()])
            if users:
                raise Conflict(f"{kind.title} {key!r} is used by {', '.join(users)}")
            table = catalog_objects
            connection.execute(
                sa.delete(table).where(table.c.kind == kind.name, table.c.name == key)
            )
            old = None
            with contextlib.suppress(Misconfigured):  # removing is what mends it
                old = kind.stored(key, row.body)
            self._audit(connection, actor, "remove", kind, key, before=old)

    def override(self, key: str, url: str, *, actor: str) -> None:
        """Send every link whose destination or link id is `key` to `url` from now on."""
        key, url = link_rules.override_of(key, url)
        self._put_rule("override", key, url, actor)

    def block(self, key: str, *, actor: str) -> None:
        """Answer 404 for every link to this destination host, or of this SendID."""
        self._put_rule("block", link_rules.block_of(key), "", actor)

    def lift(self, rule: link_rules.Rule, key: str, *, actor: str) -> None:
        """Take an override or a block away; NotFound when there is none."""
        with self._database.write() as connection:
            self._begin_change(connection)
            key = link_rules.remove(connection, rule, key)
            self._audit_rule(connection, actor, f"remove {rule}", key, "")

    # -- parts of a change -------------------------------------------------------------------

    def _begin_change(self, connection: sa.Connection) -> int:
        """The new version; from here on no other change can happen until we commit."""
        table = catalog_version
        bumped = sa.update(table).values(version=table.c.version + 1).returning(table.c.version)
        version: int = connection.execute(bumped).scalar_one()
        return version

    def _replace(
        self,
        connection: sa.Connection,
        kind: Kind,
        name: str,
        item: CatalogObject,
        actor: str,
        expected: int | None,
        version: int | None = None,
    ) -> Stored:
        if version is None:
            version = self._begin_change(connection)
        row = self._found(connection, kind, name, expected)
        old = kind.stored(row.name, row.body)
        self._check(connection, item)
        table = catalog_objects
        connection.execute(
            sa.update(table)
            .where(table.c.kind == kind.name, table.c.name == kind.key_of(old))
            .values(
                name=kind.key_of(item), body=_body(item), version=version, updated_ms=self._now()
            )
        )
        self._only_default(connection, kind, item, version)
        self._audit(connection, actor, "set", kind, kind.key_of(item), before=old, after=item)
        return Stored(item, "database", version)

    def _found(
        self, connection: sa.Connection, kind: Kind, name: str, expected: int | None
    ) -> sa.Row[Any]:
        self._refuse_file(kind, name)
        row = self._row(connection, kind, name)
        if row is None:
            raise NotFound(f"there is no {kind.title} {name!r} in the main database")
        if expected is not None and expected != row.version:
            raise Stale(f"{kind.title} {name!r} was changed by somebody else meanwhile")
        return row

    def _row(self, connection: sa.Connection, kind: Kind, name: str) -> sa.Row[Any] | None:
        table = catalog_objects
        wanted = _folded(kind, name)
        query = sa.select(table).where(table.c.kind == kind.name)
        if kind.name == "mail_class":  # unique in any case, shown as given
            return connection.execute(query.where(sa.func.lower(table.c.name) == wanted)).first()
        return connection.execute(query.where(table.c.name == wanted)).first()

    def _refuse_file(self, kind: Kind, name: str) -> None:
        wanted = _folded(kind, name)
        if any(_folded(kind, kind.key_of(item)) == wanted for item in objects(self._file, kind)):
            raise Conflict(
                f"{kind.title} {name!r} stands in the configuration file: change it there"
            )

    def _check(self, connection: sa.Connection, item: CatalogObject) -> None:
        if isinstance(item, MailClass | Destination):  # the kinds that name others
            check_references(
                self._load(connection),
                item,
                validate_bounce_address=self._validate_bounce_address,
            )

    def _only_default(
        self, connection: sa.Connection, kind: Kind, item: CatalogObject, version: int
    ) -> None:
        """Of a kind with a default there is one: the last that was set."""
        if not isinstance(item, UrlDomain | MailClass) or not item.default:
            return
        table = catalog_objects
        others = sa.select(table.c.name, table.c.body).where(
            table.c.kind == kind.name,
            table.c.name != kind.key_of(item),
            table.c.body.contains('"default":true'),
        )
        for name, body in connection.execute(others).all():
            other = msgspec.json.decode(body, type=type(item))
            if not other.default:
                continue
            other = msgspec.structs.replace(other, default=False)
            connection.execute(
                sa.update(table)
                .where(table.c.kind == kind.name, table.c.name == name)
                .values(body=_body(other), version=version, updated_ms=self._now())
            )

    def _put_rule(self, rule: link_rules.Rule, key: str, url: str, actor: str) -> None:
        with self._database.write() as connection:
            self._begin_change(connection)
            before = link_rules.put(connection, rule, key, url, self._now())
            self._audit_rule(connection, actor, rule, key, url, before)

    def _audit(
        self,
        connection: sa.Connection,
        actor: str,
        action: str,
        kind: Kind,
        name: str,
        *,
        before: CatalogObject | None = None,
        after: CatalogObject | None = None,
    ) -> None:
        audit.record(
            connection,
            time_ms=self._now(),
            actor=actor,
            action=action,
            kind=kind.name,
            name=name,
            before=kind.plain(before) if before is not None else None,
            after=kind.plain(after) if after is not None else None,
        )

    def _audit_rule(
        self,
        connection: sa.Connection,
        actor: str,
        action: str,
        key: str,
        url: str,
        before: str | None = None,
    ) -> None:
        audit.record(
            connection,
            time_ms=self._now(),
            actor=actor,
            action=action,
            kind="link_rule",
            name=key,
            before=before,
            after=url or None,
        )

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _version(connection: sa.Connection) -> int:
    return connection.execute(sa.select(catalog_version.c.version)).scalar() or 0


def _folded(kind: Kind, name: str) -> str:
    """What two equal names have in common."""
    name = kind.normal_key(name)
    return name.lower() if kind.name == "mail_class" else name


def _body(item: CatalogObject) -> str:
    return msgspec.json.encode(item).decode()


def _follow_tls(old: UrlDomain, values: Mapping[str, Any], merged: dict[str, Any]) -> None:
    """A link_base that was derived from domain and tls is derived again when tls changes."""
    derived = f"{'https' if old.tls else 'http'}://{old.domain}"
    if "tls" in values and "link_base" not in values and old.link_base == derived:
        merged["link_base"] = ""
