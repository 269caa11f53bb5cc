"""Phrases by which reports are recognised: the lists of signals.toml, compiled once."""

import tomllib
from functools import cache
from importlib import resources

from sendback.reports.phrases import Phrases


@cache
def _lists() -> dict[str, list[str]]:
    text = resources.files("sendback.reports").joinpath("signals.toml").read_text("utf-8")
    return tomllib.loads(text)


@cache
def signal(name: str) -> Phrases:
    """The list of that name as one search over lower-case text."""
    return Phrases("|".join(_lists()[name]))


def alternatives(name: str) -> str:
    """The list of that name as the inside of a group, for patterns with more around it."""
    return "|".join(_lists()[name])
