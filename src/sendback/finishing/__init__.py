"""Use case: journal records become finished events of the log.

step      `Finishing`: reads, makes, commits; what can't be made now waits in `pending`
visits    a click, open or unsubscribe: resolved, labelled, trimmed to its privacy
returned  a mail that came back: attributed, parsed, counted
identity  whose mail it was: signed evidence only
history   recent visits of the same message, for the verdict
unparsed  raw mail that nothing could be made of, kept for people to look at
made      what becomes of one record
"""

from sendback.finishing.step import Finishing
from sendback.finishing.unparsed import Unparsed

__all__ = ["Finishing", "Unparsed"]
