"""One observation and the rules in, one verdict out: human, proxy, prefetch or scanner.

Signals are certain or probable. A certain one decides alone, in the order they stand here. The
probable ones have a weight and decide together: one strong or two weak are enough, so that
no rule waits for a second that never comes (facts/peers.md R1). A verdict is a label with its
reasons, and never a drop.

Times are measured from tagging, which is before the message left: soon alone proves nothing, for
somebody testing his own mail is soon as well; it counts with a second sign.
"""

from collections.abc import Iterator, Sequence

import msgspec

from sendback.agents.rules import AgentClass, Certainty, NetworkRule, Rules, Scope
from sendback.model import Hint, VisitKind

_DECIDES = 0.6
_WEIGHT_NETWORK = 0.4
_WEIGHT_SOON = 0.4
_WEIGHT_TWO_LINKS = 0.3
_WEIGHT_BURST = 0.6
_WEIGHT_FROM_THE_FIRST = 0.6
_WEIGHT_AGENT = 0.6
_WEIGHT_AGENT_POSSIBLE = 0.3
_TWO_LINKS_S = 2.0
#: Plain numbers: `&` and `|` on an IntFlag cost 2 us each, and finishing asks for every visit.
_ASKED_FOR = int(Hint.ONE_CLICK | Hint.MAILTO | Hint.CONFIRMED)
"""What a person did on purpose; such a visit says nothing of the others."""
_ONE_CLICK_OR_MAILTO = int(Hint.ONE_CLICK | Hint.MAILTO)
_ONE_CLICK, _PREFETCH, _CONFIRMED = map(int, (Hint.ONE_CLICK, Hint.PREFETCH, Hint.CONFIRMED))
_UNIVERSAL = int(Hint.UNIVERSAL)
_EVERY_LINK_AT_LEAST = 5
"""A message of few links is followed whole by people too, and its unsubscribe link is one."""

Reasons = tuple[str, ...]


