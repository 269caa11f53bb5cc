"""One-time passwords by time: RFC 6238 with SHA-1, six digits and steps of 30 s."""

import base64
import hmac

STEP_SECONDS = 30


def totp(secret: str, step: int) -> str:
    """The six digits of this step; `secret` in base32."""
    padded = secret.upper() + "=" * (-len(secret) % 8)
    digest = hmac.digest(base64.b32decode(padded), step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def step_of(secret: str, code: str, now: float) -> int | None:
    """The step whose digits `code` is, give or take one from `now` (epoch seconds); else None."""
    step = int(now) // STEP_SECONDS
    for near in (step - 1, step, step + 1):
        if hmac.compare_digest(totp(secret, near).encode(), code.encode()):
            return near
    return None
