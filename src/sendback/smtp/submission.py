"""The submission port: a message comes in, one tagged copy a recipient goes on at once.

A proxy, not a queue: the client gets the answer of the server behind us, unchanged, for one
recipient, for LMTP, and whenever all recipients fared alike. Only when they did not is there
something that no single reply can say; then it is 250, and what is left becomes ours: put-off
recipients are kept and tried again, refused ones become a bounce event and a notice.
"""

import asyncio
import collections
import hashlib
import ipaddress
import logging
import re
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec

from sendback.errors import Unavailable
from sendback.inbound import BOUNCE, Appender
from sendback.model import CapturedMail, uuid7
from sendback.relay import Answer, Deferred, Kept, Outgoing, Relay, failure_report
from sendback.smtp.envelope import Envelope
from sendback.smtp.limits import Limits
from sendback.smtp.logins import Logins
from sendback.smtp.server import Server, is_within, tls_context
from sendback.smtp.submitting import LmtpSession, SubmissionSession
from sendback.smtp.together import Together
from sendback.tagging import Prepared, TaggedMessage, Tagging

log = logging.getLogger("sendback.smtp")
_LOGIN_FIRST = b"530 5.7.0 Authentication required\r\n"
_DENIED = b"554 5.7.1 Access denied: your address is not in submission.allowed_networks\r\n"
_SUPPRESSED = Answer(550, "5.7.1 This recipient is suppressed for this list")
_FAULT = Answer(451, "4.3.0 Temporary fault here, try again later")
_LOOP = Answer(554, "5.4.6 Too many hops: this message is going in circles")
MAX_HOPS = 50
#: Transactions of one message that go on side by side, and the octets that their copies may take.
_AT_ONCE = 20
_COPIES_BYTES = 64 * 1024 * 1024
#: A message of so many octets is tagged within a millisecond or two: changing threads, and the
#: quarrel over the interpreter that comes with it, would double that.
_SMALL = 32 * 1024
#: X-Mailer-Info is what each of our own passes leaves behind: we write no Received field.
_HOP = re.compile(rb"^(?:received|x-mailer-info):", re.IGNORECASE | re.MULTILINE)


#: A prepared message and one of its recipients.
_Copy = tuple[Prepared, str]


class Outcome(NamedTuple):
    """What became of one recipient; the copy is kept only while it may be needed."""

    rcpt: str
    answer: Answer
    tagged: TaggedMessage | None


