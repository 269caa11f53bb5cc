"""The file operations of the journal's writing side, in one replaceable place.

Tests pass an object with the same methods to play a full, slow or lying disk.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path

#: Errors that mean "no room", whatever the file system calls it.
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class FileOps:
    """The real operations. Each raises OSError as the kernel gave it."""

    def create(self, path: Path) -> int:
        """A new, empty, exclusively locked file for appending; the path must be unused."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return fd

    def write(self, fd: int, data: bytes) -> int:
        """Write once; how many octets went."""
        return os.write(fd, data)

    def fdatasync(self, fd: int) -> None:
        """On return the file's data are on the disk."""
        os.fdatasync(fd)

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file."""
        os.ftruncate(fd, length)

    def publish(self, hidden: Path, visible: Path) -> None:
        """Give the file its name, never over another; `sync_folder` makes that durable."""
        os.link(hidden, visible)
        hidden.unlink()

    def sync_folder(self, folder: Path) -> None:
        """On return the names in the folder are on the disk."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def allocate(self, path: Path, size: int) -> None:
        """A file that really holds `size` octets of the disk."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)

    def free_bytes(self, folder: Path) -> int:
        """What an ordinary user can still write there."""
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def close(self, fd: int) -> None:
        """Close, and with it unlock; never raises."""
        with contextlib.suppress(OSError):
            os.close(fd)


FILES = FileOps()
