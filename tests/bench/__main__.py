"""`make bench`: every benchmark of the project, one after another, each in its own process.

    python -m tests.bench [NAME ...]      # web, rewriting, reports, metadata, pipeline, smtp ...

Machines differ and are noisy: read the ratios within one run, not the absolute figures.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    found = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    wanted = sys.argv[1:] or list(found)
    unknown = [name for name in wanted if name not in found]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(found)}")
        return 2
    failed = []
    for name in wanted:
        print(f"\n== {name} ".ljust(80, "="), flush=True)
        if subprocess.run([sys.executable, str(found[name])], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
