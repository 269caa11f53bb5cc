"""One line an event to stderr: JSON for machines, plain on a terminal (CONTRACT section 3).

Rooms log through the standard library: a short fixed message, and what belongs to it in `extra`.
No address and no token is logged in clear; the one exception is the `ERROR EXTERNAL METADATA` line.
"""

from __future__ import annotations

import json
import logging
import sys
import time

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logs(part: str, *, level: int = logging.INFO) -> None:
    """Send every logger to stderr; `part` names the process in each line. Never raises later."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain(part) if sys.stderr.isatty() else _Json(part))
    logging.raiseExceptions = False  # a closed log pipe must not end a service
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("sendback").setLevel(level)
    logging.getLogger("mail").setLevel(logging.ERROR)  # aiosmtpd's own chatter


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class _Json(logging.Formatter):
    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}"
            f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "part": self._part,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str, ensure_ascii=False)


class _Plain(logging.Formatter):
    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f"  {key}={value}" for key, value in _fields(record).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower():7} {self._part:10} {record.getMessage()}{fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in line)
