"""Tokens for messages that go out, by the storage they ask for, or else stateless.

The writing half of `Metadata`: mail always goes out, and a log line says what it went out with.
"""

import collections
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sendback.errors import Malformed, Unavailable
from sendback.metadata.base import Issued, NotStorable, Wanted, external_error, purpose_of
from sendback.metadata.stateless import Stateless, bounce_token
from sendback.model import LinkFacts, MessageFacts, Storage
from sendback.secret_constants import Keyring, Purpose

if TYPE_CHECKING:
    from sendback.metadata.external import ExternalStore
    from sendback.metadata.local import LocalStore

_MESSAGE_PURPOSES = (Purpose.OPEN, Purpose.MAILTO, Purpose.REPORT, Purpose.FEEDBACK)


class Issuing:
    """Safe for any number of threads. `say(kind, line)` logs, sparingly; `counts` are totals."""

    def __init__(
        self,
        stateless: Stateless,
        counts: "collections.Counter[str]",
        say: Callable[[str, str], None],
    ) -> None:
        self._stateless = stateless
        self._counts = counts
        self._say = say

    def issue_many(
        self,
        storage: Storage,
        messages: Sequence[Wanted],
        keyring: Keyring,
        *,
        local: "LocalStore | None",
        external: "ExternalStore | None",
    ) -> Sequence[Issued | Malformed]:
        """See `Metadata.issue`; one wait for all of them."""
        stored: Sequence[Issued | NotStorable | Unavailable] = ()
        try:
            if storage is Storage.LOCAL:
                stored = self._issue_local(keyring, messages, local)
            elif storage is Storage.EXTERNAL:
                stored = self._issue_external(keyring, messages, external)
        except Unavailable as error:
            stored = [error] * len(messages)
        made: list[Issued | Malformed] = []
        for number, (message, links) in enumerate(messages):
            if stored:
                one = stored[number]
                if isinstance(one, Issued):
                    made.append(one)
                    continue
                self._fell_back(storage, one)
            try:
                made.append(self._issue_stateless(keyring, message, links))
            except NotStorable as error:
                made.append(Malformed(str(error)))
        return made

    def _fell_back(self, storage: Storage, error: Exception) -> None:
        self._counts[f"{storage}_fallbacks"] += 1
        consequence = f"{error}; tagged with stateless metadata instead"
        if storage is Storage.EXTERNAL:
            self._say("external", external_error(consequence))
        else:
            self._say("local", f"ERROR LOCAL METADATA: {consequence}")

    def _issue_stateless(
        self, keyring: Keyring, message: MessageFacts, links: Sequence[LinkFacts]
    ) -> Issued:
        link_tokens, header = self._stateless.issue(keyring, message, links)
        return self._issued(keyring, Storage.STATELESS, message, links, link_tokens, header)

    def _issue_local(
        self, keyring: Keyring, messages: Sequence[Wanted], local: "LocalStore | None"
    ) -> list[Issued | NotStorable | Unavailable]:
        if local is None:
            raise Unavailable("local metadata is not open in this process")
        issued: list[Issued | NotStorable | Unavailable] = []
        for (_, links), made in zip(messages, local.issue_many(keyring, messages), strict=True):
            if isinstance(made, NotStorable):
                issued.append(made)
                continue
            link_tokens, header, (opened, mailto, report, feedback, bounce) = made
            issued.append(
                Issued(
                    link_tokens=self._with_purposes(links, link_tokens),
                    open_token=opened,
                    unsub_token=header,
                    mailto_token=mailto,
                    bounce_token=bounce,
                    mailer_info=report,
                    mailer_info_extra=None,
                    feedback_id=feedback,
                    storage=Storage.LOCAL,
                )
            )
        return issued

    def _issue_external(
        self, keyring: Keyring, messages: Sequence[Wanted], external: "ExternalStore | None"
    ) -> list[Issued | NotStorable | Unavailable]:
        if external is None:
            raise Unavailable("external_metadata_event_tracking_database is not set")
        issued: list[Issued | NotStorable | Unavailable] = []
        for (message, links), made in zip(
            messages, external.issue_many(keyring, messages), strict=True
        ):
            if isinstance(made, Exception):
                issued.append(made)
                continue
            link_tokens, header = made
            try:
                if "" in link_tokens:  # one that the table can't hold goes stateless by itself
                    spare, _ = self._stateless.issue(keyring, message, links)
                    link_tokens = [a or b for a, b in zip(link_tokens, spare, strict=True)]
                issued.append(
                    self._issued(keyring, Storage.EXTERNAL, message, links, link_tokens, header)
                )
            except NotStorable as error:
                issued.append(error)
        return issued

    def _issued(
        self,
        keyring: Keyring,
        storage: Storage,
        message: MessageFacts,
        links: Sequence[LinkFacts],
        link_tokens: Sequence[str],
        header: str,
    ) -> Issued:
        """With the tokens that external storage makes as stateless does (seed 004)."""
        opened, mailto, report, feedback = self._stateless.message_tokens(
            keyring, message, _MESSAGE_PURPOSES
        )
        bounce = bounce_token(keyring, message)
        return Issued(
            link_tokens=self._with_purposes(links, link_tokens),
            open_token=opened,
            unsub_token=header,
            mailto_token=mailto,
            bounce_token=bounce,
            mailer_info=bounce,
            mailer_info_extra=report,
            feedback_id=feedback,
            storage=storage,
        )

    def _with_purposes(
        self, links: Sequence[LinkFacts], link_tokens: Sequence[str]
    ) -> tuple[tuple[Purpose, str], ...]:
        self._counts["untracked_links"] += link_tokens.count("")
        return tuple(zip(map(purpose_of, links), link_tokens, strict=True))
