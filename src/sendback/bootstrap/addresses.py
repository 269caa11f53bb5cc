"""Where the running node of a data directory listens: control/addresses.json.

Written when every part has answered, as `--ready-file` is, for commands of the same machine: with
port 0 nobody else could know. Never trusted for longer than the supervisor lives.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAME = "addresses.json"


def write_addresses(path: Path, described: Mapping[str, object]) -> None:
    """Put it there whole, by rename. OSError."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(described) + "\n", encoding="utf-8")
    temporary.replace(path)


def announced_in(control: Path) -> Path:
    """The file of the node with that control directory."""
    return control / _NAME


def running_addresses(control: Path) -> dict[str, tuple[str, int]]:
    """Part to host and port, for the node that runs now; {} when none does."""
    try:
        described: dict[str, Any] = json.loads(announced_in(control).read_bytes())
        if not _lives(int(described["pid"])):
            return {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    found = {}
    for part in ("web", "admin", "smtp", "submission"):
        host, _, port = str(described.get(part, "")).removeprefix("http://").rpartition(":")
        if port.isdecimal():
            found[part] = (host.strip("[]"), int(port))
    return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # somebody else's
    except (ProcessLookupError, OverflowError):
        return False
    return True
