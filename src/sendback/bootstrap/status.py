"""What each process says of itself: control/status/PART-PID.json, rewritten every two seconds.

The admin process reads them all for /readyz and /metrics, `sendback health` for the worker. A file
is never trusted for longer than its process lives.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger("sendback.status")

INTERVAL_SECONDS = 2.0


class StatusWriter:
    """Writes `sample()` for this process until closed; a failing disk only loses the reading."""

    def __init__(self, control: Path, part: str, sample: Callable[[], Mapping[str, Any]]) -> None:
        self._path = control / "status" / f"{part}-{os.getpid()}.json"
        self._part = part
        self._sample = sample
        self._stop = threading.Event()
        self._started = time.time()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> StatusWriter:
        """Write once now, then go on in the background."""
        self.write()
        self._thread.start()
        return self

    def write(self) -> None:
        """Write the file whole, by rename."""
        document = {
            "part": self._part,
            "pid": os.getpid(),
            "started": self._started,
            "written": time.time(),
            **self._sample(),
        }
        temporary = self._path.with_suffix(".tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(document), encoding="utf-8")
            temporary.replace(self._path)
        except OSError as error:
            log.debug("status not written", extra={"reason": str(error)})

    def close(self) -> None:
        """Stop, and take the file away."""
        self._stop.set()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            self.write()


def read_statuses(control: Path) -> list[dict[str, Any]]:
    """The statuses of processes that live; files of dead ones are taken away."""
    found = []
    for path in sorted((control / "status").glob("*.json")):
        try:
            status = json.loads(path.read_bytes())
            pid = int(status["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if _lives(pid):
            found.append(status)
        else:
            path.unlink(missing_ok=True)
    return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's, so it lives
    return True
