"""Ingest of the smtp port against a null-handler aiosmtpd, in one run; CPU of the server process.

    python tests/bench/bench_smtp.py [--quick]

Load comes from Postfix's smtp-source. What counts is CPU per message: wall time on shared cores
wavers by a third. Prints one line a figure, and the goals of the SMTP issue beside them.
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

    def __init__(self, which: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-smtp-"))
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port = sock.getsockname()[1]
        command = [sys.executable, __file__, "--serve", which, str(self.port), str(self.folder)]
        self.process = subprocess.Popen(command)
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as sock:
                    if sock.recv(3) == b"220" and (self.folder / "address").exists():
                        break
            except OSError:
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

    def load(self, *, connections: int, messages: int, size: int) -> tuple[float, float]:
        """(CPU microseconds a message, messages a second by the clock)."""
        source = (
            shutil.which("smtp-source", path=os.environ["PATH"] + ":/usr/sbin") or "smtp-source"
        )
        began, wall = self.cpu(), time.monotonic()
        subprocess.run(
            [source, "-d", "-s", str(connections), "-m", str(messages), "-l", str(size), "-f", "",
             "-t", self.address, f"127.0.0.1:{self.port}"],
            check=True,
        )  # fmt: skip
        wall = time.monotonic() - wall
        return (self.cpu() - began) / messages * 1e6, messages / wall


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", nargs=3)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.serve:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        which, port, folder = arguments.serve
        {"ours": serve_ours, "aiosmtpd": serve_aiosmtpd}[which](int(port), Path(folder))
    else:
        main(quick=arguments.quick)
