"""File operations that fail on demand; everything else is real."""

import errno
import os
import threading
from pathlib import Path

from sendback.journal import FileOps


class FailingOps(FileOps):
    """`fail_sync`, `fail_write`: how many of the next calls fail; -1 for all."""

    def __init__(self) -> None:
        self.fail_sync = 0
        self.fail_write = 0
        self.write_errno = errno.ENOSPC
        self.short_writes = False
        self.syncs = 0
        self.room = 1 << 40
        self.hold_sync = threading.Event()
        self.hold_sync.set()
        self.in_sync = threading.Event()

    def write(self, fd: int, data: bytes) -> int:
        if self.short_writes and len(data) > 10:
            os.write(fd, data[: len(data) // 2])
            raise OSError(self.write_errno, "no space left on device")
        if self.fail_write:
            self.fail_write -= 1
            raise OSError(self.write_errno, "no space left on device")
        return super().write(fd, data)

    def fdatasync(self, fd: int) -> None:
        self.syncs += 1
        self.in_sync.set()
        self.hold_sync.wait(20)
        if self.fail_sync:
            self.fail_sync -= 1
            raise OSError(errno.EIO, "input/output error")
        super().fdatasync(fd)

    def free_bytes(self, folder: Path) -> int:
        return self.room
