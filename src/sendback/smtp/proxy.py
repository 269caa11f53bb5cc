"""The PROXY protocol's header, versions 1 and 2: who the client behind a load balancer is.

Pure: bytes in, address out. Whether a peer may, and must, send a header is the server's decision.
Source: the PROXY protocol specification of HAProxy, 2020/03/05.
"""

import ipaddress
import re

SIGNATURE_V2 = b"\r\n\r\n\0\r\nQUIT\n"
#: Version 1 ends within 107 octets; version 2 has 16 and a 16-bit length, far less in practice.
MAX_V1 = 107
MAX_V2_BODY = 2048
_V1 = re.compile(
    rb"PROXY (?:UNKNOWN[^\r\n]*|(TCP4|TCP6) (\S{1,45}) (\S{1,45}) ([0-9]{1,5}) ([0-9]{1,5}))\Z"
)


class BadHeader(ValueError):
    """These bytes are no PROXY header and never become one."""


def parse(data: bytes) -> tuple[int, str | None] | None:
    """(length of the header, client address); the address is None for UNKNOWN and LOCAL.

    None while more bytes are needed; `BadHeader` when it is none.
    """
    if data[:12] == SIGNATURE_V2[: len(data)] and data[:1] == b"\r":
        return _parse_v2(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _parse_v1(data)
    raise BadHeader


def _parse_v1(data: bytes) -> tuple[int, str | None] | None:
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            raise BadHeader
        return None
    match = _V1.match(data[:end])
    if match is None:
        raise BadHeader
    if match[1] is None:
        return end + 2, None
    return end + 2, _address(match[2], 4 if match[1] == b"TCP4" else 6)


def _address(text: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        raise BadHeader from None
    if address.version != version:
        raise BadHeader
    return str(address)


def _parse_v2(data: bytes) -> tuple[int, str | None] | None:
    if len(data) < 16:
        return None
    version, command = data[12] >> 4, data[12] & 15
    family = data[13]
    body = int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1 or body > MAX_V2_BODY:
        raise BadHeader
    if len(data) < 16 + body:
        return None
    if command == 0:  # LOCAL: the balancer's own health check
        return 16 + body, None
    if family == 0x11 and body >= 12:
        return 16 + body, str(ipaddress.IPv4Address(data[16:20]))
    if family == 0x21 and body >= 36:
        return 16 + body, str(ipaddress.IPv6Address(data[16:32]))
    if family == 0x00:
        return 16 + body, None
    raise BadHeader
