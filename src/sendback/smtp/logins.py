"""Who may log in at the submission port, and how often an address may guess.

Passwords are compared aside, in a thread: an argon2 hash takes its time on purpose.
"""

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Mapping

#: Wrong passwords that one address has before it must wait, and for how many seconds.
MAX_FAILURES, MEMORY_SECONDS = 20, 900.0
#: Addresses remembered; beyond it the oldest are forgotten.
_MAX_CLIENTS = 10_000


class Logins:
    """Users and the failures of the last quarter of an hour; one event loop's."""

    def __init__(
        self, users: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`users`: name to password, or to its argon2 hash."""
        self._users = dict(users)
        self._clock = clock
        self._failures: dict[str, tuple[float, int]] = {}

    def __bool__(self) -> bool:
        """True when there is anybody who could log in."""
        return bool(self._users)

    def must_wait(self, client: str) -> bool:
        """True for an address that has guessed wrong too often."""
        since, count = self._failures.get(client, (0.0, 0))
        return count >= MAX_FAILURES and self._clock() - since < MEMORY_SECONDS

    async def user_of(self, name: bytes, password: bytes, client: str) -> str | None:
        """The user's name, or None; as slow for unknown names as for known ones."""
        user = name.decode("utf-8", "replace")
        known = self._users.get(user)
        is_right = await asyncio.to_thread(_verify, known or secrets.token_hex(), password)
        if known is not None and is_right:
            return user
        since, count = self._failures.pop(client, (0.0, 0))
        now = self._clock()
        fresh = now - since < MEMORY_SECONDS
        self._failures[client] = (since, count + 1) if fresh else (now, 1)
        while len(self._failures) > _MAX_CLIENTS:
            del self._failures[next(iter(self._failures))]
        return None


def _verify(known: str, password: bytes) -> bool:
    """True for the right password; `known` is it, or its argon2 hash."""
    if known.startswith("$argon2"):
        import argon2

        try:
            return argon2.PasswordHasher().verify(known, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
    return hmac.compare_digest(known.encode(), password)
