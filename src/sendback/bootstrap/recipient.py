"""What a node keeps of one address, shown and erased through every store there is.

Order matters while the node runs: what is captured is finished first, then the log is cleaned,
then what its consumers fill; a second round finds what was under way during the first.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sendback.bootstrap.core import Core
from sendback.bootstrap.data_dir import DataDirLock
from sendback.bootstrap.mail_files import Found, in_deferred, in_outbox, kept_raw, mail_names
from sendback.bootstrap.status import read_statuses
from sendback.errors import Malformed, Unavailable
from sendback.model import CapturedMail, Visit
from sendback.model.mention import Mention

if TYPE_CHECKING:
    from sendback.eventlog import EventLog

_FILES = ("events.sqlite", "metadata.sqlite", "sendback.sqlite")
_FINISH_SECONDS = 15.0
_CHECKPOINT_SECONDS = 10.0
_ROUNDS = 3
_NOTHING_LOGGED: dict[str, list[Any]] = {
    "events": [], "dead_letters": [], "attempts": [], "pending": []
}  # fmt: skip
_DECODE = msgspec.msgpack.Decoder(Visit | CapturedMail).decode


class Recipient:
    """One address on one node. Malformed for what is no address."""

    def __init__(self, core: Core, address: str) -> None:
        local, _, domain = address.rpartition("@")
        if not local or not domain or not address.isprintable() or " " in address:
            raise Malformed(f"{address!r} is no address", field="address")
        self._core, self._address = core, address
        self._mention = Mention(address)

    # -- showing -----------------------------------------------------------------------------

    def show(self) -> dict[str, list[Any]]:
        """What each store keeps of the address; every store is named, found or not. Unavailable."""
        from sendback.database.recipients import Recipients

        found: dict[str, list[Any]] = {}
        metadata = self._core.metadata(writes=False)
        found["metadata"] = metadata.local.messages_to(self._address) if metadata.local else []
        found["external_metadata"] = self._external_rows()
        with self._log(readonly=True) as log:
            found |= _NOTHING_LOGGED if log is None else log.erasure.show(self._mention)
            records = self._blank(log, dry_run=True)
        found |= Recipients(self._core.upgraded_database()).show(self._address)
        for name, files in self._mail_files().items():
            found[name] = [{"file": str(one.path), "is_theirs": one.is_theirs} for one in files()]
        found["journal"] = [{"records": records}] if records else []
        found["exports"] = [
            {"file": str(path), "lines": lines}
            for path, _ in self._exports()
            if (lines := self._lines(path))
        ]
        return found

    def _external_rows(self) -> list[dict[str, Any]]:
        name = self._core.settings.external_metadata_event_tracking_database
        if not name:
            return []
        from sendback.metadata.external_table import rows_of
        from sendback.metadata.postgres import conninfo_of

        return rows_of(conninfo_of(self._core.connection_named(name)), self._address)

    def _lines(self, path: Path) -> int:
        from sendback.sinks.ndjson_erasing import lines_naming

        return lines_naming(path, self._mention)

    # -- erasing -----------------------------------------------------------------------------

    def erase(self, *, actor: str) -> dict[str, int]:
        """Nothing in the data directory or the databases names the address; rows or files by store.

        `mentions`: mails to others that name it, which stay. Unavailable when a store can't be
        reached: what was erased before stays erased, and the next call does the rest.
        """
        removed: Counter[str] = Counter()
        with self._finished_journal():
            for _ in range(_ROUNDS):
                found = self._erase_once(actor)
                removed["mentions"] = found.pop("mentions")
                removed.update(found)
                if not any(count for name, count in found.items() if name != "suppressions"):
                    break
            removed["suppressions"] = found["suppressions"]  # rows stay: each round meets them
            self._checkpoint()
        return dict(removed)

    def _erase_once(self, actor: str) -> dict[str, int]:
        from sendback.database.recipients import Recipients

        found: dict[str, int] = {}
        metadata = self._core.metadata(writes=False)
        found["metadata"] = metadata.local.erase(self._address) if metadata.local else 0
        found["external_metadata"] = (
            metadata.external.erase(self._address) if metadata.external else 0
        )
        with self._log(readonly=False) as log:
            if log is not None:
                found |= log.erasure.erase(self._mention)
            found["journal"] = self._blank(log, dry_run=False)
        found |= Recipients(self._core.upgraded_database()).erase(self._address, actor=actor)
        found["mentions"] = 0
        for name, files in self._mail_files().items():
            theirs = [one for one in files() if one.is_theirs]
            for one in theirs:
                one.path.unlink(missing_ok=True)
            found[name] = len(theirs)
            found["mentions"] += sum(1 for _ in files())
        found["exports"] = self._erase_exports()
        return found

    def _erase_exports(self) -> int:
        from sendback.sinks.ndjson_erasing import erase_from

        return sum(
            sum(erase_from(path, self._mention, is_in_use=is_in_use))
            for path, is_in_use in self._exports()
        )

    # -- the stores --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _log(self, *, readonly: bool) -> Iterator[EventLog | None]:
        if not (self._core.path / "events.sqlite").exists():
            yield None
            return
        log = self._core.event_log(readonly=readonly)
        try:
            yield log
        finally:
            log.close()

    def _mail_files(self) -> dict[str, Callable[[], Iterator[Found]]]:
        path, mention = self._core.path, self._mention
        return {
            "outbox": lambda: in_outbox(path / "outbox", mention),
            "deferred": lambda: in_deferred(path / "deferred", mention),
            "unparsed": lambda: kept_raw(path / "unparsed", mention),
            "damaged": lambda: kept_raw(path / "journal" / "damaged", mention),
        }

    def _exports(self) -> list[tuple[Path, bool]]:
        """Files that ndjson destinations wrote, and whether each may be in use."""
        from sendback.sinks.build import ndjson_path
        from sendback.sinks.ndjson_erasing import written_files

        in_file = self._core.settings.file_catalog.destinations
        paths: dict[Path, bool] = {}
        for destination in self._core.catalog.destinations:
            if destination.type != "ndjson":
                continue
            live = ndjson_path(
                destination.url, self._core.path, is_from_file=destination in in_file
            )
            paths |= {path: path == live for path in written_files(live)}
        for path in sorted((self._core.path / "events").rglob("*")):  # of destinations long gone
            if path.is_file() and not path.name.startswith("."):
                paths.setdefault(path, False)
        return list(paths.items())

    # -- the journal -------------------------------------------------------------------------

    @contextlib.contextmanager
    def _finished_journal(self) -> Iterator[None]:
        """What was captured until now is finished: by the node, or here when it does not run."""
        if not (self._core.path / "journal").is_dir():
            yield
            return
        if read_statuses(self._core.path / "control"):
            self._wait_for_worker()
            yield
            return
        lock = DataDirLock(self._core.path)
        try:
            self._finish_here()
            yield
        finally:
            lock.release()

    def _wait_for_worker(self) -> None:
        from sendback.journal.blanking import ends

        folder = self._core.path / "journal"
        captured = ends(folder)
        deadline = time.monotonic() + _FINISH_SECONDS
        while captured:
            with self._log(readonly=True) as log:
                positions = {} if log is None else log.journal_positions()
            there = ends(folder)  # a segment that is gone was read to its end
            captured = {
                segment: end
                for segment, end in captured.items()
                if segment in there and positions.get(segment, 0) < end
            }
            if captured and time.monotonic() > deadline:
                raise Unavailable("the journal is not being finished; is the worker running?")
            time.sleep(0.1)

    def _finish_here(self) -> None:
        from sendback.bootstrap.working import WorkerBuilder

        parts = WorkerBuilder(self._core).build()
        try:
            while parts.finishing.step():
                pass
        finally:
            parts.close()

    def _blank(self, log: EventLog | None, *, dry_run: bool) -> int:
        """How many finished records name the address; they are blanked unless `dry_run`."""
        from sendback.journal.blanking import blank

        positions = {} if log is None else log.journal_positions()
        folder = self._core.path / "journal"
        return blank(folder, positions, self._is_in_record, dry_run=dry_run)

    def _is_in_record(self, payload: bytes) -> bool:
        if self._mention.is_in(payload):
            return True
        try:
            record = _DECODE(payload)
        except msgspec.DecodeError:
            return False
        return isinstance(record, CapturedMail) and mail_names(record.raw, self._mention)

    # -- SQLite ------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        """Old pages leave the write-ahead logs too."""
        for name in _FILES:
            path = self._core.path / name
            deadline = time.monotonic() + _CHECKPOINT_SECONDS
            while path.exists() and not _is_checkpointed(path):
                if time.monotonic() > deadline:
                    raise Unavailable(f"{name} is in use: its write-ahead log can't be cleared")
                time.sleep(0.1)


def _is_checkpointed(path: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5.0, isolation_level=None)) as db:
            return bool(db.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0)
    except sqlite3.Error as error:
        raise Unavailable(f"{path.name} can't be written: {error}") from error
