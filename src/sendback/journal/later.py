"""Appends whose owners are called back: nobody waits in a thread, so somebody watches the clock.

The thread looks every few milliseconds while such appends come, and sleeps without them.
"""

import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from sendback.errors import Unavailable
from sendback.journal.ticket import Fail, Then, Ticket

_TICK_S = 0.01
_IDLE_TICKS = 100


class Later:
    """Every ticket with a `then`, in the order of the deadlines.

    `give_up` gets those whose time is over and who were not answered; it never raises.
    """

    def __init__(self, give_up: Callable[[list[Ticket]], None]) -> None:
        self._give_up = give_up
        self._tickets: deque[Ticket] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._sleeps = True
        self._thread: Thread | None = None
        self._closed = False

    def add(self, ticket: Ticket) -> None:
        """Called under the journal's mutex."""
        self._tickets.append(ticket)
        if self._sleeps:
            self._sleeps = False
            if self._thread is None:
                self._thread = Thread(target=self._run, name="journal-later", daemon=True)
                self._thread.start()
            else:
                self._wake.put(None)

    def close(self) -> None:
        """The thread ends within a tick."""
        self._closed = True
        self._wake.put(None)

    def _run(self) -> None:
        while not self._closed:
            idle = 0
            while idle < _IDLE_TICKS and not self._closed:
                time.sleep(_TICK_S)
                idle = 0 if self._tickets else idle + 1
                self._look()
            self._sleeps = True
            if not self._tickets:  # else it came between the last look and the line above
                self._wake.get()
            self._sleeps = False

    def _look(self) -> None:
        """Forget who was answered; give up whose time is over."""
        tickets, now = self._tickets, time.monotonic()
        late: list[Ticket] = []
        while tickets and (tickets[0].is_answered or tickets[0].deadline <= now):
            ticket = tickets.popleft()
            if not ticket.is_answered:
                late.append(ticket)
        if late:
            self._give_up(late)


def claim(tickets: list[Ticket]) -> list[Ticket]:
    """Under the journal's mutex: those who had no answer yet, and have to get it now."""
    claimed = [ticket for ticket in tickets if not ticket.is_answered]
    for ticket in claimed:
        ticket.is_answered = True
    return claimed


def answer_all(
    claimed: list[Ticket],
    count: Callable[[str], None],
    log: Callable[[str], None],
    *,
    is_late: bool = False,
) -> None:
    """Call everybody back; what had no word of the disk, or was refused, is counted."""
    for ticket in claimed:
        try:
            if is_late or ticket.error is not None:
                count("unconfirmed" if ticket.error is None else "refused")
            ticket.answer(is_late=is_late)
        except Exception as fault:  # noqa: BLE001 - one caller's fault is not the others'
            log(f"ERROR journal: an answer failed: {type(fault).__name__}: {fault}")


def append_and_answer(
    append: Callable[..., bool], payload: bytes, then: Then, fail: Fail, timeout: float
) -> None:
    """What `append_then` promises, by waiting: for when the answer comes at once anyway."""
    try:
        if not append(payload, timeout=timeout):
            fail(None)
    except Unavailable as refused:
        fail(refused)
    then()