class OtherVisit(msgspec.Struct, frozen=True):
    """Another visit of the same message, before or after the one that is judged."""

    time_ms: int
    kind: int
    pos: int = 0
    ip: str = ""
    honeypot: bool = False
    hints: int = 0


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one visit when it is judged."""

    kind: int
    """A `VisitKind`."""
    ip: str = ""
    user_agent: str = ""
    hints: int = 0
    """`Hint` flags."""
    time_ms: int = 0
    tagged_at: int = 0
    """Seconds since the epoch; 0 when unknown."""
    pos: int = 0
    honeypot: bool = False
    """The link was one that no person can see."""
    others: Sequence[OtherVisit] = ()
    """Visits of the same message within the windows of the rules; others are ignored."""
    links_in_message: int | None = None
    """At most so many; None when nobody knows."""
    complete_until_ms: int = 0
    """Until when `others` is complete; a verdict that later visits may change is not final."""


class Verdict(msgspec.Struct, frozen=True):
    """A label, and why. `certainty` of a human is "probable": nothing spoke against it."""

    agent_class: AgentClass
    reasons: Reasons = ()
    certainty: Certainty = "probable"
    final: bool = True
    is_privacy_open: bool = False

    @property
    def is_bot(self) -> bool:
        """True when no person made this visit; a proxy fetches for one, so it is none."""
        return self.agent_class in ("prefetch", "scanner")


def classify(observation: Observation, rules: Rules) -> Verdict:
    """The verdict on one visit; pure, a few microseconds for agents and addresses seen before."""
    seen = observation
    scope: Scope = "click"
    if seen.kind == VisitKind.OPEN:
        scope = "open"
    elif seen.hints & _UNIVERSAL:
        scope = "app_link"
    if seen.hints & _ONE_CLICK_OR_MAILTO:
        # RFC 8058: mailbox providers' servers send it, and only when a person asked them to
        reason = "one_click" if seen.hints & _ONE_CLICK else "mailto"
        return Verdict("human", (reason,), "certain")
    if seen.hints & _PREFETCH:
        return Verdict("prefetch", ("prefetch_header",), "certain")
    if seen.honeypot:
        return Verdict("scanner", ("honeypot",), "certain")
    network = rules.network(seen.ip, scope)
    if network is not None and network.agent_class == "human" and network.certainty == "certain":
        return Verdict("human", (f"network:{network.name}",), "certain")
    agent = rules.agent(seen.user_agent, scope)
    if agent is not None and agent.agent_class != "human" and agent.certainty == "certain":
        reason = f"user_agent:{agent.name}"
        is_privacy = agent.privacy and scope == "open"
        return Verdict(agent.agent_class, (reason,), "certain", is_privacy_open=is_privacy)
    if network is not None and network.certainty == "certain":
        return Verdict(network.agent_class, (f"network:{network.name}",), "certain")
    if any(other.honeypot and other.ip == seen.ip for other in seen.others):
        return Verdict("scanner", ("honeypot",), "certain")

    reasons: Reasons = ()
    weight = 0.0
    if agent is not None and agent.agent_class != "human":
        reasons = (f"user_agent:{agent.name}",)
        weight = _WEIGHT_AGENT if agent.certainty == "probable" else _WEIGHT_AGENT_POSSIBLE
    if seen.hints & _CONFIRMED:
        # a button was pressed, which no scanner is known to do
        reasons, weight = ("confirmed", *reasons), 0.0
    else:
        more, added = _behaviour(seen, network, rules)
        reasons, weight = reasons + more, weight + added
    is_scanner = weight >= _DECIDES - 1e-9
    return Verdict(
        "scanner" if is_scanner else "human",
        reasons,
        "probable",
        # what has come may still be joined by more, and more can only make a scanner of a human
        final=is_scanner or scope == "open" or _is_complete(seen, rules),
    )


def _behaviour(
    seen: Observation, network: NetworkRule | None, rules: Rules
) -> tuple[Reasons, float]:
    reasons: list[str] = []
    weight = 0.0
    if network is not None:
        reasons.append(f"network:{network.name}")
        weight += _WEIGHT_NETWORK
    if seen.tagged_at and seen.time_ms < (seen.tagged_at + rules.soon_s) * 1000:
        reasons.append("soon")
        weight += _WEIGHT_SOON
    others = _other_links(seen)
    if others:
        burst = _links_within(seen, others, rules.burst_s)
        if burst >= rules.burst_links:
            reasons.append("burst")
            weight += _WEIGHT_BURST
        elif _links_within(seen, others, _TWO_LINKS_S) > 1:
            reasons.append("two_links")
            weight += _WEIGHT_TWO_LINKS
        if _followed_from_the_first(seen, others, rules.row_s) >= rules.row_links:
            reasons.append("from_the_first")
            weight += _WEIGHT_FROM_THE_FIRST
        total = seen.links_in_message or 0
        if (
            total >= _EVERY_LINK_AT_LEAST
            and _links_within(seen, others, rules.every_link_s) >= total
        ):
            reasons.append("every_link")
            weight += _WEIGHT_BURST
    return tuple(reasons), weight


def _other_links(seen: Observation) -> list[OtherVisit]:
    """When other links of the message were followed; nothing where only this one was, or opens."""
    kind, pos = seen.kind, seen.pos
    if kind == VisitKind.OPEN:
        return []
    return [
        other
        for other in seen.others
        if (other.pos != pos or other.kind != kind)
        and other.kind != VisitKind.OPEN
        and not other.hints & _ASKED_FOR
    ]


def _spans(
    seen: Observation, others: list[OtherVisit], seconds: float
) -> Iterator[set[tuple[int, int]]]:
    """What was followed, as (kind, position), in each span of so many seconds around this visit.

    Spans begin at a visit; any other holds no more than one of these does.
    """
    reach, own = seconds * 1000, (seen.kind, seen.pos)
    near = [other for other in others if abs(other.time_ms - seen.time_ms) <= reach]
    for begins in {seen.time_ms, *(other.time_ms for other in near)}:
        if begins <= seen.time_ms:
            yield {own} | {
                (other.kind, other.pos) for other in near if 0 <= other.time_ms - begins <= reach
            }


def _links_within(seen: Observation, others: list[OtherVisit], seconds: float) -> int:
    """Different links of the message followed within so many seconds, this visit among them."""
    return max(map(len, _spans(seen, others, seconds)))


def _followed_from_the_first(seen: Observation, others: list[OtherVisit], seconds: float) -> int:
    """How many links from the first on, none left out, were followed within so many seconds.

    What stands in for "every link" where nobody knows how many there are. 0 when this one is not
    among them.
    """
    return max(
        _unbroken({pos for _, pos in span}, seen.pos) for span in _spans(seen, others, seconds)
    )


def _unbroken(positions: set[int], own: int) -> int:
    last = 0
    while last + 1 in positions:
        last += 1
    return last if 0 < own <= last else 0


def _is_complete(seen: Observation, rules: Rules) -> bool:
    total = seen.links_in_message
    window_s = rules.burst_s
    if seen.pos if total is None else total >= rules.row_links:
        window_s = max(window_s, rules.row_s)
    if total is not None and total >= _EVERY_LINK_AT_LEAST:
        window_s = max(window_s, rules.every_link_s)
    return seen.complete_until_ms >= seen.time_ms + window_s * 1000
