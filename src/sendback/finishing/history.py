"""Recent visits of the same message: what the verdict on a visit looks around at.

In memory and bounded; a worker that restarts begins with an empty one, which only makes verdicts
milder.
"""

from collections import OrderedDict

from sendback.agents import OtherVisit

_PER_MESSAGE = 64


class History:
    """Visits of the last `span_ms`, of the most recently visited messages; some 200 octets each.

    Never more than so many `messages` and `visits` of all of them together.
    """

    def __init__(
        self, *, span_ms: int = 600_000, messages: int = 50_000, visits: int = 150_000
    ) -> None:
        self._span_ms, self._messages, self._most = span_ms, messages, visits
        self._visits: OrderedDict[bytes, list[OtherVisit]] = OrderedDict()
        self._count = 0

    def add(self, message: bytes, seen: OtherVisit, *, is_again: bool = False) -> None:
        """Remember a visit of the message; `is_again`: it may be remembered already."""
        visits = self._visits.setdefault(message, [])
        self._visits.move_to_end(message)
        before = len(visits)
        if is_again:
            visits[:] = [visit for visit in visits if visit != seen]
        visits.append(seen)
        if len(visits) > _PER_MESSAGE:
            del visits[: _PER_MESSAGE // 2]
        self._count += len(visits) - before
        while len(self._visits) > self._messages or self._count > self._most:
            self._count -= len(self._visits.popitem(last=False)[1])

    def others(self, message: bytes, seen: OtherVisit) -> list[OtherVisit]:
        """The other visits of the message near that time, `seen` itself left out once."""
        visits = self._visits.get(message, [])
        if len(visits) == 1 and visits[0] is seen:
            return []
        span = self._span_ms
        return [v for v in visits if v is not seen and abs(v.time_ms - seen.time_ms) <= span]
