"""Starts, watches, drains and restarts the processes of one node (CONTRACT section 2).

Children are started by module name, in our process group, each with an address that this process
has already claimed and with a lifeline: a pipe whose closing tells them that we are gone.
"""

from sendback.supervisor.node import PARTS, Supervisor

__all__ = ["PARTS", "Supervisor"]
