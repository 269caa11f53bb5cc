"""Ends what takes too long, from another thread.

Timeouts of sockets count each operation, and some clients have none: a receiver that drips an octet
a second, or a server that froze, never meets one.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

_LOOK_SECONDS = 0.1
_IDLE_LOOKS = 50


class Watchdog:
    """Calls what ends the work whose time is over; one thread for all, gone when none is watched.

    What is called must not block, and may be called again until the block is left.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[object, tuple[float, Callable[[], None]]] = {}
        self._is_running = False

    @contextlib.contextmanager
    def watch(self, ends: float, shut_down: Callable[[], None]) -> Iterator[None]:
        """In the block the work may take until `ends` (monotonic), give or take 0.1 s."""
        key = object()
        with self._lock:
            self._watched[key] = ends, shut_down
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="sink-watchdog", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(key, None)

    def _run(self) -> None:
        idle = 0
        while idle < _IDLE_LOOKS:
            time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            with self._lock:
                over = [end for ends, end in self._watched.values() if ends < now]
                idle = 0 if self._watched else idle + 1
                if idle == _IDLE_LOOKS:
                    self._is_running = False
            for shut_down in over:
                shut_down()


watchdog = Watchdog()
