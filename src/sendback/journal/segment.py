"""One segment file being written.

A segment appears under its name only when it is locked and has its header, so a reader never
takes a new one for an abandoned one. The lock goes with the process, however that ends. Header
and name become durable with the first sync: making a segment never waits for the disk.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from sendback.journal import frames
from sendback.journal.files import FileOps


class Segment:
    """An open segment; `size` is what surely stands in the file. OSError as the disk gives it."""

    def __init__(self, folder: Path, name: str, created_ms: int, files: FileOps) -> None:
        self._files = files
        self.created_ms = created_ms
        self._is_named = False
        self.is_broken = False
        """Half a write stands in it and can't be cut away: write elsewhere."""
        header = frames.Header(os.urandom(16), created_ms)
        self._seed = frames.seed(header.segment_id)
        hidden = folder / f".{name}-{os.getpid()}-{header.segment_id.hex()}.new"
        self.fd = files.create(hidden)
        try:
            self.size = 0
            self._write_all(frames.encode_header(header))
            self.path = self._publish(folder, name, hidden)
        except OSError:
            files.close(self.fd)
            hidden.unlink(missing_ok=True)
            raise

    def _publish(self, folder: Path, name: str, hidden: Path) -> Path:
        for number in range(self.created_ms, self.created_ms + 1000):
            path = folder / f"{name}-{os.getpid()}-{number}.seg"
            try:
                self._files.publish(hidden, path)
            except FileExistsError:
                continue
            return path
        raise FileExistsError(f"no free segment name for {name} in {folder}")

    def write(self, payloads: Sequence[bytes]) -> None:
        """All payloads stand in the file, or OSError and none does (as far as the disk obeys)."""
        before = self.size
        if len(payloads) == 1:
            data = frames.encode_one(payloads[0], self._seed)
        else:
            data = frames.encode(payloads, self._seed)
        try:
            written = self._files.write(self.fd, data)
            self.size += written
            if written < len(data):
                self._write_all(data[written:])
        except OSError:
            try:
                self._files.truncate(self.fd, before)
            except OSError:
                self.is_broken = True
            else:
                self.size = before
            raise

    def _write_all(self, data: bytes) -> None:
        while data:
            written = self._files.write(self.fd, data)
            self.size += written
            data = data[written:]

    def sync(self) -> None:
        """On return everything written is on the disk. After an OSError: never sync again."""
        self._files.fdatasync(self.fd)
        if not self._is_named:
            self._files.sync_folder(self.path.parent)
            self._is_named = True

    def mark_suspect(self, reason: str) -> None:
        """Leave a note beside the file that a sync failed: what it holds may be incomplete."""
        self.path.with_suffix(".seg.suspect").write_text(reason + "\n")

    def close(self) -> None:
        """Unlock: readers may finish and delete it."""
        if self.fd >= 0:
            self._files.close(self.fd)
        self.fd = -1
