"""What is known of user agents and networks: two TOML texts of ours, and an operator's own.

Looking a header or an address up costs a dictionary read once it was seen. A rule is data; how
rules, times and counts join into a verdict stands in classify.py.
"""

import ipaddress
import re
import tomllib
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from typing import Literal, TypeVar

import msgspec

from sendback.errors import Malformed

AgentClass = Literal["human", "proxy", "prefetch", "scanner"]
Scope = Literal["all", "open", "click", "app_link"]
Certainty = Literal["certain", "probable", "possible"]
#: Which scopes of rules count for a visit of a scope.
_SCOPES: dict[Scope, tuple[Scope, ...]] = {
    "open": ("all", "open"),
    "click": ("all", "click"),
    "app_link": ("all", "click", "app_link"),
}

_AGENTS_SEEN = 8192
_ADDRESSES_SEEN = 32768


class AgentRule(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"agent_class": "class"}
):
    """One `[[agent]]`: what a User-Agent header says."""

    name: str
    agent_class: AgentClass
    contains: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    regex: str = ""
    scope: Scope = "all"
    certainty: Certainty = "certain"
    privacy: bool = False
    source: str = ""


class NetworkRule(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"agent_class": "class"}
):
    """One `[[network]]`: who sits in these ranges."""

    name: str
    agent_class: AgentClass
    networks: tuple[str, ...]
    scope: Scope = "all"
    certainty: Certainty = "probable"
    source: str = ""


class Rules:
    """Everything that is known, ready to be asked; immutable but for its memory of answers.

    `soon_s`: a visit within this time of tagging counts as soon. `burst_s`, `burst_links`: so many
    different links of a message within so many seconds are a burst. `every_link_s`: the time in
    which every link of a message must have been followed to count. `row_s`, `row_links`: so many
    links from the first on, none left out, within so many seconds are no person's choice.
    """

    def __init__(
        self,
        agents: tuple[AgentRule, ...],
        networks: tuple[tuple[NetworkRule, ...], ...],
        *,
        soon_s: float = 10.0,
        burst_s: float = 5.0,
        burst_links: int = 3,
        every_link_s: float = 60.0,
        row_s: float = 20.0,
        row_links: int = 5,
    ) -> None:
        self.soon_s = soon_s
        self.burst_s = burst_s
        self.burst_links = burst_links
        self.every_link_s = every_link_s
        self.row_s = row_s
        self.row_links = row_links
        matchers = [(_matcher(rule), rule) for rule in agents]
        tables = [_prefix_table(rules) for rules in networks]

        @lru_cache(maxsize=_AGENTS_SEEN)
        def agent(header: str, scope: Scope) -> AgentRule | None:
            text, scopes = header.strip().lower(), _SCOPES[scope]
            for fits, rule in matchers:
                if rule.scope in scopes and fits(text):
                    return rule
            return None

        @lru_cache(maxsize=_ADDRESSES_SEEN)
        def network(ip: str, scope: Scope) -> NetworkRule | None:
            for table in tables:
                rule = _longest_prefix(table, ip, scope)
                if rule is not None:
                    return rule
            return None

        self.agent: Callable[[str, Scope], AgentRule | None] = agent
        """The first rule that fits a User-Agent header."""
        self.network: Callable[[str, Scope], NetworkRule | None] = network
        """The rule of the smallest range that holds an address, an operator's before ours."""


def load_rules(
    networks_toml: str | None = None, agents_toml: str | None = None, **windows: float
) -> Rules:
    """Our rules, with an operator's own TOML texts before them.

    `windows`: `soon_s`, `burst_s`, `burst_links`, `every_link_s`, `row_s`, `row_links` of `Rules`.
    Malformed names the text, and the entry where it can.
    """
    ours = files(__package__)
    agents = _read(agents_toml or "", "agent", AgentRule, "user_agents.toml")
    agents += _read(ours.joinpath("user_agents.toml").read_text("utf-8"), "agent", AgentRule, "")
    networks = (
        _read(networks_toml or "", "network", NetworkRule, "networks.toml"),
        _read(ours.joinpath("networks.toml").read_text("utf-8"), "network", NetworkRule, ""),
    )
    return Rules(agents, networks, **windows)  # type: ignore[arg-type]


RuleT = TypeVar("RuleT", AgentRule, NetworkRule)


def _read(text: str, key: str, kind: type[RuleT], place: str) -> tuple[RuleT, ...]:
    try:
        entries = tomllib.loads(text)
        unknown = sorted(entries.keys() - {key})
        if unknown:
            raise Malformed(f"{place}: only [[{key}]] tables stand there, not {unknown[0]!r}")
        return tuple(_rule(entry, kind, place) for entry in entries.get(key, []))
    except tomllib.TOMLDecodeError as error:
        raise Malformed(f"{place}: {error}") from None


def _rule(entry: dict[str, object], kind: type[RuleT], place: str) -> RuleT:
    try:
        rule = msgspec.convert(entry, kind)
        if isinstance(rule, AgentRule):
            re.compile(rule.regex)
        else:
            for network in rule.networks:
                ipaddress.ip_network(network)
    except (msgspec.ValidationError, re.error, ValueError) as error:
        raise Malformed(f"{place}: {entry.get('name', 'an entry')}: {error}") from None
    return rule


def _matcher(rule: AgentRule) -> Callable[[str], object]:
    """True of a header in lower case; plain look-ups, which are ten times faster than one regex."""
    exact = frozenset(text.lower() for text in rule.exact)
    words = tuple(text.lower() for text in rule.contains)
    # the header is in lower case already; the flag alone makes a search five times slower
    flag = re.IGNORECASE if any(map(str.isupper, rule.regex)) else re.NOFLAG
    search = re.compile(rule.regex, flag).search if rule.regex else None

    def fits(header: str) -> bool:
        if header in exact:
            return True
        for word in words:
            if word in header and _begins_a_word(header, word):
                return True
        return search is not None and search(header) is not None

    return fits


def _begins_a_word(header: str, word: str) -> bool:
    at = header.find(word)
    while at > 0 and "a" <= header[at - 1] <= "z":
        at = header.find(word, at + 1)
    return at >= 0


#: (version, prefix length) to network number to the rules there
PrefixTable = dict[tuple[int, int], dict[int, tuple[NetworkRule, ...]]]


def _prefix_table(rules: tuple[NetworkRule, ...]) -> PrefixTable:
    table: PrefixTable = {}
    for rule in rules:
        for text in rule.networks:
            network = ipaddress.ip_network(text)
            numbers = table.setdefault((network.version, network.prefixlen), {})
            number = int(network.network_address)
            numbers[number] = (*numbers.get(number, ()), rule)
    return dict(sorted(table.items(), key=lambda item: -item[0][1]))


def _longest_prefix(table: PrefixTable, ip: str, scope: Scope) -> NetworkRule | None:
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    number, bits = int(address), address.max_prefixlen
    for (version, length), numbers in table.items():
        if version == address.version:
            shift = bits - length
            for rule in numbers.get(number >> shift << shift, ()):
                if rule.scope in _SCOPES[scope]:
                    return rule
    return None
