"""`Metadata`: one face for the three storages of seed 004.

A message is tagged with the storage it asks for, or stateless when that one can't take it: mail
always goes out. A token is opened by its version; its tag is verified before anything is parsed,
inflated or looked up, and `find` is written as one straight line because every click runs it.
"""

import collections
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from sendback import tokens
from sendback.errors import Forged, Malformed, NotFound, Unavailable
from sendback.metadata import stateless
from sendback.metadata.base import (
    AnotherStore,
    Backend,
    BounceRef,
    Fetch,
    Issued,
    Wanted,
)
from sendback.metadata.issuing import Issuing
from sendback.model import LinkFacts, MessageFacts, Storage, TrackingData
from sendback.secret_constants import Keyring, Purpose
from sendback.tokens import Opened, UnknownKey, Version

if TYPE_CHECKING:
    from sendback.metadata.external import ExternalStore
    from sendback.metadata.local import LocalStore

#: Plain numbers: looking at an enumeration's member costs more than comparing it.
_STATELESS = int(Version.STATELESS)
_STATELESS_DEFLATED = int(Version.STATELESS_DEFLATED)
_STATELESS_VERSIONS = (_STATELESS_DEFLATED, _STATELESS)
_DAY = 86400
_SAY_AGAIN_AFTER = 1.0


