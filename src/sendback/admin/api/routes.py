"""One way to add an endpoint: path, scope, documents; so that none is open by mistake."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from flask import Response, g, request
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel
from werkzeug.exceptions import NotFound

from sendback.admin.api.answers import answer
from sendback.admin.auth import Access
from sendback.database.idempotency import IdempotencyKeys
from sendback.errors import Malformed

View = Callable[..., Response]
_METHODS = ("get", "post", "put", "patch", "delete")


class Routes:
    """Adds endpoints to the application and guards every one of them."""

    def __init__(self, app: OpenAPI, access: Access, keys: IdempotencyKeys) -> None:
        self.app = app
        self._keys = keys
        self._scopes: dict[tuple[str, str], str] = {}
        self.statuses: dict[tuple[str, str], int] = {}

        @app.before_request
        def guard() -> None:
            if request.url_rule is None:
                if request.routing_exception is None:
                    raise NotFound
                return  # Flask answers 404 or 405
            scope = self._scopes.get((request.method, request.url_rule.rule))
            if scope is not None:
                access.require(scope)
            _refuse_nul()

    def add(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        tag: str,
        summary: str,
        status: int = 200,
        gives: type[BaseModel] | None = None,
        idempotent: bool = False,
    ) -> Callable[[View], View]:
        """A decorator: the view answers this method on this path, for principals with `scope`.

        `idempotent`: an Idempotency-Key makes a repeated request get the first one's answer.
        """
        assert method in _METHODS

        def decorate(view: View) -> View:
            if idempotent:
                view = self._idempotent(view)
            rule = path.replace("{", "<").replace("}", ">")
            verb = method.upper()
            self._scopes[verb, rule] = scope
            if verb == "GET":
                self._scopes["HEAD", rule] = scope
            responses: dict[str, Any] = {str(status): gives}
            register = getattr(self.app, method)(
                rule,
                tags=[Tag(name=tag)],
                summary=summary,
                description=f"Scope: `{scope}`."
                + (" Takes an `Idempotency-Key` header." if idempotent else ""),
                security=[{"api_key": []}],
                endpoint=f"{method} {path}",
                responses=responses,
                operation_id=f"{method}{path.replace('/', '_').replace('{', '').replace('}', '')}",
            )
            register(view)
            return view

        return decorate

    def _idempotent(self, view: View) -> View:
        @functools.wraps(view)
        def call(**arguments: Any) -> Response:
            key = request.headers.get("Idempotency-Key")
            if key is None:
                return view(**arguments)
            if not 1 <= len(key) <= 200 or not key.isprintable():
                raise Malformed("an Idempotency-Key has 1 to 200 characters", field="header")
            principal = g.principal.name
            whole = f"{request.method} {request.full_path}\n".encode() + request.get_data()
            kept = self._keys.begin(principal, key, hashlib.sha256(whole).digest())
            if kept is not None:
                return answer(
                    msgspec.Raw(kept.body.encode()), kept.status, Idempotent_Replay="true"
                )
            status, body = 500, ""
            try:
                response = view(**arguments)
                status, body = response.status_code, response.get_data(as_text=True)
                return response
            finally:
                if status >= 400:
                    status = 500  # nothing was done: the next try is a first one
                self._keys.finish(principal, key, status, body)

        return call


def _refuse_nul() -> None:
    """No name holds a NUL, and Postgres refuses to look for one."""
    if "\0" in request.path or any("\0" in text for text in request.args.values()):
        raise NotFound("a NUL stands in the URL, and in no name")
