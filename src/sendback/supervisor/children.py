"""One child process each: how it is started, and when it may be started again."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sendback.config import Settings
from sendback.errors import Unavailable
from sendback.supervisor.addresses import Claim

log = logging.getLogger("sendback.supervisor")

_BACK_OFF = (0.1, 0.5, 1, 2, 5, 10, 30)
#: A child that ends this often without ever living `_STEADY_SECONDS` takes the node down.
_GIVE_UP = 8
_STEADY_SECONDS = 10.0


class GivenUp(Unavailable):
    """A part that does not live, whatever we do."""


@dataclass
class Child:
    """A process of one part; started anew with growing delays whenever it ends."""

    part: str
    command: Sequence[str]
    environment: Mapping[str, str]
    lifeline: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    not_before: float = 0.0

    @property
    def lives(self) -> bool:
        """True while the process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process, in our group, with the lifeline."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - our own modules
            list(self.command),
            env=dict(self.environment),
            pass_fds=(self.lifeline,),
            stdin=subprocess.DEVNULL,
        )

    def mend(self, now: float) -> float:
        """Start it if it has ended and may; seconds until there is something to do."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self._ended(code, now)
        if self.process is None:
            if self.not_before > now:
                return self.not_before - now
            self.start()
        return 3600.0

    def _ended(self, code: int, now: float) -> None:
        lived = now - self.started
        self.failures = 1 if lived > _STEADY_SECONDS else self.failures + 1
        self.process = None
        if self.failures >= _GIVE_UP:
            raise GivenUp(f"{self.part} ended {self.failures} times in a row (code {code})")
        delay = _BACK_OFF[min(self.failures, len(_BACK_OFF)) - 1]
        self.not_before = now + delay
        log.warning(
            "process ended, starting it again",
            extra={"of": self.part, "code": code, "lived_s": round(lived, 1), "in_s": delay},
        )


def describe(
    part: str,
    settings: Settings,
    claim: Claim | None,
    environment: Mapping[str, str],
    lifeline: int,
) -> list[Child]:
    """The children of one part, not started yet."""
    base = {**environment, "SENDBACK_CHILD_LIFELINE": str(lifeline)}
    if claim is not None:
        base["SENDBACK_CHILD_LISTEN"] = claim.listen
    if part in ("web", "admin"):
        is_web = part == "web"
        base |= {
            "SENDBACK_CHILD_SERVER": settings.web.server,
            "SENDBACK_CHILD_PROCESSES": str(settings.web.processes if is_web else 1),
            "SENDBACK_CHILD_THREADS": str(settings.web.threads if is_web else 8),
        }
        target = f"sendback.{part}.serving:application"
        command = [sys.executable, "-m", "sendback.supervisor.web_server", target]
    elif part == "worker":
        command = [sys.executable, "-m", "sendback.worker"]
    else:
        command = [sys.executable, "-m", "sendback.smtp", part]
    count = settings.smtp.processes if part == "smtp" else 1
    return [Child(part, command, base, lifeline) for _ in range(count)]


def drain(children: Sequence[Child], seconds: float) -> None:
    """SIGTERM, and SIGKILL for whoever has not ended after `seconds`."""
    living = [child.process for child in children if child.process is not None and child.lives]
    for process in living:
        process.terminate()
    deadline = time.monotonic() + seconds
    for process in living:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("did not drain in time, killed", extra={"pid": process.pid})
            process.kill()
            process.wait()
