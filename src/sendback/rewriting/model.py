"""The values of rewriting: what is asked for, what was found, and why things were left."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Skipped = Literal["signed", "encrypted", "report", "broken-mime", "charset", "too-big", "fault"]

Outcome = Literal["tracked", "left"]

DEFAULT_MAX_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Options:
    """What the mail class and the message ask for."""

    track_clicks: bool = True
    track_opens: bool = True
    #: `##unsubscribetag##` before a URL in an href or in a text part.
    unsubscribe_links: bool = False
    track_text_links: bool = False
    #: With track_text_links: also URLs in lines that begin with `>`.
    track_quoted_text: bool = False
    #: Links inside conditional comments, the href of VML shapes among them.
    outlook: bool = True
    honeypot: bool = False
    #: text/x-amp-html parts; render() leaves them alone unless its URLs are https.
    amp: bool = False
    #: Leave links whose visible text is itself a URL: readers compare the two.
    leave_visible_urls: bool = False
    #: Hosts (`name` or `name:port`) whose /click, /uni/click, /open, /unsub links are ours already.
    own_hosts: frozenset[str] = frozenset()
    #: What to do with a message that carries a DKIM signature or ARC seal.
    on_dkim: Literal["skip", "rewrite"] = "skip"
    #: Octets of a message over which it is left alone.
    max_bytes: int = DEFAULT_MAX_BYTES
    #: Links of one part over which the part is left alone.
    max_links: int = 10_000
    #: Characters of a destination over which the link is left alone.
    max_url: int = 8192


class Link(NamedTuple):
    """One place to replace, in document order over all parts."""

    kind: Literal["click", "unsub"]
    url: str  # the destination, as a browser would take it
    link_id: str | None  # data-ga-linkid
    pos: int  # from 1
    universal: bool
    html_or_text: Literal["h", "t"]


@dataclass(frozen=True, slots=True)
class Note:
    """What was done with links or a part, and why. `url` is one example."""

    part: int  # leaves of the message from 1; 0 is the message itself
    outcome: Outcome
    reason: str
    count: int
    url: str
