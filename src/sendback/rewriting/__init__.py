"""Rewrites outgoing mail: links, open pixel, header block; byte for byte, without any server.

    from sendback.rewriting import Options, plan

    made = plan(message, Options(unsubscribe_links=True))
    urls = [track(link) for link in made.links]
    rewritten = made.render(urls, pixel_url="https://links.example.com/open?...")

`plan` once for a message, `render` once for a recipient. Pure: no I/O, no clock.
"""

from sendback.rewriting.model import Link, Note, Options, Skipped
from sendback.rewriting.plan import Plan, plan

__all__ = ["Link", "Note", "Options", "Plan", "Skipped", "plan"]
