"""Hostile input costs linear time: four times the input, about four times the work."""

import importlib.util
import time
from pathlib import Path

import pytest

from sendback.rewriting import Options, plan

_spec = importlib.util.spec_from_file_location(
    "bench_rewriting", Path(__file__).parents[2] / "bench/bench_rewriting.py"
)
assert _spec is not None
assert _spec.loader is not None
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)

TEXT = {
    "brackets": lambda n: b"http://e/" + b")" * n,
    "urls": lambda n: b"http://e/ " * (n // 10),
    "schemes": lambda n: b"http://" * (n // 7),
    "colons": lambda n: b"://" * (n // 3),
    "flowed": lambda n: b"http://e/x \r\n" + b"y \r\n" * (n // 4),
}


def spent(raw: bytes) -> float:
    best = 1e9
    for _ in range(3):
        start = time.process_time()
        made = plan(raw, Options(track_text_links=True, max_links=1_000_000, max_url=1 << 30))
        made.render(["https://e.example/click?x"] * len(made.links), pixel_url="https://e/open?x")
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable"])
@pytest.mark.parametrize("name", list(bench.HOSTILE))
def test_html(name: str, encoding: str) -> None:
    check(b"text/html", encoding.encode(), bench.HOSTILE[name])


@pytest.mark.parametrize("name", list(TEXT))
def test_text(name: str) -> None:
    check(b"text/plain; format=flowed; delsp=yes", b"8bit", TEXT[name])


def check(kind: bytes, encoding: bytes, make) -> None:
    head = b"Content-Type: %s\nContent-Transfer-Encoding: %s\n\n" % (kind, encoding)
    small, large = spent(head + make(20_000)), spent(head + make(80_000))
    # Quadratic work would be sixteen times as much; a few milliseconds are noise.
    assert large < 9 * small + 0.01
