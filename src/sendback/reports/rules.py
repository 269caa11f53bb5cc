"""The rule table: which words mean which reason. Data in rules.toml, mechanics here.

Rules are tried in order; the first that matches decides. The text comes in normalised
(`normalise`), so local parts never look like words; `Phrases` keeps the search cheap.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

from sendback.reports.addresses import ADDRESS, ASCII_ADDRESS
from sendback.reports.phrases import Phrases

#: Characters of a text that the rules look at.
RULE_CAP = 4096

_SPACE = re.compile(r"\s+")
_BRACKETED = re.compile(rf"[<\[(]?(?:{ADDRESS.pattern})[>\])]?")
_ASCII_BRACKETED = re.compile(rf"[<\[(]?(?:{ASCII_ADDRESS.pattern})[>\])]?")
_CONTINUATION = re.compile(r"(?<=\s)([45]\d\d)-(?:[45]\.\d{1,3}\.\d{1,3} )?")
#: IronPort and SES put their own guess before the reply they got.
_GUESS = re.compile(
    r"[45]\.\d\.\d - (?:unknown address error|other mail system problem) (?=[45]\d\d[- ])"
)


class Rule(NamedTuple):
    """One line of the table."""

    reason: str
    phrases: Phrases
    only_class: str
    samples: tuple[str, ...]
    provider: str


@dataclass(frozen=True, eq=False)
class RuleTable:
    """General rules, and those of each provider with the host names that select it."""

    general: tuple[Rule, ...]
    noise: tuple[Phrases, ...]
    providers: tuple[tuple[str, tuple[str, ...], tuple[Rule, ...]], ...]


def load(text: str) -> RuleTable:
    """Build the table from TOML text; a broken one raises ValueError naming the rule."""
    data = tomllib.loads(text)
    providers = [
        (p["name"], tuple(p["hosts"]), tuple(_rules(p["groups"], p["name"])))
        for p in data.get("provider", [])
    ]
    return RuleTable(
        tuple(_rules(data.get("group", []), "")),
        tuple(map(Phrases, data.get("noise", []))),
        tuple(providers),
    )


def _rules(groups: list[dict[str, Any]], provider: str) -> list[Rule]:
    rules = []
    for group in groups:
        for expression, *samples in group["rules"]:
            try:
                phrases = Phrases(expression)
            except (re.error, ValueError) as error:
                raise ValueError(
                    f"rules: {expression!r} is no regular expression: {error}"
                ) from None
            rules.append(
                Rule(
                    group["reason"],
                    phrases,
                    group.get("class", ""),
                    tuple(samples),
                    provider,
                )
            )
    return rules


def packaged() -> str:
    """The text of the table that ships with the package."""
    return resources.files("sendback.reports").joinpath("rules.toml").read_text("utf-8")


def normalise(text: str, recipient: str = "") -> str:
    """Lower case, single spaces, addresses as <rcpt> or <addr>, one code per reply."""
    text = _SPACE.sub(" ", text[: 2 * RULE_CAP]).strip().lower()[:RULE_CAP]
    if "@" in text:
        wanted = recipient.lower()

        def token(found: re.Match[str]) -> str:
            return "<rcpt>" if wanted and wanted in found[0] else "<addr>"

        text = (_ASCII_BRACKETED if text.isascii() else _BRACKETED).sub(token, text)
    if "-" in text:
        text = text.replace("mail-box", "mailbox")
        text = _GUESS.sub("", text)
        text = _CONTINUATION.sub("", text)
    return text


def quieten(table: RuleTable, text: str) -> str:
    """The normalised text without the sentences that say nothing about the cause."""
    for noise in table.noise:
        while found := noise.search(text):
            text = text[: found.start()] + text[found.end() :]
    return text


def match(table: RuleTable, text: str, hosts: str, reply_class: str) -> Rule | None:
    """The rule that decides on normalised `text`; `hosts` names the systems that spoke."""
    for _, names, rules in table.providers:
        for name in names:
            if name in hosts:
                if found := _first(rules, text, reply_class):
                    return found
                break
    return _general(table, text, reply_class)


@lru_cache(maxsize=1024)
def _general(table: RuleTable, text: str, reply_class: str) -> Rule | None:
    """Remembered: the same words come back by the thousand in a burst of bounces."""
    return _first(table.general, text, reply_class)


def _first(rules: tuple[Rule, ...], text: str, reply_class: str) -> Rule | None:
    for rule in rules:
        if rule.only_class and reply_class and rule.only_class != reply_class:
            continue
        if rule.phrases.search(text):
            return rule
    return None
