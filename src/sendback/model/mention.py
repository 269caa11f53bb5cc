"""Where a text names an address: as a whole, in any case of letters, plain or percent-encoded."""

import re
from urllib.parse import quote

#: What stands in place of an address that was erased from somebody else's text.
ERASED = "erased@invalid"


class Mention:
    """Finds one address. `ann@x.example` is not named by `joann@x.example` or `ann@x.example.net`.

    Malformed texts (bytes that are no UTF-8) are searched all the same.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        forms = {address, _in_json(address), address.replace("@", "%40"), quote(address, safe="")}
        either = "|".join(sorted(map(re.escape, forms), key=len, reverse=True))
        self._pattern = re.compile(
            rf"(?:(?<![\w.+-])|(?<=%[0-9a-f]{{2}}))(?:{either})(?![\w-]|\.\w)", re.IGNORECASE
        )

    def is_this(self, address: str) -> bool:
        """True for the same address, case aside."""
        return address.strip().lower() == self.address.lower()

    def is_in(self, text: str | bytes) -> bool:
        """True when the text names the address."""
        return self._pattern.search(_text(text)) is not None

    def redact(self, text: bytes) -> bytes:
        """The text without the address; all other octets as they were."""
        return self._pattern.sub(ERASED, _text(text)).encode("utf-8", "surrogateescape")


def _text(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")


def _in_json(address: str) -> str:
    return address.replace("\\", "\\\\").replace('"', '\\"')
