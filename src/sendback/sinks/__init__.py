"""Where events go: the code behind a destination.

base       the port: `Sink`, `Outcome`, and `Format` for what a webhook speaks
build      a destination's values in, its sink out; also sinks of other packages
webhook    HTTP POST (formats, http_connection, guard)
ndjson     lines of a file
postgres   rows of a table, exactly once
jetstream  NATS

Sinks know neither each other nor retries, cursors and filters.
"""

from sendback.sinks.base import Format, Outcome, Result, Sink
from sendback.sinks.build import build_sink
from sendback.sinks.guard import Guard, is_public

__all__ = ["Format", "Guard", "Outcome", "Result", "Sink", "build_sink", "is_public"]
