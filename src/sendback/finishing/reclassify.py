"""Labels made again, by the rules of today, on the events that the log keeps."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from sendback.agents import Observation, OtherVisit, Verdict
from sendback.eventlog import EventLog, StoredEvent
from sendback.finishing.history import History
from sendback.model import Hint, VisitKind

_KINDS = {
    "engine_click": VisitKind.CLICK,
    "engine_open": VisitKind.OPEN,
    "engine_unsub": VisitKind.UNSUB,
}
#: What a request said about itself is in the log as the reason that it led to.
_HINTS = {
    "prefetch_header": Hint.PREFETCH,
    "one_click": Hint.ONE_CLICK,
    "mailto": Hint.MAILTO,
    "confirmed": Hint.CONFIRMED,
}
_NOT_IN_THE_LOG = {"honeypot", "every_link"}
_PAGE = 2000


def reclassify(
    log: EventLog,
    classify: Callable[[Observation], Verdict],
    *,
    since_ms: int = 0,
    is_dry: bool = False,
) -> dict[str, Any]:
    """Counts: `checked`, `changed`, and `changes` by "old -> new". Without `is_dry` also written.

    What a request said about itself (prefetch, one-click, our button, a universal link) and that
    it came soon is taken from the event. A verdict that came from what the log does not hold is
    kept: a honeypot link, the number of links, and a visitor whom privacy has removed.
    """
    checked, changes = 0, Counter[str]()
    history = History()
    page: list[_Seen] = []
    # a page is judged when the next one is known too: a burst may lie across both
    for following in _pages(log, log.seq_at(since_ms) if since_ms else 0, history):
        changed = []
        for visit in page:
            checked += 1
            label = visit.new_label(classify, history)
            if label is not None:
                changes[label] += 1
                changed.append((visit.event.seq, visit.body()))
        if changed and not is_dry:
            log.relabel(changed)
        page = following
    return {"checked": checked, "changed": sum(changes.values()), "changes": dict(changes)}


def _pages(log: EventLog, after: int, history: History) -> Iterator[list["_Seen"]]:
    """Visits page by page, remembered in `history` already; an empty page ends them."""
    while page := log.read(after, _PAGE, types=_KINDS):
        after = page[-1].seq
        yield [_Seen(event, history) for event in page]
    yield []


class _Seen:
    """One event on its way."""

    def __init__(self, event: StoredEvent, history: History) -> None:
        self.event = event
        self._fields: dict[str, Any] = msgspec.json.decode(event.body)
        fields = self._fields
        self._reasons = set(fields["agent_reasons"])
        names = [fields[name] for name in ("email", "listid", "sendid", "click_tracking_id")]
        # without an address (privacy, or never resolved) visits of many messages look alike
        text = "\0".join(names) if fields["email"] else f"event {event.seq}"
        self._message = hashlib.blake2b(text.encode(), digest_size=8).digest()
        hints = sum(int(hint) for name, hint in _HINTS.items() if name in self._reasons)
        if fields.get("universal"):
            hints |= int(Hint.UNIVERSAL)
        self._visit = OtherVisit(
            event.time_ms,
            _KINDS[event.type],
            fields.get("link_pos") or 0,
            fields["engine_ip"],
            hints=hints,
        )
        history.add(self._message, self._visit)

    def new_label(self, classify: Callable[[Observation], Verdict], history: History) -> str | None:
        """`old -> new` when the verdict is another one now."""
        fields = self._fields
        is_anonymous = not fields["engine_ip"] and not fields["user_agent"]
        if is_anonymous or self._reasons & _NOT_IN_THE_LOG:
            return None
        verdict = classify(
            Observation(
                kind=self._visit.kind,
                ip=self._visit.ip,
                user_agent=fields["user_agent"],
                hints=self._visit.hints,
                time_ms=self._visit.time_ms,
                tagged_at=self._visit.time_ms // 1000 if "soon" in self._reasons else 0,
                pos=self._visit.pos,
                others=history.others(self._message, self._visit),
                complete_until_ms=2**62,
            )
        )
        old = fields["agent_class"]
        if (verdict.agent_class, list(verdict.reasons)) == (old, fields["agent_reasons"]):
            return None
        if self._visit.kind == VisitKind.OPEN:
            fields["is_privacy_open"] = verdict.is_privacy_open
        fields["agent_class"], fields["is_bot"] = verdict.agent_class, verdict.is_bot
        fields["agent_reasons"], fields["agent_final"] = list(verdict.reasons), True
        return f"{old} -> {verdict.agent_class}"

    def body(self) -> bytes:
        """The event with its new label, its fields in the old order."""
        return msgspec.json.encode(self._fields)
