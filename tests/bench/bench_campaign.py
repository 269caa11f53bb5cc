"""Tagging a campaign: CPU a message through the whole use case, for the three storages.

    .venv/bin/python tests/bench/bench_campaign.py [rounds] [seconds a round] [--profile]

The message: a newsletter of 10.2 KB (8bit) or 10.9 KB (quoted-printable), multipart/alternative,
with 19 links in its HTML part of which one is a `##unsubscribetag##`, an open pixel,
List-Unsubscribe, and all headers of a mail class with default settings; each recipient's copy
differs by name and greeting. One send, one mail class, one day. "One each": a message submitted for
each recipient, so it is read, planned, its tokens issued, and rendered; "one for all": planned
once, the rest for each recipient.

Twenty coroutines hand in messages, each the next one when it has its answer, the way the
submission process has them (`sendback.smtp.together`): so the rows of several messages share one
round trip or commit. Stateless metadata waits for nothing and is tagged at once. What counts is the
CPU of this process (process_time), which Postgres and its disk are not part of; the goal, 2,000
messages/s on one core, is 500 us. Medians over the rounds, and the least: on a machine with other
work the same round costs half as much again. The wall clock is in no figure.
"""

import argparse
import asyncio
import contextlib
import cProfile
import itertools
import pstats
import quopri
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.postgres import postgres_bin, running_postgres
from sendback.metadata import Issued, Metadata
from sendback.metadata.external import ExternalStore
from sendback.metadata.external_table import SCHEMA
from sendback.metadata.local import LocalStore
from sendback.model import (
    BounceMailbox,
    Catalog,
    LinkFacts,
    MailClass,
    MessageFacts,
    Storage,
    UrlDomain,
)
from sendback.secret_constants import Keyring
from sendback.smtp.together import Together
from sendback.tagging import Prepared, Tagging

RING = Keyring.from_constants(bytes(range(32)), bytes(range(32, 64)))
CATALOG = Catalog(
    url_domains=(UrlDomain(domain="links.example.com", tls=True, default=True),),
    mail_classes=(
        MailClass(
            name="newsletter",
            default=True,
            track_clicks=True,
            track_opens=True,
            unsubscribe_links=True,
        ),
    ),
    bounce_mailboxes=(BounceMailbox(address="bounce@links.example.com"),),
)
CLIENTS = 20
GOAL = 500.0
LINKS = 19


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("seconds", nargs="?", type=float, default=1.0)
    parser.add_argument("--profile", action="store_true", help="one thread, external, cProfile")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, stores(Path(folder)) as found:
        if options.profile:
            profile(found[Storage.EXTERNAL], Storage.EXTERNAL)
            return
        sizes = ", ".join(f"{len(message(0, kind)):,} octets {kind}" for kind in ENCODINGS)
        print(f"CPU us a message, median / least (messages/s on one core): {sizes}, {LINKS} links")
        print(f"{'':34}{'external':>23}{'local':>23}{'stateless':>23}")
        for kind in ENCODINGS:
            row(f"one each, {kind}", found, options, partial(each, encoding=kind))
        row("one for all, 8bit", found, options, one_for_all)
        row(f"tokens alone, {LINKS} links", found, options, issue_alone)
        row("tokens, one link for him alone", found, options, partial(issue_alone, own=True))
        print(f"goal with external storage: {GOAL:.0f} us, 2,000 messages/s")


# -- what is tagged ------------------------------------------------------------------------------

