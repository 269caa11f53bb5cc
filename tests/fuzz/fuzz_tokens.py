"""Forge tokens for as long as asked: 10,000,000 tries by default, none may be accepted.

    .venv/bin/python tests/fuzz/fuzz_tokens.py [tries]

Uses every core. What it does to a token, bench_metadata.py says.
"""

import multiprocessing
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from bench_metadata import forging


def main() -> None:
    """Share the tries among processes; exit 1 as soon as one of them succeeds."""
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    cores = os.cpu_count() or 1
    shares = [tries // cores + number for number in range(cores)]  # the number is the seed too
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        pool.map(forging, shares)
    print(f"{sum(shares):,} tokens were tried, none was accepted")


if __name__ == "__main__":
    main()
