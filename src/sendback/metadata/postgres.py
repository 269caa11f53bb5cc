"""One Postgres, reached within a deadline: bounded connections, retries, a breaker.

psycopg's own pool stalls for seconds after a restart of the server, and waits without a bound when
it is frozen. Connections are made by a thread of their own, since name resolution can't be bounded.
Autocommit, prepared at first use. Knows nothing of what is asked.
"""

import threading
import time
from collections.abc import Callable, Sequence

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sendback.errors import Misconfigured, Unavailable
from sendback.metadata.breaker import Breaker
from sendback.metadata.channel import (
    CONNECT_TIMEOUT,
    Channel,
    DeadlineError,
    LostError,
    RefusedError,
    Rows,
    Statement,
    one_line,
)
from sendback.model import DatabaseConnection

PROBE_TIMEOUT = 1.0


class Slow(Exception):
    """No answer within the caller's patience; `finish` waits on for it, to the deadline."""

    def __init__(self, finish: Callable[[], Rows]) -> None:
        super().__init__()
        self.finish = finish


class Database:
    """A Postgres as one process reaches it, over at most `connections` connections.

    `dsn` is libpq's, several hosts allowed: tried in order. `writes`: with several hosts take the
    one that is no standby.
    """

    def __init__(
        self,
        dsn: str,
        *,
        name: str = "the external event tracking metadata database",
        connections: int = 2,
        statement_timeout: float = 1.0,
        writes: bool = False,
    ) -> None:
        self.name = name
        self._attempts = attempts(dsn, writes=writes)
        self._limit = connections
        self._statement_timeout = statement_timeout
        self._idle: list[Channel] = []
        self._count = 0
        self._failed_connects = 0
        self._connect_error = ""
        self._changed = threading.Condition()
        self._breakers: dict[str, Breaker] = {}

    def run(
        self,
        statement: Statement,
        parameter: bytes,
        deadline: float,
        *,
        patience: float | None = None,
    ) -> Rows:
        """The rows. Unavailable, with the reason, when there is no answer by `deadline`
        (time.monotonic), and at once while the breaker is open; Slow after `patience` seconds.

        The statement may have run more than once: it must be idempotent.
        """
        breaker = self.breaker(statement)
        breaker.check()
        until = deadline if patience is None else min(deadline, time.monotonic() + patience)
        try:
            return self._run(statement, parameter, deadline, until)
        except Unavailable as error:
            breaker.failure(str(error))
            raise

    def breaker(self, statement: Statement) -> Breaker:
        """The breaker of this statement: a read-only server still reads."""
        found = self._breakers.get(statement.name)
        if found is None:
            found = self._breakers.setdefault(
                statement.name, Breaker(lambda: self._probe(statement))
            )
        return found

    def close(self) -> None:
        """Close every idle connection and end all probing; whatever is asked next begins anew."""
        with self._changed:
            idle, self._idle = self._idle, []
            self._count -= len(idle)
            breakers, self._breakers = self._breakers, {}
        for channel in idle:
            channel.close()
        for breaker in breakers.values():
            breaker.close()

    @property
    def connections(self) -> int:
        """How many connections stand or are being made."""
        return self._count

    def _run(self, statement: Statement, parameter: bytes, deadline: float, until: float) -> Rows:
        # Each connection may be dead after a restart, so try one more than there can be.
        reason = ""
        for _ in range(self._limit + 1):
            channel: Channel | None = None
            try:
                channel = self._take(until)
                channel.send(statement, parameter, until)
                return self._answer(channel, until)
            except LostError as error:
                reason = str(error)
            except DeadlineError:
                if until < deadline:
                    raise Slow(self._going_on(channel, statement, parameter, deadline)) from None
                self._drop(channel)
                raise Unavailable(f"{self.name}: no answer in time") from None
            self._drop(channel)
        raise Unavailable(f"{self.name}: {reason}")

    def _answer(self, channel: Channel, until: float) -> Rows:
        """The rows; the connection goes back among the idle ones, unless it is lost or late."""
        try:
            rows = channel.receive(until)
        except RefusedError as error:
            self._give(channel)
            raise Unavailable(f"{self.name}: {error}") from error
        self._give(channel)
        return rows

    def _going_on(
        self, channel: Channel | None, statement: Statement, parameter: bytes, deadline: float
    ) -> Callable[[], Rows]:
        """What `Slow.finish` does: wait on where the statement is on its way, else begin again."""

        def finish() -> Rows:
            if channel is None or not channel.is_sent:
                self._drop(channel)
                return self.run(statement, parameter, deadline)
            try:
                return self._answer(channel, deadline)
            except (LostError, DeadlineError) as error:
                self._drop(channel)
                reason = f"{self.name}: {error}"
            except Unavailable as error:
                reason = str(error)
            self.breaker(statement).failure(reason)
            raise Unavailable(reason)

        return finish

    def _probe(self, statement: Statement) -> None:
        deadline = time.monotonic() + PROBE_TIMEOUT
        self._run(statement, statement.nothing, deadline, deadline)

    # -- connections --

    def _take(self, deadline: float) -> Channel:
        """An idle connection that is not known dead, or a new one; DeadlineError, Unavailable."""
        with self._changed:
            failures = self._failed_connects
            while True:
                while self._idle:
                    channel = self._idle.pop()
                    if channel.is_quiet():
                        return channel
                    channel.close()
                    self._count -= 1
                if self._count < self._limit:
                    self._count += 1
                    threading.Thread(target=self._connect, name="connect", daemon=True).start()
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise DeadlineError
                self._changed.wait(remaining)
                if self._failed_connects != failures and not self._idle:
                    raise Unavailable(f"{self.name}: {self._connect_error}")

    def _connect(self) -> None:
        """In a thread of its own: the connection is used by whoever waits, now or later."""
        error = ""
        channel = None
        for conninfo in self._attempts:
            try:
                channel = Channel(conninfo, time.monotonic() + CONNECT_TIMEOUT)
                channel.set_statement_timeout(self._statement_timeout)
                break
            except (LostError, RefusedError, DeadlineError) as failure:
                error = str(failure) or "no answer while connecting"
                if channel is not None:
                    channel.close()
                    channel = None
        with self._changed:
            if channel is None:
                self._count -= 1
                self._failed_connects += 1
                self._connect_error = error
            else:
                self._idle.append(channel)
            self._changed.notify_all()

    def _give(self, channel: Channel) -> None:
        with self._changed:
            self._idle.append(channel)
            self._changed.notify()

    def _drop(self, channel: Channel | None) -> None:
        if channel is None:
            return
        channel.close()
        with self._changed:
            self._count -= 1
            self._changed.notify()


