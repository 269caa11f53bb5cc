"""Messages in, returned messages read, links decoded."""

import base64
import binascii
from typing import Annotated, Literal

from flask import Response, request
from pydantic import Field
from werkzeug.exceptions import UnsupportedMediaType

from sendback.admin.api.answers import answer, needed
from sendback.admin.api.models import ADDRESS, BASE64, JsonObject, Strict
from sendback.admin.api.routes import Routes
from sendback.admin.api.services import Services
from sendback.errors import Forged, Malformed, Unavailable

MAX_MESSAGE = 50 * 1024 * 1024
_ADDRESS = Field(max_length=320, pattern=ADDRESS)
_BASE64 = Field(
    min_length=1, description="A message, base64.", json_schema_extra={"pattern": BASE64}
)


class Message(Strict):
    """A message as bytes in base64, and its envelope."""

    message_b64: str = _BASE64
    rcpts: list[Annotated[str, _ADDRESS]] = Field(min_length=1, max_length=1000)
    mail_from: Annotated[str, _ADDRESS] | Literal[""] = Field("", description="'' for null.")
    mail_class: str | None = Field(None, max_length=64)


class OneMessage(Strict):
    """A message for one recipient."""

    message_b64: str = _BASE64
    rcpt: str = _ADDRESS
    mail_from: Annotated[str, _ADDRESS] | Literal[""] | None = None
    mail_class: str | None = Field(None, max_length=64)


class Url(Strict):
    """A tracking URL."""

    url: str = Field(min_length=1, max_length=16384)


class Raw(Strict):
    """A returned message as bytes in base64."""

    message_b64: str = _BASE64


class Rewritten(Strict):
    """The line of `rewrite --jsonl`, without its id."""

    message_b64: str
    mail_from: str
    links: list[JsonObject]
    skipped: str | None


class Outcome(Strict):
    """What became of one recipient."""

    rcpt: str
    status: Literal["accepted", "deferred", "refused"]
    code: int
    answer: str


class Submitted(Strict):
    """What became of each recipient."""

    recipients: list[Outcome]


def add_mail(routes: Routes, services: Services) -> None:
    """The endpoints."""

    @routes.app.before_request
    def limit() -> None:
        if request.path.startswith(("/messages", "/bounces")):
            request.max_content_length = MAX_MESSAGE * 4 // 3 + 65536

    @routes.add(
        "post",
        "/messages/rewrite",
        scope="messages",
        tag="Messages",
        summary="Tag a message for one recipient; nothing is sent",
        gives=Rewritten,
    )
    def rewrite(body: OneMessage) -> Response:
        rewritten = needed(services.rewrite, "rewriting")(
            _bytes(body.message_b64),
            body.rcpt,
            mail_from=body.mail_from,
            mail_class=body.mail_class,
        )
        return answer(
            {
                "message_b64": base64.b64encode(rewritten.message).decode(),
                "mail_from": rewritten.mail_from,
                "links": [
                    {
                        "url": link.url,
                        "tracked": link.tracked,
                        "link_id": link.link_id,
                        "universal": link.universal,
                    }
                    for link in rewritten.links
                ],
                "skipped": rewritten.skipped,
            }
        )

    @routes.add(
        "post",
        "/messages",
        scope="messages",
        tag="Messages",
        summary="Submit a message: it is tagged and relayed for each recipient",
        gives=Submitted,
        idempotent=True,
    )
    def submit(body: Message) -> Response:
        submit_one = needed(services.submit, "submission")
        message = _bytes(body.message_b64)
        if body.mail_class is not None:
            message = _with_class(services, message, body.mail_class)
        outcomes = []
        for rcpt in dict.fromkeys(body.rcpts):
            try:
                code, text = submit_one(message, body.mail_from, rcpt)
            except Unavailable as error:
                # Others may be on their way already, so this can't be one 503 for all.
                code, text = 451, f"4.3.0 {error}"
            status = {2: "accepted", 4: "deferred"}.get(code // 100, "refused")
            outcomes.append({"rcpt": rcpt, "status": status, "code": code, "answer": text})
        return answer({"recipients": outcomes})

    @routes.add(
        "post",
        "/bounces/parse",
        scope="read",
        tag="Messages",
        summary="Say what a returned message is",
        gives=JsonObject,
    )
    def parse(body: Raw) -> Response:
        return answer(services.parse_bounce(_bytes(body.message_b64)))

    @routes.add(
        "post",
        "/links/decode",
        scope="read",
        tag="Messages",
        summary="Verify a tracking URL and say what it holds",
        gives=JsonObject,
    )
    def decode(body: Url) -> Response:
        try:
            return answer(services.decode_link(body.url))
        except Forged:
            raise Malformed("bad MAC: not made with our secret constants", field="url") from None


def _with_class(services: Services, message: bytes, mail_class: str) -> bytes:
    """The message with its class as the first header, which is the one that counts."""
    known = services.store.load().mail_class_by_name.get(mail_class.lower())
    if known is None:
        raise Malformed(f"there is no mail class {mail_class!r}", field="mail_class")
    ending = b"\r\n" if b"\r\n" in message[:4096] else b"\n"
    return b"X-GreenArrow-MailClass: " + known.name.encode() + ending + message


def _bytes(text: str) -> bytes:
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("send application/json")
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("not base64", field="message_b64") from None
    if len(raw) > MAX_MESSAGE:
        raise Malformed("the message is over 50 MB", field="message_b64")
    return raw
