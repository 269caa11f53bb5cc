"""Who is asking: an API key, or a person's session; and how often somebody may be wrong.

Sessions are a signed cookie over a row, so they can be revoked; a request by session that changes
something needs the token of that session and must come from our own pages. What a principal is
allowed stands in `database.accounts.SCOPES`.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

from flask import Response, g, redirect, request
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized

from sendback.database.accounts import ABSOLUTE_MS, Accounts, Principal

P = ParamSpec("P")
R = TypeVar("R")

COOKIE = "sendback_session"
_SAFE = frozenset(["GET", "HEAD", "OPTIONS"])
_KEY_REMEMBERED_SECONDS = 5.0


class Throttle:
    """At most `limit` failures in `seconds` under one name; memory is bounded."""

    def __init__(
        self, limit: int, seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._seconds, self._clock = limit, seconds, clock
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, *names: str) -> None:
        """429 with Retry-After when one of these names has failed too often."""
        with self._lock:
            for name in names:
                recent = self._recent(name)
                if len(recent) >= self._limit:
                    wait = int(recent[0] + self._seconds - self._clock()) + 1
                    raise TooManyRequests("too many failures, try again later", retry_after=wait)

    def failed(self, *names: str) -> None:
        """One more failure under each name."""
        with self._lock:
            for name in names:
                self._failures[name] = [*self._recent(name), self._clock()]
                self._failures.move_to_end(name)
            while len(self._failures) > 10_000:
                self._failures.popitem(last=False)

    def _recent(self, name: str) -> list[float]:
        since = self._clock() - self._seconds
        return [at for at in self._failures.get(name, ()) if at > since]


class Access:
    """Tells who is asking. `secret`: at least 32 bytes, kept by the node."""

    def __init__(
        self,
        accounts: Accounts,
        secret: bytes,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.accounts = accounts
        self._secret = secret
        self._clock = clock
        self._cookies = URLSafeTimedSerializer(secret, salt="sendback.session")
        self._logins = Throttle(5, 900, clock=clock)
        self._keys = Throttle(30, 60, clock=clock)
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    # -- requests ----------------------------------------------------------------------------

    def principal(self) -> Principal:
        """Who makes this request; 401 when nobody we know, 429 after too many wrong keys."""
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._by_key(text.strip())
        session = self.session_id()
        if session is not None:
            found = self.accounts.session(session)
            if found is not None:
                if request.method not in _SAFE:
                    self.check_same_site()
                    self._check_csrf(session)
                g.session_id = session
                return found
        raise Unauthorized("give an API key: Authorization: Bearer sb_...")

    def require(self, scope: str) -> Principal:
        """The principal, allowed `scope`; 403 otherwise."""
        principal = self.principal()
        if scope not in principal.allowed:
            raise Forbidden(f"this needs the scope {scope!r}")
        g.principal = principal
        return principal

    def page(self, scope: str) -> Callable[[Callable[P, R]], Callable[P, R | Response]]:
        """For the views of pages: to the login page without a session, 403 without the scope."""

        def decorate(view: Callable[P, R]) -> Callable[P, R | Response]:
            @functools.wraps(view)
            def call(*args: P.args, **kwargs: P.kwargs) -> R | Response:
                try:
                    self.require(scope)
                except Unauthorized:
                    return redirect("/login")  # type: ignore[return-value]
                return view(*args, **kwargs)

            return call

        return decorate

    def _by_key(self, text: str) -> Principal:
        digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > self._clock():
            return known[1]
        principal = self.accounts.key(text)
        if principal is None:
            # After the look-up: behind a proxy one wrong client must not lock out the others.
            name = f"key {request.remote_addr}"
            self._keys.check(name)
            self._keys.failed(name)
            raise Unauthorized("this API key is wrong, expired or revoked")
        self._known[digest] = (self._clock() + _KEY_REMEMBERED_SECONDS, principal)
        while len(self._known) > 1000:
            self._known.popitem(last=False)
        return principal

    # -- sessions ----------------------------------------------------------------------------

    def session_id(self) -> str | None:
        """The session that the cookie names, when we signed it less than 12 hours ago."""
        try:
            found = self._cookies.loads(
                request.cookies.get(COOKIE, ""), max_age=ABSOLUTE_MS // 1000
            )
        except BadData:
            return None
        return found if isinstance(found, str) else None

    def csrf_token(self, session_id: str) -> str:
        """What a form or a script of this session must send along."""
        return hmac.new(self._secret, b"csrf" + session_id.encode(), "sha256").hexdigest()

    def log_in(self, name: str, password: str, code: str) -> str | None:
        """A session id; None when wrong; 429 after five failures of the account or address."""
        names = (f"user {name[:100]}", f"address {request.remote_addr}")
        self._logins.check(*names)
        session = self.accounts.login(name, password, code)
        if session is None:
            self._logins.failed(*names)
        return session

    def set_cookie(self, response: Response, session_id: str) -> None:
        """Hand the session to the browser; a new one at each login."""
        response.set_cookie(
            COOKIE,
            str(self._cookies.dumps(session_id)),
            httponly=True,
            samesite="Lax",
            secure=request.is_secure,
            max_age=ABSOLUTE_MS // 1000,
        )

    def check_same_site(self) -> None:
        """403 for a request that another site made this browser send."""
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise Forbidden("this request comes from another site")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise Forbidden("this request comes from another site")

    def _check_csrf(self, session_id: str) -> None:
        given = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
        if not hmac.compare_digest(given.encode(), self.csrf_token(session_id).encode()):
            raise Forbidden("the form is out of date: load the page again")


def node_secret(path: Path) -> bytes:
    """The 32 bytes that sign this node's sessions, made on first use, mode 0600."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) >= 32:
            return secret
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)  # a crash came between
    secret = os.urandom(32)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    return secret
