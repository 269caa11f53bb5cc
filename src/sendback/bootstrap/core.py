"""The parts of one node, each built on first use: the only place that picks concrete back-ends.

Commands, processes and tests all take their parts from a `Core`. Imports stand inside the
properties, so that a process imports only what it uses: web never meets SQLAlchemy.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sendback.config import Settings
from sendback.config.load import parse_listen
from sendback.errors import Misconfigured, Unavailable
from sendback.model import Catalog, DatabaseConnection, Storage
from sendback.model.catalog import built_in
from sendback.secret_constants import Keyring, SecretConstantsFile

if TYPE_CHECKING:
    from sendback.database.catalog import CatalogStore
    from sendback.database.engine import Database
    from sendback.database.statistics import Statistics
    from sendback.database.suppression import Suppression
    from sendback.eventlog import EventLog
    from sendback.metadata import Metadata
    from sendback.metadata.external import ExternalStore
    from sendback.tagging import Tagging

log = logging.getLogger("sendback.bootstrap")


class Core:
    """The parts of the node that `settings` describe. Nothing is opened before it is asked for."""

    def __init__(self, settings: Settings, *, web_port: int | None = None) -> None:
        self.settings = settings
        self.path: Path = settings.data_path
        self._web_port = web_port
        self._metadata: dict[tuple[bool, bool], Metadata] = {}

    # -- keys --------------------------------------------------------------------------------

    @cached_property
    def secret_constants(self) -> SecretConstantsFile:
        """The file behind the keys."""
        return SecretConstantsFile(self.path / "secret-constants.json")

    @cached_property
    def keyring(self) -> Keyring:
        """The keys of this node, made now if it has none."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.secret_constants.ensure()

    # -- the main database -------------------------------------------------------------------

    @property
    def has_own_database(self) -> bool:
        """True when the main database is the SQLite file of the data directory."""
        return not self.settings.database_url

    @cached_property
    def database(self) -> Database:
        """The main database."""
        from sendback.database.engine import Database

        if self.has_own_database:
            return Database.in_directory(self.path)
        return Database(self.settings.database_url)

    @cached_property
    def catalog_store(self) -> CatalogStore:
        """The catalog of file, main database and built-ins, for reading and changing."""
        from sendback.database.catalog import CatalogStore

        self.upgraded_database()
        return CatalogStore(
            self.database,
            file_catalog=self.settings.file_catalog,
            web_port=self.web_port,
            validate_bounce_address=self.settings.simplemh_validate_bounce_address,
            named_connections=self.settings.named_connections,
        )

    def upgraded_database(self) -> Database:
        """The main database, ready for use: our own SQLite is upgraded, any other is refused."""
        from sendback.database import upgrade

        if self.has_own_database:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            upgrade.upgrade(self.database)
        else:
            upgrade.check(self.database)
        return self.database

    @cached_property
    def statistics(self) -> Statistics:
        """Rollups and the clickthrough tables."""
        from sendback.database.statistics import Statistics

        return Statistics(self.upgraded_database(), self.settings.server_id)

    @cached_property
    def suppression(self) -> Suppression:
        """Whom not to mail."""
        from sendback.database.suppression import Suppression

        return Suppression(self.upgraded_database(), self.settings.server_id)

    # -- the catalog -------------------------------------------------------------------------

    @property
    def web_port(self) -> int:
        """The port that built-in links lead to: the running node's, else the configured one."""
        if self._web_port is not None:
            return self._web_port
        handed = os.environ.get("SENDBACK_CHILD_WEB_PORT")
        return int(handed) if handed else parse_listen(self.settings.web.listen)[1] or 8080

    @property
    def snapshot_path(self) -> Path:
        """Where the worker leaves the catalog for processes that never open the database."""
        return self.path / "catalog.snapshot"

    @cached_property
    def snapshot(self) -> Callable[[], Catalog]:
        """The newest catalog that the worker wrote; cheap to ask."""
        from sendback.database.snapshot import SnapshotFile

        return SnapshotFile(self.snapshot_path, fallback=self.plain_catalog).current

    @property
    def plain_catalog(self) -> Catalog:
        """File and built-ins alone."""
        file, spare = self.settings.file_catalog, built_in(self.web_port)
        kinds = ("url_domains", "mail_classes", "bounce_mailboxes", "complaint_mailboxes")
        missing = {kind: getattr(spare, kind) for kind in kinds if not getattr(file, kind)}
        return msgspec.structs.replace(file, **missing)

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog now, for a command: the running node's, else read from its sources."""
        from sendback.bootstrap.status import read_statuses
        from sendback.database.snapshot import read_snapshot

        if read_statuses(self.path / "control") and self.snapshot_path.exists():
            return read_snapshot(self.snapshot_path)
        if self.has_own_database and not (self.path / "sendback.sqlite").exists():
            return self.plain_catalog
        try:
            return self.catalog_store.load()
        except Unavailable:
            log.warning("the main database does not answer; using the last catalog written")
            return self.snapshot()

    # -- metadata ----------------------------------------------------------------------------

    def metadata(self, *, writes: bool, include_retired: bool = False) -> Metadata:
        """The facade over the three storages; `writes`: this process tags messages."""
        key = (writes, include_retired)
        if key not in self._metadata:
            from sendback.metadata import Metadata
            from sendback.metadata.local import LocalStore

            if writes:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._metadata[key] = Metadata(
                self.keyring,
                local=LocalStore(self.path / "metadata.sqlite", readonly=not writes),
                external=self._external(),
                compress=self.settings.simplemh_compress_links,
                log=logging.getLogger("sendback.metadata").error,
                include_retired=include_retired,
            )
        return self._metadata[key]

    def _external(self) -> ExternalStore | None:
        name = self.settings.external_metadata_event_tracking_database
        if not name:
            return None
        from sendback.bootstrap.external import external_store

        return external_store(
            self.connection_named(name),
            self._failover(),
            link_rows=self.settings.external_metadata_event_tracking_link_rows,
        )

    def _failover(self) -> DatabaseConnection | None:
        name = self.settings.external_metadata_event_tracking_database_read_failover
        return self.connection_named(name) if name else None

    def connection_named(self, name: str) -> DatabaseConnection:
        """The database connection of that name; Misconfigured when there is none."""
        sources = (self.settings.file_catalog, self.snapshot())
        for catalog in sources:
            for connection in catalog.database_connections:
                if connection.name.lower() == name.lower():
                    return connection
        raise Misconfigured(
            f"no database connection is called {name!r}",
            place="external_metadata_event_tracking_database",
            hint="add it: sendback database-connection add, or [[database_connection]] in the file",
        )

    # -- use cases ---------------------------------------------------------------------------

    def event_log(self, *, readonly: bool = True) -> EventLog:
        """The ordered log of this node; one process writes."""
        from sendback.eventlog import EventLog

        return EventLog(self.path / "events.sqlite", readonly)

    @cached_property
    def tagging(self) -> Tagging:
        """Messages in, tagged messages out, by the catalog as it is now."""
        return self.tagging_by(lambda: self.catalog)

    def tagging_by(
        self, catalog: Callable[[], Catalog], *, storage: Storage | None = None
    ) -> Tagging:
        """As `tagging`, with a catalog that changes, or another default storage."""
        from sendback.tagging import Tagging

        return Tagging(
            self.metadata(writes=True),
            catalog,
            default_storage=storage or self.settings.storage,
            validate_bounce_address=self.settings.simplemh_validate_bounce_address,
        )

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since the epoch."""
        return time.time
