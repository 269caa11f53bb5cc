"""Where the writer's octets go: the segment in use, those waiting for a last sync, the reserve.

Not thread-safe: the writer calls everything but `sync` under its file lock.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sendback.journal.files import NO_ROOM, FileOps
from sendback.journal.segment import Segment


class Disk:
    """The segments of one writer. OSError means: nothing of this call stands in the journal."""

    def __init__(
        self,
        directory: Path,
        name: str,
        *,
        files: FileOps,
        clock: Callable[[], float],
        log: Callable[[str], None],
        segment_bytes: int,
        segment_seconds: float,
        reserve_bytes: int,
    ) -> None:
        self._directory, self._name = directory, name
        self._files, self._clock, self._log = files, clock, log
        self._segment_bytes, self._segment_ms = segment_bytes, segment_seconds * 1000
        self._reserve, self._reserve_bytes = directory / f"{name}.reserve", reserve_bytes
        self._current: Segment | None = None
        self._filled: list[Segment] = []
        """No longer written, but open and locked until a sync covered them."""
        self.is_full = False
        self._looked_at = 0.0
        directory.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # a full disk is met, and said, at the first append
            files.allocate(self._reserve, reserve_bytes)

    def write(self, payloads: Sequence[bytes]) -> None:
        """All payloads stand in the current segment, perhaps a new one."""
        try:
            segment = self._current
            if segment is None or segment.size >= self._segment_bytes:
                segment = self._next_segment()
            segment.write(payloads)
        except OSError as error:
            self._make_good(error)
            (self._current or self._next_segment()).write(payloads)

    def _make_good(self, error: OSError) -> None:
        if error.errno in NO_ROOM:
            self._use_reserve(error)
        segment = self._current
        if segment is not None and (segment.is_broken or error.errno not in NO_ROOM):
            self._log(f"ERROR journal {segment.path.name}: {error}; going on in a new segment")
            self._set_filled()

    def _next_segment(self) -> Segment:
        self._set_filled()
        self._current = Segment(self._directory, self._name, int(self._clock() * 1000), self._files)
        return self._current

    def _set_filled(self) -> None:
        if self._current is not None:
            self._filled.append(self._current)
        self._current = None

    def take_unsynced(self) -> tuple[list[Segment], list[Segment]]:
        """(every segment that a sync must cover now, those of them to close after it).

        One that is old enough is written no more: asked here, for a write has no time to look.
        """
        current = self._current
        if current is not None:
            age_ms = int(self._clock() * 1000) - current.created_ms
            if not 0 <= age_ms < self._segment_ms:
                self._set_filled()
        filled, self._filled = self._filled, []
        return [*filled, *filter(None, [self._current])], filled

    def start_again(
        self, suspects: Sequence[Segment], payloads: Sequence[bytes], reason: str
    ) -> Segment:
        """Leave every open segment, mark the suspects, and put `payloads` into a new one.

        Linux forgets what it could not write, and the next sync "succeeds": so a failed sync is
        never repeated on the same file. The new one is to be synced by the caller, without the
        file lock: that may take as long as the sync that failed.
        """
        for segment in suspects:
            with contextlib.suppress(OSError):
                segment.mark_suspect(reason)
        for segment in (*suspects, *self._filled, *filter(None, [self._current])):
            segment.close()
        self._filled, self._current = [], None
        try:
            segment = self._next_segment()
            segment.write(payloads)
        except OSError:
            self.close()
            raise
        return segment

    def close(self) -> None:
        """Unlock all segments: their reader may finish them."""
        for segment in (*self._filled, *filter(None, [self._current])):
            segment.close()
        self._filled, self._current = [], None

    # -- room ------------------------------------------------------------------------------

    def _use_reserve(self, error: OSError) -> None:
        """Give the reserve back, so that redirects can go on; SMTP is refused from now on."""
        if not self.is_full:
            self._log(f"ERROR journal {self._directory}: {error}; using the reserve")
        self.is_full = True
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    def look_for_room(self) -> None:
        """Forget `is_full` when there is room again; looks once a second at most."""
        now = time.monotonic()
        if not self.is_full or now - self._looked_at < 1.0:
            return
        self._looked_at = now
        with contextlib.suppress(OSError):
            if self._files.free_bytes(self._directory) > 4 * self._reserve_bytes:
                self._files.allocate(self._reserve, self._reserve_bytes)
                self.is_full = False
                self._log(f"journal {self._directory}: there is room again")


def never_raising(log: Callable[[str], None]) -> Callable[[str], None]:
    """A log whose pipe is closed or whose disk is full must not stop the journal."""

    def write(line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            log(line)

    return write
