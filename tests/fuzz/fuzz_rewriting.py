"""The scanner against every judge, on mutants: 60 seconds in CI, a million of them at night.

    .venv/bin/python tests/fuzz/fuzz_rewriting.py [seconds [seed]]

Prints the first disagreement, shrunk, and exits 1. Each one found becomes a case in test_html.py.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/rewriting"))

import scanning
import test_html as judges

from sendback.errors import Malformed


def disagreement(document: bytes) -> str:
    """Which judge reads the document otherwise, or nothing."""
    without_nul = document.replace(b"\0", b"")
    try:
        mine = judges.ours(without_nul)
    except Malformed:
        return ""
    if mine != judges.by_html5lib(without_nul):
        return "html5lib"
    if judges.steered(document):
        return ""
    if scanning.by_scanner(document) != scanning.by_machine(document):
        return "machine"
    if set(mine) != judges.by_lexbor(without_nul):
        return "lexbor"
    return "turbohtml" if set(mine) != judges.by_turbohtml(without_nul) else ""


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
    random_ = random.Random(seed)
    documents = scanning.seeds()
    pieces = scanning.PIECES + judges.STEERING
    start, done = time.process_time(), 0
    while time.process_time() - start < seconds:
        if random_.random() < 0.3:
            document = b"".join(random_.choices(pieces, k=random_.randint(1, 30)))
        else:
            document = scanning.mutant(random_, documents)
        done += 1
        if disagreement(document):
            document = shrunk(document, disagreement)
            judge = disagreement(document)
            print(f"seed {seed}, mutant {done}: {judge} reads otherwise: {document!r}")
            return 1
    print(f"seed {seed}: {done} mutants, no disagreement")
    return 0


if __name__ == "__main__":
    sys.exit(main())
