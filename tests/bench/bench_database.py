"""Main database: statistics and counting a second of CPU, big catalogs, start of a command.

Prints events or rows per second of our own CPU time on SQLite (durable, WAL FULL).
"""

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import sqlalchemy as sa

from sendback.bounces import Counting, CountingRules
from sendback.database import upgrade
from sendback.database.catalog import CatalogStore
from sendback.database.counts import BounceCounts
from sendback.database.engine import Database
from sendback.database.schema import catalog_objects
from sendback.database.snapshot import SnapshotFile, write_snapshot
from sendback.database.statistics import Statistics
from sendback.database.suppression import Suppression
from sendback.model import BounceAll, Click, Open, UrlDomain
from sendback.model.bounce import Bounce

EVENTS, BATCH = 60_000, 1000
DOMAINS = 100_000


class Logged(msgspec.Struct):
    seq: int
    type: str
    time_ms: int
    event_id: str
    body: bytes


def events() -> list[Logged]:
    """A third clicks on 40 links of 5 sends, opens, some bounces; as many people as events."""
    made = []
    pick = random.Random(1)
    for seq in range(1, EVENTS + 1):
        common = {
            "event_time": 1_790_000_000 + seq // 10,
            "event_time_ms": (1_790_000_000 + seq // 10) * 1000,
            "event_unique_id": str(seq),
            "email": f"u{pick.randrange(EVENTS)}@d{seq % 50}.example",
            "listid": "news",
            "sendid": f"s{seq % 5}",
            "click_tracking_id": str(seq),
        }
        if seq % 3 == 0:
            event = Click(click_url=f"https://x.example/{seq % 40}?q={seq}", **common)
        elif seq % 50 == 1:
            event = BounceAll(bounce_type="h", bounce_code=10, **common)
        else:
            event = Open(is_bot=seq % 2 == 0, **common)
        tag = str(type(event).__struct_config__.tag)
        body = msgspec.json.encode(event)
        made.append(Logged(seq, tag, event.event_time_ms, str(seq), body))
    return made


def cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def consume(consumer: Statistics | Suppression | Counting, batch: list[Logged]) -> float:
    return cpu(
        lambda: [consumer.consume(batch[at : at + BATCH]) for at in range(0, len(batch), BATCH)]
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database.in_directory(Path(folder))
        upgrade.upgrade(database)
        batch = events()
        counting = Counting(BounceCounts(database, "me"), CountingRules())
        for name, consumer in (
            ("statistics", Statistics(database, "me")),
            ("suppression", Suppression(database, "me")),
            ("signs of life", counting),
        ):
            print(f"{name:14} {EVENTS / consume(consumer, batch):10,.0f} events/s")
        bounces = [
            Bounce(email=f"u{i % 4000}@x.example", reason="hostunknown", bounce_type="h",
                   hard=True, bad_address=True, time_ms=i, record_id=i.to_bytes(16, "big"))
            for i in range(10_000)
        ]  # fmt: skip
        took = cpu(lambda: [counting.count(bounces[at : at + 100]) for at in range(0, 10_000, 100)])
        print(f"{'counted':14} {10_000 / took:10,.0f} bounces/s, batches of 100")
        took = cpu(lambda: [counting.count([one]) for one in bounces[:500]])
        print(f"{'replayed':14} {500 / took:10,.0f} bounces/s, one by one")
        big_catalog(database, Path(folder) / "catalog.snapshot")
        database.close()
        start_of_a_command(folder)


def big_catalog(database: Database, path: Path) -> None:
    rows = [
        {"kind": "url_domain", "name": domain.domain, "version": 1, "created_ms": 0,
         "updated_ms": 0, "body": msgspec.json.encode(domain).decode()}
        for domain in (UrlDomain(domain=f"d{i}.example") for i in range(DOMAINS))
    ]  # fmt: skip
    with database.write() as connection:
        connection.execute(sa.insert(catalog_objects), rows)
    store = CatalogStore(database)
    loaded = cpu(store.load)
    catalog = store.load()
    written = cpu(lambda: write_snapshot(path, catalog))
    file = SnapshotFile(path)
    read = cpu(file.current)
    by_host = file.current().url_domain_by_host
    found = cpu(lambda: [by_host.get(f"d{i}.example") for i in range(100_000)])
    print(f"{DOMAINS:,} URL domains: load {loaded:.2f} s, snapshot written {written:.2f} s,")
    print(f"  read {read:.2f} s; a look-up {found * 10:.2f} us")


def start_of_a_command(folder: str) -> None:
    command = [
        sys.executable,
        "-m",
        "sendback",
        "mail-class",
        "list",
        "--json",
        "--data-dir",
        folder,
    ]
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(f"`sendback mail-class list`: {sorted(times)[2]:.2f} s of CPU")


if __name__ == "__main__":
    main()
