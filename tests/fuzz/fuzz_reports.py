"""100,000 mutated reports: no exception, no message over 50 ms.

    .venv/bin/python tests/fuzz/fuzz_reports.py [COUNT] [SEED]

Each is made from a message of tests/corpus/reports (and of the shared corpus where it lies beside
the checkout) by cutting, splicing, repeating and flipping bytes.
"""

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sendback.reports import parse

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "tests/corpus/reports", ROOT.parent / "shared/corpus/bounces/messages")
WORDS = (
    b"\n\n",
    b"\n",
    b"--",
    b"Content-Type: ",
    b"multipart/report; boundary=x\n\n--x\n",
    b"Final-Recipient: ",
    b"Action: failed\n",
    b"=",
    b"=3D",
    b"<",
    b">",
    b"@",
    b"\x00",
    b"\xff",
    b"550 5.1.1 ",
    b"Feedback-Type: ",
    b"X-Mailer-Info: ",
    b"base64",
    b"quoted-printable",
    b"charset=utf-16",
    b"charset=idna",
    b"\x1b$B",
)


def seeds() -> list[bytes]:
    """The messages that mutations start from."""
    paths = [path for folder in FOLDERS if folder.is_dir() for path in sorted(folder.rglob("*"))]
    return [path.read_bytes()[:65536] for path in paths if path.suffix in (".eml", ".txt")]


def mutations(count: int, seed: int) -> Iterator[bytes]:
    """That many mutated messages, the same for the same seed."""
    chance = random.Random(seed)
    originals = seeds()
    for _ in range(count):
        raw = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(raw) + 1)
            kind = chance.randrange(7)
            if kind == 0:
                del raw[at:]
            elif kind == 1:
                del raw[at : at + chance.randint(1, 400)]
            elif kind == 2:
                raw[at:at] = chance.choice(WORDS) * chance.randint(1, 20)
            elif kind == 3:
                other = chance.choice(originals)
                start = chance.randrange(len(other) + 1)
                raw[at:at] = other[start : start + chance.randint(1, 2000)]
            elif kind == 4:
                piece = bytes(raw[at : at + chance.randint(1, 300)])
                raw[at:at] = piece * chance.randint(1, 30)
            elif kind == 5 and raw:
                raw[at % len(raw)] = chance.randrange(256)
            else:
                raw[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 30)))
        yield bytes(raw)


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    slow = faults = 0
    worst = 0.0
    parse(b"From: MAILER-DAEMON\n\n<a@b.example>:\n550 user unknown\n")
    for number, raw in enumerate(mutations(count, seed)):
        start = time.process_time()
        report = parse(raw)
        took = time.process_time() - start
        worst = max(worst, took)
        slow += took > 0.05
        if any("parser fault" in step for step in report.explain):
            faults += 1
            print(f"fault at {number} (seed {seed}): {report.explain}")
    print(f"{count} samples, {faults} faults, {slow} over 50 ms, worst {worst * 1000:.1f} ms")
    return 1 if faults or slow else 0


if __name__ == "__main__":
    sys.exit(main())
