"""Many phrases searched as one: a regular expression that first looks for its own words.

A table of alternatives is cheap to write and dear to search. Each alternative has words it can't
do without; only those whose words stand in the text are run. Patterns are lower case and are
searched in lower-case text.
"""

import re


class Phrases:
    """A compiled set of alternatives; `search` finds what `re.search` would find, if not where."""

    __slots__ = ("branches", "compiled", "expression", "words")

    def __init__(self, expression: str) -> None:
        self.expression = expression
        branches = split(expression)
        self.branches = tuple((_demands(branch)[:2], branch) for branch in branches)
        # Compiled on first need: most alternatives are never met, and compiling all takes 0.2 s.
        self.compiled: list[re.Pattern[str] | None] = [None] * len(branches)
        best = [demands[0] if demands else () for demands, _ in self.branches]
        self.words = _without_longer(best) if all(best) else ()

    def search(self, text: str) -> re.Match[str] | None:
        """A match in lower-case `text`, or None."""
        if self.words:
            for word in self.words:
                if word in text:
                    break
            else:
                return None
        for index, (demands, branch) in enumerate(self.branches):
            for words in demands:
                for word in words:
                    if word in text:
                        break
                else:
                    break
            else:
                pattern = self.compiled[index]
                if pattern is None:
                    pattern = self.compiled[index] = re.compile(branch)
                if found := pattern.search(text):
                    return found
        return None

    def count(self, text: str) -> int:
        """How many of the alternatives match."""
        matching = 0
        for demands, branch in self.branches:
            for words in demands:
                for word in words:
                    if word in text:
                        break
                else:
                    break
            else:
                matching += re.search(branch, text) is not None
        return matching


def needles(expression: str) -> tuple[str, ...]:
    """Words of which at least one stands in every text that matches; () when none is sure.

    Reads the plain parts of the rule: top-level alternatives, then the longest literal run of
    each. Groups and classes are stepped over, so it may be less sharp than possible, never wrong.
    """
    best = list(map(_best, split(expression)))
    return _without_longer(best) if all(best) else ()


def _without_longer(sets: list[tuple[str, ...]]) -> tuple[str, ...]:
    """All words once; one that contains another needs no place of its own."""
    words = dict.fromkeys(word for words in sets for word in words)
    return tuple(w for w in words if not any(o != w and o in w for o in words))


def _best(branch: str) -> tuple[str, ...]:
    """The most telling demand of one branch, or ()."""
    demands = _demands(branch)
    return demands[0] if demands else ()


def _demands(branch: str) -> list[tuple[str, ...]]:
    """Sets of words of each of which one must stand in the text, the most telling set first."""
    demands: list[tuple[str, ...]] = [(run,) for run in _runs(branch) if _worth(run) >= 3]
    for group in _groups(branch):
        words = needles(group)
        if words and min(map(_worth, words)) >= 3:
            demands.append(words)
    # Few, long words tell most: cost is their number, gain their length.
    return sorted(demands, key=lambda words: 0.3 * len(words) - min(map(_worth, words)))


def _worth(word: str) -> int:
    """How telling a word is: its length, where an East Asian character counts three."""
    return sum(3 if character > "\u2e80" else 1 for character in word)


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


def split(expression: str) -> list[str]:
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
