"""Who may do what on the admin port: users, their sessions, invitations, API keys.

Secrets that we make (keys, session ids, invitations) have 256 bits and are stored as SHA-256;
passwords, which people make, as argon2id. A secret is shown once, when it is made.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy.exc import IntegrityError

from sendback.database import audit
from sendback.database.engine import Database
from sendback.database.schema import api_keys, invitations, sessions, users
from sendback.database.totp import step_of
from sendback.errors import Conflict, Malformed, NotFound

ROLES = ("read", "operate", "admin")
#: What a scope allows: `messages` is for applications that submit mail and see nothing.
SCOPES = {
    "read": {"read"},
    "messages": {"messages"},
    "operate": {"read", "messages", "operate"},
    "admin": {"read", "messages", "operate", "admin"},
}
IDLE_MS = 30 * 60 * 1000
ABSOLUTE_MS = 12 * 3600 * 1000
_KEY = re.compile(r"sb_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")
_USER = re.compile(r"[A-Za-z0-9_.@+-]{1,100}\Z")
_TOUCH_MS = 60_000

# OWASP's floor, so that a login costs ~25 ms and 19 MiB and no more.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class User(msgspec.Struct, frozen=True):
    """A person."""

    name: str
    role: str
    totp: bool
    created_ms: int


class ApiKey(msgspec.Struct, frozen=True):
    """A program's key, without its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_ms: int
    expires_ms: int | None = None
    last_used_ms: int | None = None
    revoked_ms: int | None = None


class Principal(msgspec.Struct, frozen=True):
    """Whoever acts: a name for the audit log and what is allowed."""

    name: str
    allowed: frozenset[str]


