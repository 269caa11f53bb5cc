"""Seed 000's testing sequence, for one Sending Server and the Event Servers behind its links.

A tracked message goes out, its copy is picked up, and everything is done to it that a recipient, a
mail server and a provider may do; each time the event must come. Who is concerned is made up.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from sendback.checks.asking import Asking, Unreachable
from sendback.checks.event_sources import EventSource, first_error
from sendback.checks.finding import Finding, fine, problem, skipped, warning
from sendback.checks.picking import Picker
from sendback.checks.posting import Mailing, Server, post, shown
from sendback.checks.tagged_copy import TaggedCopy, TrackedLink, read_copy, tracked_link
from sendback.checks.trial import Trial
from sendback.checks.watching import Watch, until
from sendback.errors import SendbackError, Unavailable
from sendback.secret_constants import Purpose

#: A second event that hangs on the first is there at once, or never.
_SOON_SECONDS = 10.0
#: An ordinary browser: what the proxies in front let through, and no reader of mail is known by.
_BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
STEPS = ("send", "copy", "images", "click", "unsubscribe", "complaint", "bounce", "bad-address")

_WORKER = "does the worker run, and does the destination deliver? `sendback events status` there"
_KEYS = "compare `sendback secret-constants fingerprint` on both servers"


@dataclass(frozen=True, slots=True)
class Route:
    """Where the self-test sends, picks up and looks."""

    submission: Server
    is_lmtp: bool
    rcpt: str
    """Who gets the message: the trial's address, or a mailbox that the operator reads."""
    picker: Picker
    sources: list[EventSource]
    mailing: Mailing
    complaint_mailbox: str
    asking: Asking
    mail_class: str = ""


