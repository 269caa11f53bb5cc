"""Raw mail that nothing could be made of, kept for people to look at: 30 days or 200 MB."""

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(r"(\d{8}T\d{6}Z)-([0-9a-f]{32})-([a-z-]+)\.eml\Z")


class Kept(NamedTuple):
    """One kept mail."""

    path: Path
    time: str
    why: str
    size: int


class Unparsed:
    """The folder `unparsed/`. `why` is one of: unattributed, other, fault."""

    def __init__(
        self,
        folder: Path,
        *,
        keep_seconds: float = 30 * 86_400.0,
        max_bytes: int = 200 * 1000 * 1000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = Path(folder)
        self._keep_seconds, self._max_bytes, self._clock = keep_seconds, max_bytes, clock

    def keep(self, record_id: bytes, time_ms: int, raw: bytes, why: str) -> None:
        """The mail stands in the folder under a name made of its record: twice changes nothing."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(max(0, time_ms) / 1000))
        path = self._folder / f"{stamp}-{record_id.hex()}-{why}.eml"
        hidden = path.with_suffix(".tmp")
        hidden.write_bytes(raw)
        hidden.replace(path)

    def list(self) -> list[Kept]:
        """What is kept, oldest first."""
        found: list[Kept] = []
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self._folder.iterdir()):
                name = _NAME.match(path.name)
                if name is not None:
                    found.append(Kept(path, name[1], name[3], path.stat().st_size))
        return found

    def prune(self) -> int:
        """Delete what is too old, then the oldest beyond the size; how many went."""
        kept = self.list()
        oldest = time.strftime(
            "%Y%m%dT%H%M%SZ", time.gmtime(max(0.0, self._clock() - self._keep_seconds))
        )
        total = sum(k.size for k in kept)
        removed = 0
        for item in kept:
            if item.time >= oldest and total <= self._max_bytes:
                break
            item.path.unlink(missing_ok=True)
            total -= item.size
            removed += 1
        return removed
