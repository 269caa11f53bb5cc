"""What a node can check of itself and around it: the wiring of `sendback.checks`.

Nothing is changed. A peer is asked for its status with the API key that the catalog names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from sendback.bootstrap.core import Core
from sendback.checks import Finding, Resolver
from sendback.checks.finding import fine, problem, skipped, warning
from sendback.errors import NotFound, SendbackError
from sendback.model import Catalog, Peer, Storage, UrlDomain
from sendback.model.catalog import normal_host

if TYPE_CHECKING:
    from sendback.metadata.external_table import Status

_AT_ONCE = 8


def check_all(
    core: Core,
    resolver: Resolver,
    *,
    expected: Collection[str] = (),
    ca_file: Path | None = None,
) -> list[Finding]:
    """Everything that can be checked from here; unreachable things cost some seconds in all."""
    from sendback.checks import check_dns

    try:
        catalog = core.catalog
    except SendbackError:
        catalog = core.plain_catalog  # why, the finding about the main database says
    urls = frozenset(catalog.url_domain_by_host)
    mail = [
        finding
        for finding in check_dns(catalog, resolver, expected=expected)
        if finding.subject not in urls or finding.check != "url-domain"
    ]
    domains = check_domains(core, catalog.url_domains, resolver, expected, ca_file)
    return [*_configuration(core, catalog), *check_node(core, catalog.peers), *mail, *domains]


def url_domain(core: Core, name: str) -> UrlDomain:
    """The URL domain of that name. NotFound names those there are; Malformed."""
    known = core.catalog.url_domain_by_host
    found = known.get(normal_host(name))
    if found is None:
        raise NotFound(f"{name!r} is no URL domain here; there are: {', '.join(sorted(known))}")
    return found


def check_domains(
    core: Core,
    domains: Collection[UrlDomain],
    resolver: Resolver,
    expected: Collection[str] = (),
    ca_file: Path | None = None,
) -> list[Finding]:
    """What recipients meet at these domains."""
    from sendback.checks.domain import check_domain

    ring, now = core.keyring, core.clock()

    def one(domain: UrlDomain) -> list[Finding]:
        return check_domain(domain, ring, resolver, now=now, expected=expected, ca_file=ca_file)

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return [finding for found in pool.map(one, domains) for finding in found]


def checked_message(core: Core, raw: bytes) -> list[Finding]:
    """What stands in this message, verified with the keys of this node."""
    from sendback.checks.message import check_message

    metadata = core.metadata(writes=False)
    try:
        return check_message(raw, metadata, core.catalog)
    finally:
        metadata.close()


def check_node(core: Core, peers: Sequence[Peer] | None = None) -> list[Finding]:
    """Databases, event log, and the keys and clocks of peers; takes some seconds at the most.

    `peers`: those of the running node's catalog unless given.
    """
    from sendback.checks.peers import check_peer

    if peers is None:
        peers = core.snapshot().peers
    findings = [*_main_database(core), _event_log(core), *_external_metadata(core)]
    fingerprint = core.keyring.fingerprint
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        for found in pool.map(lambda peer: check_peer(peer, fingerprint), peers):
            findings += found
    return findings


def _configuration(core: Core, catalog: Catalog) -> list[Finding]:
    """Settings that are valid each, and do not fit together."""
    settings = core.settings
    found = [fine("config", settings.server_id, f"valid; data in {core.path}")]
    if catalog.peers and settings.storage is Storage.LOCAL:
        found.append(
            warning("config", "default_event_tracking_metadata_storage",
                    "local, and there are peers: only the node that sent can answer",
                    "set stateless or external on all nodes of a fleet (seed 000)")
        )  # fmt: skip
    if not catalog.peers:
        found.append(
            skipped("peer", "peers", "none named: keys and clocks are compared with nobody",
                    "in a fleet: sendback peer add NAME --admin-url URL --api-key KEY")
        )  # fmt: skip
    return found


def _main_database(core: Core) -> list[Finding]:
    from sendback.checks.clock import check_clock
    from sendback.database import upgrade

    if core.has_own_database and not (core.path / "sendback.sqlite").exists():
        return [skipped("database", "main", "none yet: no node has run here")]
    found = [_guarded("database", "main", lambda: upgrade.check(core.database), "has our tables")]
    if found[0].ok and not core.database.is_sqlite:
        found.append(check_clock("main", lambda: _database_time(core)))
    return found


def _database_time(core: Core) -> float:
    import sqlalchemy as sa

    with core.database.read() as connection:
        answer = connection.execute(sa.text("select extract(epoch from clock_timestamp())"))
        return float(answer.scalar_one())


def _event_log(core: Core) -> Finding:
    def read() -> None:
        log = core.event_log()
        try:
            log.last_seq()
        finally:
            log.close()

    if not (core.path / "events.sqlite").exists():
        return skipped("database", "event log", "none yet: no node has run here")
    return _guarded("database", "event log", read, "can be read")


def _guarded(check: str, subject: str, act: Callable[[], object], detail: str) -> Finding:
    try:
        act()
    except SendbackError as error:
        return problem(check, subject, str(error), _cure(error))
    return fine(check, subject, detail)


def _cure(error: SendbackError) -> str:
    return getattr(error, "hint", None) or ""


def _external_metadata(core: Core) -> list[Finding]:
    settings = core.settings
    primary = settings.external_metadata_event_tracking_database
    failover = settings.external_metadata_event_tracking_database_read_failover
    found = _external_database(core, primary, is_written=True) if primary else []
    return [*found, *(_external_database(core, failover, is_written=False) if failover else [])]


def _external_database(core: Core, name: str, *, is_written: bool) -> list[Finding]:
    from sendback.checks.clock import check_clock, postgres_time
    from sendback.metadata.external_table import status
    from sendback.metadata.postgres import conninfo_of

    check = "external-metadata"
    try:
        dsn = conninfo_of(core.connection_named(name))
        found: Status = status(dsn)
    except SendbackError as error:
        return [problem(check, name, str(error), _cure(error))]
    if not found.reachable:
        return [problem(check, name, found.reason, "is it running, and reachable from here?")]
    clock = check_clock(name, lambda: postgres_time(dsn))
    if found.is_standby and is_written:
        detail = "is a standby: nothing can be written, new mail goes out stateless"
        return [problem(check, name, detail, "name the primary; a standby is for reading"), clock]
    init = "run `sendback metadata init`"
    if not found.table:
        return [problem(check, name, found.reason or "the table is missing", init), clock]
    if not found.prune_index:
        detail = "the index on date is missing: pruning reads every row"
        return [problem(check, name, detail, init), clock]
    detail = f"PostgreSQL {found.server_version}, about {found.rows_estimate} rows"
    return [fine(check, name, detail), clock]
