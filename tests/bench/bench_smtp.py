"""Both ports: CPU of the server process for a message, in one run.

    python tests/bench/bench_smtp.py [--quick]

The smtp port durably against a null-handler aiosmtpd, then what a newsletter costs at the
submission port. Load comes from Postfix's smtp-source, its smtp-sink is the smarthost. What counts
is CPU per message: wall time on shared cores wavers by a third. Prints one line a figure, and the
goals of the SMTP issue beside them.
"""

import argparse
import asyncio
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self


def serve_ours(port: int, folder: Path) -> None:
    from sendback import verp
    from sendback.inbound import Inbound
    from sendback.journal import Journal
    from sendback.metadata import Metadata
    from sendback.metadata.local import LocalStore
    from sendback.model import MessageFacts, Storage
    from sendback.model.catalog import built_in
    from sendback.secret_constants import Keyring
    from sendback.smtp.listener import serve_listener
    from sendback.smtp.server import bind

    keyring = Keyring.from_constants(secrets.token_hex(32), secrets.token_hex(32))
    metadata = Metadata(keyring, local=LocalStore(folder / "metadata.sqlite"))
    facts = MessageFacts(email="ada@example.net", sendid="news1", tagged_at=int(time.time()))
    token = metadata.issue(Storage.STATELESS, facts, []).bounce_token
    (folder / "address").write_text(verp.build("bounce@localhost", token))
    journal = Journal(folder / "journal", "smtp")
    catalog = built_in(8080)

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await serve_listener(
            Inbound(metadata, journal, lambda: catalog),
            bind("127.0.0.1", port),
            stop,
            hostname="mx.test",
            max_connections=20_000,
            max_connections_per_ip=20_000,
        )

    asyncio.run(main())
    journal.close()


def serve_submission(port: int, folder: Path, storage: str, smarthost: str) -> None:
    """`smarthost`: a port, or 0 for the outbox."""
    from sendback.journal import Journal
    from sendback.metadata import Metadata
    from sendback.metadata.local import LocalStore
    from sendback.model import BounceMailbox, Catalog, MailClass, SmtpRoute, Storage, UrlDomain
    from sendback.relay import Outbox, build_relay
    from sendback.secret_constants import Keyring
    from sendback.smtp.server import bind
    from sendback.smtp.submission import Submission, serve_submission
    from sendback.tagging import Tagging

    keyring = Keyring.from_constants(secrets.token_hex(32), secrets.token_hex(32))
    metadata = Metadata(keyring, local=LocalStore(folder / "metadata.sqlite"))
    journal = Journal(folder / "journal", "submission")
    catalog = Catalog(
        url_domains=(UrlDomain(domain="links.test", tls=True, default=True),),
        mail_classes=(MailClass(name="news", default=True, track_clicks=True, track_opens=True),),
        bounce_mailboxes=(BounceMailbox(address="bounce@mx.test"),),
    )
    tagging = Tagging(metadata, lambda: catalog, default_storage=Storage(storage))

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        routes = []
        if smarthost != "0":
            routes = [SmtpRoute(domain="*", host="127.0.0.1", port=int(smarthost))]
        relay = build_relay(routes, hostname="mx.test", outbox=Outbox(folder / "outbox"))
        submission = Submission(tagging, relay, journal, folder / "deferred", hostname="mx.test")
        (folder / "address").write_text("ada@example.net")
        await serve_submission(submission, bind("127.0.0.1", port), stop, hostname="mx.test")

    asyncio.run(main())
    journal.close()


def newsletter() -> str:
    """10 KB of HTML with 25 links."""
    words = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor "
    offer = (
        f"<p>{words * 3}</p>\n"
        '<a href="https://shop.example.com/products/{n}/sale?utm_source=news&amp;id=42">{n}</a>\n'
    )
    head = "From: news@example.com\nSubject: Sale\nMIME-Version: 1.0\nContent-Type: text/html\n\n"
    return (
        head + "<html><body>" + "".join(offer.format(n=n) for n in range(25)) + "</body></html>\n"
    )


def serve_aiosmtpd(port: int, folder: Path) -> None:
    from aiosmtpd.smtp import SMTP

    class Null:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802
            return "250 OK"

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        await loop.create_server(
            lambda: SMTP(Null(), data_size_limit=50_000_000), "127.0.0.1", port
        )
        (folder / "address").write_text("bounce@localhost")
        await stop.wait()

    asyncio.run(main())


