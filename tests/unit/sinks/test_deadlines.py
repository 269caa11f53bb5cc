"""The time of a delivery is for all of it: addresses that swallow, names that nobody resolves."""

import contextlib
import socket
import threading
import time

import pytest

from fixtures.receiver import Receiver
from sendback.delivery import made_up_event
from sendback.errors import Unavailable
from sendback.sinks import Guard, Result
from sendback.sinks import guard as guard_module
from sendback.sinks.formats import Batch
from sendback.sinks.watchdog import Watchdog
from sendback.sinks.webhook import WebhookSink


@contextlib.contextmanager
def swallowing(*hosts: str):
    """A port at which each of these addresses lets a caller wait: its backlog is full."""
    with contextlib.ExitStack() as stack:
        port = 0
        for host in hosts:
            listener = stack.enter_context(socket.socket())
            listener.bind((host, port))
            listener.listen(0)
            port = listener.getsockname()[1]
            for _ in range(4):
                caller = stack.enter_context(socket.socket())
                caller.setblocking(False)
                caller.connect_ex((host, port))
        yield port


def test_several_addresses_that_swallow_share_the_time() -> None:
    """Found by reading: each address had the whole time, three of them took 45 s."""
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    with swallowing(*hosts) as port:
        guard = Guard(allow_private_networks=True, resolve=lambda host, at: hosts)
        sink = WebhookSink(f"http://many.test:{port}/", Batch(), guard, seconds=1.5)
        began = time.monotonic()
        outcome = sink.deliver([made_up_event("n", 0.0)])
        took = time.monotonic() - began

    assert outcome.result is Result.FAILED
    assert took < 3.5  # one after another in full: 4.5


def test_an_address_that_swallows_leaves_time_for_the_next() -> None:
    receiver = Receiver()
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", receiver.port))
        listener.listen(0)
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.2", receiver.port))
        hosts = ["127.0.0.2", "127.0.0.1"]
        guard = Guard(allow_private_networks=True, resolve=lambda host, at: hosts)
        sink = WebhookSink(f"http://two.test:{receiver.port}/", Batch(), guard, seconds=4)

        assert sink.deliver([made_up_event("n", 0.0)]).result is Result.DELIVERED
        for caller in callers:
            caller.close()
    sink.close()
    receiver.close()


def test_names_that_hang_do_not_hold_up_another(monkeypatch) -> None:
    """Found by reading: eight look-ups that hung made every other name fail."""
    release = threading.Event()
    real = socket.getaddrinfo

    def look_up(host, *arguments):
        if host.startswith("dead"):
            release.wait(30)
            raise OSError("no answer")
        return real(host, *arguments)

    monkeypatch.setattr(guard_module, "_resolvers", None)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(guard_module, "RESOLVE_SECONDS", 0.05)
    for number in range(20):
        with pytest.raises(Unavailable):
            guard_module.resolve_by_system(f"dead{number}.test", 80)
    monkeypatch.setattr(guard_module, "RESOLVE_SECONDS", 20)

    assert "127.0.0.1" in guard_module.resolve_by_system("127.0.0.1", 80)
    release.set()


def test_the_watchdog_ends_what_takes_too_long_and_nothing_else() -> None:
    dog = Watchdog()
    ended = threading.Event()
    unharmed = dog.watch(time.monotonic() + 60, lambda: pytest.fail("it had time"))
    with unharmed, dog.watch(time.monotonic() + 0.05, ended.set):
        assert ended.wait(20)
