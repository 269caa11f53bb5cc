"""The exception tree; imports nothing.

SendbackError
├── Malformed          input that can never become right: answered, never retried
│   └── Forged         a token whose MAC does not verify, or of another purpose
├── NotFound           a well-formed name for which nothing stands here
├── Conflict           the thing exists already, or was changed by somebody else meanwhile
├── Unavailable        something we need does not answer now: retry later
└── Misconfigured      the operator has to act; stops the start

Two tables turn them into answers: web (404, 404, 404, 503) and smtp (5xx, 451). Texts are for
people: they name the thing, the place and the cure, and never hold an address or a secret.
"""


class SendbackError(Exception):
    """Anything sendback raises on purpose."""


class Malformed(SendbackError):
    """The input can never become right. `field` names the place in it, where there is one."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Forged(Malformed):
    """The token's MAC does not verify under any key we accept for this purpose."""


class NotFound(SendbackError):
    """The name is well-formed and nothing stands under it here."""


class Conflict(SendbackError):
    """The thing exists already, or somebody else changed it since it was read."""


class Unavailable(SendbackError):
    """Something we depend on does not answer now; the same call may succeed later."""


class Misconfigured(SendbackError):
    """The configuration can't work; `place` is file, line and key, `hint` the cure."""

    def __init__(self, message: str, *, place: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.place = place
        self.hint = hint
