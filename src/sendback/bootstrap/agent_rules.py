"""The agents' rules, with an operator's files before them, read again when those change."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sendback.errors import Malformed

if TYPE_CHECKING:
    from sendback.agents import Rules

_FILES = ("networks.toml", "user_agents.toml")
_LOOK_SECONDS = 1.0


class AgentRules:
    """Built-in rules and those of `control/networks.toml` and `control/user_agents.toml`.

    A file that can't be read leaves the rules as they were, ours alone at the start, and says so
    once for each change of the files.
    """

    def __init__(
        self,
        control: Path,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = tuple(control / name for name in _FILES)
        self._control, self._say, self._clock = control, say, clock
        self._looked = clock()
        self._seen = self._stamps()
        self._rules = self._read() or self._ours()

    def current(self) -> "Rules":
        """The rules of this moment; the files are looked at once a second at most."""
        now = self._clock()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                rules = self._read()
                if rules is not None:
                    self._rules = rules
                    self._say(f"agents: the rules of {self._control} were read again")
        return self._rules

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_stamp, self._paths))

    def _read(self) -> "Rules | None":
        from sendback.agents import load_rules

        try:
            texts = [path.read_text("utf-8") if path.exists() else None for path in self._paths]
            return load_rules(*texts)
        except (Malformed, OSError, UnicodeError) as error:
            self._say(f"ERROR {self._control}: {error}; the agents' rules stay as they were")
            return None

    @staticmethod
    def _ours() -> "Rules":
        from sendback.agents import load_rules

        return load_rules()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
