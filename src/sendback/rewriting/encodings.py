"""Content-transfer-encodings: which reading a part's encoding asks for."""

from sendback.errors import Malformed
from sendback.rewriting.base64_body import Base64
from sendback.rewriting.bodies import Body
from sendback.rewriting.identity import Identity
from sendback.rewriting.quoted_printable import QuotedPrintable


def decode(raw: bytes, encoding: bytes, eol: bytes) -> Body:
    """The part's body. Raises Malformed when the encoding is unknown or the bytes don't obey it."""
    if encoding in {b"", b"7bit", b"8bit", b"binary"}:
        return Identity(raw, eol)
    if encoding == b"quoted-printable":
        return QuotedPrintable(raw, eol)
    if encoding == b"base64":
        return Base64(raw, eol)
    raise Malformed("unknown content-transfer-encoding", field="Content-Transfer-Encoding")
