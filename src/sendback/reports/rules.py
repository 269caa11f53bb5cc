"""The rule table: which words mean which reason. Data in rules.toml, mechanics here.

Rules are tried in order; the first that matches decides. A rule is searched only when one of the
words it can't do without stands in the text, which makes three hundred of them cost about what
ten would. The text comes in normalised (`normalise`), so local parts never look like words.
"""

import re
import tomllib
from importlib import resources
from typing import Any, NamedTuple

from sendback.reports.addresses import ADDRESS

#: Characters of a text that the rules look at.
RULE_CAP = 4096

_SPACE = re.compile(r"\s+")
_BRACKETED = re.compile(rf"[<\[(]?(?:{ADDRESS.pattern})[>\])]?")
_CONTINUATION = re.compile(r"(?<=\s)([45]\d\d)-(?:[45]\.\d{1,3}\.\d{1,3} )?")
#: IronPort and SES put their own guess before the reply they got.
_GUESS = re.compile(
    r"[45]\.\d\.\d - (?:unknown address error|other mail system problem) (?=[45]\d\d[- ])"
)


class Rule(NamedTuple):
    """One line of the table."""

    reason: str
    pattern: re.Pattern[str]
    needles: tuple[str, ...]
    only_class: str
    samples: tuple[str, ...]
    provider: str


class RuleTable(NamedTuple):
    """General rules, and those of each provider with the host names that select it."""

    general: tuple[Rule, ...]
    providers: tuple[tuple[str, tuple[str, ...], tuple[Rule, ...]], ...]


def load(text: str) -> RuleTable:
    """Build the table from TOML text; a broken one raises ValueError naming the rule."""
    data = tomllib.loads(text)
    providers = [
        (p["name"], tuple(p["hosts"]), tuple(_rules(p["groups"], p["name"])))
        for p in data.get("provider", [])
    ]
    return RuleTable(tuple(_rules(data.get("group", []), "")), tuple(providers))


