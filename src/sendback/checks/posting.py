"""Hands a message to a mail server, as the self-test does: one try, bounded in time."""

from __future__ import annotations

import smtplib
from collections.abc import Mapping, Sequence

from sendback.checks.resolver import Resolver
from sendback.errors import SendbackError, Unavailable

_SECONDS = 20.0
_PORT = 25

Server = tuple[str, int]


class Refused(SendbackError):
    """The server answered, and does not want the message; the text is its answer."""


def post(
    server: Server, mail_from: str, rcpt: str, message: bytes, *, is_lmtp: bool = False
) -> None:
    """Returns when the server has taken the message. Refused; Unavailable: nobody answers."""
    where = shown(server)
    try:
        kind = smtplib.LMTP if is_lmtp else smtplib.SMTP
        with kind(*server, timeout=_SECONDS) as client:
            client.sendmail(mail_from, [rcpt], message)
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
        raise Refused(f"{where} refuses the recipient: {code} {_text(text)}") from error
    except smtplib.SMTPResponseException as error:
        raise Refused(f"{where} refuses: {error.smtp_code} {_text(error.smtp_error)}") from error
    except (OSError, smtplib.SMTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unavailable(f"{where}: {reason.lower()}") from error


class Mailing:
    """Finds the server of a mailbox: the one named, a static route, else its MX (RFC 5321 5.1)."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        server: Server | None = None,
        routes: Mapping[str, Server] | None = None,
    ) -> None:
        """`server`: takes everything. `routes`: domain to server, before the MX is asked."""
        self._resolver = resolver
        self._server = server
        self._routes = routes or {}

    def send(self, rcpt: str, message: bytes, *, mail_from: str = "") -> str:
        """Which server took it. Refused; Unavailable when there is none, or none answers."""
        servers = self._servers(rcpt.rpartition("@")[2].lower())
        last: Unavailable | None = None
        for server in servers:
            try:
                post(server, mail_from, rcpt, message)
            except Unavailable as error:
                last = error
            else:
                return shown(server)
        raise last or Unavailable("no server is known")

    def _servers(self, domain: str) -> Sequence[Server]:
        if self._server is not None:
            return [self._server]
        if domain in self._routes:
            return [self._routes[domain]]
        hosts = self._resolver.exchangers(domain)
        if not hosts or hosts == ["."]:
            raise Unavailable(f"{domain} has no MX record")
        return [(host, _PORT) for host in hosts[:3]]


def shown(server: Server) -> str:
    """host:port."""
    return f"{server[0]}:{server[1]}"


def _text(raw: bytes | str) -> str:
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    return " ".join(text.split())[:300]
