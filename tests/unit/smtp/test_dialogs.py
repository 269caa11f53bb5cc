"""Plays the scripts of tests/dialogs against the real listener.

A script is lines: `c: TEXT` sends a line, `c> TEXT` sends raw text with Python escapes and no line
end (`{N*TEXT}` repeats), `s: TEXT` expects exactly this reply line, `s~ REGEX` a reply that
matches (all its lines), `closed` the end of the connection, `open` a new one. `{signed}` is a
genuine bounce address, `{forged}` one with a wrong character. `limits: NAME=VALUE ...` and
`proxies: CIDR ...` on top set the server up; `mails: N` expects so many journaled by now.
"""

import contextlib
import re
from pathlib import Path

import pytest

from sendback.smtp.limits import Limits

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "dialogs").glob("*.dialog"))


def raw(text: str) -> bytes:
    data = text.encode("latin-1").decode("unicode_escape").encode("latin-1")
    return re.sub(rb"\{(\d+)\*([^}]*)\}", lambda m: m[2] * int(m[1]), data)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_dialog(script: Path, listener, signed, captured) -> None:
    address = signed()
    at = address.index("+") + 12
    forged = address[:at] + ("b" if address[at] == "a" else "a") + address[at + 1 :]
    limits, options, lines = {}, {}, []
    for number, line in enumerate(script.read_text().splitlines(), 1):
        if line.startswith("limits: "):
            pairs = (pair.split("=") for pair in line[8:].split())
            limits = {name: type(getattr(Limits(), name))(value) for name, value in pairs}
        elif line.startswith("proxies: "):
            options["trusted_proxies"] = line[9:].split()
        elif line.strip() and not line.startswith("#"):
            named = line.replace("{signed}", address).replace("{forged}", forged)
            lines.append((number, named))
    door = listener(limits=Limits(**{"drain_seconds": 2.0, **limits}), **options)
    clients = [door.connect()]
    try:
        for number, line in lines:
            play(f"{script.name}:{number}: {line}", line, clients, door, captured)
        # Whatever was said: the next good client is served.
        clients.pop().close()
        if not options:
            clients.append(door.connect())
            assert clients[-1].reply().startswith(b"220 ")
            assert clients[-1].ask(b"EHLO next.test").startswith(b"250-")
    finally:
        for client in clients:
            client.close()


def play(place: str, line: str, clients: list, door, captured) -> None:
    client, kind, text = clients[-1], line[:3], line[3:]
    if kind == "c: ":
        client.send(text.encode() + b"\r\n")
    elif kind == "c> ":
        with contextlib.suppress(ConnectionError):  # closed already: the next line says why
            client.send(raw(text))
    elif kind == "s: ":
        assert client.file.readline().decode() == text + "\r\n", place
    elif kind == "s~ ":
        reply = client.reply().decode().replace("\r\n", "\n").rstrip("\n")
        assert re.fullmatch(text, reply, re.DOTALL), f"{place}: {reply!r}"
    elif line == "closed":
        assert client.reply() == b"", place
    elif line == "open":
        clients.pop().close()
        clients.append(door.connect())
    elif line.startswith("mails: "):
        assert len(captured()) == int(line[7:]), place
    else:
        raise AssertionError(f"{place}: not a line of a dialog")


def test_there_is_a_dialog_for_each_example() -> None:
    """reliability.md 7B: twenty examples of bad SMTP input."""
    covered = {
        int(found) for path in SCRIPTS for found in re.findall(r"7B\.(\d+)", path.read_text())
    }
    assert covered == set(range(1, 21))
