"""The TLS certificate of a host: who vouches for it, which names it has, how long it lasts.

Each is told by itself, so that one fault hides no other. OpenSSL judges, as in every client: it
reports the chain first, then the name, then the time, and stops at the first that is wrong.
"""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from pathlib import Path

import msgspec
from cryptography import x509

from sendback.checks.finding import Finding, fine, problem, skipped, warning

_SECONDS = 5.0
#: Renewal by ACME happens 30 days before the end: below this it has failed for more than a week.
WARN_BELOW_DAYS = 21
#: X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED: the chain was found, the time is out.
_TIME = (9, 10)
#: X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH.
_NAME = (62, 64)
CHAIN, HOST_NAME, DAYS = "tls-chain", "tls-host-name", "tls-days"


def trusting(ca_file: Path | None = None) -> ssl.SSLContext:
    """Trusts the system's authorities, and those of `ca_file`. OSError when it can't be read."""
    context = ssl.create_default_context()
    # Python 3.13 became stricter than the readers of mail are, whom this stands for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca_file is not None:
        context.load_verify_locations(cafile=str(ca_file))
    return context


class Door(msgspec.Struct, frozen=True):
    """Where TLS is asked for, and by which name."""

    host: str
    port: int
    address: str
    """Where the host stands; the host itself: the system's name servers say."""
    subject: str
    """What findings call it."""


def trusting_anybody() -> ssl.SSLContext:
    """For a look at what is behind a certificate that has been found wrong."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def check_certificate(
    door: Door, *, now: dt.datetime, ca_file: Path | None = None
) -> list[Finding]:
    """Chain, host name and days left, one finding each; one in all when there is no TLS."""
    try:
        found = _handshake(door, trusting_anybody())
    except OSError as error:
        cure = "does the proxy in front end TLS on this port, with the certificate of this host?"
        return [problem(CHAIN, door.subject, f"no TLS: {_reason(error)}", cure)]
    certificate = x509.load_der_x509_certificate(found)
    return [
        _chain(door, ca_file),
        _host_name(door, found, certificate),
        _days(door.subject, certificate, now),
    ]


def _handshake(door: Door, context: ssl.SSLContext) -> bytes:
    """The certificate that was shown, as DER; ssl.SSLCertVerificationError, OSError."""
    with (
        socket.create_connection((door.address, door.port), _SECONDS) as raw,
        context.wrap_socket(raw, server_hostname=door.host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def _chain(door: Door, ca_file: Path | None) -> Finding:
    context = trusting(ca_file)
    context.check_hostname = False
    try:
        _handshake(door, context)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code not in _TIME:
            cure = "serve the full chain, of an authority that mail readers trust"
            return problem(CHAIN, door.subject, error.verify_message, cure)
    except OSError as error:
        return skipped(CHAIN, door.subject, f"the second connection failed: {_reason(error)}")
    return fine(CHAIN, door.subject, "leads to an authority that is trusted here")


def _host_name(door: Door, shown: bytes, certificate: x509.Certificate) -> Finding:
    # Trusting just what was shown: only the name is left to be wrong, or the time.
    context = ssl.create_default_context(cadata=shown)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    names = ", ".join(_names(certificate)) or "nothing"
    try:
        _handshake(door, context)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _NAME:
            cure = f"get a certificate that names {door.host}"
            return problem(HOST_NAME, door.subject, f"the certificate is for {names}", cure)
    except OSError as error:
        return skipped(HOST_NAME, door.subject, f"the third connection failed: {_reason(error)}")
    return fine(HOST_NAME, door.subject, f"the certificate is for {names}")


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name.value) for name in extension.value][:10]


def _days(subject: str, certificate: x509.Certificate, now: dt.datetime) -> Finding:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    renew = "renew it; is the renewal job running?"
    if now < begin:
        return problem(
            DAYS, subject, f"not valid before {begin:%Y-%m-%d %H:%M}Z", "is the clock right?"
        )
    days = (end - now).days
    if now > end:
        return problem(DAYS, subject, f"expired on {end:%Y-%m-%d}", renew)
    detail = f"{days} days left, until {end:%Y-%m-%d}"
    if days < WARN_BELOW_DAYS:
        return warning(DAYS, subject, detail, renew)
    return fine(DAYS, subject, detail)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return error.strerror or str(error)