def conninfo_of(connection: DatabaseConnection) -> str:
    """The libpq connection string of a catalog object. `ssl`: encrypted or not at all; the
    server's certificate is checked with a dsn that says sslmode=verify-full.
    """
    if connection.dsn:
        return connection.dsn
    given = {
        "host": connection.hostname,
        "port": str(connection.port),
        "dbname": connection.database,
        "user": connection.username,
        "password": connection.password,
        "sslmode": "require" if connection.ssl else "",
    }
    return make_conninfo("", **{key: value for key, value in given.items() if value})


_PER_HOST = ("host", "hostaddr", "port")


def attempts(dsn: str, *, writes: bool = False) -> Sequence[str]:
    """One connection string for each host of the dsn, in order; Misconfigured when it is none."""
    try:
        parameters = conninfo_to_dict(dsn)
    except ProgrammingError as error:
        # What libpq quotes may be the password.
        reason = one_line(str(error)).partition('"')[0].strip()
        raise Misconfigured(f"not a Postgres connection string: {reason}") from None
    lists = {key: str(parameters.pop(key, "") or "").split(",") for key in _PER_HOST}
    count = max(map(len, lists.values()))
    if any(len(values) not in (1, count) for values in lists.values()):
        raise Misconfigured("a connection string needs one port, or one for each host")
    wanted = parameters.pop("target_session_attrs", None)
    if wanted is None and writes and count > 1:
        wanted = "read-write"
    # libpq chooses among hosts inside one attempt; with one host an attempt the order is ours.
    passes = ("standby", "any") if wanted == "prefer-standby" else (wanted or "any",)
    common = {"application_name": "sendback", **parameters}
    found = []
    for attrs in passes:
        for number in range(count):
            one = {**common, "target_session_attrs": attrs}
            one.update({key: values[number % len(values)] for key, values in lists.items()})
            found.append(make_conninfo("", **{k: str(v) for k, v in one.items() if v}))
    return found
