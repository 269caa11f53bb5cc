"""What every kind of metadata storage speaks: the values given out and taken back, and the port.

A back-end gives tokens for a message and its links, and later says what a genuine token stands
for. Back-ends don't know each other; `sendback.metadata.facade` picks one by storage when a message
is tagged, and by the token's version when a recipient comes back.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from sendback.errors import Forged
from sendback.model import LinkFacts, LinkKind, MessageFacts, Storage, TrackingData
from sendback.secret_constants import Keyring, Purpose
from sendback.tokens import MAX_TEXT, Opened

#: Path and question mark of the longest route; a token must fit a request line with it.
MAX_TOKEN = MAX_TEXT - 512

_CLICK = LinkKind.CLICK
#: The destination of a List-Unsubscribe header is the sender's business: it has no URL.
HEADER_LINK = LinkFacts(url="", kind=LinkKind.UNSUB_HEADER)


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """Every token of one tagged message."""

    link_tokens: tuple[tuple[Purpose, str], ...]
    """As the links were given. Token "": this link can't be held, leave it untracked."""
    open_token: str
    unsub_token: str
    """For the List-Unsubscribe header."""
    mailto_token: str
    """For a List-Unsubscribe mailto: base64url, case matters, so it belongs in the subject."""
    bounce_token: str
    """For `verp.build`: base32, at most 56 characters."""
    mailer_info: str
    """X-Mailer-Info. Local: resolves as REPORT; else the text of the bounce token."""
    mailer_info_extra: str | None
    """X-Mailer-Info-Extra: resolves as REPORT; None with local storage."""
    feedback_id: str
    """Resolves as FEEDBACK."""
    storage: Storage
    """The one used; not always the one asked for."""


class BounceRef(msgspec.Struct, frozen=True, kw_only=True):
    """What a genuine bounce address says by itself."""

    message: MessageFacts | None = None
    """Local storage: the whole message (None once its row is pruned or the file not here)."""
    recipient_hash: bytes = b""
    send_hash: bytes = b""
    """Stateless and external: keyed hashes, for `Metadata.matches`."""
    tagged_day: int = 0
    """Days since 1970, UTC, when the message was tagged."""
    expired: bool = False
    """Genuine but older than `bounce_max_age_days`."""
    key_id: int = 0


class AnotherStore(Forged):
    """A local token that another node made, or this one before its metadata file was recreated."""

    def __init__(self) -> None:
        super().__init__(
            "local metadata of another node, or of a file that is gone: only the node that sent "
            "the message can answer (seed 004); use stateless or external metadata in a fleet"
        )


class NotStorable(Exception):
    """The message, or a link of it, can never be held by this back-end."""


#: A message that wants tokens, and its links.
Wanted = tuple[MessageFacts, Sequence[LinkFacts]]
#: Tokens for its links, "" for one that can't be held, and the header link's.
Stored = tuple[list[str], str]


class Fetch(Protocol):
    """A link that has to be asked for elsewhere. Call one of the two, once."""

    def wait(self) -> LinkFacts:
        """The link; NotFound, Unavailable, Malformed."""
        ...

    def start(
        self,
        then: Callable[[LinkFacts, MessageFacts | None], None],
        fail: Callable[[Exception], None],
        *,
        with_message: bool = False,
    ) -> None:
        """Returns at once; `then` is called later, once, in another thread, or `fail` is.

        `fail` gets what `wait` would raise, and what `then` raised. What can be said at once is
        raised here. `with_message`: `then` gets the link's message too, None where that can't be
        had; the link is told all the same.
        """
        ...


class Backend(Protocol):
    """The port. Tokens given to `find` and `resolve` are verified already.

    Errors: NotFound (no such row, or pruned), Unavailable (the row may exist; ask again later),
    Malformed (a genuine token of a newer version). Reading is idempotent; rows are immutable.
    """

    def issue(self, keyring: Keyring, message: MessageFacts, links: Sequence[LinkFacts]) -> Stored:
        """Its tokens, durable.

        Unavailable when the rows can't be written; NotStorable when they never could be.
        Those that store have an `issue_many` too, which waits once for all the messages.
        """
        ...

    def find(self, purpose: Purpose, opened: Opened) -> LinkFacts | Fetch:
        """Enough to redirect, or the way to it where a database must be asked."""
        ...

    def resolve(self, purpose: Purpose, opened: Opened) -> TrackingData:
        """All that the token stands for."""
        ...

    def erase(self, email: str) -> int:
        """Forget every message to this address, in any case of letters; how many there were."""
        ...

    def ping(self) -> None:
        """Unavailable, with a reason, unless rows can be read now."""
        ...

    def close(self) -> None:
        """Give connections back; idempotent."""
        ...


def purpose_of(link: LinkFacts) -> Purpose:
    """The route that a link is made for."""
    if link.kind is _CLICK:
        return Purpose.UNI if link.universal else Purpose.CLICK
    if link.kind.is_unsubscribe:
        return Purpose.UNSUB
    return Purpose.UNI if link.universal else Purpose.CLICK


def check_text(message: MessageFacts, links: Sequence[LinkFacts]) -> None:
    """NotStorable when a text is no Unicode (half a surrogate pair) or holds NUL.

    Neither SQLite nor jsonb keeps those, and one such message must not spoil a batch.
    """
    texts = [
        message.email,
        message.listid,
        message.sendid,
        message.click_tracking_id,
        message.mail_class,
        message.url_domain,
        message.instance_id,
    ]
    for link in links:
        texts.append(link.url)
        texts.append(link.link_id)
    joined = "".join(texts)
    if "\0" in joined:
        raise NotStorable("a NUL character in the message's metadata")
    try:
        joined.encode()
    except UnicodeEncodeError:
        raise NotStorable("half a surrogate pair in the message's metadata") from None


def external_error(
    reason: object, *, original_url: str = "", original_domain: str = "", request_domain: str = ""
) -> str:
    """The log line of seed 004, one line whatever the visitor sent; `reason` goes last.

    At click time with what is known of the request, at send time with the reason alone.
    """
    where = ""
    if original_url or original_domain or request_domain:
        where = (
            f"original_url={original_url} original_domain={original_domain} "
            f"request_domain={request_domain}: "
        )
    line = f"ERROR EXTERNAL METADATA: {where}{reason}"
    return "".join(c if c.isprintable() else "?" for c in line)
