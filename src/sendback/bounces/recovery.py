"""Undoing removals: a receiver answered "no such user" for everybody, and it was not true.

List who was removed in that time, filter outside if need be, and give the result back as a CSV
file. Works on the suppression list, so it needs no event of that time any more.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from sendback.database.suppression import Suppressed, Suppression
from sendback.errors import Malformed

Progress = Callable[[int, int], None]
_CHUNK = 500


class Recovery:
    """Both methods: Malformed for a bad regular expression, Unavailable for the database."""

    def __init__(self, suppression: Suppression) -> None:
        self._suppression = suppression

    def list(
        self,
        *,
        start_ms: int,
        end_ms: int,
        domain: str | None = None,
        bounce_regexp: str | None = None,
        only: Iterable[tuple[str, str | None]] | None = None,
    ) -> Sequence[Suppressed]:
        """Removals for bouncing in that time: of a domain, with a text, among `only` these.

        `only` holds addresses, each with a ListID or None for all its lists.
        """
        try:
            pattern = re.compile(bounce_regexp or "", re.IGNORECASE)
        except re.error as error:
            raise Malformed(f"not a regular expression: {error}", field="bounce_regexp") from None
        ending = f"@{domain.strip().lower().lstrip('@')}" if domain else ""
        wanted = None if only is None else {(email.lower(), listid) for email, listid in only}
        return [
            one
            for one in self._suppression.removals(start_ms=start_ms, end_ms=end_ms)
            if one.email.lower().endswith(ending)
            and pattern.search(one.bounce_text)
            and (
                wanted is None
                or (one.email.lower(), one.listid) in wanted
                or (one.email.lower(), None) in wanted
            )
        ]

    def reactivate(
        self, removals: Sequence[Suppressed], *, actor: str, progress: Progress | None = None
    ) -> int:
        """Take them off the suppression list and forget their bounces; how many still stood.

        In parts of 500, each whole: run again after an interruption.
        """
        undone = 0
        for start in range(0, len(removals), _CHUNK):
            part = removals[start : start + _CHUNK]
            undone += self._suppression.undo(part, actor=actor)
            if progress is not None:
                progress(start + len(part), len(removals))
        return undone
