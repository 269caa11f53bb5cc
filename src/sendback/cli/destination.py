"""`sendback destination`: where events are delivered.

The catalog commands come from `catalog.py`; what concerns running deliveries is added here.
"""

from __future__ import annotations

from sendback.cli.catalog import destination

__all__ = ["destination"]
