"""Settings of a node: defaults < file < environment < flags, checked whole at start.

A wrong key or value raises `Misconfigured` with file, line, key and the nearest right name.
Nothing below bootstrap sees a `Settings`: rooms take plain values.
"""

from sendback.config.load import load, load_with_origins
from sendback.config.settings import CATALOG_KINDS, Settings

__all__ = ["CATALOG_KINDS", "Settings", "load", "load_with_origins"]