class Metadata:
    """Facts of messages and links, by token. Safe for any number of threads.

    `local` and `external` are None where this process can't reach them. `include_retired`: also
    open what retired keys made (finishing alone does). `log` takes whole lines, at most one a
    second of a kind. Replace `keyring` to reload keys.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        local: "LocalStore | None" = None,
        external: "ExternalStore | None" = None,
        compress: bool = True,
        clock: Callable[[], float] = time.time,
        log: Callable[[str], None] = lambda _: None,
        include_retired: bool = False,
        bounce_max_age_days: int = 90,
    ) -> None:
        self.keyring = keyring
        self.local = local
        self.external = external
        self.unknown_keys: collections.Counter[int] = collections.Counter()
        """How often a token named a key id that is not ours: a key that only one server has."""
        self._clock = clock
        self._log = _Sparing(log)
        self._include_retired = include_retired
        self._bounce_max_age_days = bounce_max_age_days
        self._counts: collections.Counter[str] = collections.Counter()
        self._stateless = stateless.Stateless(compress=compress)
        self._issuing = Issuing(self._stateless, self._counts, self._log.say)

    # -- a message goes out ------------------------------------------------------------------

    def issue(self, storage: Storage, message: MessageFacts, links: Sequence[LinkFacts]) -> Issued:
        """Tokens for a message and its links, durable before this returns.

        Falls back to stateless, with a log line, when the storage asked for is not there or does
        not take the message; a link that no storage can hold has the token "". Malformed only when
        the message's own facts pass 8 KB.
        """
        (made,) = self.issue_many(storage, ((message, links),))
        if isinstance(made, Malformed):
            raise made
        return made

    def issue_many(
        self, storage: Storage, messages: Sequence[Wanted]
    ) -> Sequence[Issued | Malformed]:
        """As `issue`, waiting once for all of them: one round trip, or one commit."""
        return self._issuing.issue_many(
            storage, messages, self.keyring, local=self.local, external=self.external
        )

    # -- somebody comes back -----------------------------------------------------------------

    def find(self, purpose: Purpose, token: bytes) -> LinkFacts | Fetch:
        """Enough of a genuine token to redirect, or the way to it. About 5 us when stateless.

        Forged, Malformed (genuine, but of a newer version), NotFound, Unavailable.
        """
        binary = tokens.decode(token)
        version = binary[0]
        if version in _STATELESS_VERSIONS:
            keys = self.keyring.candidates(binary[1], include_retired=self._include_retired)
            if not keys:
                self.unknown_keys[binary[1]] += 1
            return stateless.link_of(version, tokens.unseal(keys, purpose, binary))
        backend, opened = self._stored(purpose, binary)
        return backend.find(purpose, opened)

    def link(self, purpose: Purpose, token: bytes) -> LinkFacts:
        """As `find`, and waits where a database must be asked."""
        found = self.find(purpose, token)
        return found if isinstance(found, LinkFacts) else found.wait()

    def resolve(self, purpose: Purpose, token: bytes) -> TrackingData:
        """All that a genuine token stands for; errors as `link`.

        `link` is None for OPEN, REPORT, FEEDBACK and MAILTO; a header link has kind UNSUB_HEADER.
        White space in a REPORT or FEEDBACK token is the folding of a returned header: dropped.
        """
        if purpose in (Purpose.REPORT, Purpose.FEEDBACK):
            token = b"".join(token.split())
        binary = tokens.decode(token)
        if binary[0] <= Version.STATELESS_DEFLATED:
            opened = self._open(purpose, binary)
            return self._stateless.resolve(purpose, opened)
        backend, opened = self._stored(purpose, binary)
        return backend.resolve(purpose, opened)

    def links_in_message(self, token: bytes, data: TrackingData) -> int | None:
        """At most how many links the message of `data`, which the genuine `token` gave, has.

        Those of the HTML or the text part, wherever the token's link stood. The message carries it,
        or with local storage the rows of its send tell; None where nobody counted. Unavailable.
        """
        local, link, message = self.local, data.link, data.message
        if link is None:
            return None
        counted = message.text_links if link.html_or_text == "t" else message.html_links
        if counted:
            return counted
        if local is None or tokens.decode(token)[0] != Version.LOCAL:
            return None
        return local.links_of_send(message.sendid, message.listid, link.html_or_text)

    def verify(self, purpose: Purpose, token: bytes) -> None:
        """Forged unless the token is genuine. No store is asked for more than its id.

        For what is accepted while a database is down (a one-click unsubscribe).
        """
        binary = tokens.decode(token)
        if binary[0] <= Version.STATELESS_DEFLATED:
            self._open(purpose, binary)
        else:
            self._stored(purpose, binary)

    def prefetch(self, visits: Iterable[tuple[Purpose, bytes]]) -> None:
        """Read what many tokens stand for in one question, so that `resolve` need not ask.

        Only external storage asks anybody; never raises: `resolve` says what is wrong.
        """
        if self.external is None:
            return
        opened = []
        for purpose, token in visits:
            with contextlib.suppress(Malformed):
                binary = tokens.decode(token)
                if binary[0] == Version.EXTERNAL:
                    opened.append(self._open(purpose, binary))
        self.external.prefetch(opened)

    def resolve_bounce(self, token: str | bytes) -> BounceRef:
        """What a genuine bounce address says, in any case of letters.

        Forged, Unavailable; NotFound: a local one, and this node has no local metadata.
        """
        text = token.encode("ascii", "replace") if isinstance(token, str) else token
        binary = tokens.decode_address(b"".join(text.split()))
        if binary[0] == Version.BOUNCE_LOCAL:
            local = self._need_local()
            ref = local.resolve_bounce(self._open_local(local, Purpose.BOUNCE, binary))
        else:
            opened = self._open(Purpose.BOUNCE, binary)
            if opened.version != Version.BOUNCE_HASHES:
                raise Forged(f"token version {opened.version} is none of a bounce address")
            ref = stateless.bounce_ref(opened)
        age = int(self._clock()) // _DAY - ref.tagged_day
        if age > self._bounce_max_age_days:
            return msgspec.structs.replace(ref, expired=True)
        return ref

    def matches(self, ref: BounceRef, email: str, sendid: str = "") -> bool:
        """True when the bounce address was made for this recipient (and this send, when given)."""
        if ref.message is not None:
            same = ref.message.email.strip().lower() == email.strip().lower()
            return same and (not sendid or ref.message.sendid == sendid.lower())
        return bool(ref.recipient_hash) and any(
            stateless.recipient_hash(key, email) == ref.recipient_hash
            and (not sendid or stateless.send_hash(key, sendid) == ref.send_hash)
            for key in self.keyring.candidates(ref.key_id, include_retired=True)
        )

    def _open(self, purpose: Purpose, binary: bytes) -> Opened:
        try:
            return tokens.open_binary(
                self.keyring, purpose, binary, include_retired=self._include_retired
            )
        except UnknownKey as error:
            self.unknown_keys[error.key_id] += 1
            raise

    def _stored(self, purpose: Purpose, binary: bytes) -> tuple[Backend, Opened]:
        """The back-end of a token that stands for rows, and the token, verified."""
        version = binary[0]
        if version == Version.LOCAL:
            local = self._need_local()
            return local, self._open_local(local, purpose, binary)
        opened = self._open(purpose, binary)
        if version != Version.EXTERNAL:
            raise Forged(f"token version {version} is none of a link")
        if self.external is None:
            raise Unavailable("external_metadata_event_tracking_database is not set")
        return self.external, opened

    def _need_local(self) -> "LocalStore":
        if self.local is None:
            raise NotFound("this node has no local metadata")
        return self.local

    def _open_local(self, local: "LocalStore", purpose: Purpose, binary: bytes) -> Opened:
        try:
            return local.open(self.keyring, purpose, binary, include_retired=self._include_retired)
        except UnknownKey as error:
            self.unknown_keys[error.key_id] += 1
            raise
        except Forged as error:
            self._counts["local_forged"] += 1
            if isinstance(error, AnotherStore):
                self._log.say("another store", f"a local token was refused: {error}")
            raise

    # -- the rest ----------------------------------------------------------------------------

    def erase(self, email: str) -> int:
        """Forget every stored message to this address; how many rows there were.

        What sealed links and keyed hashes in sent mail say can't be called back.
        """
        backends: tuple[Backend | None, ...] = (self.local, self.external)
        return sum(backend.erase(email) for backend in backends if backend is not None)

    def counters(self) -> dict[str, int]:
        """Fallbacks, untracked links and refusals since the start."""
        external = self.external.counters() if self.external is not None else {}
        return {
            **self._counts,
            **{f"external_{name}": value for name, value in external.items()},
            **{f"unknown_key_{key:02x}": count for key, count in self.unknown_keys.items()},
        }

    def close(self) -> None:
        """Close every store."""
        for backend in (self.local, self.external):
            if backend is not None:
                backend.close()


class _Sparing:
    """Says a line of each kind at most once a second, and then how many it left out."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._last: dict[str, float] = {}
        self._left_out: collections.Counter[str] = collections.Counter()

    def say(self, kind: str, line: str) -> None:
        now = time.monotonic()
        if now - self._last.get(kind, -_SAY_AGAIN_AFTER) < _SAY_AGAIN_AFTER:
            self._left_out[kind] += 1
            return
        self._last[kind] = now
        left_out = self._left_out.pop(kind, 0)
        self._log(f"{line} (and {left_out} more since the last such line)" if left_out else line)
