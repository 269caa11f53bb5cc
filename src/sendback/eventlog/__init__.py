"""The ordered log of a node: what finishing wrote, and how far every consumer has read.

schema     the tables of events.sqlite and how the file is opened
log        `EventLog`: append in big transactions, read by seq
delivery   cursors, state, attempts, parked events and dead letters of each consumer
retention  pruning by age and size, erasing an address

SQLite, WAL, FULL. The worker is the one process that appends; the command line and the admin
process read, and write only an operator's word (pause, replay, retry), in tiny transactions.
"""

from sendback.eventlog.delivery import Attempt, ConsumerState, DeadLetter, Deliveries, Parked
from sendback.eventlog.log import EventLog, Pending, StoredEvent, Transaction
from sendback.eventlog.retention import Retention

__all__ = [
    "Attempt",
    "ConsumerState",
    "DeadLetter",
    "Deliveries",
    "EventLog",
    "Parked",
    "Pending",
    "Retention",
    "StoredEvent",
    "Transaction",
]
