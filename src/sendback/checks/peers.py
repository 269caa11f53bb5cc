"""Another node of the fleet, asked for its status: the same secret constants, the same time.

Fingerprints are compared, never constants (S0.3). A peer that does not let us in still tells the
time, by its Date header.
"""

from __future__ import annotations

import email.utils
import time
from typing import Any

import msgspec

from sendback.checks.asking import Answered, Asking, Unreachable
from sendback.checks.clock import compared
from sendback.checks.finding import Finding, fine, problem
from sendback.model import Peer

_KEYS, _CLOCK = "peer-keys", "peer-clock"


def check_peer(peer: Peer, fingerprint: str, asking: Asking | None = None) -> list[Finding]:
    """Reachability, keys and clock of one peer; `fingerprint`: of the key that signs here."""
    url = f"{peer.admin_url.rstrip('/')}/api/v1/status"
    began = time.time()
    try:
        answer = (asking or Asking()).ask(url, headers={"Authorization": f"Bearer {peer.api_key}"})
    except Unreachable as error:
        cure = "does its admin port listen on an address that is reachable from here?"
        return [problem("peer", peer.name, f"no status: {error}", cure)]
    ours = (began + time.time()) / 2
    if answer.status in (401, 403):
        cure = "make one there: sendback api-key create NAME --scope read; then set it here"
        found = problem("peer", peer.name, f"refuses our API key ({answer.status})", cure)
        return [found, *_clock_by_date(peer, answer, ours)]
    try:
        status = msgspec.json.decode(answer.body, type=dict[str, Any])
        theirs, now_ms = str(status["facts"]["Key fingerprint"]), float(status["time_ms"])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        cure = "does admin_url lead to the admin port of a node?"
        return [problem("peer", peer.name, f"no status: answered with {answer.status}", cure)]
    return [_keys(peer, theirs, fingerprint), compared(_CLOCK, peer.name, now_ms / 1000, ours)]


def _keys(peer: Peer, theirs: str, ours: str) -> Finding:
    if theirs == ours:
        return fine(_KEYS, peer.name, f"signs with {theirs}, as this node")
    cure = "set the same secret constants on both (seed 000)"
    return problem(_KEYS, peer.name, f"signs with {theirs}, this node with {ours}", cure)


def _clock_by_date(peer: Peer, answer: Answered, ours: float) -> list[Finding]:
    """Date counts whole seconds, so it is half a second late on average."""
    try:
        theirs = email.utils.parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (ValueError, TypeError):
        return []
    return [compared(_CLOCK, peer.name, theirs + 0.5, ours)]