def _rules(groups: list[dict[str, Any]], provider: str) -> list[Rule]:
    rules = []
    for group in groups:
        for expression, *samples in group["rules"]:
            try:
                pattern = re.compile(expression)
            except re.error as error:
                raise ValueError(f"rules: {expression!r} is no regular expression: {error}") from None
            rules.append(
                Rule(
                    group["reason"],
                    pattern,
                    needles(expression),
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

        text = _BRACKETED.sub(token, text)
    if "-" in text:
        text = _GUESS.sub("", text)
        text = _CONTINUATION.sub("", text)
    return text


def match(table: RuleTable, text: str, hosts: str, reply_class: str) -> Rule | None:
    """The rule that decides on normalised `text`; `hosts` names the systems that spoke."""
    for _, names, rules in table.providers:
        if any(name in hosts for name in names):
            found = _first(rules, text, reply_class)
            if found:
                return found
    return _first(table.general, text, reply_class)


def _first(rules: tuple[Rule, ...], text: str, reply_class: str) -> Rule | None:
    for rule in rules:
        words = rule.needles
        if words:
            for word in words:
                if word in text:
                    break
            else:
                continue
        if rule.only_class and reply_class and rule.only_class != reply_class:
            continue
        if rule.pattern.search(text):
            return rule
    return None


def needles(expression: str) -> tuple[str, ...]:
    """Words of which at least one stands in every text that matches; () when none is sure.

    Reads the plain parts of the rule: top-level alternatives, then the longest literal run of
    each. Groups and classes are stepped over, so it may be less sharp than possible, never wrong.
    """
    found = []
    for branch in _split(expression):
        best = _best(branch)
        if not best:
            return ()
        found.extend(best)
    # A word that contains another needs no place of its own.
    kept = [w for w in dict.fromkeys(found) if not any(o != w and o in w for o in found)]
    return tuple(kept)


def _best(branch: str) -> tuple[str, ...]:
    """The rarest-looking requirement of one branch: a literal run or a group of words."""
    candidates: list[tuple[str, ...]] = [(run,) for run in _runs(branch) if len(run) >= 3]
    for group in _groups(branch):
        words = needles(group)
        if words and min(map(len, words)) >= 3:
            candidates.append(words)
    if not candidates:
        return ()
    # Prefer few, long words: cost is their number, gain their length.
    return max(candidates, key=lambda words: min(map(len, words)) - 0.3 * len(words))


def _tokens(expression: str) -> list[tuple[str, str]]:
    """("char", c), ("group", inner), ("class", ""), ("quant", q), ("any", "") in order."""
    tokens: list[tuple[str, str]] = []
    i = 0
    while i < len(expression):
        c = expression[i]
        if c == "\\":
            n = expression[i + 1]
            if n == "x":
                tokens.append(("char", chr(int(expression[i + 2 : i + 4], 16))))
                i += 4
                continue
            tokens.append(("any", "") if n.isalnum() else ("char", n))
            i += 2
        elif c == "[":
            end = expression.index("]", i + 2 if expression[i + 1] != "^" else i + 3)
            while expression[end - 1] == "\\":
                end = expression.index("]", end + 1)
            tokens.append(("any", ""))
            i = end + 1
        elif c == "(":
            end = _closing(expression, i)
            inner = expression[i + 1 : end]
            if inner.startswith("?:"):
                tokens.append(("group", inner[2:]))
            else:
                tokens.append(("any", "") if inner.startswith("?") else ("group", inner))
            i = end + 1
        elif c in "?*+":
            tokens.append(("quant", c))
            i += 1
        elif c == "{":
            end = expression.index("}", i)
            tokens.append(("quant", expression[i : end + 1]))
            i = end + 1
        else:
            tokens.append(("any", "") if c in ".^$" else ("char", c))
            i += 1
    return tokens


def _closing(expression: str, start: int) -> int:
    depth, i = 0, start
    while i < len(expression):
        c = expression[i]
        if c == "\\":
            i += 1
        elif c == "[":
            i = expression.index("]", i + 2)
            while expression[i - 1] == "\\":
                i = expression.index("]", i + 1)
        elif c == "(":
            depth += 1
        elif c == ")":
            depth -= 1
            if depth == 0:
                return i
        i += 1
    raise ValueError(f"rules: unbalanced parenthesis in {expression!r}")


def _split(expression: str) -> list[str]:
    """The alternatives at the top level."""
    branches, start, i = [], 0, 0
    while i < len(expression):
        c = expression[i]
        if c == "\\":
            i += 1
        elif c == "[":
            i = expression.index("]", i + 2)
            while expression[i - 1] == "\\":
                i = expression.index("]", i + 1)
        elif c == "(":
            i = _closing(expression, i)
        elif c == "|":
            branches.append(expression[start:i])
            start = i + 1
        i += 1
    branches.append(expression[start:])
    return branches


def _is_optional(quantifier: str) -> bool:
    return quantifier in "?*" or quantifier.startswith("{0")


def _runs(branch: str) -> list[str]:
    """Literal runs that must stand in the text."""
    runs, current = [], ""
    tokens = _tokens(branch)
    for index, (kind, value) in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else ("", "")
        if kind == "char" and not (following[0] == "quant" and _is_optional(following[1])):
            current += value
            if following[0] == "quant":
                runs.append(current)
                current = ""
        elif kind != "quant":
            runs.append(current)
            current = ""
    runs.append(current)
    return runs


def _groups(branch: str) -> list[str]:
    """Groups that must match."""
    tokens = _tokens(branch)
    return [
        value
        for index, (kind, value) in enumerate(tokens)
        if kind == "group"
        and not (
            index + 1 < len(tokens)
            and tokens[index + 1][0] == "quant"
            and _is_optional(tokens[index + 1][1])
        )
    ]