class Submission:
    """What the port is for: who may send, and what the client is told."""

    def __init__(
        self,
        tagging: Tagging,
        relay: Relay,
        journal: Appender,
        deferred_directory: Path,
        *,
        hostname: str,
        allowed_networks: Sequence[str] = ("127.0.0.0/8", "::1/128"),
        users: Mapping[str, str] | None = None,
        user_mail_classes: Mapping[str, str] | None = None,
        is_suppressed: Callable[[str, str], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`is_suppressed(email, listid)`: None when `suppress` is off. May block; runs aside."""
        self.logins = Logins(users or {})
        self.counters: collections.Counter[str] = collections.Counter()
        self._tagging = tagging
        self._relay = relay
        self._journal = journal
        self.deferred = Deferred(deferred_directory, relay, on_refused=self.refused, clock=clock)
        self._hostname = hostname
        self._networks = [ipaddress.ip_network(text, strict=False) for text in allowed_networks]
        self._user_mail_classes = dict(user_mail_classes or {})
        self._is_suppressed = is_suppressed
        self._clock = clock
        # Storing metadata waits for a disk or a database: never on the event loop.
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="tagging")
        self._together: Together[_Copy, TaggedMessage | None] = Together(self._tag, self._threads)

    # -- who may send -------------------------------------------------------------------------

    def refusal(self, user: str | None, peer_ip: str) -> bytes | None:
        """None for allowed networks and whoever has logged in; never an open relay."""
        if user is not None or is_within(peer_ip, self._networks):
            return None
        self.counters["relay_denied"] += 1
        return _LOGIN_FIRST if self.logins else _DENIED

    # -- the message --------------------------------------------------------------------------

    async def message(self, envelope: Envelope, *, user: str | None, is_lmtp: bool) -> bytes:
        """Tag and relay for each recipient; the answer as the module says.

        Runs to its end even when the client is gone. What it raises becomes 451 or 452.
        """
        if _hops(envelope.message) > MAX_HOPS:
            answers = [_LOOP] * len(envelope.recipients)
            return _replies(answers) if is_lmtp else _LOOP.as_reply()
        prepared = await self._prepared(envelope, self._user_mail_classes.get(user or ""))
        gate = asyncio.Semaphore(max(1, min(_AT_ONCE, _COPIES_BYTES // (envelope.size + 1))))
        outcomes = await asyncio.gather(
            *(self._one(gate, prepared, rcpt, utf8=envelope.utf8) for rcpt in envelope.recipients)
        )
        answers = [outcome.answer for outcome in outcomes]
        self.counters["messages"] += 1
        self.counters["recipients"] += len(answers)
        if is_lmtp:
            return _replies(answers)
        if len({answer.code // 100 for answer in answers}) == 1:
            return answers[0].as_reply()
        await self._settle(outcomes, envelope)
        self.counters["mixed_answers"] += 1
        taken = sum(answer.is_accepted for answer in answers)
        return Answer(
            250, f"2.0.0 Ok: {taken} of {len(answers)} recipients passed on, the rest kept or noted"
        ).as_reply()

    async def _prepared(self, envelope: Envelope, user_class: str | None) -> Prepared:
        def prepare() -> Prepared:
            return self._tagging.prepare(
                envelope.message, mail_from=envelope.mail_from, user_class=user_class
            )

        if envelope.size <= _SMALL:
            return prepare()
        return await asyncio.get_running_loop().run_in_executor(self._threads, prepare)

    async def _one(
        self, gate: asyncio.Semaphore, prepared: Prepared, rcpt: str, *, utf8: bool
    ) -> Outcome:
        async with gate:
            try:
                tagged = await self._tagged(prepared, rcpt)
                if tagged is None:
                    return Outcome(rcpt, _SUPPRESSED, None)
                answer = await self._relay.send(
                    Outgoing(tagged.mail_from, rcpt, tagged.message, utf8)
                )
            except Exception:  # one recipient's fault must not decide over the others
                log.exception("submission.fault")
                return Outcome(rcpt, _FAULT, None)
        return Outcome(rcpt, answer, None if answer.is_accepted else tagged)

    async def _tagged(self, prepared: Prepared, rcpt: str) -> TaggedMessage | None:
        """None for a suppressed recipient. What waits, or takes long, runs in a thread."""
        copy = (prepared, rcpt)
        if len(prepared.message) > _SMALL:
            loop = asyncio.get_running_loop()
            (tagged,) = await loop.run_in_executor(self._threads, self._tag, (copy,))
            if isinstance(tagged, Exception):
                raise tagged
            return tagged
        if self._is_suppressed is None and not prepared.is_stored:
            return prepared.for_recipient(rcpt)
        return await self._together.do(copy)

    def _tag(self, copies: Sequence[_Copy]) -> Sequence[TaggedMessage | Exception | None]:
        """Each copy; None for a suppressed recipient."""
        answers: list[TaggedMessage | Exception | None] = [None] * len(copies)
        wanted = []
        asked = self._is_suppressed
        for number, (prepared, rcpt) in enumerate(copies):
            try:
                if asked is None or not asked(prepared.email_of(rcpt), prepared.listid):
                    wanted.append(number)
            except Exception as error:  # noqa: BLE001  one recipient's fault is not the others'
                answers[number] = error
        tagged = self._tagging.tag_many([copies[number] for number in wanted])
        for number, one in zip(wanted, tagged, strict=True):
            answers[number] = one
        return answers

    # -- mixed answers ------------------------------------------------------------------------

    async def _settle(self, outcomes: Sequence[Outcome], envelope: Envelope) -> None:
        """Everything that the 250 promises is on disk when this returns; Unavailable otherwise."""
        now = self._clock()
        keep: list[Kept] = []
        for rcpt, answer, tagged in outcomes:
            if answer.is_accepted:
                continue
            kept = Kept(
                mail_from=tagged.mail_from if tagged else envelope.mail_from,
                rcpt=rcpt,
                message=tagged.message if tagged else envelope.message,
                utf8=envelope.utf8,
                client_mail_from=envelope.mail_from,
                kept_at=now,
                refused=None if answer.is_deferred else answer,
                refused_at=now,
            )
            if answer.is_deferred:
                keep.append(kept)
                continue
            try:
                notice = await self.refused(kept, secrets.token_hex())
            except Unavailable:
                keep.append(kept)  # reported when there is room again
            else:
                keep += [notice] if notice else []
        await self.deferred.put(keep)

    async def refused(self, kept: Kept, key: str) -> Kept | None:
        """bounce_all by way of the journal; gives the notice that is to be kept, if any.

        All that it writes follows from its arguments: said again after a crash, it is the same
        event. Unavailable when it can't be recorded now.
        """
        answer, refused_at = kept.refused, kept.refused_at
        if answer is None or kept.is_notice:
            log.warning("notice.failed", extra={"code": answer.code if answer else 0})
            return None
        time_ms = int(refused_at * 1000)

        def report(to: str) -> bytes:
            return failure_report(
                reporting_mta=self._hostname,
                to=to,
                rcpt=kept.rcpt,
                answer=answer,
                message=kept.message,
                now=refused_at,
                report_id=hashlib.blake2b(f"{key} {to}".encode(), digest_size=12).hexdigest(),
            )

        if kept.mail_from != kept.client_mail_from:  # a signed address of ours
            raw = report(kept.mail_from)
            mail = CapturedMail(
                record_id=uuid7(time_ms, hashlib.blake2b(key.encode(), digest_size=10).digest()),
                time_ms=time_ms,
                mail_from="",
                rcpt_to=kept.mail_from,
                mailbox=BOUNCE,
                peer_ip="",
                raw=raw,
                size=len(raw),
            )
            await self._journal.append_async(msgspec.msgpack.encode(mail))
        if not kept.client_mail_from:
            return None
        return Kept(
            mail_from="",
            rcpt=kept.client_mail_from,
            message=report(kept.client_mail_from),
            utf8=not kept.rcpt.isascii(),
            client_mail_from="",
            kept_at=refused_at,
            is_notice=True,
        )

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _replies(answers: Sequence[Answer]) -> bytes:
    return b"".join(answer.as_reply() for answer in answers)


def _hops(message: bytes) -> int:
    head = message[:65536]
    end = re.search(rb"\r?\n\r?\n", head)
    return len(_HOP.findall(head, 0, end.start() if end else len(head)))


async def serve_submission(
    submission: Submission,
    sock: socket.socket,
    stop: asyncio.Event,
    *,
    hostname: str,
    protocol: str = "smtp",
    max_message_bytes: int = 52_428_800,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    on_server: Callable[[Server], None] = lambda _server: None,
) -> None:
    """Answer on a bound socket until `stop` is set, then drain. Also tries kept recipients.

    `on_server` gets the `Server`, whose `counters` are the figures for /metrics.
    """
    kind = LmtpSession if protocol == "lmtp" else SubmissionSession
    server = Server(
        lambda server: kind(server, submission),
        hostname=hostname,
        limits=Limits(
            max_size=max_message_bytes,
            keep_bytes=max_message_bytes + 4096,
            max_connections_per_ip=500,
            max_connections=500,
            idle_seconds=300.0,
            session_seconds=86400.0,
        ),
        tls=tls_context(tls_certificate, tls_key) if tls_certificate else None,
        counters=submission.counters,
    )
    on_server(server)
    retrying = asyncio.get_running_loop().create_task(submission.deferred.run(stop))
    try:
        await server.serve(sock, stop)
        await asyncio.wait([retrying], timeout=5)  # cut short, it is tried again after the start
    finally:
        retrying.cancel()
        submission.close()