class Process:
    """One server in a process of its own, on the first core."""

    def __init__(self, which: str, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-smtp-"))
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port = sock.getsockname()[1]
        command = [sys.executable, __file__, "--serve", which, str(self.port), str(self.folder)]
        command += options
        self.process = subprocess.Popen(command)
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as sock:
                    if sock.recv(3) == b"220" and (self.folder / "address").exists():
                        break
            except OSError:
                if self.process.poll() is not None:
                    raise
                time.sleep(0.05)
        self.address = (self.folder / "address").read_text()

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(
        self, *, connections: int, messages: int, size: int = 0, file: Path | None = None
    ) -> tuple[float, float]:
        """(CPU microseconds a message, messages a second by the clock)."""
        content = (
            ["-f", "news@example.com", "-F", str(file)] if file else ["-f", "", "-l", str(size)]
        )
        began, wall = self.cpu(), time.monotonic()
        subprocess.run(
            [program("smtp-source"), "-d", "-s", str(connections), "-m", str(messages), *content,
             "-t", self.address, f"127.0.0.1:{self.port}"],
            check=True,
        )  # fmt: skip
        wall = time.monotonic() - wall
        return (self.cpu() - began) / messages * 1e6, messages / wall


def program(name: str) -> str:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") or name


def submissions(count: int) -> None:
    """What a newsletter costs, by storage and way out."""
    print("submission of 10 KB with 25 links, 10 connections; CPU us a message, (messages/s)")
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as sock:
        port = str(sock.getsockname()[1])
        sock.close()
        file = Path(folder) / "newsletter"
        file.write_text(newsletter())
        command = [program("smtp-sink"), *(["-u", "nobody"] if not os.getuid() else [])]
        sink = subprocess.Popen([*command, f"127.0.0.1:{port}", "100"])
        try:
            for storage in ("stateless", "local"):
                for way, smarthost in (("outbox", "0"), ("smarthost", port)):
                    with Process("submission", storage, smarthost) as process:
                        process.load(connections=10, messages=100, file=file)
                        cost, speed = process.load(connections=10, messages=count, file=file)
                    print(f"  {storage:9} {way:9} {cost:6.0f} ({speed:5.0f})")
        finally:
            sink.terminate()
            sink.wait()


def idle(process: Process, count: int) -> float:
    """RSS in MB with so many idle connections."""
    sockets = [socket.create_connection(("127.0.0.1", process.port), 30) for _ in range(count)]
    for sock in sockets:
        sock.recv(200)
    grown = process.rss_mb()
    for sock in sockets:
        sock.close()
    return grown


def flood(process: Process, connections: int, megabytes: int) -> float:
    """MB by which RSS grows under messages without line ends, still open."""
    before = process.rss_mb()
    sockets = []
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", process.port), 30)
        sock.sendall(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<%b>\r\n" % process.address.encode())
        time.sleep(0.01)
        sock.sendall(b"DATA\r\n")
        while b"354" not in sock.recv(2000):
            pass
        sockets.append(sock)
    block = b"x" * 1_000_000
    peak = before
    for _ in range(megabytes):
        for sock in sockets:
            sock.sendall(block)
        peak = max(peak, process.rss_mb())
    for sock in sockets:
        sock.close()
    return peak - before


def main(*, quick: bool = True) -> None:
    """Print the figures; about 20 seconds when quick."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    scale = 1 if quick else 4
    ours: dict[tuple[int, int], tuple[float, float]] = {}
    cases = {(100, 5120): 10_000, (10, 5120): 5_000, (1, 5120): 2_000, (10, 1_000_000): 200}
    with Process("ours") as process:
        process.load(connections=10, messages=500, size=5120)
        for (connections, size), messages in cases.items():
            ours[connections, size] = process.load(
                connections=connections, messages=messages * scale, size=size
            )
    with Process("aiosmtpd") as process:
        process.load(connections=10, messages=500, size=5120)
        print("ingest, durable 250 against null handler; CPU us a message, (messages/s by clock)")
        for (connections, size), messages in cases.items():
            count = max(messages * scale // (2 if size < 10_000 else 5), 20)
            theirs = process.load(connections=connections, messages=count, size=size)
            mine = ours[connections, size]
            print(
                f"  {connections:3} connections, {size:9,} octets: ours {mine[0]:8.0f} "
                f"({mine[1]:6.0f})  aiosmtpd {theirs[0]:8.0f} ({theirs[1]:6.0f})  "
                f"ratio {theirs[0] / mine[0]:5.2f}"
            )
    cost = ours[100, 5120][0]
    print(f"one core at 100 connections: {1e6 / cost:,.0f} messages/s (goal 6,000; ratio goal 1.6)")
    count = min(10_000, hard // 2 - 200)
    with Process("ours") as process:
        print(f"{count:,} idle connections: {idle(process, count):.0f} MB (goal 150 at 10,000)")
    with Process("ours") as process:
        grown = flood(process, 40, 5 if quick else 25)
        print(f"40 connections without line ends: {grown:+.0f} MB (goal 64)")
    submissions(500 * scale)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", nargs="+")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.serve:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        which, port, folder, *options = arguments.serve
        servers = {"ours": serve_ours, "aiosmtpd": serve_aiosmtpd, "submission": serve_submission}
        servers[which](int(port), Path(folder), *options)
    else:
        main(quick=arguments.quick)
