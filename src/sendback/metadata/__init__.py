"""Event tracking metadata (seed 004): tokens for a message, and what a token stands for.

`Metadata` is all that other rooms use. The stores are named where they are built, in bootstrap:
`sendback.metadata.local.LocalStore`, `sendback.metadata.external.ExternalStore`; importing this
package loads neither sqlite3 nor psycopg.
"""

from sendback.metadata.base import BounceRef, Fetch, Issued, external_error
from sendback.metadata.facade import Metadata

__all__ = ["BounceRef", "Fetch", "Issued", "Metadata", "external_error"]
