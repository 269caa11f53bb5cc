"""Wiring: from settings to the parts of each process; nothing else picks concrete back-ends.

core        `Core`: the parts of one node, each built on first use
processes   what web, admin, smtp, submission and worker need
sending     the submission process
working     the worker
mail        the process of the smtp port
api         the REST API
external    the external metadata store from its connections
data_dir    the data directory: made, checked, locked
status      what each process says of itself
logs        one line an event
lifeline    ends a process whose supervisor is gone
"""

from sendback.bootstrap.core import Core
from sendback.bootstrap.processes import build_admin, build_web, child_settings, prepare_node

__all__ = ["Core", "build_admin", "build_web", "child_settings", "prepare_node"]
