"""One step: read what was journaled, make events of it, commit all of it at once.

Making comes before the transaction: a metadata database that takes a second to answer must not
hold the log. What can't be made now goes to `pending`, so that it never blocks what is behind it.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec

from sendback.agents import OtherVisit
from sendback.errors import NotFound, SendbackError, Unavailable
from sendback.eventlog import EventLog, Pending, Transaction
from sendback.finishing.made import Made
from sendback.finishing.returned import Returned
from sendback.finishing.visits import Visits
from sendback.journal import JournalReader
from sendback.model import CapturedMail, Event, TrackingData, Visit
from sendback.model.events import EVENT_TYPES

#: Seconds until the next try of a pending record; the last one repeats.
BACK_OFF = (5, 15, 60, 300, 900, 3600)
#: A row that no database has: replication may be late, but not for days.
MISSING_ROW_MS = 3600 * 1000
GIVE_UP_MS = 7 * 86_400_000
MAX_FAULTS = 5
#: A held verdict is asked for again this often: most are final long before the hold ends.
LOOK_AGAIN_MS = 6000
#: A visit is read this long after its time at the latest, when finishing keeps up.
_CAPTURE_SECONDS = 1.0
_DECODE = msgspec.msgpack.Decoder(Visit | CapturedMail).decode


@dataclass(slots=True)
class _Work:
    """One record on its way through a step."""

    payload: bytes
    pending: Pending | None = None
    record: Visit | CapturedMail | None = None
    resolved: tuple[TrackingData, OtherVisit] | None = None
    made: Made | None = None
    wait_ms: int = 0
    """How long until the next try; 0: by the back-off."""
    missing: str = ""
    """Why it can't be made now."""
    fault: str = ""
    """What went wrong in our own code."""
    is_hopeless: bool = False


