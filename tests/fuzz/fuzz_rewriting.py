"""The scanner against every judge, on mutants: a share runs in test_fuzz.py.

    .venv/bin/python tests/fuzz/fuzz_rewriting.py [seconds [seed [mutants]]]

Ends after that many seconds of a core or that many mutants. Prints the first disagreement, shrunk,
and exits 1. Each one found becomes a case in test_html.py.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/rewriting"))

import judges
import scanning


def shrunk(document: bytes, wrong: Callable[[bytes], object]) -> bytes:
    for size in (64, 16, 4, 1, 1):
        at = 0
        while at < len(document):
            shorter = document[:at] + document[at + size :]
            if wrong(shorter):
                document = shorter
            else:
                at += size
    return document


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 2026
    most = int(sys.argv[3]) if len(sys.argv) > 3 else 10**9
    random_ = random.Random(seed)
    documents = scanning.seeds()
    pieces = scanning.PIECES + judges.STEERING
    steered = 0
    start, done = time.process_time(), 0
    while time.process_time() - start < seconds and done < most:
        if random_.random() < 0.3:
            document = b"".join(random_.choices(pieces, k=random_.randint(1, 40)))
        else:
            document = scanning.any_mutant(random_, documents)
        done += 1
        steered += judges.steered(document)
        if judges.disagreement(document):
            document = shrunk(document, judges.disagreement)
            judge = judges.disagreement(document)
            print(f"seed {seed}, mutant {done}: {judge} reads otherwise: {document!r}")
            return 1
    print(f"seed {seed}: {done} mutants, {steered} with a tree, no disagreement")
    return 0


if __name__ == "__main__":
    sys.exit(main())
