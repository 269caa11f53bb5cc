"""How the API reads bodies and answers: JSON, problem+json (RFC 9457), ETags, cursors."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from flask import Flask, Response, request
from pydantic import ValidationError
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    ServiceUnavailable,
    UnprocessableEntity,
    UnsupportedMediaType,
)

from sendback.admin.bodies import BoundedRequest
from sendback.database.catalog import Stale
from sendback.errors import Conflict, Malformed, NotFound, SendbackError, Unavailable

T = TypeVar("T")
_log = logging.getLogger(__name__)
PROBLEM = "application/problem+json"
#: Bodies of JSON; messages may be larger, see `mail.py`.
MAX_BODY = 1 << 20


class ApiRequest(BoundedRequest):
    """A request whose JSON body is read strictly, and says what is wrong with it."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ARG002 - Flask's signature
        """The object or array; 415 for another type, 400 for broken JSON, 422 for a scalar."""
        if self.mimetype != "application/json":
            raise UnsupportedMediaType("send application/json")
        if self.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("send the body uncompressed")
        try:
            found = msgspec.json.decode(self.get_data())
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise UnprocessableEntity("the body is a JSON object")
        return found


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """A JSON document; `Content_Type=` style names become headers."""
    response = Response(msgspec.json.encode(value), status, content_type="application/json")
    for name, text in headers.items():
        response.headers[name.replace("_", "-")] = text
    return response


def nothing() -> Response:
    """204."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def page(items: Sequence[Any], next_place: Any) -> Response:
    """A page of a list; `next` is what to give as `cursor`, null at the end."""
    return answer({"items": items, "next": None if next_place is None else _cursor(next_place)})


def _cursor(place: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def place_of(cursor: str | None, kind: type[T]) -> T | None:
    """Where a page goes on; 404 for a cursor that we did not make."""
    if cursor is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise NotFound("this cursor is none of ours") from None


def expected_version() -> int | None:
    """The version that `If-Match` names; None without one, or for `*`.

    A tag that we never gave is a version that no object has.
    """
    header = request.headers.get("If-Match", "").strip()
    if header in ("", "*"):
        return None
    text = header.removeprefix('"').removesuffix('"')
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        return -1
    return int(text)


def needed(part: T | None, what: str) -> T:
    """The part of the node; 503 when it is not here."""
    if part is None:
        raise ServiceUnavailable(f"{what} is not available on this node")
    return part


def add_error_answers(app: Flask) -> None:
    """Every failure becomes a problem document; what is ours is logged and says nothing."""

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        response = problem(error.code or 500, error.description or error.name)
        for name, value in error.get_headers():
            if name.lower() in ("allow", "retry-after"):
                response.headers[name] = value
        if error.code == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="sendback"'
        return response

    @app.errorhandler(SendbackError)
    def ours(error: SendbackError) -> Response:
        if isinstance(error, Malformed):
            return invalid([{"field": error.field or "", "message": str(error)}])
        for kind, status in _STATUSES:
            if isinstance(error, kind):
                response = problem(status, str(error))
                if status == 503:
                    response.headers["Retry-After"] = "5"
                return response
        _log.error("the API failed", exc_info=error)
        return problem(500, "internal error; the log says more")

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        _log.error("the API failed", exc_info=error)
        return problem(500, "internal error; the log says more")


_STATUSES: Sequence[tuple[type[SendbackError], int]] = (
    (NotFound, 404),
    (Stale, 412),
    (Conflict, 409),
    (Unavailable, 503),
)


def problem(status: int, detail: str, **more: Any) -> Response:
    """A problem document (RFC 9457)."""
    titles: Callable[[int], str] = _title
    body = {"type": "about:blank", "title": titles(status), "status": status, "detail": detail}
    return Response(msgspec.json.encode({**body, **more}), status, content_type=PROBLEM)


def _title(status: int) -> str:
    from http import HTTPStatus

    return HTTPStatus(status).phrase


def invalid(errors: Sequence[dict[str, str]]) -> Response:
    """422 with the path of each field that is wrong."""
    detail = "; ".join(error["message"] for error in errors[:3])
    return problem(422, detail, errors=errors)


def from_pydantic(error: ValidationError) -> Response:
    """What flask-openapi3 found wrong, as our problem document."""
    return invalid(
        [
            {"field": ".".join(map(str, one["loc"])), "message": one["msg"]}
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    )
