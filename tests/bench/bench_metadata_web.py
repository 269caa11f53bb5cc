"""Clicks over external metadata: CPU a request, cached and not, as a ratio to bare Flask.

    .venv/bin/python tests/bench/bench_metadata_web.py [rounds] [seconds a run]

As bench_web.py, whose runs, yardstick and journal check it uses. Postgres has its own CPU, which
is not counted. "Not cached" asks for 20,000 links in turn with a cache of two rows.
"""

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_web import Target, measure, report
from metadata_targets import issued

from fixtures.postgres import postgres_bin, running_postgres
from sendback.metadata.external_table import SCHEMA

TOKENS = 20_000


def main() -> None:
    """Print the table, then the goals that were missed."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    if not shutil.which("wrk") or postgres_bin() is None:
        sys.exit("bench_metadata_web needs wrk and PostgreSQL")
    with running_postgres() as server, tempfile.TemporaryDirectory() as folder:
        dsn = server.new_database()
        server.execute(SCHEMA, dsn.partition("dbname=")[2].split()[0])
        dsn = dsn.replace("host=127.0.0.1", f"host={server.folder}")
        made = issued(dsn, TOKENS)
        script = Path(folder) / "links.lua"
        script.write_text(lua(made))
        chosen = [
            Target("bare Flask, granian", "granian", "bare_flask", module="metadata_targets"),
            *(
                target(f"external, cached, {level}", made[0], "", 1000, dsn, level)
                for level in ("os", "disk")
            ),
            *(
                target(f"external, not cached, {level}", made[0], str(script), 2, dsn, level)
                for level in ("os", "disk")
            ),
        ]
        chosen[2].goal = (0.37, 0.37)
        chosen[4].goal = (0.5, 0.55)
        for _ in range(rounds):
            for one in chosen:
                for mode in ("KA", "NC"):
                    measure(one, mode, seconds)
        report(chosen)


def target(name: str, token: str, script: str, cache: int, dsn: str, level: str) -> Target:
    environment = {"BENCH_DSN": dsn, "BENCH_CACHE": str(cache), "BENCH_CONNECTIONS": "2"}
    return Target(
        name,
        "granian",
        "external",
        f"/click?{token}",
        level,
        module="metadata_targets",
        script=script,
        environment=environment,
    )


def lua(made: list[str]) -> str:
    """A wrk script that asks for each token in turn."""
    paths = ",".join(f'"/click?{token}"' for token in made)
    return (
        f"local paths = {{{paths}}}\nlocal n = 0\n"
        "request = function()\n  n = n % #paths + 1\n  return wrk.format(nil, paths[n])\nend\n"
    )


if __name__ == "__main__":
    main()
