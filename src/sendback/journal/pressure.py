"""How full journal and event log are, in one number that every process can read cheaply.

The worker writes it while it is high; readers also look at the journal themselves, for when the
worker is down.
From 0.9 on SMTP answers 452, until it is below 0.85 again; redirects go on.
"""

import contextlib
import os
import time
from pathlib import Path

REFUSE_FROM = 0.9
TAKE_BELOW = 0.85
"""Apart from the other, or a value about it would be an alert every second."""
_LOOK_SECONDS = 1.0
_SCAN_SECONDS = 5.0


class PressureGauge:
    """The worker's side: `control/pressure`, a file that stands while the pressure is high."""

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._is_high = self._path.exists()  # by the worker before this one

    def write(self, value: float) -> bool:
        """Say how full it is, 0 to 1 and above; True while SMTP has to refuse. Never raises."""
        self._is_high = value >= (TAKE_BELOW if self._is_high else REFUSE_FROM)
        if not self._is_high:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            return False
        hidden = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            hidden.write_text(f"{max(value, REFUSE_FROM):.4f}\n")
            hidden.replace(self._path)
        return True


class Pressure:
    """The reading side; `current` costs a clock reading nearly always."""

    def __init__(self, path: Path, journal: Path, journal_max_bytes: int) -> None:
        self._path, self._journal, self._max_bytes = Path(path), Path(journal), journal_max_bytes
        self._value, self._written = 0.0, 0.0
        self._looked = self._scanned = float("-inf")

    def current(self) -> float:
        """The higher of what the worker says and what the journal's size says."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            try:
                self._written = float(self._path.read_text())
            except FileNotFoundError:
                self._written = 0.0
            except (OSError, ValueError):
                self._written = REFUSE_FROM
            if now - self._scanned >= _SCAN_SECONDS:
                self._scanned = now
                self._value = journal_bytes(self._journal) / self._max_bytes
        return max(self._value, self._written)

    @property
    def is_high(self) -> bool:
        """True when SMTP has to say 452."""
        return self.current() >= REFUSE_FROM


def journal_bytes(directory: Path) -> int:
    """Octets of all segments, read or not."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(".seg"):
                with contextlib.suppress(OSError):
                    total += entry.stat().st_size
    return total
