"""A Maildir in place of a smarthost: what would have been sent, one file a recipient.

So that a newcomer needs no mail server: the file begins with `Return-Path:` and `Delivered-To:`,
and holds the message as it would have left. Layout: cr.yp.to/proto/maildir.html.
"""

import asyncio
import itertools
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sendback.errors import Unavailable
from sendback.relay.base import Answer, Outgoing

_ADDRESS_NOISE = re.compile(r"[\x00-\x1f\x7f]")


class Outbox:
    """Writes into `directory`/new; a `Relay`."""

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._numbers = itertools.count(1)
        self._host = socket.gethostname().replace("/", "\\057").replace(":", "\\072")
        self._tmp, self._new = directory / "tmp", directory / "new"
        self._sync = SharedSync(self._new)

    async def send(self, outgoing: Outgoing) -> Answer:
        """250 once the file is on disk; 452 or 451 when it can't be written."""
        try:
            name = await asyncio.to_thread(self.write, outgoing)
        except Unavailable:
            return Answer(452, "4.3.1 The outbox can't be written, try again later")
        return Answer(250, f"2.0.0 Ok: in the outbox as {name}")

    async def close(self) -> None:
        """Nothing to end."""

    def write(self, outgoing: Outgoing) -> str:
        """The new file's name; it is on disk, whole, or Unavailable is raised."""
        now = self._clock()
        micros, number = int(now % 1 * 1e6), next(self._numbers)
        name = f"{int(now)}.M{micros:06d}P{os.getpid()}Q{number}.{self._host}"
        newline = b"\r\n" if b"\r\n" in outgoing.message[:2000] else b"\n"
        sender = _ADDRESS_NOISE.sub("", outgoing.mail_from)
        rcpt = _ADDRESS_NOISE.sub("", outgoing.rcpt)
        head = f"Return-Path: <{sender}>\nDelivered-To: {rcpt}\n".encode()
        whole = head.replace(b"\n", newline) + outgoing.message
        try:
            try:
                self._write(name, whole)
            except FileNotFoundError:  # the first one, or somebody has tidied up
                for folder in ("tmp", "new", "cur"):
                    (self._directory / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
                self._write(name, whole)
        except OSError as error:
            raise Unavailable(f"the outbox can't be written: {error.strerror}") from error
        return name

    def _write(self, name: str, whole: bytes) -> None:
        write_file(self._tmp / name, self._new / name, whole)
        self._sync()


class SharedSync:
    """Syncs a directory; callers that wait meanwhile share the next sync (group commit)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._covered = -1

    def __call__(self) -> None:
        """What the caller changed in the directory survives a crash; OSError otherwise."""
        asked = next(self._order)
        with self._lock:
            if self._covered > asked:
                return  # a sync that began after we asked
            began = next(self._order)
            sync_directory(self._directory)
            self._covered = began


def write_durably(temporary: Path, final: Path, data: bytes) -> None:
    """`final` holds all of `data`, synced with its directory entry; OSError otherwise."""
    write_file(temporary, final, data)
    sync_directory(final.parent)


def write_file(temporary: Path, final: Path, data: bytes) -> None:
    """`final` holds all of `data`, synced; its name is not yet. OSError, and no file, otherwise."""
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
        os.close(fd)
        fd = -1
        temporary.rename(final)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if fd >= 0:
            os.close(fd)


def sync_directory(path: Path) -> None:
    """Names made or removed in it survive a crash."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
