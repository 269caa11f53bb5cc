"""One libpq connection whose every call ends by its deadline.

Speaks libpq's asynchronous calls directly, because nothing above them can be bounded in time: a
frozen server holds psycopg's `execute` for ever. Knows neither pools nor retries.
"""

import select
import time
from typing import NamedTuple

from psycopg import OperationalError, pq

#: Longest wait for one host while connecting; it is spent in the background.
CONNECT_TIMEOUT = 2.0


class Statement(NamedTuple):
    """A statement with one text parameter, and a harmless parameter to probe with.

    Its rows come in binary.
    """

    name: str
    sql: str
    nothing: bytes


Rows = list[tuple[bytes | None, ...]]


class DeadlineError(Exception):
    """Time is up."""

    def __init__(self) -> None:
        super().__init__("no answer in time")


class LostError(Exception):
    """The connection is dead; another one may do."""


class RefusedError(Exception):
    """The server answered with an error; the connection stays good."""


class Channel:
    """One connection, used by one thread at a time; every call ends by its deadline."""

    def __init__(self, conninfo: str, deadline: float) -> None:
        self._prepared: set[bytes] = set()
        self._refusal: RefusedError | None = None
        self._poll = select.poll()
        self.is_sent = False
        self._pgconn = pq.PGconn.connect_start(conninfo.encode())
        try:
            self._connect(deadline)
        except BaseException:
            self.close()
            raise

    def send(self, statement: Statement, parameter: bytes, deadline: float) -> None:
        """Put the statement on its way; `is_sent` once it is. A refusal to prepare it is raised
        by `receive`, as one of the statement itself.
        """
        self.is_sent = False
        self._refusal = None
        name = statement.name.encode()
        try:
            if name not in self._prepared:
                self._pgconn.send_prepare(name, statement.sql.encode())
                try:
                    self.receive(deadline)
                except RefusedError as error:
                    self._refusal = error
                    return
                self._prepared.add(name)
            self._pgconn.send_query_prepared(name, [parameter], result_format=pq.Format.BINARY)
        except OperationalError as error:
            raise LostError(one_line(str(error))) from error
        self.is_sent = True

    def receive(self, deadline: float) -> Rows:
        """The answer's rows."""
        if self._refusal is not None:
            raise self._refusal
        rows: Rows = []
        refusal: RefusedError | None = None
        try:
            while (result := self._result(deadline)) is not None:
                if result.status == pq.ExecStatus.TUPLES_OK:
                    fields = range(result.nfields)
                    rows = [
                        tuple([result.get_value(row, field) for field in fields])
                        for row in range(result.ntuples)
                    ]
                elif result.status != pq.ExecStatus.COMMAND_OK:
                    refusal = _refusal(result)
        except OperationalError as error:
            raise LostError(one_line(str(error))) from error
        if refusal is not None:
            raise refusal
        return rows

    def set_statement_timeout(self, seconds: float) -> None:
        """The server shall not work longer than anybody waits."""
        try:
            self._pgconn.send_query(b"set statement_timeout = %d" % int(seconds * 1000))
        except OperationalError as error:
            raise LostError(one_line(str(error))) from error
        self.receive(time.monotonic() + CONNECT_TIMEOUT)

    def is_quiet(self) -> bool:
        """False when something came while nobody asked: the server's good-bye, or the end."""
        return not self._poll.poll(0)

    def close(self) -> None:
        """Close at once, whatever is under way; idempotent."""
        self._pgconn.finish()

    def _connect(self, deadline: float) -> None:
        pgconn = self._pgconn
        while (status := pgconn.connect_poll()) != pq.PollingStatus.OK:
            if status == pq.PollingStatus.FAILED:
                raise LostError(one_line(pgconn.get_error_message()))
            wanted = select.POLLIN if status == pq.PollingStatus.READING else select.POLLOUT
            poll = select.poll()  # libpq may change its socket from one step to the next
            poll.register(pgconn.socket, wanted)
            _wait(poll, deadline)
        pgconn.nonblocking = 1
        self._poll.register(pgconn.socket, select.POLLIN)

    def _result(self, deadline: float) -> "pq.abc.PGresult | None":
        pgconn = self._pgconn
        while pgconn.flush():
            poll = select.poll()
            poll.register(pgconn.socket, select.POLLIN | select.POLLOUT)
            _wait(poll, deadline)
            pgconn.consume_input()
        while pgconn.is_busy():
            _wait(self._poll, deadline)
            pgconn.consume_input()
        return pgconn.get_result()


def _wait(poll: select.poll, deadline: float) -> None:
    remaining = deadline - time.monotonic()
    if remaining <= 0 or not poll.poll(remaining * 1000):
        raise DeadlineError


#: Of these the connection is at fault: gone, shut down, a forgotten or outdated prepared
#: statement, a server that became read-only. A new connection may do better.
_LOST = ("08", "57P", "26000", "0A000", "25006")


def _refusal(result: "pq.abc.PGresult") -> RefusedError:
    """The error that the server answered with; raises LostError for those of the connection."""
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    primary = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
    text = f"{one_line(primary.decode('utf-8', 'replace'))} ({state})"
    if state.startswith(_LOST):
        raise LostError(text)
    return RefusedError(text)


def one_line(text: str) -> str:
    """A message of libpq's without its line ends."""
    return " ".join(text.split()) or "the connection is lost"
