"""The smtp port as a process: killed under load, out of descriptors, among slow clients."""

import contextlib
import os
import random
import resource
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from sendback.journal import JournalReader
from sendback.model import CapturedMail

#: A node's smtp process on its own: the real listener and journal, no catalog files.
SERVER = """
import asyncio, resource, signal, sys
from pathlib import Path
from sendback.inbound import Inbound
from sendback.journal import Journal
from sendback.metadata import Metadata
from sendback.model.catalog import built_in
from sendback.secret_constants import Keyring
from sendback.smtp.listener import serve_listener
from sendback.smtp.server import bind

folder, port, files = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
import secrets
keyring = Keyring.from_constants(secrets.token_hex(32), secrets.token_hex(32))
journal = Journal(folder / "journal", "smtp")
catalog = built_in(8080)

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve_listener(
        Inbound(Metadata(keyring), journal, lambda: catalog), bind("127.0.0.1", port), stop,
        hostname="mx.test", max_connections=20000, max_connections_per_ip=20000,
    )

asyncio.run(main())
journal.close()
"""


class Listener:
    def __init__(self, folder: Path, *, files: int = 4096) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port = sock.getsockname()[1]
        self.files = files
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", SERVER, str(self.folder), str(self.port), str(self.files)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                self.connect().close()
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), 20)
        try:
            if sock.recv(3) != b"220":
                raise OSError("not greeted")
        except OSError:
            sock.close()
            raise
        return sock

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def send(self, subject: str) -> int:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
            client.ehlo()
            client.mail("")
            client.rcpt("bounce@localhost")
            return client.data(f"Subject: {subject}\r\n\r\nbody\r\n".encode())[0]

    def subjects(self) -> list[str]:
        decode = msgspec.msgpack.Decoder(CapturedMail).decode
        found = []
        reader = JournalReader(self.folder / "journal", patience=0.0)
        while records := reader.read(10_000):
            found += [
                decode(record.payload).raw.decode()[9:].split("\r\n")[0] for record in records
            ]
        return found

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(30)


@pytest.fixture
def listener(tmp_path):
    opened = []

    def start(**options) -> Listener:
        opened.append(Listener(tmp_path, **options))
        return opened[-1]

    yield start
    for one in opened:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def test_kill_9_under_load_loses_nothing_acknowledged(listener):  # S0.11, row 1
    """KILLS=200 in the environment makes it the long run."""
    rounds = int(os.environ.get("KILLS", "6"))
    door = listener()
    acknowledged: list[str] = []
    lock = threading.Lock()
    stop = threading.Event()

    def load(worker: int) -> None:
        number = 0
        while not stop.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", door.port, timeout=20) as client:
                    client.ehlo()
                    while not stop.is_set():
                        number += 1
                        subject = f"{worker}-{number}"
                        client.mail("")
                        client.rcpt("bounce@localhost")
                        if client.data(f"Subject: {subject}\r\n\r\nx\r\n".encode())[0] == 250:
                            with lock:
                                acknowledged.append(subject)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.01)

    threads = [threading.Thread(target=load, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    try:
        chosen = random.Random(7)
        for _ in range(rounds):
            before = len(acknowledged)
            deadline = time.monotonic() + 30
            while len(acknowledged) < before + chosen.randint(5, 60):
                assert time.monotonic() < deadline
                time.sleep(0.001)
            door.end(signal.SIGKILL)
            door.start()
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    door.end()
    stored = door.subjects()
    assert len(acknowledged) > rounds * 5
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))


def test_out_of_descriptors(listener):  # row 13
    door = listener(files=64)
    held = []
    with contextlib.suppress(OSError):
        for _ in range(100):
            sock = socket.create_connection(("127.0.0.1", door.port), 20)
            sock.settimeout(1.0)
            held.append(sock)
            if len(held) > 20 and not sock.recv(3):
                break
    before = sum(map(int, Path(f"/proc/{door.process.pid}/stat").read_text().split()[13:15]))
    time.sleep(1.0)  # the thing measured: that it does not spin
    after = sum(map(int, Path(f"/proc/{door.process.pid}/stat").read_text().split()[13:15]))
    assert after - before < os.sysconf("SC_CLK_TCK") * 0.8
    for sock in held:
        sock.close()
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            if door.send("again") == 250:
                break
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert door.process.poll() is None


def test_idle_and_slow_clients_do_not_hurt_honest_ones(listener):  # S0.11, rows 34, 35
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(2500, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    door = listener(files=count + 200)
    base = door.rss_mb()
    held = []
    try:
        for number in range(count):
            sock = door.connect()
            if number % 5 == 0:  # slow-loris: an octet of a command, an octet of a message
                sock.sendall(b"EHLO slow\r\nMAIL FROM:<>\r\nRCPT TO:<bounce@localhost>\r\n")
                sock.sendall(b"D")
            held.append(sock)
        took = []
        for number in range(100):
            began = time.monotonic()
            assert door.send(f"honest-{number}") == 250
            took.append(time.monotonic() - began)
        assert sorted(took)[98] < 1.0
        assert door.rss_mb() < 200
        flood = held[:40]
        for sock in flood:
            sock.sendall(b"\r\nEHLO f\r\nMAIL FROM:<>\r\nRCPT TO:<bounce@localhost>\r\n")
            received = b""
            while b"2.1.5" not in received:
                received += sock.recv(4096)
            sock.sendall(b"DATA\r\n")
            while b"354" not in sock.recv(4096):
                pass
        for _ in range(2):
            for sock in flood:
                sock.sendall(b"x" * 1_000_000)
        assert door.rss_mb() - base < 64
        assert door.send("last") == 250
    finally:
        for sock in held:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
