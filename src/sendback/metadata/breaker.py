"""A circuit breaker: stop asking what has just failed, and look from outside when it is well.

Opens after some failures within a short time; while it is open one background thread probes once
a second, so no message and no click pays for finding out. Knows nothing of databases.
"""

import collections
import threading
import time
from collections.abc import Callable

from sendback.errors import Unavailable

FAILURES = 3
WITHIN = 5.0
PROBE_EVERY = 1.0


class Breaker:
    """`probe` raises Unavailable while the thing is not well."""

    def __init__(
        self, probe: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._failures: collections.deque[float] = collections.deque(maxlen=FAILURES)
        self._mutex = threading.Lock()
        self._closed = threading.Event()
        self.reason = ""
        self.is_open = False
        self.times_opened = 0

    def check(self) -> None:
        """Unavailable, at once, while the breaker is open."""
        if self.is_open:
            raise Unavailable(f"{self.reason} (not asked again before it answers a probe)")

    def failure(self, reason: str) -> None:
        """One attempt failed."""
        with self._mutex:
            now = self._clock()
            self._failures.append(now)
            if self.is_open or len(self._failures) < FAILURES or now - self._failures[0] > WITHIN:
                return
            self.reason = reason
            self.is_open = True
            self.times_opened += 1
        threading.Thread(target=self._watch, name="breaker probe", daemon=True).start()

    def close(self) -> None:
        """End the probing; for the end of the program."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(PROBE_EVERY):
            try:
                self._probe()
            except Unavailable as error:
                self.reason = str(error)
            else:
                with self._mutex:
                    self._failures.clear()
                    self.is_open = False
                return
