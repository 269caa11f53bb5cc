"""Routes to other mail servers: pooled aiosmtplib connections, caps, an hourly limit.

One transaction is one recipient. The seed's `smtp_route`, `reuse_connections`, "Max Concurrent
Connections" and "Max Messages per Hour" (S0.8 to S0.10) are `model.SmtpRoute`.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterable

import aiosmtplib

from sendback.model import SmtpRoute
from sendback.relay.base import Answer, Outgoing, Relay

log = logging.getLogger("sendback.relay")
_IDLE_SECONDS = 30.0
_UNREACHABLE = Answer(451, "4.4.1 The next mail server can't be reached, try again later")
_LOST = Answer(451, "4.4.2 The next mail server closed the connection, try again later")
_NO_TLS = Answer(451, "4.7.4 No TLS to be had with the next mail server, try again later")
_LOGIN_REFUSED = Answer(451, "4.7.8 The next mail server refused our login, try again later")
_BUSY = Answer(451, "4.4.5 Too many connections to the next mail server, try again later")
_THROTTLED = Answer(451, "4.7.1 Over max_messages_per_hour for this route, try again later")
_NEEDS_UTF8 = Answer(550, "5.6.7 The next mail server does not take internationalised mail")


class HourlyLimit:
    """Counts messages of the running hour; `take` says whether one more may go."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._hour = self._count = 0

    def take(self) -> bool:
        """True, and counted, below the limit."""
        hour = int(self._clock() // 3600)
        if hour != self._hour:
            self._hour, self._count = hour, 0
        if self._count >= self._limit:
            return False
        self._count += 1
        return True


class Upstream:
    """One route's connections; a `Relay`."""

    def __init__(
        self,
        route: SmtpRoute,
        *,
        hostname: str,
        timeout: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hostname`: what we call ourselves; `timeout`: seconds for one command."""
        self._route = route
        self._hostname = hostname
        self._timeout = timeout
        self._limit = HourlyLimit(route.max_messages_per_hour, clock)
        self._slots = asyncio.Semaphore(route.max_connections)
        self._tls: ssl.SSLContext | None = None
        self._idle: list[tuple[aiosmtplib.SMTP, asyncio.TimerHandle]] = []

    async def send(self, outgoing: Outgoing) -> Answer:
        """One transaction, over a kept connection where there is one."""
        if not self._limit.take():
            return _THROTTLED
        try:
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire()
        except TimeoutError:
            return _BUSY
        try:
            return await self._send(outgoing)
        finally:
            self._slots.release()

    async def _send(self, outgoing: Outgoing) -> Answer:
        while True:
            client = self._take_idle()
            is_reused = client is not None
            if client is None:
                made = await self._connect()
                if isinstance(made, Answer):
                    return made
                client = made
            try:
                answer = await _transaction(client, outgoing)
            except _Gone as gone:
                client.close()
                if is_reused and not gone.after_data:
                    continue  # the server had closed a kept connection: not this message's fault
                log.warning("relay.lost", extra={"host": self._route.host})
                return _LOST
            except BaseException:
                client.close()
                raise
            await self._give_back(client, is_usable=answer.code != 421)
            return Answer(451, answer.text) if answer.code == 421 else answer

    async def _connect(self) -> aiosmtplib.SMTP | Answer:
        """A connection, with TLS and login as the route wants them; else why not."""
        route = self._route
        is_implicit = route.port == 465 and route.tls != "off"
        must = not is_implicit and (route.tls == "required" or bool(route.username))
        client = aiosmtplib.SMTP(
            hostname=route.host,
            port=route.port,
            local_hostname=self._hostname,
            timeout=self._timeout,
            use_tls=is_implicit,
            start_tls=False if must or is_implicit or route.tls == "off" else None,
            tls_context=await self._tls_context(),
        )
        failure = _UNREACHABLE
        try:
            await client.connect()
            if must:
                failure = _NO_TLS
                await client.starttls()
            if route.username:
                failure = _LOGIN_REFUSED
                await client.login(route.username, route.password)
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            client.close()
            if isinstance(error.__cause__ or error, ssl.SSLError):
                failure = _NO_TLS
            log.warning(
                "relay.unreachable",
                extra={"host": route.host, "port": route.port, "error": repr(error)},
            )
            return failure
        return client

    async def _tls_context(self) -> ssl.SSLContext | None:
        """Verifying when TLS is required; else any certificate does, as between mail servers."""
        if self._tls is None and self._route.tls != "off":
            self._tls = context = await asyncio.to_thread(ssl.create_default_context)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._route.tls != "required":
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        return self._tls

    def _take_idle(self) -> aiosmtplib.SMTP | None:
        while self._idle:
            client, timer = self._idle.pop()
            timer.cancel()
            if client.is_connected:
                return client
            client.close()
        return None

    async def _give_back(self, client: aiosmtplib.SMTP, *, is_usable: bool) -> None:
        if is_usable and self._route.reuse_connections and client.is_connected:
            loop = asyncio.get_running_loop()
            self._idle.append((client, loop.call_later(_IDLE_SECONDS, self._expire, client)))
        else:
            await _quit(client)

    def _expire(self, client: aiosmtplib.SMTP) -> None:
        self._idle = [pair for pair in self._idle if pair[0] is not client]
        client.close()

    async def close(self) -> None:
        """End the kept connections."""
        while (client := self._take_idle()) is not None:
            await _quit(client)


class _Gone(Exception):
    """The connection is lost; `after_data`: the message may have been taken."""

    def __init__(self, *, after_data: bool) -> None:
        super().__init__(after_data)
        self.after_data = after_data


async def _transaction(client: aiosmtplib.SMTP, outgoing: Outgoing) -> Answer:
    """MAIL, RCPT, DATA; the first refusal is the answer, and the connection is reset."""
    after_data = False
    try:
        if client.is_ehlo_or_helo_needed:
            await client.ehlo()
        options = []
        if outgoing.utf8 or not (outgoing.rcpt + outgoing.mail_from).isascii():
            if not client.supports_extension("smtputf8"):
                return _NEEDS_UTF8
            options.append("SMTPUTF8")
        if not outgoing.message.isascii() and client.supports_extension("8bitmime"):
            options.append("BODY=8BITMIME")
        await client.mail(outgoing.mail_from, options=options, encoding="utf-8")
        await client.rcpt(outgoing.rcpt, encoding="utf-8")
        after_data = True
        response = await client.data(outgoing.message)
        return Answer(response.code, response.message)
    except aiosmtplib.SMTPResponseException as refusal:
        answer = Answer(refusal.code, refusal.message)
        if not 400 <= refusal.code < 600:
            raise _Gone(after_data=after_data) from None
        if refusal.code != 421:
            await _reset(client)
        return answer
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError):
        raise _Gone(after_data=after_data) from None


async def _reset(client: aiosmtplib.SMTP) -> None:
    try:
        await client.rset()
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        client.close()


async def _quit(client: aiosmtplib.SMTP) -> None:
    try:
        await client.quit(timeout=5)
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        pass  # it is gone, which is what was wanted
    finally:
        client.close()


class Routed:
    """Picks the way out by the recipient's domain; a `Relay`."""

    def __init__(self, by_domain: dict[str, Relay], fallback: Relay) -> None:
        self._by_domain = by_domain
        self._fallback = fallback

    async def send(self, outgoing: Outgoing) -> Answer:
        """By the route of the domain, else by the smarthost, else into the outbox."""
        domain = outgoing.rcpt.rpartition("@")[2].lower()
        return await self._by_domain.get(domain, self._fallback).send(outgoing)

    async def close(self) -> None:
        """Close every route."""
        for relay in (*self._by_domain.values(), self._fallback):
            await relay.close()


def build_relay(routes: Iterable[SmtpRoute], *, hostname: str, outbox: Relay) -> Relay:
    """The ways out of a node: a route a domain, `*` the smarthost, `outbox` without one."""
    by_domain: dict[str, Relay] = {
        route.domain: Upstream(route, hostname=hostname) for route in routes
    }
    fallback = by_domain.pop("*", outbox)
    return Routed(by_domain, fallback)
