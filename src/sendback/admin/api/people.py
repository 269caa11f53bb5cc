"""Users, API keys, and who one is."""

import secrets
from base64 import b32encode
from typing import Any, Literal

import msgspec
from flask import Response, g
from pydantic import Field
from werkzeug.exceptions import Forbidden

from sendback.admin.api.answers import answer, nothing, page
from sendback.admin.api.models import MAX_MS, Items, JsonObject, Name, Nothing, Strict
from sendback.admin.api.routes import Routes
from sendback.admin.auth import Access
from sendback.database.accounts import Accounts, Principal
from sendback.errors import Malformed

Role = Literal["read", "operate", "admin"]
Scope = Literal["read", "messages", "operate", "admin"]


class NewKey(Strict):
    """A key to be made."""

    name: str = Field(pattern="^[ -~]{1,100}$")
    scopes: list[Scope] = Field(min_length=1, max_length=4)
    expires_ms: int | None = Field(None, ge=0, le=MAX_MS)


class NewUser(Strict):
    """A user to be made."""

    name: str = Field(pattern="^[A-Za-z0-9_.@+-]{1,100}$")
    password: str = Field(min_length=12, max_length=1000)
    role: Role


class UserChange(Strict):
    """What to change of a user."""

    role: Role | None = None
    password: str | None = Field(None, min_length=12, max_length=1000)
    totp: Literal[False] | None = Field(None, description="false drops the second factor.")


class Code(Strict):
    """A second factor, proven."""

    secret: str = Field(pattern=r"^[A-Z2-7]{32}$")
    code: str = Field(pattern=r"^[0-9]{6}$")


def add_people(routes: Routes, access: Access) -> None:
    """The endpoints."""
    _add_oneself(routes, access)
    _add_users(routes, access.accounts)
    _add_keys(routes, access.accounts)


def _add_oneself(routes: Routes, access: Access) -> None:
    accounts = access.accounts

    @routes.add("get", "/me", scope="read", tag="Access", gives=JsonObject,
                summary="Who is asking, and what is allowed")  # fmt: skip
    def me(query: Nothing) -> Response:  # noqa: ARG001 - refuses unknown parameters
        who: dict[str, Any] = {
            "name": g.principal.name, "allowed": sorted(g.principal.allowed)
        }  # fmt: skip
        if "session_id" in g:
            who["csrf_token"] = access.csrf_token(g.session_id)
        return answer(who)

    @routes.add("post", "/me/totp", scope="read", tag="Access", gives=JsonObject,
                summary="A secret for a second factor; nothing is stored yet")  # fmt: skip
    def propose_totp() -> Response:
        name = _user(g.principal)
        secret = b32encode(secrets.token_bytes(20)).decode()
        uri = f"otpauth://totp/sendback:{name}?secret={secret}&issuer=sendback"
        return answer({"secret": secret, "uri": uri})

    @routes.add("put", "/me/totp", scope="read", tag="Access", gives=JsonObject,
                summary="Set the second factor; every session ends")  # fmt: skip
    def set_totp(body: Code) -> Response:
        name = _user(g.principal)
        if not accounts.is_code(body.secret, body.code):
            raise Malformed("this is not the code of this secret now", field="code")
        accounts.set_totp(name, body.secret, actor=g.principal.name)
        return answer({"totp": True})


def _add_users(routes: Routes, accounts: Accounts) -> None:
    @routes.add("get", "/users", scope="admin", tag="Access", gives=Items, summary="List users")
    def users(query: Nothing) -> Response:  # noqa: ARG001 - refuses unknown parameters
        return page(accounts.users(), None)

    @routes.add("post", "/users", scope="admin", tag="Access", status=201, gives=JsonObject,
                summary="Add a user")  # fmt: skip
    def add_user(body: NewUser) -> Response:
        made = accounts.add_user(body.name, body.password, body.role, actor=g.principal.name)
        return answer(made, 201)

    @routes.add("patch", "/users/{name}", scope="admin", tag="Access", gives=JsonObject,
                summary="Change a user; every session of the user ends")  # fmt: skip
    def change_user(path: Name, body: UserChange) -> Response:
        actor = g.principal.name
        if body.role is not None:
            accounts.set_role(path.name, body.role, actor=actor)
        if body.password is not None:
            accounts.set_password(path.name, body.password, actor=actor)
        if body.totp is False:
            accounts.set_totp(path.name, "", actor=actor)
        return answer({"name": path.name})

    @routes.add("delete", "/users/{name}", scope="admin", tag="Access", status=204,
                summary="Remove a user")  # fmt: skip
    def remove_user(path: Name) -> Response:
        accounts.remove_user(path.name, actor=g.principal.name)
        return nothing()


def _add_keys(routes: Routes, accounts: Accounts) -> None:
    @routes.add("get", "/api-keys", scope="admin", tag="Access", gives=Items,
                summary="List keys, without their secrets")  # fmt: skip
    def keys(query: Nothing) -> Response:  # noqa: ARG001 - refuses unknown parameters
        return page(accounts.api_keys(), None)

    @routes.add("post", "/api-keys", scope="admin", tag="Access", status=201, gives=JsonObject,
                summary="Make a key; its text is in this answer and nowhere else")  # fmt: skip
    def add_key(body: NewKey) -> Response:
        text, key = accounts.create_key(
            body.name, body.scopes, actor=g.principal.name, expires_ms=body.expires_ms
        )
        return answer({"key": text, **msgspec.to_builtins(key)}, 201)

    @routes.add("delete", "/api-keys/{name}", scope="admin", tag="Access", status=204,
                summary="Refuse the key of this id from now on")  # fmt: skip
    def revoke_key(path: Name) -> Response:
        accounts.revoke_key(path.name, actor=g.principal.name)
        return nothing()


def _user(principal: Principal) -> str:
    kind, _, name = principal.name.partition(":")
    if kind != "user":
        raise Forbidden("only a person has a second factor")
    return name