class Finishing:
    """Turns journal records into events; `step` is called by one thread."""

    def __init__(
        self,
        reader: JournalReader,
        log: EventLog,
        visits: Visits,
        returned: Returned,
        *,
        record: Collection[str] = EVENT_TYPES,
        verdict_hold_seconds: float = 0.0,
        must_wait: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """`record`: the event types to log. `must_wait`: the log is full of undelivered events.
        `say` gets a line for each fault.
        """
        self._reader, self._log = reader, log
        self._visits, self._returned = visits, returned
        self._record = frozenset(record)
        self._hold_ms = int(verdict_hold_seconds * 1000)
        self._complete_until_ms = 0
        self._must_wait, self._clock, self._say = must_wait, clock, say
        self._positions = log.journal_positions()
        reader.seek(self._positions)

    def step(self, limit: int = 1000) -> bool:
        """Finish up to `limit` records; True when there was something to do.

        Unavailable when the log can't be written: nothing is lost, the same records come again.
        """
        if self._must_wait():
            return False
        work = [_Work(item.payload, item) for item in self._log.due_pending(limit)]
        self._complete_until_ms = int((self._clock() - _CAPTURE_SECONDS) * 1000)
        work += [_Work(item.payload) for item in self._reader.read(limit)]
        if not work:
            self._reader.delete_read()
            return False
        self._make_all(work)
        try:
            self._commit(work)
        except SendbackError:
            self._reader.seek(self._positions)
            raise
        self._reader.delete_read()
        return True

    # -- making ----------------------------------------------------------------------------

    def _make_all(self, work: Sequence[_Work]) -> None:
        for item in work:
            self._guard(item, self._decode)
        visits = [item.record for item in work if isinstance(item.record, Visit)]
        with contextlib.suppress(SendbackError):  # each one says it itself when it is resolved
            self._visits.prefetch(visits)
        for item in work:
            if isinstance(item.record, Visit):
                self._guard(item, self._resolve)
        for item in work:
            if item.made is None and not (item.missing or item.fault or item.is_hopeless):
                self._guard(item, self._make)
        self._count(work)

    def _count(self, work: Sequence[_Work]) -> None:
        """All bounces of the step in one transaction; one by one when one of them spoils that."""
        bounces = [item for item in work if item.made is not None and item.made.bounce is not None]
        try:
            self._returned.count([item.made for item in bounces if item.made is not None])
        except Exception:  # noqa: BLE001 - one bad record must not stop the others
            for item in bounces:
                self._guard(item, self._count_one)

    def _count_one(self, item: _Work) -> None:
        if item.made is not None:
            self._returned.count([item.made])

    def _guard(self, item: _Work, act: Callable[[_Work], None]) -> None:
        try:
            act(item)
        except Unavailable as error:
            self._not_now(item, str(error), GIVE_UP_MS)
        except NotFound as error:
            self._not_now(item, str(error), MISSING_ROW_MS)
        except SendbackError as error:
            item.fault, item.is_hopeless = f"{type(error).__name__}: {error}", True
        except Exception as error:  # noqa: BLE001 - one bad record must not stop the others
            item.fault = f"{type(error).__name__}: {error}"
            self._say(f"ERROR finishing: a record can't be finished: {type(error).__name__}")

    def _decode(self, item: _Work) -> None:
        try:
            item.record = _DECODE(item.payload)
        except msgspec.DecodeError as error:
            item.fault, item.is_hopeless = f"no known record: {error}", True

    def _resolve(self, item: _Work) -> None:
        if isinstance(item.record, Visit):
            item.resolved = self._visits.resolve(item.record, is_again=item.pending is not None)

    def _make(self, item: _Work) -> None:
        if isinstance(item.record, CapturedMail):
            item.made = self._returned.make(item.record)
        elif item.record is not None and item.resolved is not None:
            made = self._visits.make(item.record, *item.resolved, self._complete_until_ms)
            held_ms = item.record.time_ms + self._hold_ms - int(self._clock() * 1000)
            if not made.is_final and self._hold_ms and held_ms > 0:
                item.missing = "the verdict is not final"
                item.wait_ms = min(held_ms, LOOK_AGAIN_MS)
            else:
                item.made = made

    def _not_now(self, item: _Work, reason: str, patience_ms: int) -> None:
        """Wait for the row, or go out without it when it was waited for long enough."""
        if self._waited(item) < patience_ms:
            item.missing = reason or "not available"
        elif isinstance(item.record, Visit):
            item.made = self._visits.make_unresolved(item.record)
        elif item.record is not None:
            item.made = self._returned.make_kept(item.record)

    def _waited(self, item: _Work) -> int:
        return int(self._clock() * 1000) - item.pending.first_ms if item.pending else 0

    # -- committing ------------------------------------------------------------------------

    def _commit(self, work: Sequence[_Work]) -> None:
        positions = self._reader.positions()
        counts: dict[str, int] = {}
        events: list[Event] = []
        with self._log.transaction() as transaction:
            for item in work:
                self._settle(transaction, item, events, counts)
            transaction.append(events)
            transaction.drop_pending(item.pending.id for item in work if item.pending)
            transaction.set_journal_positions(positions)
            for name, by in counts.items():
                transaction.count(name, by)
        self._positions = positions

    def _settle(
        self,
        transaction: Transaction,
        item: _Work,
        events: list[Event],
        counts: dict[str, int],
    ) -> None:
        def count(name: str) -> None:
            counts[name] = counts.get(name, 0) + 1

        faults = (item.pending.faults if item.pending else 0) + bool(item.fault)
        tries = (item.pending.tries if item.pending else 0) + 1
        if item.is_hopeless or faults >= MAX_FAULTS:
            transaction.bury(item.payload, tries=tries, reason=item.fault)
            count("dead_records")
            return
        made = item.made
        if made is not None:
            if item.record is not None and self._is_repeated(transaction, made, item.record):
                count(made.once_name)
                return
            for event in made.events:
                kind = str(event.__struct_config__.tag)
                if kind in self._record:
                    events.append(event)
                else:
                    count(f"not_recorded.{kind}")
            for name in made.counts:
                count(name)
            if made.retry and self._waited(item) >= GIVE_UP_MS:
                count("given_up_counts")
                made.retry = ""
        reason = item.missing or item.fault or (made.retry if made else "")
        if reason:
            self._pend(transaction, item, tries, faults, reason)

    def _is_repeated(
        self, transaction: Transaction, made: Made, record: Visit | CapturedMail
    ) -> bool:
        """Ask for the keys in the transaction that holds the events; a record that comes again,
        because something of it was missing, owns its key.
        """
        if made.once is None:
            return False
        if made.also_once is not None and transaction.is_known(made.also_once):
            return True
        expires = int(self._clock() * 1000) + made.once_ms
        return not transaction.is_new(made.once, expires, record.record_id)

    def _pend(
        self, transaction: Transaction, item: _Work, tries: int, faults: int, reason: str
    ) -> None:
        now = int(self._clock() * 1000)
        wait = item.wait_ms or BACK_OFF[min(tries, len(BACK_OFF)) - 1] * 1000
        first = item.pending.first_ms if item.pending else now
        transaction.pend(
            item.payload,
            first_ms=first,
            next_ms=now + wait,
            tries=tries,
            faults=faults,
            reason=reason,
        )
