"""The reading side: all writers' segments in order, live tails included; recovery; deletion.

A segment is finished when its writer's lock is gone, however the writer ended. A torn tail is
dropped and said; damage in the middle is copied to `damaged/` and reading goes on behind it.
Positions are the caller's to keep (the event log stores them with what it made of the records).
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sendback.journal import frames

_CHUNK = 1024 * 1024
_STALE_SECONDS = 3600


class Record(NamedTuple):
    """One record, and where reading goes on behind it."""

    segment_id: bytes
    end: int
    payload: bytes


@dataclass(slots=True)
class _Known:
    """A segment file that was seen."""

    path: Path
    segment_id: bytes
    created_ms: int
    crc_seed: int
    offset: int
    is_exhausted: bool = False
    stuck_since: float = 0.0


class JournalReader:
    """Reads what every process on this node journaled; one reader at a time.

    `patience`: seconds that unsound octets at the end of a live segment may be a write under way.
    """

    def __init__(
        self,
        directory: Path,
        *,
        log: Callable[[str], None] = lambda _line: None,
        clock: Callable[[], float] = time.monotonic,
        patience: float = 5.0,
    ) -> None:
        self._directory = Path(directory)
        self._log, self._clock, self._patience = log, clock, patience
        self._known: dict[str, _Known] = {}
        self._positions: dict[bytes, int] = {}
        self._complained: set[str] = set()
        self._counts = dict.fromkeys(("records", "torn_tails", "damaged", "unreadable"), 0)

    def seek(self, positions: Mapping[bytes, int]) -> None:
        """Go on from these offsets (segment id to offset); unknown segments from their start."""
        self._positions = dict(positions)
        self._known.clear()

    def positions(self) -> dict[bytes, int]:
        """Where reading stands, for the segments that still exist."""
        return {known.segment_id: known.offset for known in self._known.values()}

    def read(self, limit: int = 1000, max_bytes: int = 8 * 1024 * 1024) -> list[Record]:
        """The next records, oldest segment first; [] when nothing new stands there.

        Never raises for a bad segment: it is said once, and the others are read.
        """
        records: list[Record] = []
        room = max_bytes
        for known in self._segments():
            while len(records) < limit and room > 0 and not known.is_exhausted:
                before = known.offset
                try:
                    found = self._read_segment(known, limit - len(records))
                except OSError as error:
                    self._complain(known.path.name, error)
                    break
                if known.offset == before:
                    break
                records += found
                room -= sum(len(record.payload) for record in found)
        self._counts["records"] += len(records)
        return records

    def delete_read(self) -> list[bytes]:
        """Delete the segments read to their end whose writers are gone; their ids.

        Call it only when everything read so far is safe elsewhere.
        """
        gone: list[bytes] = []
        for name, known in list(self._known.items()):
            if not known.is_exhausted:
                continue
            try:
                known.path.unlink(missing_ok=True)
                known.path.with_suffix(".seg.suspect").unlink(missing_ok=True)
            except OSError as error:
                self._complain(name, error)
                continue
            del self._known[name]
            gone.append(known.segment_id)
        return gone

    def backlog_bytes(self) -> int:
        """Octets that stand in the journal and were not read yet."""
        waiting = 0
        for known in self._segments():
            with contextlib.suppress(OSError):
                waiting += max(0, known.path.stat().st_size - known.offset)
        return waiting

    def counters(self) -> dict[str, int]:
        """Totals since the start: records, torn_tails, damaged, unreadable."""
        return dict(self._counts)

    # -- segments --------------------------------------------------------------------------

    def _segments(self) -> list[_Known]:
        seen: set[str] = set()
        with contextlib.suppress(FileNotFoundError), os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.endswith(".seg"):
                    seen.add(entry.name)
                    if entry.name not in self._known:
                        self._meet(Path(entry.path))
                elif entry.name.endswith(".new"):
                    self._clear_stale(Path(entry.path))
        for name in self._known.keys() - seen:
            self._log(f"journal: {name} disappeared before it was read to its end")
            del self._known[name]
        return sorted(self._known.values(), key=lambda k: (k.created_ms, k.path.name))

    def _meet(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                head = file.read(frames.HEADER.size)
                header = frames.decode_header(head)
                if (
                    header is None
                    and len(head) < frames.HEADER.size
                    and _is_abandoned(file.fileno())
                ):
                    path.unlink()  # cut off by a power cut before its first sync: nothing in it
                    return
            if header is None:
                raise OSError("no journal segment: its header is damaged")
        except OSError as error:
            self._complain(path.name, error)
            return
        self._known[path.name] = _Known(
            path=path,
            segment_id=header.segment_id,
            created_ms=header.created_ms,
            crc_seed=frames.seed(header.segment_id),
            offset=self._positions.get(header.segment_id, frames.HEADER.size),
        )

    def _clear_stale(self, path: Path) -> None:
        """A writer died between making a file and naming it: it holds no record."""
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()

    def _complain(self, name: str, error: OSError) -> None:
        if name not in self._complained:
            self._complained.add(name)
            self._counts["unreadable"] += 1
            self._log(f"ERROR journal segment {name} can't be read: {error}; going on without it")

    # -- one segment -----------------------------------------------------------------------

    def _read_segment(self, known: _Known, limit: int) -> list[Record]:
        fd = os.open(known.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(fd, _CHUNK, known.offset)
            if not data:
                known.is_exhausted = _is_abandoned(fd) and os.fstat(fd).st_size <= known.offset
                return []
            found = frames.scan(data, known.offset, known.crc_seed, limit)
            if not found.records and not found.is_damaged and len(data) == _CHUNK:
                data = os.pread(fd, frames.FRAME.size + frames.MAX_PAYLOAD, known.offset)
                found = frames.scan(data, known.offset, known.crc_seed, 1)
            if found.records:
                known.stuck_since = 0.0
                known.offset += found.consumed
                return [Record(known.segment_id, end, body) for end, body in found.records]
            self._settle_end(fd, known, is_damaged=found.is_damaged)
            return []
        finally:
            os.close(fd)

    def _settle_end(self, fd: int, known: _Known, *, is_damaged: bool) -> None:
        """Nothing sound stands at the offset: wait for the writer, skip the damage, or end."""
        if not _is_abandoned(fd):
            now = self._clock()
            known.stuck_since = known.stuck_since or now
            if not is_damaged or now - known.stuck_since < self._patience:
                return
        size = os.fstat(fd).st_size
        data = os.pread(fd, size - known.offset, known.offset)
        if frames.scan(data, known.offset, known.crc_seed, 1).records:
            return  # it was completed between the two looks
        sound = frames.next_sound_frame(data, 1, known.crc_seed)
        if sound is None and not _is_abandoned(fd):
            return
        lost = data if sound is None else data[:sound]
        if is_damaged or sound is not None:
            self._set_aside(known, lost)
        else:
            self._counts["torn_tails"] += 1
            self._log(
                f"WARNING journal segment {known.path.name}: torn record of {len(lost)} octets"
                " at its end dropped; it was never acknowledged as synced"
            )
        known.offset += len(lost)
        known.stuck_since = 0.0

    def _set_aside(self, known: _Known, lost: bytes) -> None:
        self._counts["damaged"] += 1
        folder = self._directory / "damaged"
        folder.mkdir(exist_ok=True)
        copy = folder / f"{known.path.stem}-{known.offset}.bin"
        copy.write_bytes(lost)
        self._log(
            f"ERROR journal segment {known.path.name}: {len(lost)} damaged octets at"
            f" {known.offset}, copied to {copy}; the rest is read"
        )


def _is_abandoned(fd: int) -> bool:
    """True when no writer holds the segment any more."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True
