"""The supervisor's loop: start, wait until ready, watch, reload, drain in order."""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sendback.bootstrap.addresses import announced_in, write_addresses
from sendback.bootstrap.status import read_statuses
from sendback.config import Settings
from sendback.errors import Misconfigured
from sendback.supervisor.addresses import Claim
from sendback.supervisor.children import Child, GivenUp, describe, drain
from sendback.supervisor.probe import answers

log = logging.getLogger("sendback.supervisor")

#: Parts in the order they start.
PARTS = ("worker", "smtp", "submission", "admin", "web")
#: Who takes in ends first, then who watches, then who finishes.
_DRAIN = (("web", "submission", "smtp"), ("admin",), ("worker",))
#: Only one of these may run: on reload the old one ends before the new one starts.
_SINGLE = frozenset({"worker", "submission"})
DRAIN_SECONDS = 10.0
READY_SECONDS = 30.0


class Supervisor:
    """The processes of one node. `run` returns the exit code of `serve`."""

    def __init__(
        self,
        settings: Settings,
        *,
        parts: Sequence[str],
        claims: Mapping[str, Claim],
        environment: Mapping[str, str],
        reload: Callable[[], Settings],
        ready_file: Path | None = None,
    ) -> None:
        """`reload` reads the configuration again; Misconfigured keeps the old one."""
        self._settings = settings
        self._parts = [part for part in PARTS if part in parts]
        self._claims = claims
        self._environment = environment
        self._read_again = reload
        self._ready_file = ready_file
        self._addresses = announced_in(settings.data_path / "control")
        self._reader, self._lifeline = os.pipe()
        os.set_inheritable(self._reader, True)
        self._stopping = 0
        self._must_reload = False
        self._children = [child for part in self._parts for child in self._describe(part)]

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, then drain; 0 when drained, 1 when a part can't live."""
        woken = self._catch_signals()
        try:
            for child in self._children:
                child.start()
            if not self._wait_ready():
                return 0 if self._stopping else 1
            self._announce()
            while not self._stopping:
                self._sleep(woken, self._mend())
                if self._must_reload and not self._stopping:
                    self._reload()
        except GivenUp as reason:
            log.critical("giving up", extra={"reason": str(reason)})
            return 1
        else:
            return 0
        finally:
            self._stopping = max(self._stopping, 1)
            self._addresses.unlink(missing_ok=True)
            for parts in _DRAIN:
                drain([child for child in self._children if child.part in parts], DRAIN_SECONDS)
            for claim in self._claims.values():
                claim.release()

    def _describe(self, part: str) -> list[Child]:
        claim = self._claims.get(part)
        return describe(part, self._settings, claim, self._environment, self._reader)

    def _mend(self) -> float:
        now = time.monotonic()
        return min((child.mend(now) for child in self._children), default=3600.0)

    # -- readiness --------------------------------------------------------------------------

    def _wait_ready(self) -> bool:
        """True when every part has answered a request; False when stopped or out of time."""
        deadline = time.monotonic() + READY_SECONDS
        pending = set(self._parts)
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
        address = (claim.host, claim.port) if claim else ("", 0)
        return answers(part, *address, self._settings.data_path)

    def _announce(self) -> None:
        described: dict[str, object] = {}
        for part in ("web", "admin", "smtp", "submission"):
            if part in self._claims:
                address = self._claims[part].reachable
                described[part] = f"http://{address}" if part in ("web", "admin") else address
        described |= {"data_dir": str(self._settings.data_path), "pid": os.getpid()}
        try:
            write_addresses(self._addresses, described)
        except OSError as error:  # only commands beside the node miss it
            log.warning("addresses not written", extra={"reason": str(error)})
        if self._ready_file is not None:
            write_addresses(self._ready_file, described)
        hints = {"outbox": str(self._settings.data_path / "outbox"), "try": "sendback events tail"}
        log.info("ready", extra=described | hints)

    # -- signals ----------------------------------------------------------------------------

    def _catch_signals(self) -> int:
        """Our handlers in place; a descriptor that becomes readable when one has run."""
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._ask_reload)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return woken

    def _stop(self, *_: object) -> None:
        self._stopping += 1
        if self._stopping > 1:
            for child in self._children:
                if child.process is not None and child.lives:
                    child.process.kill()
            os._exit(1)

    def _ask_reload(self, *_: object) -> None:
        self._must_reload = True

    @staticmethod
    def _sleep(woken: int, seconds: float) -> None:
        if select.select([woken], [], [], seconds)[0]:
            os.read(woken, 4096)
            time.sleep(0.05)  # a signal to the whole group reaches children first at times

    # -- reload -----------------------------------------------------------------------------

    def _reload(self) -> None:
        """Replace every process by one with the new settings; listeners without a gap."""
        self._must_reload = False
        try:
            settings = self._read_again()
        except Misconfigured as error:
            log.error(  # noqa: TRY400 - the operator's mistake, not a traceback
                "configuration not reloaded, the old one stays",
                extra={"place": error.place, "reason": str(error), "hint": error.hint},
            )
            return
        for part in self._claims:
            if getattr(settings, part).listen != getattr(self._settings, part).listen:
                log.warning("a new address needs a restart", extra={"key": f"{part}.listen"})
        self._settings = settings
        for part in self._parts:
            self._replace(part)
        log.info("configuration reloaded")

    def _replace(self, part: str) -> None:
        old = [child for child in self._children if child.part == part]
        new = self._describe(part)
        if part in _SINGLE:
            drain(old, DRAIN_SECONDS)
        since = time.time()
        for child in new:
            child.start()
        self._children = [child for child in self._children if child.part != part] + new
        if part not in _SINGLE:
            self._wait_started(part, since)
            drain(old, DRAIN_SECONDS)

    def _wait_started(self, part: str, since: float) -> None:
        """Until a process of the part that started after `since` has written its status."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and not self._stopping:
            statuses = read_statuses(self._settings.data_path / "control")
            if any(s["part"] == part and s.get("started", 0) >= since for s in statuses):
                time.sleep(0.3)  # between status and listening
                return
            time.sleep(0.05)