class Selftest:
    """One run; `steps()` once. `seconds`: how long each thing is waited for."""

    def __init__(self, trial: Trial, route: Route, seconds: float) -> None:
        self.trial = trial
        self.route = route
        self.seconds = seconds
        self.watch = Watch(route.sources, trial.address)
        self._copy: TaggedCopy | None = None
        self._returned = b""

    def steps(self) -> Iterator[Finding]:
        """One finding a step, as soon as it is known; `check` is one of "events" and `STEPS`."""
        left = list(STEPS)
        error = first_error(self.route.sources, self.trial.address)
        if error is not None:
            cure = "name what can be read from here: --events-from, --api-key-file"
            yield problem("events", "event log", str(error), cure)
        else:
            for step in (self._send, self._pick):
                left.pop(0)
                found = step()
                yield found
                if not found.ok:
                    break
            else:
                for act in (self._images, self._click, self._unsubscribe, self._complain):
                    left.pop(0)
                    yield act()
                yield from self._bounce()
                return
        for name in left:
            yield skipped(name, "", "not tried: the step before is needed")

    def close(self) -> None:
        """Let go of the event sources; idempotent."""
        for source in self.route.sources:
            source.close()

    # -- out -----------------------------------------------------------------------------------

    def _send(self) -> Finding:
        route = self.route
        where = shown(route.submission)
        message = self.trial.message(route.rcpt, mail_class=route.mail_class)
        try:
            post(route.submission, self.trial.sender, route.rcpt, message, is_lmtp=route.is_lmtp)
        except SendbackError as error:
            cure = "does the submission port listen there, and is this host in allowed_networks?"
            return problem("send", where, str(error), cure)
        return fine("send", where, f"takes a message to {route.rcpt}")

    def _pick(self) -> Finding:
        place = str(self.route.picker.place)
        try:
            raw = until(self.route.picker.pick, self.seconds)
        except SendbackError as error:
            return problem("copy", place, str(error), "may this user read it?")
        if raw is None:
            cure = (
                "did the mail server behind the submission port deliver it there? look at its log "
                f"for {self.trial.message_id}"
            )
            return problem("copy", place, f"no copy came within {self.seconds:g} s", cure)
        self._copy = read_copy(raw)
        self._returned = self.trial.returned(raw, self.route.rcpt)
        links = self._copy.links(Purpose.CLICK, Purpose.UNI)
        if not links:
            cure = "set track_clicks for its mail class, or name another one: --mail-class"
            return problem("copy", place, "came untracked: no link is ours", cure)
        parts = [f"came, links lead to {links[0].host}"]
        if not self._copy.return_path.partition("+")[2]:
            parts.append("the envelope sender was changed on the way")
        return fine("copy", place, "; ".join(parts))

    # -- what a reader does ----------------------------------------------------------------------

    def _images(self) -> Finding:
        pixels = self._taken.links(Purpose.OPEN)
        if not pixels:
            cure = "set track_opens for its mail class"
            return warning("images", "open pixel", "the copy has none", cure)
        url = pixels[0].url
        try:
            answer = self.route.asking.ask(url, headers=_BROWSER)
        except Unreachable as error:
            return self._unreached("images", pixels[0], error)
        if answer.status != 200 or answer.media_type != "image/gif":
            detail = f"no picture came: {answer.status}, {answer.media_type or 'no type'}"
            return problem("images", pixels[0].host, detail, self._look_at(pixels[0]))
        # The picture is shown for forged tokens too, so a missing event may well mean other keys.
        return self._wait("images", pixels[0].host, "engine_open", cure=f"{_KEYS}; {_WORKER}")

    def _click(self) -> Finding:
        link = next(
            link for link in self._taken.links(Purpose.CLICK, Purpose.UNI) if link.place != "text"
        )
        try:
            answer = self.route.asking.ask(link.url, headers=_BROWSER)
        except Unreachable as error:
            return self._unreached("click", link, error)
        if answer.status == 404:
            return self._unknown_there("click", link)
        if answer.status != 302 or answer.location != self.trial.page:
            detail = f"leads wrong: {answer.status} to {answer.location or 'nowhere'}"
            cure = "has an override or a block been set (`sendback link rules`)? a proxy between?"
            return problem("click", link.host, detail, cure)
        return self._wait("click", link.host, "engine_click", url=self.trial.page)

    def _unsubscribe(self) -> Finding:
        links = [link for link in self._taken.links(Purpose.UNSUB) if link.place == "html"]
        if links:
            return self._leave(links[0])
        entries = (tracked_link(entry, "header") for entry in self._taken.unsubscribe_entries)
        ours = [link for link in entries if link is not None and link.purpose is Purpose.UNSUB]
        if not ours:
            cure = "set unsubscribe_links or list_unsubscribe for its mail class"
            return warning("unsubscribe", "the copy", "no unsubscribe link of ours", cure)
        return self._leave_by_one_click(ours[0])

    def _leave(self, link: TrackedLink) -> Finding:
        """The link in the body: straight to the sender's page, or by a page with a button."""
        step = "unsubscribe"
        try:
            answer = self.route.asking.ask(link.url, headers=_BROWSER)
            if answer.status == 200 and answer.media_type == "text/html":
                form = {"confirm": "1"}
                answer = self.route.asking.ask(link.url, "POST", headers=_BROWSER, form=form)
        except Unreachable as error:
            return self._unreached(step, link, error)
        if answer.status == 404:
            return self._unknown_there(step, link)
        page, _, query = answer.location.partition("?")
        if answer.status not in (302, 303) or page != self.trial.goodbye:
            detail = f"leads wrong: {answer.status} to {answer.location or 'nowhere'}"
            return problem(step, link.host, detail, "is a proxy between that redirects?")
        if parse_qs(query).get("email") != [self.trial.address]:
            detail = "the sender's page is not told who leaves"
            cure = "is the metadata database down? look at the web port's log there"
            return problem(step, link.host, detail, cure)
        return self._wait(step, link.host, "engine_unsub", url=self.trial.goodbye)

    def _leave_by_one_click(self, link: TrackedLink) -> Finding:
        form = {"List-Unsubscribe": "One-Click"}
        try:
            answer = self.route.asking.ask(link.url, "POST", headers=_BROWSER, form=form)
        except Unreachable as error:
            return self._unreached("unsubscribe", link, error)
        if answer.status == 404:
            return self._unknown_there("unsubscribe", link)
        if answer.status != 200:
            detail = f"one-click is answered with {answer.status}"
            return problem("unsubscribe", link.host, detail, "does the proxy let POST through?")
        return self._wait("unsubscribe", link.host, "engine_unsub")

    # -- what mail servers do --------------------------------------------------------------------

    def _complain(self) -> Finding:
        mailbox = self.route.complaint_mailbox
        if not mailbox:
            cure = "name one: --complaint-mailbox, or `sendback complaint-mailbox add`"
            return warning("complaint", "complaint mailbox", "none is known here", cure)
        message = self.trial.complaint(self._returned, mailbox)
        try:
            self.route.mailing.send(mailbox, message, mail_from=self.trial.sender)
        except SendbackError as error:
            cure = "does the Event Server have this complaint mailbox?"
            return problem("complaint", mailbox, str(error), _for_mail(error, cure))
        return self._wait("complaint", mailbox, "scomp", cure=f"{_KEYS}; {_WORKER}")

    def _bounce(self) -> Iterator[Finding]:
        address = self._taken.return_path
        mailbox = address.partition("+")[0] + "@" + address.rpartition("@")[2]
        if "+" not in address:
            cure = "does a server behind the submission port change the envelope sender?"
            yield problem("bounce", address or "<>", "the copy has no signed bounce address", cure)
        else:
            message = self.trial.bounce(self._returned, address)
            try:
                self.route.mailing.send(address, message)
            except SendbackError as error:
                cure = f"does the Event Server have this bounce mailbox? {_KEYS}"
                yield problem("bounce", mailbox, str(error), _for_mail(error, cure))
            else:
                found = self._wait("bounce", mailbox, "bounce_all", cure=_WORKER)
                yield found
                if found.ok:
                    yield self._bad_address(mailbox)
                    return
        yield skipped("bad-address", "", "not tried: the step before is needed")

    def _bad_address(self, mailbox: str) -> Finding:
        kind = "bounce_bad_address"
        seen = self.watch.wait(kind, min(self.seconds, _SOON_SECONDS))
        if seen is None:
            cure = (
                "right when your counting rules want more than one bounce, or record leaves it out"
            )
            return warning("bad-address", mailbox, f"no {kind} followed", cure)
        return fine("bad-address", mailbox, f"{kind} followed, by the counting rules")

    # -- waiting ---------------------------------------------------------------------------------

    @property
    def _taken(self) -> TaggedCopy:
        assert self._copy is not None
        return self._copy

    def _wait(
        self, step: str, subject: str, kind: str, *, url: str = "", cure: str = ""
    ) -> Finding:
        began = time.monotonic()
        event = self.watch.wait(kind, self.seconds, click_url=url)
        if event is None:
            names = ", ".join(source.name for source in self.route.sources)
            detail = f"answered, and no {kind} came within {self.seconds:g} s; looked in {names}"
            return problem(step, subject, detail, cure or _WORKER)
        took = time.monotonic() - began
        return fine(step, subject, f"{kind} of {event.get('server_id', '?')} after {took:.1f} s")

    # -- what is said ----------------------------------------------------------------------------

    def _unreached(self, step: str, link: TrackedLink, error: Unreachable) -> Finding:
        return problem(step, link.host, f"no answer: {error}", self._look_at(link))

    def _unknown_there(self, step: str, link: TrackedLink) -> Finding:
        detail = "the link is not known there (404)"
        cure = (
            f"{_KEYS}; local metadata is known only to the node that sent it; a block answers so "
            "too (`sendback link rules`)"
        )
        return problem(step, link.host, detail, cure)

    @staticmethod
    def _look_at(link: TrackedLink) -> str:
        port = urlsplit(link.url).port
        return f"sendback check domain {link.host}" + (f" (port {port})" if port else "")


def _for_mail(error: SendbackError, refused: str) -> str:
    """What to do when bounce or complaint did not get through; `refused`: by an answer."""
    if isinstance(error, Unavailable):
        return (
            "is that the smtp port of an Event Server, and reachable from here? `sendback check "
            "dns`; --mail-to names another"
        )
    return refused
