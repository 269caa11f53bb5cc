"""The supervisor's loop: start, wait until ready, watch, restart with back-off, drain in order."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sendback.config import Settings
from sendback.errors import Unavailable
from sendback.supervisor.addresses import Claim
from sendback.supervisor.probe import answers

log = logging.getLogger("sendback.supervisor")

#: Parts in the order they start; the reverse of how they drain, but for the worker, which is last.
PARTS = ("worker", "smtp", "submission", "admin", "web")
_DRAIN = (("web", "submission", "smtp"), ("admin",), ("worker",))
DRAIN_SECONDS = 10.0
READY_SECONDS = 30.0
_BACK_OFF = (0.1, 0.5, 1, 2, 5, 10, 30)
#: A child that ends this often without ever living `_STEADY_SECONDS` takes the node down.
_GIVE_UP = 8
_STEADY_SECONDS = 10.0


@dataclass
class _Child:
    part: str
    command: Sequence[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    not_before: float = 0.0
    ready: bool = field(default=False)


class Supervisor:
    """The processes of one node. `run` returns the exit code of `serve`."""

    def __init__(
        self,
        settings: Settings,
        *,
        parts: Sequence[str],
        claims: Mapping[str, Claim],
        environment: Mapping[str, str],
        ready_file: Path | None = None,
    ) -> None:
        self._settings = settings
        self._claims = claims
        self._ready_file = ready_file
        self._reader, self._lifeline = os.pipe()
        os.set_inheritable(self._reader, True)
        self._stopping = 0
        self._children = [
            child for part in PARTS if part in parts for child in self._describe(part, environment)
        ]

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, then drain; 0 when drained, 1 when a part can't live."""
        wakeup, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        signal.set_wakeup_fd(self._wakeup)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            for child in self._children:
                self._start(child)
            if not self._wait_ready():
                return 0 if self._stopping else 1
            self._announce()
            while not self._stopping:
                self._sleep(wakeup, self._mend())
        except _GivenUp as reason:
            log.critical("giving up", extra={"reason": str(reason)})
            return 1
        else:
            return 0
        finally:
            self._drain()

    # -- children ---------------------------------------------------------------------------

    def _describe(self, part: str, environment: Mapping[str, str]) -> list[_Child]:
        settings = self._settings
        base = {**environment, "SENDBACK_CHILD_LIFELINE": str(self._reader)}
        if part in self._claims:
            base["SENDBACK_CHILD_LISTEN"] = self._claims[part].listen
        if part in ("web", "admin"):
            threads = settings.web.threads if part == "web" else 8
            base |= {
                "SENDBACK_CHILD_SERVER": settings.web.server,
                "SENDBACK_CHILD_PROCESSES": str(settings.web.processes if part == "web" else 1),
                "SENDBACK_CHILD_THREADS": str(threads),
            }
            target = f"sendback.{part}.serving:application"
            command = [sys.executable, "-m", "sendback.supervisor.web_server", target]
            return [_Child(part, command, base)]
        module = {
            "worker": "sendback.worker",
            "smtp": "sendback.smtp",
            "submission": "sendback.smtp",
        }
        command = [sys.executable, "-m", module[part], *([] if part == "worker" else [part])]
        count = settings.smtp.processes if part == "smtp" else 1
        return [_Child(part, command, base) for _ in range(count)]

    def _start(self, child: _Child) -> None:
        child.started = time.monotonic()
        child.process = subprocess.Popen(  # noqa: S603 - our own modules
            list(child.command),
            env=dict(child.environment),
            pass_fds=(self._reader,),
            stdin=subprocess.DEVNULL,
        )

    def _mend(self) -> float:
        """Start what has ended; the seconds until there may be something to do."""
        wait = 3600.0
        now = time.monotonic()
        for child in self._children:
            process = child.process
            if process is not None and process.poll() is not None:
                self._ended(child, process.returncode, now)
            if child.process is None:
                if child.not_before <= now:
                    self._start(child)
                else:
                    wait = min(wait, child.not_before - now)
        return wait

    def _ended(self, child: _Child, code: int, now: float) -> None:
        lived = now - child.started
        child.failures = 1 if lived > _STEADY_SECONDS else child.failures + 1
        child.process = None
        if child.failures >= _GIVE_UP:
            raise _GivenUp(f"{child.part} ended {child.failures} times in a row (code {code})")
        delay = _BACK_OFF[min(child.failures, len(_BACK_OFF)) - 1]
        child.not_before = now + delay
        log.warning(
            "process ended, starting it again",
            extra={"part": child.part, "code": code, "lived_s": round(lived, 1), "in_s": delay},
        )

    # -- readiness --------------------------------------------------------------------------

    def _wait_ready(self) -> bool:
        """True when every part has answered a request; False when stopped or out of time."""
        deadline = time.monotonic() + READY_SECONDS
        pending = {child.part for child in self._children}
        while pending and not self._stopping:
            self._mend()
            pending -= {part for part in pending if self._answers(part)}
            if time.monotonic() > deadline:
                log.error("not ready in time", extra={"parts": ", ".join(sorted(pending))})
                return False
            time.sleep(0.02)
        return not pending

    def _answers(self, part: str) -> bool:
        claim = self._claims.get(part)
        return answers(
            part, claim.host if claim else "", claim.port if claim else 0, self._settings.data_path
        )

    def _announce(self) -> None:
        described: dict[str, object] = {}
        for part in ("web", "admin", "smtp", "submission"):
            if part in self._claims and any(child.part == part for child in self._children):
                address = self._claims[part].reachable
                described[part] = f"http://{address}" if part in ("web", "admin") else address
        described |= {"data_dir": str(self._settings.data_path), "pid": os.getpid()}
        if self._ready_file is not None:
            temporary = self._ready_file.with_name(self._ready_file.name + ".tmp")
            temporary.write_text(json.dumps(described) + "\n", encoding="utf-8")
            temporary.replace(self._ready_file)
        hints = {"outbox": str(self._settings.data_path / "outbox"), "try": "sendback events tail"}
        log.info("ready", extra=described | hints)

    # -- signals ----------------------------------------------------------------------------

    def _stop(self, *_: object) -> None:
        self._stopping += 1
        if self._stopping > 1:
            self._kill()
            os._exit(1)

    def _reload(self, *_: object) -> None:
        """Pass SIGHUP on: each process reads its configuration anew and keeps a working one."""
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(signal.SIGHUP)

    def _sleep(self, wakeup: int, seconds: float) -> None:
        import select

        if select.select([wakeup], [], [], seconds)[0]:
            os.read(wakeup, 4096)

    # -- the end ----------------------------------------------------------------------------

    def _drain(self) -> None:
        """SIGTERM in order: those who take in, then who watches, then who finishes."""
        self._stopping = max(self._stopping, 1)
        for parts in _DRAIN:
            group = [
                child.process
                for child in self._children
                if child.part in parts and child.process is not None
            ]
            for process in group:
                process.terminate()
            deadline = time.monotonic() + DRAIN_SECONDS
            for process in group:
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    log.warning("did not drain in time, killed", extra={"pid": process.pid})
                    process.kill()
                    process.wait()
        for claim in self._claims.values():
            claim.release()

    def _kill(self) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                child.process.kill()


class _GivenUp(Unavailable):
    """A part that does not live, whatever we do."""
