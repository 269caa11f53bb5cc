"""The rules of repeat bounce counting: data, with a default in the package.

The format is explained in `counting.toml`. An operator's file replaces the default as a whole; it
is looked at once a second at most and read again when it changed.
"""

import logging
import re
import threading
import time
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import msgspec

from sendback.errors import Malformed

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 1.0
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DEFAULT = "counting.toml"
_MAX_BYTES = 256 * 1024


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule; see `counting.toml`. `bounces` 0 never counts, 1 without a span asks nobody."""

    name: str
    bounces: int
    span: str = "0s"
    forget: str = "90d"
    reasons: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    hard: bool | None = None
    bad_address: bool | None = None
    listids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.bounces <= 10_000:
            raise Malformed(f"rule {self.name!r}: bounces is 0 to 10000", field="bounces")
        if not re.match(r"[a-z0-9_-]{1,64}\Z", self.name):
            raise Malformed("a rule's name is lower-case letters, digits and '-'", field="name")
        milliseconds(self.span)
        milliseconds(self.forget)

    @property
    def needs_history(self) -> bool:
        """False when one bounce decides: then no database is asked."""
        return self.bounces > 1 or (self.bounces == 1 and milliseconds(self.span) > 0)

    def fits(
        self, *, reason: str, bounce_type: str, hard: bool, bad_address: bool, listid: str
    ) -> bool:
        """True when this rule speaks of such a bounce."""
        return (
            (not self.reasons or reason in self.reasons)
            and (not self.types or bounce_type in self.types)
            and (self.hard is None or self.hard == hard)
            and (self.bad_address is None or self.bad_address == bad_address)
            and (not self.listids or any(_matches(pattern, listid) for pattern in self.listids))
        )


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...]


def read_rules(text: str) -> tuple[Rule, ...]:
    """The rules of such a file, in order; Malformed says what is wrong with it."""
    try:
        rules = msgspec.convert(tomllib.loads(text), _File).rule
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise Malformed(f"not a file of counting rules: {error}") from None
    names = [rule.name for rule in rules]
    if len(set(names)) < len(names):
        raise Malformed("two counting rules have one name")
    return rules


def milliseconds(text: str) -> int:
    """A span such as `14d` or `90s` in milliseconds; Malformed."""
    found = re.match(r"([0-9]{1,9})([smhd])\Z", text)
    if not found:
        raise Malformed(f"{text!r} is not a span: a number and s, m, h or d", field="span")
    return int(found[1]) * _UNITS[found[2]]


class CountingRules:
    """The rules in force: the operator's file, else the package's."""

    def __init__(
        self, path: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        default = resources.files(__package__).joinpath(_DEFAULT).read_text("utf-8")
        self._default = self._rules = read_rules(default)
        self._path = path
        self._clock = clock
        self._next_look = float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self._looking = threading.Lock()

    def current(self) -> tuple[Rule, ...]:
        """The rules. Never raises: a broken file leaves those from before, with one log line."""
        now = self._clock()
        if self._path is not None and now >= self._next_look:
            with self._looking:
                self._next_look = now + _SECONDS_BETWEEN_LOOKS
                self._look(self._path)
        return self._rules

    def _look(self, path: Path) -> None:
        try:
            found = path.stat()
            signature = (found.st_mtime_ns, found.st_size, found.st_ino)
            if signature == self._seen:
                return
            self._seen = signature
            if found.st_size > _MAX_BYTES:
                raise Malformed("the file is over 256 KB")
            self._rules = read_rules(path.read_text("utf-8-sig"))
            _log.info("%s: %d counting rules in force", path, len(self._rules))
        except FileNotFoundError:
            if self._seen is not None:
                _log.info("%s is gone, the default counting rules are in force", path)
            self._seen, self._rules = None, self._default
        except (OSError, ValueError, Malformed) as error:
            _log.error("%s: %s; the counting rules from before stay in force", path, error)


def _matches(pattern: str, listid: str) -> bool:
    pattern = pattern.lower()
    if pattern.endswith("*"):
        return listid.startswith(pattern[:-1])
    return listid == pattern
