"""The grammar of tracking URLs, both ways: `/click /uni/click /open /unsub` and a token.

Pure text: whether a token is genuine, `sendback.tokens` says. The token is the query up to the
first `&`; what mail clients and social networks append behind it is ignored (CONTRACT section 6).
"""

import re

from sendback.errors import Malformed
from sendback.secret_constants import Purpose

#: Path of each purpose that has a route.
PATHS = {
    Purpose.CLICK: "/click",
    Purpose.UNI: "/uni/click",
    Purpose.OPEN: "/open",
    Purpose.UNSUB: "/unsub",
}
PURPOSES = {path: purpose for purpose, path in PATHS.items()}

#: Longest URL that is made: the public server answers 414 above it.
MAX_URL = 8192

_URL = re.compile(r"https?://[^/?#\s]+([^?#]*)\?([^#]*)", re.IGNORECASE)


def build(link_base: str, purpose: Purpose, token: str) -> str:
    """`https://host/click?TOKEN`; `link_base` is scheme and host without a trailing slash."""
    return f"{link_base}{PATHS[purpose]}?{token}"


def parse(url: str) -> tuple[Purpose, bytes]:
    """Purpose and token of a tracking URL on whatever host; Malformed when it is none."""
    found = _URL.match(url.strip())
    if found is None:
        raise Malformed(
            "this is no tracking URL: it needs http(s)://, a host, a path, ? and a token"
        )
    path, query = found.groups()
    purpose = PURPOSES.get(path)
    if purpose is None:
        raise Malformed(f"{path!r} is no tracking path; those are {', '.join(PURPOSES)}")
    token = token_of_query(query)
    if not token:
        raise Malformed("there is no token behind the question mark")
    return purpose, token


def token_of_query(query: str | bytes) -> bytes:
    """The query up to the first `&`, without one trailing `=`; bytes outside ASCII become `?`."""
    raw = query.encode("ascii", "replace") if isinstance(query, str) else query
    token = raw.partition(b"&")[0]
    return token[:-1] if token.endswith(b"=") else token
