"""What a node can check of itself without DNS: databases, event log, keys and clocks of peers.

Nothing is changed. A peer is asked for its status with the API key that the catalog names.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from sendback.bootstrap.core import Core
from sendback.checks import Finding
from sendback.errors import SendbackError
from sendback.model import Peer

if TYPE_CHECKING:
    from sendback.metadata.external_table import Status

_PEER_SECONDS = 5.0
_MAX_ANSWER = 1 << 20
#: Tokens carry days and events are ordered by time: more than this is worth mending.
MAX_CLOCK_SECONDS = 5.0


def check_node(core: Core) -> list[Finding]:
    """One finding for each thing that was looked at; takes some seconds at the most."""
    findings = [_main_database(core), _event_log(core), *_external_metadata(core)]
    peers = core.snapshot().peers
    with ThreadPoolExecutor(max_workers=8) as pool:
        for found in pool.map(lambda peer: _peer(core, peer), peers):
            findings += found
    return findings


def _main_database(core: Core) -> Finding:
    from sendback.database import upgrade

    return _guarded("database", "main", lambda: upgrade.check(core.database), "has our tables")


def _event_log(core: Core) -> Finding:
    def read() -> None:
        log = core.event_log()
        try:
            log.last_seq()
        finally:
            log.close()

    return _guarded("database", "event log", read, "can be read")


def _guarded(check: str, subject: str, act: Callable[[], object], detail: str) -> Finding:
    try:
        act()
    except SendbackError as error:
        return Finding(check, subject, False, str(error), _cure(error))
    return Finding(check, subject, True, detail)


def _cure(error: SendbackError) -> str:
    return getattr(error, "hint", None) or ""


def _external_metadata(core: Core) -> list[Finding]:
    settings = core.settings
    names = (
        settings.external_metadata_event_tracking_database,
        settings.external_metadata_event_tracking_database_read_failover,
    )
    return [_external_database(core, name) for name in names if name]


def _external_database(core: Core, name: str) -> Finding:
    from sendback.metadata.external_table import status
    from sendback.metadata.postgres import conninfo_of

    try:
        found: Status = status(conninfo_of(core.connection_named(name)))
    except SendbackError as error:
        return Finding("external-metadata", name, False, str(error), _cure(error))
    if not found.table:
        cure = "run `sendback metadata init`" if found.reachable else "is it running?"
        return Finding("external-metadata", name, False, found.reason, cure)
    detail = f"PostgreSQL {found.server_version}, about {found.rows_estimate} rows"
    return Finding("external-metadata", name, True, detail)


def _peer(core: Core, peer: Peer) -> list[Finding]:
    try:
        status, sent_ms = _status_of(peer)
        theirs, now_ms = str(status["facts"]["Key fingerprint"]), float(status["time_ms"])
    except (OSError, ValueError, http.client.HTTPException, KeyError, TypeError) as error:
        cure = "is its admin port reachable from here, and the API key valid there?"
        return [Finding("peer", peer.name, False, f"no status: {type(error).__name__}", cure)]
    ours = core.keyring.fingerprint
    cure = "set the same secret constants on both (seed 000)"
    same = theirs == ours
    detail = f"signs with {theirs}" if same else f"signs with {theirs}, this node with {ours}"
    apart = abs(now_ms - sent_ms) / 1000
    clock = Finding(
        "peer-clock", peer.name, apart <= MAX_CLOCK_SECONDS, f"{apart:.1f} s apart",
        "" if apart <= MAX_CLOCK_SECONDS else "run NTP on both",
    )  # fmt: skip
    return [Finding("peer-keys", peer.name, same, detail, "" if same else cure), clock]


def _status_of(peer: Peer) -> tuple[dict[str, Any], float]:
    """Its status, and when, by our clock, it was about to be read."""
    url = urlsplit(peer.admin_url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=_PEER_SECONDS)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {peer.api_key}"}
        began = time.time()
        connection.request("GET", url.path.rstrip("/") + "/api/v1/status", headers=headers)
        answer = connection.getresponse()
        body = answer.read(_MAX_ANSWER)
        if answer.status != 200:
            raise ValueError(answer.status)
        try:
            return msgspec.json.decode(body, type=dict[str, Any]), (began + time.time()) * 500
        except msgspec.MsgspecError as error:
            raise ValueError("no status") from error
