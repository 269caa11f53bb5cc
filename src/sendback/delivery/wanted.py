"""Which events a destination wants: by type, mail class and verdict."""

from collections.abc import Collection

import msgspec

from sendback.eventlog import StoredEvent


class Filter:
    """Which events a destination wants: by type, mail class and verdict."""

    def __init__(
        self,
        *,
        types: Collection[str] = ("all",),
        mail_classes: Collection[str] = ("all",),
        bots: str = "all",
    ) -> None:
        self.types = None if "all" in types else tuple(types)
        classes = {name.lower() for name in mail_classes}
        self._classes = None if "all" in classes else classes
        self._bots = bots
        self._looks_inside = self._classes is not None or bots != "all"

    def wants(self, event: StoredEvent) -> bool:
        """True when the event goes to the destination (its type was asked for already)."""
        if not self._looks_inside:
            return True
        seen = msgspec.json.decode(event.body, type=_Seen)
        if self._classes is not None and seen.mail_class.lower() not in self._classes:
            return False
        if self._bots == "all" or seen.is_bot is None:
            return True
        return seen.is_bot == (self._bots == "only")


class _Seen(msgspec.Struct):
    mail_class: str = ""
    is_bot: bool | None = None
    """None for events that no visit made."""
