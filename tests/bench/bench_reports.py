"""Speed of reading returned mail: messages a second on one core, beside the standard library.

    .venv/bin/python tests/bench/bench_reports.py [seconds]

CPU time (process_time) over the shared corpus where it lies beside the checkout, else over our
own. "first sight" forgets remembered verdicts before every pass; bursts of equal bounces go faster.
"""

import email
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sendback.reports import parse, rules

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared/corpus/bounces/messages"
GOAL = 2500
WORST_GOAL = 0.05
HEAD = b"From: MAILER-DAEMON@example.org\nSubject: Undelivered Mail\n"
UNITS = (
    b"a",
    b"a@b.c\n",
    b"<",
    b"\n",
    b"user unknown ",
    b"Final-Recipient: rfc822; a@b.c\nAction: failed\n",
)


def messages() -> list[bytes]:
    """What is read."""
    folder = SHARED if SHARED.is_dir() else ROOT / "tests/corpus/reports"
    return [p.read_bytes() for p in sorted(folder.rglob("*")) if p.suffix in (".eml", ".txt")]


def rate(
    work: Callable[[bytes], object], raws: list[bytes], seconds: float, before: Callable[[], None]
) -> float:
    """Messages a second, best pass of as many as fit."""
    best, end = 0.0, time.process_time() + seconds
    while time.process_time() < end:
        before()
        start = time.process_time()
        for raw in raws:
            work(raw)
        best = max(best, len(raws) / (time.process_time() - start))
    return best


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    raws = messages()
    for raw in raws:
        parse(raw)
    forget = rules._general.cache_clear
    size = sum(map(len, raws)) / len(raws)
    first = rate(parse, raws, seconds, forget)
    again = rate(parse, raws, seconds, lambda: None)
    library = rate(email.message_from_bytes, raws, seconds, lambda: None)
    print(f"{len(raws)} messages of {size:.0f} bytes on average")
    print(f"parse, first sight   {first:8.0f} messages/s (goal {GOAL})")
    print(f"parse, remembered    {again:8.0f} messages/s")
    print(
        f"email, parsing only  {library:8.0f} messages/s; parse reaches {first / library:.2f} of it"
    )
    worst = 0.0
    for unit in UNITS:
        start = time.process_time()
        parse(HEAD + b"\n" + unit * (512 * 1024 // len(unit)))
        worst = max(worst, time.process_time() - start)
    print(f"worst of {len(UNITS)} hostile messages of 512 KB: {worst * 1000:.1f} ms (goal 50)")
    return 0 if first >= GOAL and worst <= WORST_GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
