"""The one thread that syncs where no caller does: level `os`, called-back appends, slow disks."""

import contextlib
from _thread import allocate_lock
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread


class SyncThread:
    """Starts at the first job. `lead` takes the lead over, `look` syncs what nobody else does."""

    def __init__(self, lead: Callable[[], None], look: Callable[[], None], interval: float) -> None:
        self._lead, self._look, self._interval = lead, look, interval
        self._lock = allocate_lock()
        self._jobs: SimpleQueue[bool | None] = SimpleQueue()
        self._thread: Thread | None = None
        self.is_asked = False
        """A look or a lead is to come, and begins after this was read."""

    def lead(self) -> None:
        """Hand the lead over: the thread leads at once."""
        self._start()
        self._jobs.put(True)

    def ask(self) -> None:
        """A look within `interval`; asking twice is asking once."""
        with self._lock:
            if self.is_asked:
                return
            self.is_asked = True
        self._start()
        self._jobs.put(False)

    def close(self) -> None:
        """Every job is done; a later `ask` is in vain."""
        with self._lock:
            self.is_asked = True
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = Thread(target=self._run, name="journal-sync", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not job:
                with contextlib.suppress(Empty):
                    job = self._jobs.get(timeout=self._interval)
            self.is_asked = False
            if job:
                self._lead()
            else:
                self._look()
            if job is None:
                return
