"""What machines ask the admin port: /healthz, /readyz, /metrics and Caddy's /ask.

Readings come from the status files of the processes and from the event log, at the moment of the
question. Nothing here needs the main database, so a monitor sees a node whose database is down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sendback.errors import Malformed
from sendback.model import Catalog
from sendback.model.catalog import normal_host

Status = Mapping[str, Any]
_UNKNOWN_KEY = "metadata_unknown_key_"


class Backlog(Protocol):
    """One destination or consumer: how far behind it is."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def backlog(self) -> int: ...  # noqa: D102
    @property
    def oldest_age_s(self) -> float: ...  # noqa: D102
    @property
    def first_attempts(self) -> int: ...  # noqa: D102
    @property
    def retries(self) -> int: ...  # noqa: D102
    @property
    def delivered(self) -> int: ...  # noqa: D102
    @property
    def parked(self) -> int: ...  # noqa: D102
    @property
    def dead_letters(self) -> int: ...  # noqa: D102
    @property
    def expired(self) -> int: ...  # noqa: D102
    @property
    def failing_since_ms(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Readings:
    """How the admin process looks at its node; each is asked anew for each answer."""

    statuses: Callable[[], Sequence[Status]]
    """The status of every process that lives."""
    expected: frozenset[str]
    """Parts that should run here."""
    backlogs: Callable[[], Sequence[Backlog]]
    last_seq: Callable[[], int]
    catalog: Callable[[], Catalog]


def problems(readings: Readings) -> list[str]:
    """What keeps this node from being ready, or degrades it; empty when all is well."""
    statuses = readings.statuses()
    running = {str(status.get("part")) for status in statuses}
    found = [f"{part}: not running" for part in sorted(readings.expected - running)]
    for status in statuses:
        found += [f"{status['part']}: {reason}" for reason in status.get("degraded") or ()]
    return found


def blueprint(readings: Readings) -> Blueprint:
    """The routes."""
    ops = Blueprint("ops", __name__)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(readings))

    @ops.get("/healthz")
    def healthz() -> Response:
        return _plain("ok\n")

    @ops.get("/readyz")
    def readyz() -> Response:
        found = problems(readings)
        # Degraded is still ready: recipients get their answers (facts G7); a missing part is not.
        missing = any(text.endswith("not running") for text in found)
        return _plain("\n".join(found or ["ready"]) + "\n", 503 if missing else 200)

    @ops.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type="text/plain; version=0.0.4")

    @ops.get("/ask")
    def ask() -> Response:
        known = is_url_domain(readings.catalog(), request.args.get("domain", ""))
        return _plain("yes\n" if known else "no\n", 200 if known else 404)

    return ops


def is_url_domain(catalog: Catalog, host: str) -> bool:
    """Whether certificates for this host are ours to get (Caddy's on-demand TLS asks)."""
    try:
        return normal_host(host) in catalog.url_domain_by_host
    except Malformed:
        return False


def _plain(text: str, status: int = 200) -> Response:
    return Response(text, status, content_type="text/plain; charset=utf-8")


class _NodeCollector:
    """Turns the readings into metrics at the moment of a scrape."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        statuses = self._readings.statuses()
        up = GaugeMetricFamily("sendback_up", "Processes that live.", labels=["part"])
        parts = {str(status["part"]) for status in statuses} | self._readings.expected
        for part in sorted(parts):
            up.add_metric([part], sum(status["part"] == part for status in statuses))
        yield up
        yield from self._counters(statuses)
        degraded = GaugeMetricFamily(
            "sendback_degraded", "Reasons for being degraded.", labels=["part"]
        )
        for part in sorted(parts):
            reasons = [s.get("degraded") or () for s in statuses if s["part"] == part]
            degraded.add_metric([part], sum(map(len, reasons)))
        yield degraded
        yield GaugeMetricFamily(
            "sendback_events_last_seq", "Last seq of the event log.", self._readings.last_seq()
        )
        yield from self._pressure(statuses)
        yield from self._backlogs()

    @staticmethod
    def _counters(statuses: Sequence[Status]) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "sendback_count", "What the processes count, by name.", labels=["part", "name"]
        )
        unknown = CounterMetricFamily(
            "sendback_unknown_key",
            "Tokens that name a key this node lacks: another server's, or made up.",
            labels=["part", "key_id"],
        )
        totals: dict[tuple[str, str], float] = {}
        for status in statuses:
            for name, value in (status.get("counters") or {}).items():
                key = (str(status["part"]), str(name))
                totals[key] = totals.get(key, 0) + float(value)
        for (part, name), value in sorted(totals.items()):
            if name.startswith(_UNKNOWN_KEY):
                unknown.add_metric([part, name.removeprefix(_UNKNOWN_KEY)], value)
            else:
                family.add_metric([part, name], value)
        yield from (family, unknown)

    @staticmethod
    def _pressure(statuses: Sequence[Status]) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "sendback_pressure_ratio",
            "How full journal and event log are, as this process sees it; from 0.9 on SMTP"
            " answers 452.",
            labels=["part"],
        )
        values: dict[str, float] = {}
        for status in statuses:
            value = (status.get("gauges") or {}).get("pressure")
            if value is not None:
                part = str(status["part"])
                values[part] = max(values.get(part, 0.0), float(value))
        for part, value in sorted(values.items()):
            family.add_metric([part], value)
        yield family

    def _backlogs(self) -> Iterable[Metric]:
        rows = self._readings.backlogs()
        now_ms = time.time() * 1000

        def gauge(name: str, text: str, value: Callable[[Backlog], float]) -> Metric:
            family = GaugeMetricFamily(f"sendback_{name}", text, labels=["consumer"])
            for row in rows:
                family.add_metric([row.name], value(row))
            return family

        def counter(name: str, text: str, value: Callable[[Backlog], float]) -> Metric:
            family = CounterMetricFamily(f"sendback_{name}", text, labels=["consumer"])
            for row in rows:
                family.add_metric([row.name], value(row))
            return family

        def failing(row: Backlog) -> float:
            return max(0.0, now_ms - row.failing_since_ms) / 1000 if row.failing_since_ms else 0.0

        yield gauge("backlog_events", "Events a consumer has yet to take.", lambda r: r.backlog)
        yield gauge(
            "backlog_oldest_seconds", "Age of the oldest of them.", lambda r: r.oldest_age_s
        )
        yield gauge("dead_letters", "Events refused for good.", lambda r: r.dead_letters)
        yield gauge("parked_events", "Events with tries of their own.", lambda r: r.parked)
        yield gauge("failing_seconds", "How long a consumer has taken nothing.", failing)
        yield gauge(
            "consumer_active",
            "0 for one that is paused, disabled or removed.",
            lambda r: r.state == "active",
        )
        yield counter("first_attempts", "Batches tried first.", lambda r: r.first_attempts)
        yield counter("retries", "Batches tried again.", lambda r: r.retries)
        yield counter("delivered_events", "Events a consumer took.", lambda r: r.delivered)
        yield counter("expired_events", "Events gone before it took them.", lambda r: r.expired)


def uptime(status: Status) -> str:
    """How long a process has lived, for people."""
    seconds = max(0, int(time.time() - float(status.get("started", time.time()))))
    hours, rest = divmod(seconds, 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
