"""Durable capture: a record is on disk before anybody gets an answer.

frames   the bytes of a segment file, both ways
files    the few file operations, replaceable so that tests can play a failing disk
segment  one segment file being written
disk     the segments of one writer, and its reserve
ticket   one append on its way; `Level`
aio      appends for asyncio
later    appends that call back, and the clock that gives them up
sync     (sync_thread) the thread that syncs where no caller does
writer   `Journal`: appends of many threads, group commit
pressure how full it is, for other processes
reader   `JournalReader`: all writers' segments in order, recovery, deletion

Nothing here knows what a payload means.
"""

from sendback.journal.files import FileOps
from sendback.journal.pressure import Pressure, PressureGauge
from sendback.journal.reader import JournalReader, Record
from sendback.journal.ticket import Level
from sendback.journal.writer import Journal

__all__ = ["FileOps", "Journal", "JournalReader", "Level", "Pressure", "PressureGauge", "Record"]