class Accounts:
    """Every method: Unavailable while the database is down."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        # Verified when there is no such user, so that both cases take the same time.
        self._nobodys_hash: str | None = None

    # -- users -------------------------------------------------------------------------------

    def add_user(self, name: str, password: str, role: str, *, actor: str) -> User:
        """A new user; Malformed for a bad name, role or password, Conflict when there is one."""
        if not _USER.match(name):
            raise Malformed("a user's name is letters, digits and _.@+-", field="name")
        _check_role(role)
        now = self._now()
        values = {
            "name": name,
            "password_hash": _hashed(password),
            "role": role,
            "totp_secret": "",
            "totp_step": 0,
            "created_ms": now,
        }
        with self._database.write() as connection:
            try:
                connection.execute(sa.insert(users).values(values))
            except IntegrityError:
                raise Conflict(f"there is a user {name!r} already") from None
            self._audit(connection, actor, "add", "user", name, after={"role": role})
        return User(name, role, totp=False, created_ms=now)

    def users(self) -> Sequence[User]:
        """Everybody, by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(users).order_by(users.c.name)).all()
        return [User(row.name, row.role, bool(row.totp_secret), row.created_ms) for row in rows]

    def has_users(self) -> bool:
        """False until the first administrator was made."""
        with self._database.read() as connection:
            return connection.execute(sa.select(users.c.name).limit(1)).first() is not None

    def set_password(self, name: str, password: str, *, actor: str) -> None:
        """A new password; every session of the user ends. NotFound, Malformed."""
        self._change_user(name, {"password_hash": _hashed(password)}, "passwd", actor)

    def set_role(self, name: str, role: str, *, actor: str) -> None:
        """Another role; the user's sessions end. NotFound, Malformed."""
        _check_role(role)
        self._change_user(name, {"role": role}, "set", actor, after={"role": role})

    def set_totp(self, name: str, secret: str, *, actor: str) -> None:
        """A second factor from now on (base32 text), or none ("")."""
        action = "enable totp" if secret else "disable totp"
        self._change_user(name, {"totp_secret": secret, "totp_step": 0}, action, actor)

    def remove_user(self, name: str, *, actor: str) -> None:
        """Gone at once, sessions included. NotFound."""
        with self._database.write() as connection:
            if not connection.execute(sa.delete(users).where(users.c.name == name)).rowcount:
                raise NotFound(f"there is no user {name!r}")
            connection.execute(sa.delete(sessions).where(sessions.c.user_name == name))
            self._audit(connection, actor, "remove", "user", name)

    def _change_user(
        self, name: str, values: dict[str, Any], action: str, actor: str, after: Any = None
    ) -> None:
        with self._database.write() as connection:
            found = connection.execute(sa.update(users).where(users.c.name == name).values(values))
            if not found.rowcount:
                raise NotFound(f"there is no user {name!r}")
            connection.execute(sa.delete(sessions).where(sessions.c.user_name == name))
            self._audit(connection, actor, action, "user", name, after=after)

    # -- logging in --------------------------------------------------------------------------

    def login(self, name: str, password: str, code: str = "") -> str | None:
        """A new session id, or None. Takes as long for an unknown user as for a known one."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(users).where(users.c.name == name)).first()
        if self._nobodys_hash is None:
            self._nobodys_hash = _hasher.hash(secrets.token_urlsafe())
        try:
            _hasher.verify(row.password_hash if row else self._nobodys_hash, password)
        except (VerificationError, InvalidHashError):
            return None
        if row is None or not self._second_factor(row, code):
            return None
        return self._new_session(row.name)

    def _second_factor(self, row: sa.Row[Any], code: str) -> bool:
        if not row.totp_secret:
            return True
        step = step_of(row.totp_secret, code, self._clock())
        if step is None:
            return False
        used = (
            sa.update(users)
            .where(users.c.name == row.name, users.c.totp_step < step)
            .values(totp_step=step)
        )
        with self._database.write() as connection:  # no code works twice
            return connection.execute(used).rowcount == 1

    def is_code(self, secret: str, code: str) -> bool:
        """True when `code` is the one of this secret now, give or take 30 s."""
        return step_of(secret, code, self._clock()) is not None

    def _new_session(self, name: str) -> str:
        session_id = secrets.token_urlsafe(32)
        now = self._now()
        values = {
            "id_hash": _sha256(session_id),
            "user_name": name,
            "created_ms": now,
            "last_ms": now,
        }
        with self._database.write() as connection:
            stale = sessions.c.created_ms < now - ABSOLUTE_MS
            connection.execute(sa.delete(sessions).where(stale))
            connection.execute(sa.insert(sessions).values(values))
        return session_id

    def session(self, session_id: str) -> Principal | None:
        """Who has this session; None when it ended, idle or absolutely."""
        now = self._now()
        key = sessions.c.id_hash == _sha256(session_id)
        query = (
            sa.select(users.c.name, users.c.role, sessions.c.last_ms)
            .join_from(sessions, users, sessions.c.user_name == users.c.name)
            .where(
                key, sessions.c.last_ms > now - IDLE_MS, sessions.c.created_ms > now - ABSOLUTE_MS
            )
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        if row.last_ms < now - _TOUCH_MS:
            with self._database.write() as connection:
                connection.execute(sa.update(sessions).where(key).values(last_ms=now))
        return Principal(f"user:{row.name}", frozenset(SCOPES[row.role]))

    def logout(self, session_id: str) -> None:
        """The session is over."""
        with self._database.write() as connection:
            gone = sa.delete(sessions).where(sessions.c.id_hash == _sha256(session_id))
            connection.execute(gone)

    # -- invitations -------------------------------------------------------------------------

    def invite(self, role: str, *, valid_seconds: int = 86_400) -> str:
        """A secret that makes one user of this role, once."""
        _check_role(role)
        secret = secrets.token_urlsafe(32)
        values = {
            "id_hash": _sha256(secret),
            "role": role,
            "expires_ms": self._now() + valid_seconds * 1000,
        }
        with self._database.write() as connection:
            connection.execute(sa.insert(invitations).values(values))
        return secret

    def first_invitation(self) -> str | None:
        """An invitation for the first administrator; None once there is a user.

        Earlier ones stop working, so the newest link that was printed is the one.
        """
        with self._database.write() as connection:
            if connection.execute(sa.select(users.c.name).limit(1)).first() is not None:
                return None
            connection.execute(sa.delete(invitations))
        return self.invite("admin")

    def is_invitation(self, secret: str) -> bool:
        """True while this invitation can be used."""
        with self._database.read() as connection:
            query = sa.select(invitations).where(*self._live(secret))
            return connection.execute(query).first() is not None

    def accept(self, secret: str, name: str, password: str) -> User:
        """The user of this invitation, which is used up. NotFound; see `add_user` for the rest."""
        if not self.is_invitation(secret):
            raise NotFound("this invitation was used already or is too old")
        _hashed(password)  # a bad password must not use it up
        with self._database.write() as connection:
            query = sa.delete(invitations).where(*self._live(secret)).returning(invitations.c.role)
            role = connection.execute(query).scalar()
        if role is None:
            raise NotFound("this invitation was used already or is too old")
        return self.add_user(name, password, role, actor="invitation")

    def _live(self, secret: str) -> list[sa.ColumnElement[bool]]:
        return [
            invitations.c.id_hash == _sha256(secret),
            invitations.c.expires_ms > self._now(),
        ]

    # -- API keys ----------------------------------------------------------------------------

    def create_key(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        actor: str,
        expires_ms: int | None = None,
    ) -> tuple[str, ApiKey]:
        """A new key: its text, which is never shown again, and what is stored of it."""
        if not 1 <= len(name) <= 100 or not name.isprintable():
            raise Malformed("a key's name is 1 to 100 printable characters", field="name")
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise Malformed(f"scopes are {', '.join(SCOPES)}", field="scopes")
        now = self._now()
        if expires_ms is not None and expires_ms <= now:
            raise Malformed("a key can't expire in the past", field="expires")
        key = ApiKey(secrets.token_hex(6), name, tuple(scopes), now, expires_ms)
        secret = secrets.token_urlsafe(32)
        values = {
            "id": key.id,
            "key_hash": _sha256(secret),
            "name": name,
            "scopes": " ".join(scopes),
            "created_ms": now,
            "expires_ms": expires_ms,
        }
        with self._database.write() as connection:
            connection.execute(sa.insert(api_keys).values(values))
            after = {"name": name, "scopes": list(scopes), "expires_ms": expires_ms}
            self._audit(connection, actor, "add", "api_key", key.id, after=after)
        return f"sb_{key.id}_{secret}", key

    def api_keys(self) -> Sequence[ApiKey]:
        """Every key, revoked ones too, the oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(api_keys).order_by("created_ms", "id")).all()
        return [
            ApiKey(
                row.id,
                row.name,
                tuple(row.scopes.split()),
                row.created_ms,
                row.expires_ms,
                row.last_used_ms,
                row.revoked_ms,
            )
            for row in rows
        ]

    def revoke_key(self, key_id: str, *, actor: str) -> None:
        """The key is refused from now on. NotFound."""
        revoked = (
            sa.update(api_keys)
            .where(api_keys.c.id == key_id, api_keys.c.revoked_ms.is_(None))
            .values(revoked_ms=self._now())
        )
        with self._database.write() as connection:
            if not connection.execute(revoked).rowcount:
                raise NotFound(f"there is no live key {key_id!r}")
            self._audit(connection, actor, "revoke", "api_key", key_id)

    def key(self, text: str) -> Principal | None:
        """Who has this key; None when it is wrong, expired or revoked."""
        found = _KEY.match(text)
        if not found:
            return None
        key_id, secret = found.groups()
        with self._database.read() as connection:
            row = connection.execute(sa.select(api_keys).where(api_keys.c.id == key_id)).first()
        # The hash is compared also when there is no such id, so that both take the same time.
        stored = row.key_hash if row is not None else _sha256("")
        if not hmac.compare_digest(stored, _sha256(secret)) or row is None:
            return None
        now = self._now()
        if row.revoked_ms is not None or (row.expires_ms is not None and row.expires_ms <= now):
            return None
        if row.last_used_ms is None or row.last_used_ms < now - _TOUCH_MS:
            with self._database.write() as connection:
                used = sa.update(api_keys).where(api_keys.c.id == key_id).values(last_used_ms=now)
                connection.execute(used)
        allowed = frozenset().union(*(SCOPES[scope] for scope in row.scopes.split()))
        return Principal(f"key:{key_id}", allowed)

    def _audit(
        self,
        connection: sa.Connection,
        actor: str,
        action: str,
        kind: str,
        name: str,
        after: Any = None,
    ) -> None:
        audit.record(
            connection,
            time_ms=self._now(),
            actor=actor,
            action=action,
            kind=kind,
            name=name,
            after=after,
        )

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise Malformed(f"a role is {', '.join(ROLES)}", field="role")


def _hashed(password: str) -> str:
    if not 12 <= len(password) <= 1000:
        raise Malformed("a password has 12 to 1000 characters", field="password")
    return _hasher.hash(password)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
