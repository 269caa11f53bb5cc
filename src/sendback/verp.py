"""Bounce addresses, both ways: `bounce+TOKEN@domain` and its mailbox and token.

Pure text, any case: mail servers may change it. Whether a token is genuine, `sendback.tokens`
says; the limits are RFC 5321's.
"""

from sendback.errors import Malformed

MAX_LOCAL_PART = 64  # RFC 5321 section 4.5.3.1.1


def build(mailbox_address: str, token: str) -> str:
    """`bounce+TOKEN@d`, the token in lower case; Malformed when it would pass 64 octets."""
    local, at, domain = mailbox_address.rpartition("@")
    if not at or not local or "+" in local:
        raise Malformed("a bounce mailbox is name@domain, without a plus sign", field="address")
    tagged = f"{local}+{token.lower()}"
    if len(tagged) > MAX_LOCAL_PART:
        raise Malformed(
            f"{mailbox_address} with a token of {len(token)} passes {MAX_LOCAL_PART} octets",
            field="address",
        )
    return f"{tagged}@{domain}"


def split(address: str) -> tuple[str, str]:
    """Mailbox in lower case, and the token or "" when the address is bare. Never raises."""
    local, at, domain = address.strip().lstrip("<").rstrip(">").rpartition("@")
    name, _, token = local.partition("+")
    return f"{name}{at}{domain}".lower(), token.lower()
