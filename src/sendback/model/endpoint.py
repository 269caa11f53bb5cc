"""How an endpoint is reached: what its url, secrets and headers may hold, and what nobody may see.

Checked when a destination is named, so that a wrong value is refused at once and not found by the
worker later.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from sendback.errors import Malformed

MASK = "********"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
#: RFC 9110 section 5.5: visible octets, spaces and tabs; http.client writes Latin-1.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")
#: They say where a request ends or how it goes on, which is the connection's business; or they are
#: what the signature promises.
_OURS = frozenset(
    ("connection", "content-encoding", "content-length", "expect", "keep-alive", "te", "trailer",
     "transfer-encoding", "upgrade", "webhook-id", "webhook-signature", "webhook-timestamp")
)  # fmt: skip
_URL_PASSWORD = re.compile(r"(://[^:/?#@\s]*:)([^@/?#\s]+)(?=@)")
_DSN_PASSWORD = re.compile(r"\b(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^&\s]+)")


def check_url(url: str) -> None:
    """Malformed when its host or port can't be read."""
    try:
        _ = urlsplit(url).port
    except ValueError as error:
        raise Malformed(f"no usable url: {str(error).lower()}", field="url") from None


def check_headers(headers: Mapping[str, str]) -> None:
    """Malformed when one is no HTTP header field, or one that a request can't do without ours."""
    for name, value in headers.items():
        if not _NAME.match(name) or not _VALUE.match(value):
            raise Malformed(f"{name!r} is no usable HTTP header", field="headers")
        if name.lower() in _OURS:
            raise Malformed(f"the header {name} is set by sendback itself", field="headers")


def secret_base64(secret: str, *, field: str = "secret") -> str:
    """The key of a secret in base64: `whsec_` and base64, base64, or any other text as it stands.

    Malformed for one that begins with `whsec_` and goes on otherwise, or holds no key.
    """
    encoded = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        if encoded != secret:
            raise Malformed(
                "a secret that begins with whsec_ goes on in base64", field=field
            ) from None
        return base64.b64encode(secret.encode()).decode()
    if not key:
        raise Malformed("a secret needs a key", field=field)
    return encoded


def masked_url(url: str) -> str:
    """The url as anybody may see it: a password in it is masked."""
    return _DSN_PASSWORD.sub(rf"\1{MASK}", _URL_PASSWORD.sub(rf"\1{MASK}", url))
