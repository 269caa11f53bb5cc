"""Events into NATS JetStream: many nodes publish, consumers share the work.

Subject `PREFIX.EVENT_TYPE`; the message id is the event id, so the stream drops what comes twice
within its duplicate window. A stream is made when none takes the subject.
"""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import nats
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from sendback.errors import Misconfigured, SendbackError, Unavailable
from sendback.sinks.base import Outcome, Result, StoredEvent
from sendback.sinks.guard import Guard

T = TypeVar("T")
_SECONDS = 15.0
#: Longer than a node's outage of the usual kind; the log's ids are the real guard.
_DUPLICATE_WINDOW = 2 * 3600.0


class JetStreamSink:
    """`nats://[user:password@]host[:4222]/PREFIX`; the prefix is `sendback.events` by default."""

    max_batch = 0
    max_parallel = 1

    def __init__(self, url: str, guard: Guard) -> None:
        """Misconfigured when the url is no nats:// or tls:// one."""
        parts = urlsplit(url)
        if parts.scheme not in ("nats", "tls") or not parts.hostname:
            raise Misconfigured(
                "the url of a jetstream destination begins with nats:// or tls://",
                hint="nats://host:4222/sendback.events",
            )
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port or 4222
        self._user = None if parts.username is None else unquote(parts.username)
        self._password = None if parts.password is None else unquote(parts.password)
        self._prefix = parts.path.strip("/").replace("/", ".") or "sendback.events"
        self._guard = guard
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None
        self._lost: asyncio.Future[None]
        """Done when the connection is gone: nobody need wait for its acknowledgements."""

    def deliver(self, batch: Sequence[StoredEvent]) -> Outcome:
        """On DELIVERED the stream acknowledged every event."""
        try:
            return self._run(self._publish(batch))
        except (TimeoutError, OSError, SendbackError, nats.errors.Error, JetStreamError) as error:
            self._drop()
            return Outcome(Result.FAILED, None, (str(error) or type(error).__name__)[:500])

    async def _publish(self, batch: Sequence[StoredEvent]) -> Outcome:
        if self._client is not None and not self._client.is_connected:
            self._client = self._stream = None
        async with asyncio.timeout(_SECONDS):
            stream = self._stream or await self._connect()
            publishing = asyncio.gather(
                *(
                    stream.publish(
                        f"{self._prefix}.{event.type}",
                        event.body,
                        headers={"Nats-Msg-Id": event.event_id},
                        timeout=_SECONDS,
                    )
                    for event in batch
                )
            )
            either: list[asyncio.Future[Any]] = [publishing, self._lost]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not publishing.done():
                publishing.cancel()
                raise Unavailable("the connection was lost")
            answers = await publishing
        repeated = sum(bool(answer.duplicate) for answer in answers)
        return Outcome(Result.DELIVERED, None, f"{len(batch)} acknowledged, {repeated} known")

    async def _connect(self) -> JetStreamContext:
        client, self._lost = await self._connect_to_any()
        self._client = client
        stream = client.jetstream(publish_async_max_pending=10_000)
        try:
            await stream.find_stream_name_by_subject(f"{self._prefix}.scomp")
        except NotFoundError:
            await stream.add_stream(
                StreamConfig(
                    name=self._prefix.replace(".", "_").upper(),
                    subjects=[f"{self._prefix}.>"],
                    duplicate_window=_DUPLICATE_WINDOW,
                )
            )
        self._stream = stream
        return stream

    async def _connect_to_any(self) -> tuple[Client, "asyncio.Future[None]"]:
        """A client at the first checked address that answers, and what is done when it is gone."""
        options: dict[str, Any] = {}
        if self._scheme == "tls":
            options["tls_hostname"] = self._host

        addresses = await asyncio.to_thread(self._guard.addresses, self._host, self._port)
        for number, address in enumerate(addresses, start=1):
            shown = f"[{address}]" if ":" in address else address
            client, lost = Client(), asyncio.get_running_loop().create_future()

            async def note_loss(lost: "asyncio.Future[None]" = lost) -> None:
                if not lost.done():
                    lost.set_result(None)

            try:
                await client.connect(
                    f"{self._scheme}://{shown}:{self._port}",
                    user=self._user,
                    password=self._password,
                    allow_reconnect=False,  # when to try again is delivery's business
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=max(1, int(10 / len(addresses))),
                    error_cb=_quiet,
                    closed_cb=note_loss,
                    **options,
                )
            except (TimeoutError, OSError, nats.errors.Error):
                await _close(client)  # it leaves the socket open when the server refuses us
                if number == len(addresses):
                    raise
            else:
                return client, lost
        raise Unavailable(f"{self._host} has no address")

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """In our own loop, whose thread keeps the connection's pings going between batches."""
        if self._loop is None or self._thread is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="jetstream", daemon=True
            )
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS + 5)

    def _drop(self) -> None:
        client, self._client, self._stream = self._client, None, None
        if client is not None:
            self._run(_close(client))

    def close(self) -> None:
        """Hang up and end the loop."""
        if self._loop is None or self._thread is None:
            return
        self._drop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()
        self._loop = self._thread = None


async def _close(client: Client) -> None:
    try:
        await client.close()
    except (OSError, nats.errors.Error):
        pass  # it is gone already


async def _quiet(_error: Exception) -> None:
    """What the client would log itself comes out of `deliver` as an outcome."""
