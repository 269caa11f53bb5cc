"""A destination's values in, its sink out.

A package serves destinations of type `plugin`: an entry point of group `sendback.sinks`, named as
the scheme of the url, that names a callable (destination, guard) -> Sink.
"""

from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from sendback.errors import Malformed, Misconfigured
from sendback.model import Destination
from sendback.sinks.base import Sink
from sendback.sinks.guard import WEB_PORTS, Guard, Resolve, resolve_by_system

_POSTGRES_PORTS = frozenset((5432,))
_NATS_PORTS = frozenset((4222, 443))


def build_sink(
    destination: Destination,
    *,
    data_dir: Path,
    is_from_file: bool,
    resolve: Resolve = resolve_by_system,
) -> Sink:
    """The sink of a destination; connects to nothing yet. Malformed, Misconfigured.

    `is_from_file`: it stands in the configuration file; only then may an ndjson path lie outside
    `data_dir/events/`, and only then do the network rules spare postgres and jetstream.
    """
    is_free = destination.allow_private_networks or (
        is_from_file and destination.type in ("postgres", "jetstream")
    )

    def guard(ports: frozenset[int]) -> Guard:
        return Guard(allow_private_networks=is_free, ports=ports, resolve=resolve)

    secrets = tuple(filter(None, (destination.secret, *destination.secrets)))
    if destination.type == "webhook":
        from sendback.sinks.formats import find_format
        from sendback.sinks.webhook import WebhookSink

        return WebhookSink(
            destination.url,
            find_format(destination.format),
            guard(WEB_PORTS),
            secrets=secrets,
            headers=destination.headers,
            use_gzip=destination.gzip,
        )
    if destination.type == "ndjson":
        from sendback.sinks.ndjson import NdjsonSink

        path = ndjson_path(destination.url, data_dir, is_from_file=is_from_file)
        return NdjsonSink(path, compress=destination.gzip)
    if destination.type == "postgres":
        from sendback.sinks.postgres import PostgresSink

        return PostgresSink(destination.url, guard(_POSTGRES_PORTS))
    if destination.type == "jetstream":
        try:
            from sendback.sinks.jetstream import JetStreamSink
        except ImportError:
            raise Misconfigured(
                "a jetstream destination needs the package nats-py",
                hint="install sendback[jetstream]",
            ) from None
        return JetStreamSink(destination.url, guard(_NATS_PORTS))
    return _from_entry_point(destination, guard(WEB_PORTS))


def _from_entry_point(destination: Destination, guard: Guard) -> Sink:
    name = urlsplit(destination.url).scheme
    for point in entry_points(group="sendback.sinks", name=name):
        made: Sink = point.load()(destination, guard)
        return made
    raise Misconfigured(
        f"destination {destination.name}: no installed package serves {name}://",
        hint="install it, or use webhook, ndjson, postgres or jetstream",
    )


def ndjson_path(url: str, data_dir: Path, *, is_from_file: bool) -> Path:
    """The file that an ndjson destination means. Malformed when it may not lie there."""
    text = urlsplit(url).path if url.startswith("file://") else url
    path = Path(text)
    if is_from_file:
        return path if path.is_absolute() else data_dir / path
    allowed = (data_dir / "events").resolve()
    wanted = path if path.is_absolute() else data_dir / path
    if not path.is_absolute() and len(path.parts) == 1:
        wanted = allowed / path
    resolved = wanted.resolve()
    if not resolved.is_relative_to(allowed) or resolved == allowed:
        raise Malformed(
            f"a file written by the node lies under {allowed};"
            " only the configuration file may name another place",
            field="url",
        )
    return resolved
