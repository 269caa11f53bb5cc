"""`sendback bench`: what this machine does, measured with the node's own parts.

The project's whole suite is `make bench`; these three answer what an operator asks before buying a
disk or moving a node: how many durable events a second, how many messages, how long a token takes.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import BinaryIO

import click

from sendback.cli.context import Node, NodeGroup, pass_node
from sendback.cli.output import emit


@click.group("bench", cls=NodeGroup)
def bench() -> None:
    """Measure this machine with the node's own parts."""


@bench.command("journal")
@click.option("--threads", default=16, show_default=True, type=click.IntRange(1, 256))
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(0.1, 60))
@pass_node
def journal(node: Node, threads: int, seconds: float) -> None:
    """Durable events a second on the disk of the data directory."""
    from sendback.journal import Journal

    node.settings.data_path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=node.settings.data_path) as folder:
        written = Journal(Path(folder), "bench")
        payload, stop = b"x" * 300, time.monotonic() + seconds
        counts, waits = [0] * threads, [0.0] * threads

        def append(number: int) -> None:
            while (began := time.monotonic()) < stop:
                written.append(payload)
                waits[number] = max(waits[number], time.monotonic() - began)
                counts[number] += 1

        runners = [threading.Thread(target=append, args=(n,)) for n in range(threads)]
        cpu = time.process_time()
        for runner in runners:
            runner.start()
        for runner in runners:
            runner.join()
        cpu = time.process_time() - cpu
        written.close()
    total = sum(counts)
    emit(
        node,
        {
            "events_per_second": round(total / seconds),
            "longest_wait_ms": round(max(waits) * 1000, 1),
            "cpu_us_per_event": round(cpu / max(1, total) * 1e6, 1),
        },
    )


@bench.command("rewrite")
@click.argument("file", type=click.File("rb"))
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(0.1, 60))
@pass_node
def rewrite(node: Node, file: BinaryIO, seconds: float) -> None:
    """Messages a second on one core: FILE, parsed and tagged for one recipient each time."""
    from sendback.model import Storage

    message = file.read()
    tagging = node.core.tagging_by(lambda: node.core.catalog, storage=Storage.STATELESS)
    done, cpu, stop = 0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < stop:
        tagging.prepare(message, mail_from="bench@example.org").for_recipient("to@example.org")
        done += 1
    cpu = time.process_time() - cpu
    emit(node, {"messages_per_second": round(done / cpu), "bytes": len(message)})


@bench.command("tokens")
@pass_node
def tokens(node: Node) -> None:
    """Microseconds to open a stateless link, and to refuse junk."""
    from sendback.errors import SendbackError
    from sendback.model import LinkFacts, MessageFacts, Storage

    metadata = node.core.metadata(writes=True)
    message = MessageFacts(email="to@example.org", sendid="bench", listid="bench")
    link = LinkFacts(url="https://www.example.org/a/page?id=4711&utm_source=mail")
    ((purpose, text),) = metadata.issue(Storage.STATELESS, message, [link]).link_tokens
    token, junk = text.encode(), text.encode()[:-1] + b"A"

    def refuse() -> None:
        try:
            metadata.link(purpose, junk)
        except SendbackError:
            pass  # what is measured

    emit(
        node,
        {
            "open_us": _microseconds(lambda: metadata.link(purpose, token)),
            "refuse_us": _microseconds(refuse),
            "characters": len(text),
        },
    )


def _microseconds(call: object, rounds: int = 20_000) -> float:
    assert callable(call)
    cpu = time.process_time()
    for _ in range(rounds):
        call()
    return round((time.process_time() - cpu) / rounds * 1e6, 2)
