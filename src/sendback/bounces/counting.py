"""Repeat bounce counting: is the threshold met with this bounce.

Which rule counts it is decided here, the numbers are kept by `database.counts`, shared by every
node of one main database. A rule that one bounce satisfies asks no database, so dead addresses
are reported while it is down.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from sendback.bounces.rules import CountingRules, Rule, milliseconds
from sendback.database.consumer import StoredEvent
from sendback.database.counts import BounceCounts, Counted
from sendback.model.bounce import Bounce

_DAY_MS = 86_400_000
#: No journal record is replayed after this long: `pending` gives up after 7 days.
_ANSWERS_KEPT_MS = 14 * _DAY_MS


class _Visit(msgspec.Struct, kw_only=True):
    email: str = ""
    is_bot: bool | None = None


class Counting:
    """Decides whether a bounce_bad_address follows a bounce."""

    def __init__(
        self,
        counts: BounceCounts,
        rules: CountingRules,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._counts = counts
        self._rules = rules
        self._clock = clock

    def count(self, bounces: Sequence[Bounce]) -> list[bool]:
        """For each, whether the address is a bad one now. Idempotent: one record, one answer.

        All are counted, in one transaction; or, when the main database has to be asked and is
        down, Unavailable, and none is. Once met, a threshold stays met for each further bounce
        until the address shows life or is reactivated.
        """
        rules = [self.rule_for(bounce) for bounce in bounces]
        answers = [rule is not None and rule.bounces == 1 for rule in rules]
        asked = [
            (i, _counted(bounce, rule))
            for i, (bounce, rule) in enumerate(zip(bounces, rules, strict=True))
            if rule is not None and rule.needs_history
        ]
        if asked:
            found = self._counts.count([counted for _, counted in asked])
            for (i, _), answer in zip(asked, found, strict=True):
                answers[i] = answer
        return answers

    def rule_for(self, bounce: Bounce) -> Rule | None:
        """The first rule that fits, also one that never counts; None when none fits."""
        for rule in self._rules.current():
            if rule.fits(
                reason=bounce.reason,
                bounce_type=bounce.bounce_type,
                hard=bounce.hard,
                bad_address=bounce.bad_address,
                listid=bounce.listid,
            ):
                return rule
        return None

    def alive(self, email: str, time_ms: int) -> None:
        """Mail to this address was delivered: bounces up to this time are forgotten."""
        self._counts.forget({email: time_ms})

    def cursor(self) -> int:
        """The seq up to which opens and clicks are taken in."""
        return self._counts.cursor()

    def consume(self, batch: Sequence[StoredEvent]) -> int:
        """Forget the bounces of addresses that a person opened or clicked at; the new cursor."""
        return self._counts.consume(batch, _signs_of_life(batch))

    def prune(self) -> None:
        """Drop what can't matter any more; run it once a day or so."""
        now_ms = int(self._clock() * 1000)
        forget = [milliseconds(rule.forget) for rule in self._rules.current()]
        self._counts.prune(
            answers_before_ms=now_ms - _ANSWERS_KEPT_MS,
            counts_before_ms=now_ms - max(forget, default=90 * _DAY_MS),
        )


def _counted(bounce: Bounce, rule: Rule) -> Counted:
    return Counted(
        email=bounce.email,
        rule=rule.name,
        time_ms=bounce.time_ms,
        record_id=bounce.record_id,
        bounces=rule.bounces,
        span_ms=milliseconds(rule.span),
        forget_ms=milliseconds(rule.forget),
    )


def _signs_of_life(batch: Sequence[StoredEvent]) -> Mapping[str, int]:
    alive: dict[str, int] = {}
    for event in batch:
        if event.type not in {"engine_open", "engine_click"}:
            continue
        try:
            visit = msgspec.json.decode(event.body, type=_Visit)
        except msgspec.MsgspecError:
            continue  # statistics says so already
        if visit.email and not visit.is_bot:
            alive[visit.email] = max(event.time_ms, alive.get(visit.email, 0))
    return alive
