"""What a monitor reads: every figure of deliveries and of back-pressure, by consumer and part."""

import re
import time
from pathlib import Path

import pytest
from flask import Flask

from sendback.admin.ops import Readings, blueprint
from sendback.bootstrap.readings import ConsumerReading
from sendback.model import Catalog

HOOK = ConsumerReading(
    name="hook",
    state="paused",
    backlog=7,
    oldest_age_s=60.5,
    first_attempts=3,
    retries=4,
    delivered=100,
    parked=2,
    dead_letters=1,
    expired=5,
    failing_since_ms=int(time.time() * 1000) - 90_000,
    reason="",
)


@pytest.fixture
def metrics():
    statuses = [
        {"part": "worker", "gauges": {"pressure": 0.93}, "degraded": ["nearly full"]},
        {"part": "smtp", "gauges": {"pressure": 0.95}},
        {"part": "smtp", "gauges": {"pressure": 0.91}},
        {"part": "web"},
    ]
    app = Flask("monitored")
    app.register_blueprint(
        blueprint(
            Readings(
                statuses=lambda: statuses,
                expected=frozenset({"web", "worker"}),
                backlogs=lambda: [HOOK],
                last_seq=lambda: 9,
                catalog=Catalog,
            )
        )
    )
    lines = app.test_client().get("/metrics").text.splitlines()
    # every metric is documented, and none that is not there
    text = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text()
    named = set(re.findall(r"^\| `(sendback_\w+)`", text, re.MULTILINE))
    named |= set(re.findall(r"^\| `sendback_\w+`, `(sendback_\w+)`", text, re.MULTILINE))
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == named
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backlog_events", 7), ("backlog_oldest_seconds", 60.5), ("dead_letters", 1),
        ("parked_events", 2), ("consumer_active", 0), ("first_attempts_total", 3),
        ("retries_total", 4), ("delivered_events_total", 100), ("expired_events_total", 5),
    ],
)  # fmt: skip
def test_every_figure_of_a_destination(metrics, name, value) -> None:
    assert metrics[f'sendback_{name}{{consumer="hook"}}'] == value


def test_how_long_it_takes_nothing(metrics) -> None:
    assert 89 < metrics['sendback_failing_seconds{consumer="hook"}'] < 600


def test_the_pressure_as_each_part_sees_it(metrics) -> None:
    """Found by reading: it was written for the metrics, and no metric showed it."""
    assert metrics['sendback_pressure_ratio{part="worker"}'] == 0.93
    assert metrics['sendback_pressure_ratio{part="smtp"}'] == 0.95
    assert 'sendback_pressure_ratio{part="web"}' not in metrics
