"""AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): the exchange only, no judgement of passwords."""

import base64
import binascii


class Exchange:
    """One AUTH command. `step` takes the client's next line and says what comes next."""

    __slots__ = ("_is_plain", "_user")

    def __init__(self, mechanism: bytes) -> None:
        if mechanism not in (b"PLAIN", b"LOGIN"):
            raise ValueError(mechanism)
        self._is_plain = mechanism == b"PLAIN"
        self._user: str | None = None

    def step(self, line: bytes | None) -> bytes | tuple[str, str]:
        """The challenge to send (a whole reply), or (user, password) when complete.

        `line` None: the command came without an initial response. ValueError: not decodable.
        """
        if line is None:
            return b"334 \r\n" if self._is_plain else b"334 VXNlcm5hbWU6\r\n"
        try:
            text = base64.b64decode(b"" if line == b"=" else line, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(str(error)) from None
        if self._is_plain:
            parts = text.split("\0")
            if len(parts) != 3:
                raise ValueError("PLAIN has three parts")
            return parts[1], parts[2]
        if self._user is None:
            self._user = text
            return b"334 UGFzc3dvcmQ6\r\n"
        return self._user, text
