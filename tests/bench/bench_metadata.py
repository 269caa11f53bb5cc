"""Metadata: how long links are, what a token costs, what forging gains, what Postgres costs.

    .venv/bin/python tests/bench/bench_metadata.py [--forge 10000000] [--quick]

Figures are microseconds of this process's CPU, with their ratio to one JSON + base64 + HMAC
serialiser doing the same in the same run; read the ratios. Lengths are characters and exact.
"""

import argparse
import base64
import contextlib
import hashlib
import hmac
import html
import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.postgres import postgres_bin, running_postgres
from sendback import tokens
from sendback.errors import SendbackError
from sendback.metadata import Metadata
from sendback.metadata.external import ExternalStore
from sendback.metadata.external_table import SCHEMA
from sendback.metadata.local import LocalStore
from sendback.model import LinkFacts, MessageFacts, Storage
from sendback.secret_constants import Keyring, Purpose
from sendback.tokens import Version

RING = Keyring.from_constants(bytes(range(32)), bytes(range(32, 64)))
NOW = 1_795_514_400
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
EMAILS = (
    "anna.kowalska@gmail.com", "j.smith@example.org", "info@baeckerei-schmidt.example",
    "m@t.example", "christopher.van.der.berg@students.university.example", "li.wei88@qq.com",
)  # fmt: skip
#: Shapes of links as shops, newspapers, banks, software and clubs send them; none is real.
URLS = (
    "https://www.example.com/",
    "https://shop.example.com/linen-shirt?variant=39871&utm_source=newsletter&utm_campaign=spring",
    "https://www.daily.example/2026/11/24/politics/budget-vote-delayed-again.html?smid=nl",
    "https://app.example.io/invite/8f14e45f-ceea-467f-a0e6-d1c3c5b2a7e9",
    "https://bank.example/login?redirect=%2Fstatements%2F2026-11",
    "http://verein-musterstadt.example/termine.php?id=42",
    "https://github.com/example/project/pull/1187#discussion_r1299384",
    "https://www.example.co.uk/gp/product/B0C4XYZ123/ref=pe_27063010_485629890_em_1p_0_ti",
    "https://play.google.com/store/apps/details?id=com.example.reader&referrer=utm_source%3Dmail",
    "https://calendar.example.com/event?action=TEMPLATE&eid=NzBsczVqcmE0bGJ0YjE2b2xxZ3Q&ctz=UTC",
    "https://events.example.org/e/tickets-for-the-autumn-concert-723450912345?aff=odcleoeventsincol",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PL590L5WQmH8fJ54F&index=3",
    "https://jobs.example.net/apply/49211?token=9b2c1f0e7d6a5b4c3d2e1f0a9b8c7d6e&lang=en",
    "https://x.example/a",
    "https://mail.example.com/preferences?u=5d41402abc4b2a76b9719d911&id=7d793037a0&e=c4ca4238a0",
    "https://www.example.fr/panier?utm_source=relance&utm_medium=email&utm_content=bouton&id=88123",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forge", type=int, default=200_000)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    lengths()
    with tempfile.TemporaryDirectory() as folder, external() as stores:
        costs(Path(folder), stores, 0.05 if options.quick else 0.4)
    forging(options.forge)


# -- lengths -------------------------------------------------------------------------------------


def messages() -> list[MessageFacts]:
    return [
        MessageFacts(
            email=email,
            listid="newsletter",
            sendid="newsletter20261124",
            click_tracking_id="" if number % 2 else str(70_000 + number),
            mail_class="newsletter",
            url_domain="links.example.com",
            tagged_at=NOW + number * 7919,
            html_links=20,
        )
        for number, email in enumerate(EMAILS)
    ]


def lengths() -> None:
    """Characters of the token; a click link adds scheme, domain and `/click?`."""
    with_dictionary, without = Metadata(RING), Metadata(RING, compress=False)
    print("Characters of a stateless token (message and link; links add https://DOMAIN/click?)")
    print(f"{'':30}{'links':>7}{'mean':>8}{'p10':>6}{'p50':>6}{'p90':>6}{'p99':>6}{'x JSON':>8}")
    for name, urls in (("shapes in this file", URLS), ("HTML and mail of the corpus", corpus())):
        if not urls:
            print(f"{name}: not beside this checkout")
            continue
        links = [LinkFacts(url=url, pos=number % 20 + 1) for number, url in enumerate(urls)]
        pairs = [(message, link) for message in messages() for link in links]
        plain_json = [len(json_token(message, link)) for message, link in pairs]
        for label, sizes in (
            ("with dictionary", [size_of(with_dictionary, *pair) for pair in pairs]),
            ("without", [size_of(without, *pair) for pair in pairs]),
            ("JSON + base64 + HMAC", plain_json),
        ):
            kept = [size for size in sizes if size]
            ratio = statistics.mean(kept) / statistics.mean(plain_json)
            marks = "".join(f"{percentile(kept, p):6d}" for p in (10, 50, 90, 99))
            print(
                f"{name[:12] + ': ' + label:30}{len(links):7d}{statistics.mean(kept):8.1f}"
                f"{marks}{ratio:8.2f}"
            )
    print("\nCharacters beyond the domain of a whole link (https:// and path included)")
    with tempfile.TemporaryDirectory() as folder, external() as stores:
        local = Metadata(RING, local=LocalStore(Path(folder) / "metadata.sqlite"))
        long_path = LinkFacts(url="https://example.com/" + "path/" * 40)
        query = "?utm_source=newsletter&id=12345"
        whole = len("https://") + len("/click?")
        print(f"  local                    {whole + size_of(local, messages()[0], long_path)}")
        with_query = size_of(local, messages()[0], LinkFacts(url=long_path.url + query))
        print(
            f"  local, query of {len(query):2d}       {whole + with_query}"
            f" ({-(-len(query) * 4 // 3)} of them the encoded query)"
        )
        for store in stores:
            both = Metadata(RING, external=store)
            print(
                f"  external, any URL        {whole + size_of(both, messages()[0], long_path, 2)}"
            )
            uni = LinkFacts(url=long_path.url, universal=True)
            print(f"  external, /uni/click     {whole + 4 + size_of(both, messages()[0], uni, 2)}")
        local.close()


def corpus() -> list[str]:
    """The http(s) links of the shared corpus' pages and messages, each once."""
    found = set()
    for path in [*CORPUS.glob("html/**/*"), *CORPUS.glob("eml/*")]:
        if path.is_file():
            text = path.read_bytes().decode("latin-1")
            found.update(re.findall(r"""href=["']?(https?://[^"'\s>]+)""", text))
    return sorted(html.unescape(url) for url in found)


def size_of(metadata: Metadata, message: MessageFacts, link: LinkFacts, storage: int = 0) -> int:
    chosen = Storage.EXTERNAL if storage else (
        Storage.LOCAL if metadata.local is not None else Storage.STATELESS
    )  # fmt: skip
    return len(metadata.issue(chosen, message, [link]).link_tokens[0][1])


def json_token(message: MessageFacts, link: LinkFacts) -> str:
    """What peers do: the facts as JSON, base64, a 96 bit MAC."""
    values = {
        "email": message.email, "listid": message.listid, "sendid": message.sendid,
        "click_tracking_id": message.click_tracking_id, "mail_class": message.mail_class,
        "url_domain": message.url_domain, "tagged_at": message.tagged_at, "url": link.url,
        "pos": link.pos, "html_or_text": link.html_or_text,
    }  # fmt: skip
    body = json.dumps(values, separators=(",", ":")).encode()
    tag = hmac.digest(b"k" * 32, body, "sha256")[:12]
    return base64.urlsafe_b64encode(body + tag).decode().rstrip("=")


def open_json_token(text: str) -> dict[str, object]:
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if not hmac.compare_digest(hmac.digest(b"k" * 32, raw[:-12], "sha256")[:12], raw[-12:]):
        raise ValueError
    return json.loads(raw[:-12])  # type: ignore[no-any-return]


def percentile(values: list[int], percent: int) -> int:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


# -- costs ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def external() -> Iterator[list[ExternalStore]]:
    """One store on a new Postgres; none where there is no Postgres."""
    if postgres_bin() is None:
        print("no PostgreSQL here: nothing is measured with external storage")
        yield []
        return
    with running_postgres() as server:
        dsn = server.new_database()
        server.execute(SCHEMA, dsn.partition("dbname=")[2].split()[0])
        dsn = dsn.replace("host=127.0.0.1", f"host={server.folder}")
        store = ExternalStore(dsn, send_deadline=5, click_deadline=5)
        store.dsn = dsn  # type: ignore[attr-defined]
        yield [store]
        store.close()


def cpu(action: Callable[[], object], seconds: float) -> float:
    """Microseconds of CPU a call, the median of five stretches."""
    action()
    rounds = []
    for _ in range(5):
        count, start = 0, time.process_time()
        while time.process_time() - start < seconds / 5:
            for _ in range(20):
                action()
            count += 20
        rounds.append((time.process_time() - start) / count * 1e6)
    return statistics.median(rounds)


def costs(folder: Path, stores: list[ExternalStore], seconds: float) -> None:
    message, links = (
        messages()[0],
        [LinkFacts(url=url, pos=n) for n, url in enumerate(URLS[:10], 1)],
    )
    one = links[:1]
    plain = json_token(message, links[0])
    yardstick = cpu(lambda: open_json_token(plain), seconds)
    print(f"\nCPU us of one call (x: ratio to opening JSON + base64 + HMAC, {yardstick:.2f} us)")

    def line(name: str, action: Callable[[], object], note: str = "") -> float:
        spent = cpu(action, seconds)
        print(f"  {name:46}{spent:9.2f}{spent / yardstick:8.2f}x  {note}")
        return spent

    stateless, flat = Metadata(RING), Metadata(RING, compress=False)
    local = Metadata(RING, local=LocalStore(folder / "metadata.sqlite"))
    for name, metadata, storage in (
        ("stateless", stateless, Storage.STATELESS),
        ("stateless, uncompressed", flat, Storage.STATELESS),
        ("local", local, Storage.LOCAL),
    ):
        token = metadata.issue(storage, message, one).link_tokens[0][1].encode()
        line(f"link, {name}", lambda m=metadata, t=token: m.link(Purpose.CLICK, t), "goal 4-5 us")
        line(f"resolve, {name}", lambda m=metadata, t=token: m.resolve(Purpose.CLICK, t))
    forged = tokens.encode(bytes((Version.STATELESS, RING.key_id)) + bytes(120)).encode()
    for name, junk in (
        ("forged, 160 characters", forged),
        ("forged, 8 KB", tokens.encode(bytes((2, RING.key_id)) + bytes(6000)).encode()),
        ("no base64", b"!" * 160),
        ("unknown version", b"f" * 160),
    ):
        line(f"junk: {name}", lambda j=junk: refused(stateless, j), "goal < 50 us")
    for name, metadata, storage in (
        ("stateless", stateless, Storage.STATELESS),
        ("local", local, Storage.LOCAL),
        ("external, not configured", stateless, Storage.EXTERNAL),
    ):
        line(f"issue 10 links, {name}", lambda m=metadata, s=storage: m.issue(s, message, links))
    for store in stores:
        with_external(store, message, links, line)
    local.close()


def with_external(
    store: ExternalStore, message: MessageFacts, links: list[LinkFacts], line: Callable[..., float]
) -> None:
    both = Metadata(RING, external=store)
    token = both.issue(Storage.EXTERNAL, message, links).link_tokens[0][1].encode()
    line("link, external, cached", lambda: both.link(Purpose.CLICK, token))
    made = [
        both.issue(
            Storage.EXTERNAL, message, [LinkFacts(url=f"https://example.com/{n}")]
        ).link_tokens[0][1].encode()
        for n in range(2000)
    ]  # fmt: skip
    reader = ExternalStore(store.dsn, cached_rows=2)  # type: ignore[attr-defined]
    forgetful = Metadata(RING, external=reader)
    turn = iter(made * 1000)
    line("link, external, not cached, socket", lambda: forgetful.link(Purpose.CLICK, next(turn)))
    line(
        "issue 10 links, external, one at a time",
        lambda: both.issue(Storage.EXTERNAL, message, links),
        "many at a time: bench_campaign.py",
    )
    reader.close()
    gone = ExternalStore("host=127.0.0.1 port=1 dbname=x user=x")
    down = Metadata(RING, external=gone)
    for _ in range(4):
        down.issue(Storage.EXTERNAL, message, links)
    assert gone.counters()["breakers_open"] == 1
    line(
        "issue 10 links, breaker open (goes stateless)",
        lambda: down.issue(Storage.EXTERNAL, message, links),
        "goal < 1000 us more than stateless",
    )
    gone.close()


def refused(metadata: Metadata, token: bytes) -> None:
    try:
        metadata.link(Purpose.CLICK, token)
    except SendbackError:
        return
    raise AssertionError("a forged token was accepted")


# -- forging -------------------------------------------------------------------------------------


def forging(count: int) -> None:
    """Random and mutated tokens of every version, and what of it was accepted."""
    randomness = random.Random(count)
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    genuine = [
        tokens.seal(RING, Purpose.CLICK, version, hashlib.sha256(bytes((n,))).digest()).encode()
        for n in range(8)
        for version in (
            Version.STATELESS,
            Version.STATELESS_DEFLATED,
            Version.EXTERNAL,
            Version.LOCAL,
        )
    ]
    known = set(genuine)
    accepted, start = 0, time.process_time()
    for number in range(count):
        if number % 4:
            text = bytearray(genuine[number % len(genuine)])
            for _ in range(number % 3 + 1):
                text[randomness.randrange(len(text))] = alphabet[randomness.randrange(64)]
        else:
            size = randomness.choice((22, 23, 51, 60, 110))
            text = bytearray(tokens.encode(bytes((number % 5, RING.key_id))) + "A" * size, "ascii")
            text[3:] = bytes(randomness.choices(alphabet, k=len(text) - 3))
        try:
            tokens.open(RING, Purpose.CLICK, bytes(text))
            accepted += bytes(text) not in known
        except SendbackError:
            pass
    spent = (time.process_time() - start) / count * 1e6
    print(
        f"\nForging: {count:,} random and mutated tokens, accepted {accepted}; {spent:.1f} us each"
    )
    if accepted:
        raise AssertionError("a forged token was accepted")


if __name__ == "__main__":
    main()
