"""Real doors on loopback: sessions, journal and metadata as in a node, in a thread of the test."""

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sendback import verp
from sendback.inbound import Inbound
from sendback.journal import Journal, JournalReader
from sendback.metadata import Metadata
from sendback.metadata.local import LocalStore
from sendback.model import (
    BounceMailbox,
    CapturedMail,
    Catalog,
    ComplaintMailbox,
    MailClass,
    MessageFacts,
    Storage,
    UrlDomain,
)
from sendback.secret_constants import Keyring
from sendback.smtp.limits import Limits
from sendback.smtp.listener import Listener
from sendback.smtp.server import Server, bind
from sendback.smtp.session import Session

CATALOG = Catalog(
    url_domains=(UrlDomain(domain="links.test", tls=True, default=True),),
    mail_classes=(
        MailClass(name="news", default=True, track_clicks=True, track_opens=True),
        MailClass(name="plain"),
    ),
    bounce_mailboxes=(BounceMailbox(address="bounce@mx.test"),),
    complaint_mailboxes=(ComplaintMailbox(address="fbl@mx.test"),),
)


class Door:
    """One server in its own thread; `port` to talk to, `stop()` to drain it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sock = bind("127.0.0.1", 0)
        self.port: int = self.sock.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        async def main() -> None:
            self.loop.call_soon(self._ready.set)
            await self.server.serve(self.sock, self._stop)

        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(main())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)
            assert not self._thread.is_alive()

    def connect(self) -> "Client":
        return Client(self.port)


class Client:
    """A line-wise client that knows nothing of SMTP."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 15)
        self.file = self.sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self) -> bytes:
        """One whole reply; b"" at the end of the connection."""
        lines = []
        while True:
            try:
                line = self.file.readline()
            except ConnectionResetError:
                return b"".join(lines)
            lines.append(line)
            if line[3:4] != b"-":
                return b"".join(lines)

    def ask(self, line: bytes) -> bytes:
        self.send(line + b"\r\n")
        return self.reply()

    def close(self) -> None:
        self.file.close()
        self.sock.close()


@pytest.fixture
def metadata(tmp_path: Path):
    keyring = Keyring.from_constants(secrets.token_hex(32), secrets.token_hex(32))
    made = Metadata(keyring, local=LocalStore(tmp_path / "metadata.sqlite"))
    yield made
    made.close()


@pytest.fixture
def journal(tmp_path: Path):
    made = Journal(tmp_path / "journal", "smtp")
    yield made
    made.close()


@pytest.fixture
def captured(tmp_path: Path, journal) -> Callable[[], list[CapturedMail]]:
    """Everything the journal holds so far, as finishing would read it."""

    def read() -> list[CapturedMail]:
        decode = msgspec.msgpack.Decoder(CapturedMail).decode
        records = JournalReader(tmp_path / "journal", patience=0.0).read(100_000, 1 << 30)
        return [decode(record.payload) for record in records]

    return read


@pytest.fixture
def signed(metadata) -> Callable[[str], str]:
    """A genuine bounce address for a recipient."""

    def make(
        email: str = "ada@example.net",
        storage: Storage = Storage.LOCAL,
        tagged_at: float | None = None,
    ) -> str:
        when = int(time.time() if tagged_at is None else tagged_at)
        facts = MessageFacts(email=email, listid="news", sendid="news1", tagged_at=when)
        return verp.build("bounce@mx.test", metadata.issue(storage, facts, []).bounce_token)

    return make


@pytest.fixture
def doors():
    """Starts servers, stops them all at the end, which waits for clients that stay."""
    opened: list[Door] = []

    def open_door(session, **options) -> Door:
        options.setdefault("hostname", "mx.test")
        options.setdefault("limits", Limits(drain_seconds=5.0))
        opened.append(Door(Server(session, **options)))
        return opened[-1]

    yield open_door
    for door in opened:
        door.stop()


@pytest.fixture
def catalog() -> Catalog:
    return CATALOG


@pytest.fixture
def listener(doors, metadata, journal):
    """The smtp port; options go to `Server`, `limits` to `Limits`."""

    def open_listener(*, is_full=lambda: False, journal=journal, max_bytes=102_400, **options):
        inbound = Inbound(metadata, journal, lambda: CATALOG, max_bytes=max_bytes)
        handler = Listener(inbound, is_full=is_full)
        return doors(lambda server: Session(server, handler), **options)

    return open_listener
