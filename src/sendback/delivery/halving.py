"""Who in a batch is poison: halves are tried until a bad event is alone.

Parts are tried from the left, so what is settled is always a beginning of the events.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sendback.eventlog import StoredEvent
from sendback.sinks import Outcome, Result

#: So many in a row without one that is taken: it is the receiver, not the events.
ALL_REFUSED = 10
Suspect = tuple[StoredEvent, Outcome]


class Found(NamedTuple):
    """What came out; `settled` is how many of the events are dealt with, from the first on."""

    settled: int
    delivered: int
    refused: list[Suspect]
    """Alone, and refused."""
    failing: list[Suspect]
    """Alone, and the receiver broke on them while it took others."""
    stopped_by: Outcome | None
    """What made further tries pointless."""


def halve(
    events: list[StoredEvent],
    tried: int,
    first: Outcome,
    deliver: Callable[[Sequence[StoredEvent]], Outcome],
    *,
    max_batch: int,
    any_failure: bool = False,
) -> Found:
    """The first `tried` of `events` failed together with `first`; find out because of whom.

    `any_failure`: silence and a proxy's 502 may be an event's fault, too.

    Ends when the poison is found and something behind it was taken, or when ten tries in a row
    were in vain. Events that only fail are settled when another one was taken meanwhile.
    """
    todo = [events[i : i + max_batch] for i in range(tried, len(events), max_batch)][::-1]
    todo += _halves(events[:tried]) if tried > 1 else [events[:1]]
    known = None if tried > 1 else first
    refused: list[Suspect] = []
    failing: list[Suspect] = []
    stopped_by: Outcome | None = None
    delivered = in_vain = at = sure = 0
    while todo and in_vain < ALL_REFUSED:
        part = todo.pop()
        outcome, known = known or deliver(part), None
        if outcome.result is Result.DELIVERED:
            at += len(part)
            sure, in_vain = at, 0
            delivered += len(part)
            if refused or failing:
                break
            continue
        is_suspect = outcome.result is Result.REFUSED or is_fault(outcome)
        if not is_suspect and (not any_failure or _is_clear(outcome)):
            stopped_by = outcome
            break
        in_vain += 1
        if len(part) > 1:
            todo += _halves(part)
            continue
        at += 1
        (refused if outcome.result is Result.REFUSED else failing).append((part[0], outcome))
        if not failing:
            sure = at
    if delivered:
        sure = at
    settled = {event.seq for event in events[:sure]}
    return Found(
        sure,
        delivered,
        [suspect for suspect in refused if suspect[0].seq in settled],
        [suspect for suspect in failing if suspect[0].seq in settled],
        stopped_by,
    )


def is_fault(outcome: Outcome) -> bool:
    """The receiver answered that it broke on this request, or we did: perhaps on what is in it."""
    has_answered = outcome.status is not None and outcome.status >= 500
    return outcome.result is Result.FAILED and (has_answered or outcome.is_fault)


def _is_clear(outcome: Outcome) -> bool:
    """The receiver wants nothing at all, whatever is in it."""
    return outcome.result is Result.GONE or outcome.retry_after is not None


def _halves(part: list[StoredEvent]) -> list[list[StoredEvent]]:
    """The right half below the left one, as a stack wants them."""
    middle = len(part) // 2
    return [part[middle:], part[:middle]]
