"""Ends this process when the supervisor is gone, however it went (CONTRACT section 2).

The supervisor holds the write end of a pipe; every child, and every worker forked from one,
inherits the read end. End of file there means that nobody drains us any more: the journal makes
dying at once safe, and living on would hold the port and the data directory.
"""

import os
import threading

_VARIABLE = "SENDBACK_CHILD_LIFELINE"


def watch_lifeline() -> None:
    """Start watching, when a supervisor gave us a lifeline; returns at once."""
    number = os.environ.get(_VARIABLE)
    if number:
        threading.Thread(target=_wait, args=(int(number),), name="lifeline", daemon=True).start()


def _wait(descriptor: int) -> None:
    try:
        while os.read(descriptor, 1):
            pass
    except OSError:
        return  # not inherited here: the process that forked us watches
    os._exit(1)
