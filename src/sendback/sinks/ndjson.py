"""Events as lines of a file: one JSON object a line, synced for each batch.

Safe with logrotate: when the path leads to another file, or to none, that one is opened. A line
torn by a crash is cut away at the next start; its batch was not acknowledged and comes again.
"""

import fcntl
import gzip
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sendback.sinks.base import Outcome, Result, StoredEvent

_TAIL = 1024 * 1024


class NdjsonSink:
    """One file; beyond `rotate_bytes` (0: never) it becomes `NAME.YYYYMMDDTHHMMSS[.gz]`."""

    max_batch = 0
    max_parallel = 1

    def __init__(
        self,
        path: Path,
        *,
        rotate_bytes: int = 256 * 1024 * 1024,
        compress: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._rotate_bytes = Path(path), rotate_bytes
        self._compress, self._clock = compress, clock
        self._fd = -1
        self._packing: threading.Thread | None = None

    def deliver(self, batch: Sequence[StoredEvent]) -> Outcome:
        """On DELIVERED the lines are on the disk. FAILED names the disk's error."""
        data = b"".join([event.body + b"\n" for event in batch])
        try:
            fd = self._open_locked()
            size = os.fstat(fd).st_size
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                os.fdatasync(fd)
            except OSError:
                os.ftruncate(fd, size)
                raise
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)
        except OSError as error:
            self.close()
            return Outcome(Result.FAILED, None, f"{self._path}: {error.strerror or error}")
        answer = ""
        if self._rotate_bytes and size + len(data) >= self._rotate_bytes:
            try:
                self._rotate()
            except OSError as error:  # the lines are safe: failing would write them again for ever
                answer = f"not rotated: {error.strerror or error}"
        return Outcome(Result.DELIVERED, None, answer)

    def _open_locked(self) -> int:
        """The file under this name, locked: whoever rewrites it took its name away first."""
        while True:
            fd = self._open()
            fcntl.flock(fd, fcntl.LOCK_EX)
            if self._is_named(fd):
                return fd
            self.close()

    def _open(self) -> int:
        if self._fd >= 0:
            if self._is_named(self._fd):
                return self._fd
            self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o640)
        if os.fstat(self._fd).st_size:
            _cut_torn_line(self._fd)
        else:  # perhaps new: a synced file without its name in the folder would be lost
            _sync_folder(self._path.parent)
        return self._fd

    def _is_named(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._path.stat())
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self._clock()))
        target = self._path.with_name(f"{self._path.name}.{stamp}")
        if target.exists() or target.with_name(target.name + ".gz").exists():
            return  # twice in one second: the next batch rotates
        self._path.rename(target)
        self.close()
        if self._compress:
            if self._packing is not None:
                self._packing.join()
            self._packing = threading.Thread(target=_pack, args=(target,), daemon=True)
            self._packing.start()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _cut_torn_line(fd: int) -> None:
    size = os.fstat(fd).st_size
    end = size
    while end > 0:
        start = max(0, end - _TAIL)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end != size:
        os.ftruncate(fd, end)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _pack(path: Path) -> None:
    """Compress beside, sync, then take the name: a crash or a full disk leaves the plain file."""
    hidden = path.with_name(f".{path.name}.gz.tmp")
    try:
        with path.open("rb") as plain, hidden.open("wb") as file:
            with gzip.open(file, "wb", 6) as packed:
                shutil.copyfileobj(plain, packed, 1024 * 1024)
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(path.with_name(path.name + ".gz"))
        path.unlink()
    except OSError:
        hidden.unlink(missing_ok=True)
