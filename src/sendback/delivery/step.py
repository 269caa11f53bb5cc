"""One step of one destination.

Events go out in the order of the log, in batches, and the cursor moves behind what is dealt with:
delivered, parked for tries of its own, or a dead letter. Two kinds of trouble:

* the receiver takes nothing (an outage): the same batch is tried again, every 30 s at the latest,
  and only every 30 s when it failed more than half of the tries of the last minute; events that
  were due for longer than the window become dead letters;
* it takes others but not this one: a batch refused, or failing three times, or in a long outage
  every ten minutes, is halved until the poison event is alone. Refused, it is a dead letter;
  failing, it is parked and tried on the schedule of Standard Webhooks while the rest moves on.
"""

import random
import re
import time
from bisect import bisect
from collections.abc import Callable, Sequence

from sendback.delivery.breaker import Breaker
from sendback.delivery.flight import Flight
from sendback.delivery.halving import ALL_REFUSED, halve, is_fault
from sendback.delivery.parking import Parking, reason_of
from sendback.delivery.wanted import Filter
from sendback.eventlog import Attempt, EventLog, Parked, StoredEvent
from sendback.sinks import Outcome, Result, Sink

#: Seconds before each next try while nothing is taken; the last one repeats.
PROBES = (5, 10, 20, 30)
#: The window of Standard Webhooks, 75 h 35 m.
WINDOW_HOURS = 75.6
_HALVE_AFTER = 3
#: Failures of an outage among which one makes us look for an event that causes it: ten minutes.
_DOUBT_EVERY = 20
_AGED_AT_ONCE = 5000
_SINGLES_AT_ONCE = 200
_STEP_SECONDS = 1.0
#: Rounds of parallel batches that one look at the log is good for, and its most events.
_ROUNDS = 4
_PAGE_EVENTS = 20_000
#: Seconds of an outage after which so many of the probes were made.
_PROBED = (5, 15, 35)
#: Receivers name whom they don't know; no log does (CONTRACT section 3).
_ADDRESS = re.compile(r"""[^\s"'<>,;:()]+(?:@|%40)[^\s"'<>,;:()]+""", re.IGNORECASE)


