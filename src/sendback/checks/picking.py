"""Finds the tagged copy of the self-test: in a Maildir, or in a file that somebody saves it to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sendback.errors import Unavailable

#: Octets in which the Message-ID must stand, and of a copy that are read at all.
_HEAD = 256 * 1024
#: A file system's clock may be a little behind ours.
_SLACK_SECONDS = 120.0


class Picker:
    """Looks for one message by its Message-ID, as often as asked."""

    def __init__(self, place: Path, message_id: str, *, since: float) -> None:
        """`place`: a Maildir, or a file; `since`: files older than that are not opened."""
        self.place = place
        self._wanted = message_id.encode()
        self._since = since - _SLACK_SECONDS
        self._seen: set[str] = set()
        self._saved = -1
        self.found: Path | None = None

    def pick(self) -> bytes | None:
        """The copy as it lies there, once it does. Unavailable when the place can't be read."""
        try:
            for path in self._candidates():
                raw = path.read_bytes()
                if self._wanted in raw[:_HEAD] and self._is_whole(path, raw):
                    self.found = path
                    return raw
        except FileNotFoundError:
            return None  # not there yet, or moved from new to cur this moment
        except OSError as error:
            raise Unavailable(f"{self.place}: {error.strerror}") from error
        return None

    def _is_whole(self, path: Path, raw: bytes) -> bool:
        """In a Maildir always; a file that somebody saves, once it has stopped growing."""
        was, self._saved = self._saved, len(raw)
        return path != self.place or was == len(raw)

    def _candidates(self) -> Iterator[Path]:
        if not self.place.is_dir():
            if self.place.exists():
                yield self.place
            return
        for name in ("new", "cur"):
            folder = self.place / name
            if not folder.is_dir():
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    key = entry.name.partition(":")[0]  # flags behind the colon may change
                    if key in self._seen or entry.stat().st_mtime < self._since:
                        continue
                    yield Path(entry.path)
                    self._seen.add(key)
