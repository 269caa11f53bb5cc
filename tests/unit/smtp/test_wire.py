"""The wire below the commands, without a network: bytes in any packets give the same messages."""

import asyncio
import contextlib
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from sendback.smtp.limits import Limits
from sendback.smtp.server import Server
from sendback.smtp.session import Session


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data):
        assert not self.closed
        self.sent += data

    def close(self):
        self.closed = True

    abort = close

    def is_closing(self):
        return self.closed

    def get_extra_info(self, name, default=None):
        return ("192.0.2.1", 4711) if name == "peername" else default

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


class Collector:
    def __init__(self) -> None:
        self.messages = []
        self.gate: asyncio.Event | None = None

    def mail(self, session, address):
        return None

    def rcpt(self, session, address):
        return None

    async def message(self, session, envelope):
        if self.gate is not None:
            await self.gate.wait()
        self.messages.append((envelope.message, envelope.size))
        return b"250 2.0.0 Ok\r\n"

    async def login(self, user, password):
        return None


async def feed(session: Session, *packets: bytes) -> None:
    for packet in packets:
        session.data_received(packet)
        # One turn starts the commit, the next runs it; the client speaks again only then.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def begin(collector: Collector, **limits) -> tuple[Session, Transport]:
    server = Server(asyncio.Protocol, hostname="mx.test", limits=Limits(**limits))
    session = Session(server, collector)
    transport = Transport()
    session.connection_made(transport)
    return session, transport


ENVELOPE = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n"


def stuffed(content: bytes) -> bytes:
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(at)]


_lines = st.lists(
    st.one_of(
        st.binary(max_size=8), st.sampled_from([b".", b"..", b"\r", b"\n", b"\r\n.", b"\n."])
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(_lines, st.lists(st.integers(0, 10_000), max_size=20))
def test_a_message_comes_out_as_it_went_in(lines: list[bytes], places: list[int]) -> None:
    """Unstuffing undoes stuffing, however the bytes are cut into packets."""
    content = b"\r\n".join([*lines, b""])
    collector = Collector()

    async def main() -> bytes:
        session, transport = begin(collector)
        await feed(session, ENVELOPE, *cut(stuffed(content) + b".\r\n", places), b"NOOP\r\n")
        return transport.sent

    sent = asyncio.run(main())
    assert collector.messages == [(content, len(stuffed(content)))]
    assert sent.endswith(b"250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([
    b"EHLO x\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<a@b.test>\r\n", b"DATA\r\n", b"\r\n.\r\n",
    b"\n.\n", b"RSET\r\n", b"STARTTLS\r\n", b"AUTH PLAIN\r\n", b"BDAT 5 LAST\r\n", b"\0", b"\r",
])), max_size=30))  # fmt: skip
def test_no_input_is_a_fault(packets: list[bytes]) -> None:
    """Junk gives replies of three digits, no exception, and a message only behind its end."""
    collector = Collector()

    async def main() -> bytes:
        session, transport = begin(collector)
        with contextlib.suppress(AssertionError):
            await feed(session, *packets)
        return transport.sent

    sent = asyncio.run(main())
    assert all(line[:3].isdigit() for line in sent.split(b"\r\n")[:-1])
    assert sent.endswith(b"\r\n")
    assert len(collector.messages) <= b"".join(packets).count(b".\r\n")


def test_a_client_that_vanishes_at_any_byte() -> None:
    """reliability.md row 33: no crash, no half message; after the dot it is whole."""
    body = b"Subject: x\r\n\r\n" + b"line of a bounce\r\n" * 280 + b".\r\n"
    whole = ENVELOPE + body

    async def main(length: int) -> list:
        collector = Collector()
        session, _ = begin(collector)
        await feed(session, whole[:length][: len(ENVELOPE)], whole[:length][len(ENVELOPE) :])
        session.connection_lost(None)
        await asyncio.sleep(0)
        assert session.server.buffered == 0
        return collector.messages

    for length in [*range(len(ENVELOPE) + 40), *range(len(whole) - 40, len(whole))]:
        assert asyncio.run(main(length)) == [], length
    assert asyncio.run(main(len(whole))) == [(body[:-3], len(body) - 3)]


def test_a_commit_runs_on_when_the_client_is_gone() -> None:
    async def main() -> list:
        collector = Collector()
        collector.gate = asyncio.Event()
        session, transport = begin(collector)
        await feed(session, ENVELOPE, b"x\r\n.\r\n")
        session.connection_lost(ConnectionResetError())
        assert collector.messages == []
        collector.gate.set()
        await asyncio.sleep(0.01)
        assert b"250 2.0.0 Ok" not in transport.sent
        return collector.messages

    assert asyncio.run(main()) == [(b"x\r\n", 3)]


def test_only_the_beginning_is_kept_and_the_size_is_whole() -> None:
    """bouncemaxbytes: what lies behind the cut costs no memory. S0.12"""

    async def main() -> list:
        collector = Collector()
        session, _ = begin(collector, keep_bytes=1000)
        await feed(session, ENVELOPE, *[b"y" * 50_000] * 20)
        assert session.server.buffered <= 1000
        await feed(session, b"\r\n.\r\n")
        return collector.messages

    ((message, size),) = asyncio.run(main())
    assert message == b"y" * 998
    assert size == 1_000_002


def test_the_memory_of_all_messages_together_is_bounded() -> None:
    """reliability.md row 35, in small: 452 instead of memory."""

    async def main() -> list[bytes]:
        collector = Collector()
        limits = Limits(max_buffered=1_000_000)
        server = Server(asyncio.Protocol, hostname="mx.test", limits=limits)
        opened = []
        for _ in range(40):
            session = Session(server, collector)
            transport = Transport()
            session.connection_made(transport)
            opened.append((session, transport))
            await feed(session, ENVELOPE)
        for _ in range(10):
            for session, _ in opened:
                await feed(session, b"z" * 100_000)
        assert server.buffered <= 1_000_000 + 40 * 100_000
        for session, _ in opened:
            await feed(session, b"\r\n.\r\n")
        assert server.buffered == 0
        return [transport.sent.splitlines()[-1] for _, transport in opened]

    answers = asyncio.run(main())
    assert b"452 4.3.1 Insufficient system storage, try again later" in answers


def test_a_client_that_does_not_read_is_not_read() -> None:
    async def main() -> None:
        session, transport = begin(Collector())
        paused = []
        transport.pause_reading = lambda: paused.append(True)
        transport.resume_reading = lambda: paused.append(False)
        session.pause_writing()
        session.resume_writing()
        assert paused == [True, False]

    asyncio.run(main())