class Delivery:
    """One destination. `step` and `wait` are called by one thread."""

    def __init__(
        self,
        name: str,
        log: EventLog,
        sink: Sink,
        wanted: Filter,
        *,
        max_batch: int = 500,
        parallel: int = 1,
        window_hours: float = WINDOW_HOURS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """`parallel` above 1 sends so many batches at once, if the sink can: their order is lost,
        and after a failure up to `parallel` - 1 batches may come twice.
        """
        self.name = name
        self._log, self._state, self._sink, self._wanted = log, log.deliveries, sink, wanted
        self._max_batch = max_batch
        parallel = min(parallel, getattr(sink, "max_parallel", 1))  # a package's may not say
        self._page = max_batch
        self._window_ms = int(window_hours * 3_600_000)
        self._clock, self._monotonic, self._uniform, self._say = clock, monotonic, uniform, say
        self._not_before = 0.0
        self._failures = 0
        self._breaker = Breaker(monotonic)
        self._has_begun = self._has_said = False
        self._refused_in_a_row = 0
        self._stored_cursor = -1
        self._cursor = 0
        self._cursor_saved = 0.0
        self._flight = Flight(name, parallel) if parallel > 1 else None
        if parallel > 1:
            self._page = max(max_batch, min(_PAGE_EVENTS, max_batch * parallel * _ROUNDS))
        self._parking = Parking(
            name,
            log,
            window_ms=self._window_ms,
            clock=clock,
            uniform=uniform,
            say=say,
            heed=self._heed,
        )

    def step(self) -> bool:
        """Try to deliver what comes next; True when there was something to do.

        Unavailable when the log can't be read or written; what was delivered and could not be
        noted comes again, with the same ids.
        """
        state = self._state.state(self.name)
        if state.state != "active":
            self._failures, self._not_before = 0, 0.0  # resuming tries at once
            self._has_begun = True
            return False
        if not self._has_begun:
            self._go_on(state.failing_since_ms)
        if self._monotonic() < self._not_before:
            return False
        if state.seq != self._stored_cursor:  # first step, or an operator moved it
            self._stored_cursor = self._cursor = state.seq
        did_parked = not self._failures and self._parking.try_due(self._attempt)
        if self._monotonic() < self._not_before:
            return did_parked
        return self._try_next() or did_parked

    def _go_on(self, failing_since_ms: int | None) -> None:
        """An outage outlives a restart: the next try comes when it would have come without."""
        self._has_begun = True
        last = self._state.attempts(self.name, 1) if failing_since_ms is not None else []
        if failing_since_ms is None or not last:
            return
        at_ms = last[0].at_ms + last[0].duration_ms
        self._failures = bisect(_PROBED, (at_ms - failing_since_ms) / 1000) + 1
        probe = PROBES[self._failures - 1]
        ago = self._clock() - at_ms / 1000
        self._not_before = self._monotonic() + min(probe, max(0.0, probe - ago))

    def wait(self) -> float:
        """Seconds until a step may have something to do although no new event came.

        A second at most: an operator who resumes is not kept waiting for the next probe.
        """
        return min(1.0, max(0.0, self._not_before - self._monotonic()) or 1.0)

    def close(self) -> None:
        """Let go of the sink."""
        if self._flight is not None:
            self._flight.close()
        self._sink.close()

    def test(self, event: StoredEvent) -> Outcome:
        """Send one event now, outside of order and retries; nothing is noted but the attempt."""
        attempts: list[Attempt] = []
        outcome = self._attempt([event], attempts)
        self._state.note(self.name, attempts=attempts, is_retry=True)
        return outcome

    # -- what comes next -------------------------------------------------------------------

    def _try_next(self) -> bool:
        limit = self._page
        last = self._log.last_seq()
        page = self._log.read(self._cursor, limit, types=self._wanted.types)
        events = [event for event in page if self._wanted.wants(event)]
        if not events:
            self._failures = 0
            self._skip_to(page[-1].seq if len(page) == limit else max(last, self._cursor))
            return bool(page)
        # Events may come between the two looks: what was read counts, or it would come twice.
        end = page[-1].seq if len(page) == limit else max(last, page[-1].seq)
        size = self._sink.max_batch or self._max_batch
        chunks = [events[i : i + size] for i in range(0, len(events), size)]
        if self._flight is not None and not self._failures:
            self._send_parallel(self._flight, chunks, end)
        else:
            self._send_in_order(chunks[:_SINGLES_AT_ONCE], len(chunks), end)
        return True

    def _skip_to(self, seq: int) -> None:
        """Nothing for us up to `seq`; stored now and then, a commit for each step costs."""
        self._cursor = seq
        due = self._monotonic() - self._cursor_saved > 2.0
        if seq != self._stored_cursor and (due or seq - self._stored_cursor > 50_000):
            self._save()

    def _save(
        self,
        attempts: Sequence[Attempt] = (),
        *,
        delivered: int = 0,
        is_retry: bool = False,
        park: Sequence[Parked] = (),
        bury: Sequence[tuple[int, int, str]] = (),
        failing: bool | None = None,
    ) -> None:
        self._state.note(
            self.name,
            moved=(self._stored_cursor, self._cursor),
            attempts=attempts,
            delivered=delivered,
            is_retry=is_retry,
            park=park,
            bury=bury,
            failing=failing,
        )
        self._stored_cursor = self._cursor
        self._cursor_saved = self._monotonic()

    def _send_in_order(self, chunks: list[list[StoredEvent]], of: int, end: int) -> None:
        attempts: list[Attempt] = []
        delivered, began = 0, self._monotonic()
        was_failing = self._failures > 0
        for number, chunk in enumerate(chunks, start=1):
            outcome = self._attempt(chunk, attempts)
            if outcome.result is not Result.DELIVERED:
                if delivered:
                    self._save(attempts, delivered=delivered, is_retry=was_failing, failing=False)
                    attempts = []
                rest = [event for later in chunks[number - 1 :] for event in later]
                self._trouble(rest, len(chunk), outcome, attempts)
                return
            self._taken()
            delivered += len(chunk)
            self._cursor = end if number == of else chunk[-1].seq
            if self._monotonic() - began > _STEP_SECONDS:
                break
        self._save(attempts, delivered=delivered, is_retry=was_failing, failing=False)

    def _send_parallel(self, flight: Flight, chunks: list[list[StoredEvent]], end: int) -> None:
        stop = self._monotonic() + _STEP_SECONDS
        sent = flight.send(chunks, self._attempt, lambda: self._monotonic() <= stop)
        attempts = [attempt for one in sent for attempt in one.attempts]
        delivered = 0
        for number, (chunk, outcome, _) in enumerate(sent, start=1):
            if outcome.result is not Result.DELIVERED:
                # Batches behind it may have arrived: they go again, with the same ids.
                if delivered:
                    self._save(attempts, delivered=delivered, failing=False)
                    attempts = []
                self._trouble(chunk, len(chunk), outcome, attempts)
                return
            self._taken()
            delivered += len(chunk)
            self._cursor = end if number == len(chunks) else chunk[-1].seq
        self._save(attempts, delivered=delivered, failing=False)

    def _taken(self) -> None:
        if self._failures:
            self._say(f"destination {self.name}: takes events again")
        self._has_said = False
        self._failures = self._refused_in_a_row = 0

    # -- trouble ---------------------------------------------------------------------------

    def _trouble(
        self, events: list[StoredEvent], tried: int, outcome: Outcome, attempts: list[Attempt]
    ) -> None:
        """`events` are what comes next, of which the first `tried` just failed together."""
        self._failures += 1
        if outcome.result is Result.GONE:
            self._heed(outcome)
            self._save(attempts, is_retry=self._failures > 1)
            return
        is_poison = (
            outcome.result is Result.REFUSED
            or (is_fault(outcome) and self._failures >= _HALVE_AFTER)
            or self._is_time_to_doubt(outcome)
        )
        if (
            is_poison
            and self._refused_in_a_row < ALL_REFUSED
            and self._halve(events, tried, outcome, attempts)
        ):
            return
        self._outage(outcome, attempts)

    def _is_time_to_doubt(self, outcome: Outcome) -> bool:
        """Now and then in a long outage: an event that kills the receiver, or takes it too long,
        comes back as a 502 or 504 of the proxy before it, or as silence.
        """
        return outcome.retry_after is None and self._failures % _DOUBT_EVERY == _DOUBT_EVERY // 2

    def _heed(self, outcome: Outcome) -> None:
        """What the receiver says of all that we have, whichever event it was asked to take."""
        if outcome.result is Result.GONE:
            self._state.set_state(self.name, "disabled", "the receiver answered 410 Gone")
            self._say(f"ERROR destination {self.name}: the receiver answered 410 Gone; disabled")
        if outcome.result is Result.GONE or outcome.retry_after is not None:
            wait = max(PROBES[0], outcome.retry_after or 0.0)
            self._not_before = self._monotonic() + wait

    def _outage(self, outcome: Outcome, attempts: list[Attempt]) -> None:
        delay = PROBES[min(self._failures, len(PROBES)) - 1] * self._uniform(0.8, 1.2)
        if outcome.retry_after is not None:
            delay = max(delay, outcome.retry_after)
        if self._breaker.is_open():
            delay = max(delay, PROBES[-1] * self._uniform(0.8, 1.2))
        self._not_before = self._monotonic() + delay
        if not self._has_said or self._failures == 10:
            self._has_said = True
            answer = _ADDRESS.sub("(an address)", outcome.answer)[:200]
            self._say(
                f"WARNING destination {self.name}: {outcome.result.value}"
                f" {outcome.status or ''} {answer!r}; next try in {delay:.0f} s"
            )
        since = self._state.state(self.name).failing_since_ms
        self._save(attempts, is_retry=self._failures > 1, failing=True)
        if since is not None:
            self._bury_aged(since, reason_of(outcome))

    def _bury_aged(self, since_ms: int, reason: str) -> None:
        """Events that stand in the log for longer than the window, and were due all that time,
        become dead letters; oldest first, without a gap, for a second at most.
        """
        before = int(self._clock() * 1000) - self._window_ms
        if since_ms > before:
            return
        aged_to = self._log.recorded_before(before)
        buried, ends = 0, time.monotonic() + _STEP_SECONDS
        while self._cursor < aged_to:
            page = self._log.read(self._cursor, _AGED_AT_ONCE, types=self._wanted.types)
            page = [event for event in page if event.seq <= aged_to]
            if not page:
                break
            self._cursor = page[-1].seq
            wanted = filter(self._wanted.wants, page)
            aged = [(event.seq, self._failures, reason) for event in wanted]
            self._save(bury=aged)
            buried += len(aged)
            if time.monotonic() > ends:
                break
        if buried:
            self._say(f"ERROR destination {self.name}: {buried} events became dead letters")

    def _halve(
        self, events: list[StoredEvent], tried: int, first: Outcome, attempts: list[Attempt]
    ) -> bool:
        """Find who is poison; False when nothing could be settled: then it is an outage."""
        found = halve(
            events,
            tried,
            first,
            lambda part: self._attempt(part, attempts),
            max_batch=self._sink.max_batch or self._max_batch,
            any_failure=self._is_time_to_doubt(first),
        )
        if found.settled == 0:
            return False
        tries = self._failures
        if found.delivered:
            self._refused_in_a_row = 0
        self._failures = 0  # a receiver that judges events is no outage
        self._refused_in_a_row += len(found.refused)
        self._cursor = events[found.settled - 1].seq
        bury = [(event.seq, tries, reason_of(why)) for event, why in found.refused]
        if bury:
            self._say(f"ERROR destination {self.name}: {len(bury)} refused events, dead letters")
        self._save(
            attempts,
            delivered=found.delivered,
            is_retry=True,
            park=[self._parking.parked(event, tries, why) for event, why in found.failing],
            bury=bury,
            failing=False if found.delivered else None,
        )
        if found.stopped_by is not None:
            self._not_before = self._monotonic() + PROBES[0] * self._uniform(0.8, 1.2)
            self._heed(found.stopped_by)
        return True

    # -- one attempt -----------------------------------------------------------------------

    def _attempt(self, batch: Sequence[StoredEvent], attempts: list[Attempt]) -> Outcome:
        began = self._monotonic()
        at_ms = int(self._clock() * 1000)
        try:
            outcome = self._sink.deliver(batch)
        except Exception as error:  # noqa: BLE001 - a sink's own fault must not end its thread
            text = f"fault in the sink: {type(error).__name__}"
            outcome = Outcome(Result.FAILED, None, text, is_fault=True)
        if outcome.result in (Result.DELIVERED, Result.FAILED):  # others speak for themselves
            self._breaker.note(outcome.result is Result.DELIVERED)
        attempts.append(
            Attempt(
                self.name,
                at_ms,
                batch[0].seq,
                batch[-1].seq,
                len(batch),
                outcome.result.value,
                outcome.status,
                int((self._monotonic() - began) * 1000),
                outcome.answer[:500],
            )
        )
        return outcome