ENCODINGS = ("8bit", "quoted-printable")
_STORY = (
    '<tr><td style="padding:18px 24px 6px 24px;font-family:Arial,Helvetica,sans-serif;'
    'font-size:15px;line-height:22px;color:#333333">\n'
    '<h2 style="margin:0 0 8px 0;font-size:19px">'
    '<a href="https://www.example.com/magazine/2026/11/{n}/a-story-that-has-a-rather-long-name?'
    'utm_source=newsletter&amp;utm_medium=email&amp;utm_campaign=week-48" style="color:#1a3f6b;'
    'text-decoration:none">A headline about something, number {n}</a></h2>\n'
    "Two or three sentences stand below it. They say what the story is about, in words that make "
    "people curious; \u201cmore than enough\u201d, as one reader wrote.</td></tr>\n"
    '<tr><td style="padding:0 24px 12px 24px">'
    '<a href="https://shop.example.com/products/{n}?utm_source=newsletter&amp;pos={n}"'
    ' style="color:#ffffff;background:#1a3f6b;padding:8px 14px;text-decoration:none">Read on</a>'
    "</td></tr>\n"
)
_PAGE = (
    '<!DOCTYPE html><html><head><meta charset="utf-8"><title>The week</title>'
    "<style>body{{margin:0}}@media (max-width:600px){{table{{width:100%!important}}}}</style>"
    '</head>\n<body style="margin:0;background:#f4f4f4">\n'
    '<table width="600" align="center" cellpadding="0" cellspacing="0" border="0"'
    ' style="background:#ffffff"><tr><td style="padding:24px">Dear reader {number},<br>'
    "here is what happened this week.</td></tr>\n"
    + "".join(_STORY.format(n=n) for n in range(1, (LINKS + 1) // 2))
    + '<tr><td style="padding:24px;font-size:12px;color:#777777">You get this because you '
    'asked for it.\n<a href="##unsubscribetag##https://www.example.com/unsubscribe">'
    "Unsubscribe</a></td></tr></table></body></html>\n"
)
_TEXT = (
    "Dear reader {number},\n\nhere is what happened this week.\n\n"
    + "A headline, and two or three sentences that say what the story is about, in words.\n\n" * 20
)
_HEAD = (
    "Received: from app.example.com by mail.example.com; Tue, 24 Nov 2026 10:00:00 +0000\n"
    "From: The Week <news@example.com>\nTo: reader{number}@example.org\n"
    "Subject: =?utf-8?q?What_happened_this_week?=\nMessage-ID: <{number}.48@example.com>\n"
    "Date: Tue, 24 Nov 2026 10:00:00 +0000\nX-GreenArrow-MailClass: newsletter\n"
    "X-GreenArrow-Click-Tracking-ID: {number}\nMIME-Version: 1.0\n"
    'Content-Type: multipart/alternative; boundary="=_48"\n'
)
_PART = "\n--=_48\nContent-Type: text/{}; charset=utf-8\nContent-Transfer-Encoding: {}\n\n"


def message(number: int, encoding: str) -> bytes:
    """The copy of one recipient."""
    page, text = _PAGE.format(number=number).encode(), _TEXT.format(number=number).encode()
    if encoding != "8bit":
        page, text = quopri.encodestring(page), quopri.encodestring(text)
    raw = _HEAD.format(number=number).encode()
    for kind, body in (("plain", text), ("html", page)):
        raw += _PART.format(kind, encoding).encode() + body
    return (raw + b"\n--=_48--\n").replace(b"\n", b"\r\n")


#: What a coroutine hands in.
Job = TypeVar("Job")


class Workload(Generic[Job]):
    """Jobs by number, and what does many of them."""

    def __init__(
        self, job: Callable[[int], Job], work: Callable[[Sequence[Job]], Sequence[object]]
    ) -> None:
        self.job, self.work = job, work


def each(metadata: Metadata, storage: Storage, encoding: str) -> Workload[tuple[Prepared, str]]:
    """A message submitted for each recipient."""
    tagging = Tagging(metadata, lambda: CATALOG, default_storage=storage)
    copies = [message(number, encoding) for number in range(500)]

    def job(number: int) -> tuple[Prepared, str]:
        prepared = tagging.prepare(copies[number % 500], mail_from="news@example.com")
        return prepared, f"reader{number}@example.org"

    return Workload(job, partial(tag_many, tagging, storage))


def one_for_all(metadata: Metadata, storage: Storage) -> Workload[tuple[Prepared, str]]:
    """One message with many recipients, or a list server's."""
    tagging = Tagging(metadata, lambda: CATALOG, default_storage=storage)
    prepared = tagging.prepare(message(0, "8bit"), mail_from="news@example.com")
    return Workload(
        lambda number: (prepared, f"reader{number}@example.org"),
        partial(tag_many, tagging, storage),
    )


def tag_many(
    tagging: Tagging, storage: Storage, jobs: Sequence[tuple[Prepared, str]]
) -> Sequence[object]:
    tagged = tagging.tag_many(jobs)
    assert all(one.storage is storage and len(one.links) == LINKS for one in tagged)
    return tagged


def issue_alone(
    metadata: Metadata, storage: Storage, *, own: bool = False
) -> Workload[tuple[MessageFacts, Sequence[LinkFacts]]]:
    """The metadata's share. `own`: one link holds the recipient's number, so it has its own row."""
    links = [
        LinkFacts(url=f"https://www.example.com/story/{n}?utm_source=newsletter", pos=n)
        for n in range(1, LINKS + 1)
    ]

    def job(number: int) -> tuple[MessageFacts, Sequence[LinkFacts]]:
        facts = MessageFacts(
            email=f"reader{number}@example.org", listid="newsletter", sendid="newsletter20261124",
            click_tracking_id=str(number), mail_class="newsletter",
            url_domain="links.example.com", tagged_at=1_795_514_400,
        )  # fmt: skip
        if not own:
            return facts, links
        return facts, [*links[:-1], LinkFacts(url=f"https://example.com/u/{number}", pos=LINKS)]

    def work(jobs: Sequence[tuple[MessageFacts, Sequence[LinkFacts]]]) -> Sequence[object]:
        issued = metadata.issue_many(storage, jobs)
        assert all(isinstance(one, Issued) and one.storage is storage for one in issued)
        return issued

    return Workload(job, work)


# -- measuring -----------------------------------------------------------------------------------


@contextlib.contextmanager
def stores(folder: Path) -> Iterator[dict[Storage, Metadata]]:
    """Every storage that this machine has, external on a new Postgres over its socket."""
    local = LocalStore(folder / "metadata.sqlite")
    made = {Storage.LOCAL: Metadata(RING, local=local), Storage.STATELESS: Metadata(RING)}
    with contextlib.ExitStack() as stack:
        stack.callback(local.close)
        if postgres_bin() is None:
            print("no PostgreSQL here: nothing is measured with external storage")
        else:
            server = stack.enter_context(running_postgres())
            dsn = server.new_database()
            name = dsn.partition("dbname=")[2].split()[0]
            server.execute(SCHEMA, name)
            # Deadlines as long as it takes: what is measured is CPU, on whatever busy machine.
            store = ExternalStore(server.dsn(name, socket=True), send_deadline=10)
            stack.callback(store.close)
            made[Storage.EXTERNAL] = Metadata(RING, external=store)
        yield made


_numbers = itertools.count()


async def spent(load: Workload[Any], seconds: float, *, waits: bool) -> float:
    """CPU microseconds of this process for one job."""
    count = 0

    async def hand_in() -> None:
        nonlocal count
        while time.monotonic() - begin < seconds:
            job = load.job(next(_numbers))
            if waits:
                await together.do(job)
            else:
                load.work((job,))
            count += 1

    with ThreadPoolExecutor(8) as threads:
        together: Together[Any, Any] = Together(load.work, threads)
        await together.do(load.job(next(_numbers)))  # connections and link rows are there
        begin, start = time.monotonic(), time.process_time()
        await asyncio.gather(*(hand_in() for _ in range(CLIENTS if waits else 1)))
        return (time.process_time() - start) / count * 1e6


def row(
    name: str,
    made: dict[Storage, Metadata],
    options: argparse.Namespace,
    prepare: Callable[[Metadata, Storage], Workload[Any]],
) -> None:
    """One line of the table."""
    cells = ""
    for storage in (Storage.EXTERNAL, Storage.LOCAL, Storage.STATELESS):
        if storage not in made:
            cells += f"{'-':>23}"
            continue
        load = prepare(made[storage], storage)
        waits = storage is not Storage.STATELESS
        rounds = [
            asyncio.run(spent(load, options.seconds, waits=waits)) for _ in range(options.rounds)
        ]
        found = statistics.median(rounds)
        cells += f"{found:8.0f} /{min(rounds):4.0f} ({1e6 / found:5.0f}/s)"
    print(f"{name:34}{cells}", flush=True)


def profile(metadata: Metadata, storage: Storage) -> None:
    """Where the time of "one each" goes, twenty at a time."""
    for kind in ENCODINGS:
        load = each(metadata, storage, kind)
        profiler = cProfile.Profile(time.process_time)
        profiler.enable()
        for _ in range(100):
            load.work([load.job(next(_numbers)) for _ in range(CLIENTS)])
        profiler.disable()
        print(kind)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(28)


if __name__ == "__main__":
    main()
