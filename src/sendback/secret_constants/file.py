"""`secret-constants.json`: where a node keeps its keys, and every change an operator can make.

Mode 0600, replaced by rename, changed under a lock; error texts never hold a constant.
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from sendback.errors import Conflict, Malformed, Misconfigured, NotFound, Unavailable
from sendback.secret_constants.keys import Key, Keyring, read_constant

NEW_BYTES = 32


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    constant1: str
    constant2: str
    state: Literal["signing", "accepted", "retired"]
    created_at: int = 0
    retired_at: int = 0


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[_Stored]
    version: Literal[1] = 1


class KeyRow(msgspec.Struct, frozen=True):
    """One line of `secret-constants list`; no secret in it."""

    key_id: str
    fingerprint: str
    state: str
    created_at: int
    retired_at: int


class SecretConstantsFile:
    """`secret-constants.json`: mode 0600, replaced by rename, changed under a lock.

    Every change reads, checks and writes while it holds the lock, so two commands at once both
    take effect; a process killed half-way leaves the file as it was.
    """

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._clock = clock

    def load(self) -> Keyring:
        """What the file says now; Misconfigured when it is missing, readable by others, broken."""
        return _keyring(self._read())

    def ensure(self) -> Keyring:
        """As `load`; makes the file with one new random pair when there is none (first start)."""
        if not self.path.exists():
            with self._locked():
                if not self.path.exists():
                    self._write(_Document([self._new("signing")]))
        return self.load()

    def rows(self) -> list[KeyRow]:
        """Every key, the signing one first."""
        rows = [
            KeyRow(f"{key.key_id:02x}", key.fingerprint, s.state, s.created_at, s.retired_at)
            for s in self._read().keys
            for key in (_key(s),)
        ]
        order = ("signing", "accepted", "retired")
        return sorted(rows, key=lambda row: order.index(row.state))

    def set_pair(self, constant1: str, constant2: str) -> Keyring:
        """The pair signs from now on; what signed before stays accepted (seed 000)."""
        given = _Stored(*_checked(constant1, constant2), "signing", int(self._clock()))

        def change(keys: list[_Stored]) -> None:
            for stored in keys:
                if stored.state == "signing":
                    stored.state = "accepted"
            _find_or_append(keys, given).state = "signing"

        return self._change(change, create=True)

    def add(self, constant1: str | None = None, constant2: str | None = None) -> Key:
        """A pair (a new random one unless given) that opens tokens and does not sign yet."""
        if (constant1 is None) != (constant2 is None):
            raise Malformed("give both constants, or none", field="constant2")
        new = self._new("accepted")
        if constant1 is not None and constant2 is not None:
            new.constant1, new.constant2 = _checked(constant1, constant2)

        def change(keys: list[_Stored]) -> None:
            known = _find_or_append(keys, new)
            if known.state == "retired":
                known.state, known.retired_at = "accepted", 0

        self._change(change, create=constant1 is None)
        return _key(new)

    def promote(self, which: str) -> Key:
        """The key of this id, or beginning of a fingerprint, signs; the former one is accepted."""
        promoted: list[_Stored] = []

        def change(keys: list[_Stored]) -> None:
            chosen = _find(keys, which)
            for stored in keys:
                if stored.state == "signing":
                    stored.state = "accepted"
            chosen.state, chosen.retired_at = "signing", 0
            promoted.append(chosen)

        self._change(change)
        return _key(promoted[0])

    def rotate(self) -> Key:
        """A new random pair signs at once: for a node that stands alone."""
        new = self._new("signing")

        def change(keys: list[_Stored]) -> None:
            for stored in keys:
                if stored.state == "signing":
                    stored.state = "accepted"
            keys.append(new)

        self._change(change, create=True)
        return _key(new)

    def retire(self, which: str) -> Key:
        """The key opens nothing any more that comes in from outside; Conflict when it signs."""
        retired: list[_Stored] = []

        def change(keys: list[_Stored]) -> None:
            chosen = _find(keys, which)
            if chosen.state == "signing":
                raise Conflict("this key signs; promote another one first")
            chosen.state, chosen.retired_at = "retired", int(self._clock())
            retired.append(chosen)

        self._change(change)
        return _key(retired[0])

    def _change(self, change: Callable[[list[_Stored]], None], *, create: bool = False) -> Keyring:
        with self._locked():
            document = _Document([]) if create and not self.path.exists() else self._read()
            change(document.keys)
            if not any(stored.state == "signing" for stored in document.keys):
                document.keys.insert(0, self._new("signing"))
            keyring = _keyring(document)
            self._write(document)
            return keyring

    def _new(self, state: Literal["signing", "accepted"]) -> _Stored:
        one, two = secrets.token_hex(NEW_BYTES), secrets.token_hex(NEW_BYTES)
        return _Stored(one, two, state, int(self._clock()))

    def _read(self) -> _Document:
        place = str(self.path)
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(1_000_000)
        except FileNotFoundError:
            raise Misconfigured(
                "there are no secret constants yet",
                place=place,
                hint="`sendback secret-constants rotate` makes them",
            ) from None
        except OSError as error:
            raise Misconfigured(f"can't be read: {error.strerror}", place=place) from None
        if mode & 0o077:
            raise Misconfigured(
                f"other users can read or change the secret constants (mode {mode & 0o777:04o})",
                place=place,
                hint=f"chmod 600 {place}, and rotate if anybody may have read them",
            )
        try:
            document = msgspec.json.decode(text, type=_Document)
            _keyring(document)
        except (msgspec.MsgspecError, UnicodeDecodeError, Malformed) as error:
            # msgspec names the place and type of a fault, never the value.
            raise Misconfigured(
                f"is not a file of secret constants: {error}", place=place
            ) from None
        return document

    def _write(self, document: _Document) -> None:
        """Replace the file: after a crash at any point it holds the old or the new keys."""
        draft = self.path.with_name(self.path.name + ".new")
        text = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
        try:
            draft.unlink(missing_ok=True)  # left by a process that was killed here
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise Unavailable(f"{self.path} can't be written: {error.strerror}") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, among processes and threads; the kernel frees it at death."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(
                self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600
            )
        except OSError as error:
            raise Misconfigured(
                f"can't be written: {error.strerror}", place=str(self.path)
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _checked(constant1: str, constant2: str) -> tuple[str, str]:
    return read_constant(constant1, 1).hex(), read_constant(constant2, 2).hex()


def _key(stored: _Stored) -> Key:
    return Key(read_constant(stored.constant1, 1), read_constant(stored.constant2, 2))


def _keyring(document: _Document) -> Keyring:
    by_state: dict[str, list[Key]] = {"signing": [], "accepted": [], "retired": []}
    for stored in document.keys:
        by_state[stored.state].append(_key(stored))
    if len(by_state["signing"]) != 1:
        raise Malformed(f"{len(by_state['signing'])} keys sign; exactly one has to", field="keys")
    return Keyring(by_state["signing"][0], tuple(by_state["accepted"]), tuple(by_state["retired"]))


def _find_or_append(keys: list[_Stored], new: _Stored) -> _Stored:
    for stored in keys:
        if (stored.constant1, stored.constant2) == (new.constant1, new.constant2):
            return stored
    keys.append(new)
    return new


def _find(keys: list[_Stored], which: str) -> _Stored:
    """By key id (two hexadecimal digits) or the beginning of a fingerprint (four or more)."""
    wanted = which.strip().lower()
    wanted = wanted.removeprefix("0x")
    found = [
        stored
        for stored in keys
        for key in (_key(stored),)
        if f"{key.key_id:02x}" == wanted
        or (len(wanted) >= 4 and key.fingerprint.startswith(wanted))
    ]
    if not found:
        raise NotFound(f"no key {which!r} here; `sendback secret-constants list` shows them all")
    if len(found) > 1:
        raise Conflict(f"two keys have the id {which!r}; name one by its fingerprint")
    return found[0]
