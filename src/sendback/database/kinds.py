"""The kinds of catalog objects, as data: names, keys, secrets, references between them.

Command line, REST, pages and the store are made from this one table, so that they can't differ.
The values and their validation are in `model.catalog`. No SQLAlchemy here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sendback.errors import Malformed, Misconfigured, NotFound
from sendback.model.catalog import (
    BounceMailbox,
    Catalog,
    ComplaintMailbox,
    DatabaseConnection,
    Destination,
    MailClass,
    Peer,
    UrlDomain,
)
from sendback.model.endpoint import MASK, masked_url

CatalogObject = (
    UrlDomain
    | MailClass
    | BounceMailbox
    | ComplaintMailbox
    | DatabaseConnection
    | Destination
    | Peer
)


class Kind(msgspec.Struct, frozen=True):
    """One kind: its name in files and rows, its plural in `Catalog`, its key, its secrets."""

    name: str
    plural: str
    type: type[CatalogObject]
    key: str
    title: str
    secrets: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """The name as commands and paths spell it."""
        return self.name.replace("_", "-")

    @property
    def plural_slug(self) -> str:
        """The plural as paths spell it."""
        return self.plural.replace("_", "-")

    @property
    def titles(self) -> str:
        """More than one of them, for people."""
        return f"{self.title}{'es' if self.title.endswith(('s', 'x')) else 's'}"

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of all fields, the key first."""
        return self.type.__struct_fields__

    def key_of(self, item: CatalogObject) -> str:
        """The name under which this object stands."""
        return str(getattr(item, self.key))

    def normal_key(self, text: str) -> str:
        """The name as stored: `text` trimmed, lower-case for hosts and addresses."""
        text = text.strip()
        return text.rstrip(".").lower() if self.key in {"domain", "address"} else text

    def build(self, values: Mapping[str, Any]) -> CatalogObject:
        """The object of these plain values; Malformed with the field when one is wrong."""
        unknown = sorted(set(values) - set(self.fields))
        if unknown:
            raise Malformed(f"a {self.title} has no field {unknown[0]!r}", field=unknown[0])
        if self.key not in values:
            raise Malformed(f"a {self.title} needs {self.key!r}", field=self.key)
        try:
            return msgspec.convert(dict(values), self.type)
        except msgspec.ValidationError as error:
            cause = error.__cause__
            if isinstance(cause, Malformed):
                raise cause from None
            text, _, place = str(error).partition(" - at `$.")
            _, _, missing = text.partition("Object missing required field `")
            field = place.rstrip("`").split("[")[0] or missing.rstrip("`") or None
            raise Malformed(f"{field or self.title}: {text}", field=field) from None

    def stored(self, name: str, body: str) -> CatalogObject:
        """The object that a row holds. Misconfigured for one that only an older version let in."""
        try:
            return msgspec.json.decode(body, type=self.type)
        except (msgspec.MsgspecError, Malformed) as error:
            raise Misconfigured(
                f"{self.title} {name!r} in the main database can't be used: {error}",
                hint=f"sendback {self.slug} remove {name}, then add it as it should be",
            ) from None

    def plain(self, item: CatalogObject, *, secrets: bool = False) -> dict[str, Any]:
        """Plain values for people and machines; what is secret is masked unless asked for.

        So is a password inside a url.
        """
        values: dict[str, Any] = msgspec.to_builtins(item)
        return values if secrets else {name: self._shown(name, values[name]) for name in values}

    def unmasked(self, values: Mapping[str, Any], old: CatalogObject) -> dict[str, Any]:
        """`values` where a secret that is still masked, as `plain` gave it, means "unchanged".

        Malformed for another url with the masked password.
        """
        before = self.plain(old, secrets=True)
        found = {
            name: before[name]
            if name in (*self.secrets, "url") and value and value == self._shown(name, before[name])
            else value
            for name, value in values.items()
        }
        if MASK in str(found.get("url", "")):  # another host must not be given the old password
            raise Malformed("give the password of the new url too", field="url")
        return found

    def _shown(self, field: str, value: Any) -> Any:
        if field == "url" and isinstance(value, str):
            return masked_url(value)
        if field not in self.secrets or not value:
            return value
        if isinstance(value, dict):
            return dict.fromkeys(value, MASK)
        return MASK if isinstance(value, str) else [MASK] * len(value)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("url_domain", "url_domains", UrlDomain, "domain", "URL domain"),
        Kind("mail_class", "mail_classes", MailClass, "name", "mail class"),
        Kind("bounce_mailbox", "bounce_mailboxes", BounceMailbox, "address", "bounce mailbox"),
        Kind(
            "complaint_mailbox",
            "complaint_mailboxes",
            ComplaintMailbox,
            "address",
            "complaint mailbox",
        ),
        Kind(
            "database_connection",
            "database_connections",
            DatabaseConnection,
            "name",
            "database connection",
            ("password", "dsn"),
        ),
        Kind(
            "destination",
            "destinations",
            Destination,
            "name",
            "destination",
            ("secret", "secrets", "headers"),
        ),
        Kind("peer", "peers", Peer, "name", "peer", ("api_key",)),
    )
}


def kind_named(text: str) -> Kind:
    """The kind of this name, slug or plural; NotFound otherwise."""
    wanted = text.replace("-", "_")
    for kind in KINDS.values():
        if wanted in (kind.name, kind.plural):
            return kind
    raise NotFound(f"there is no kind of object called {text!r}")


def objects(catalog: Catalog, kind: Kind) -> tuple[CatalogObject, ...]:
    """Every object of this kind."""
    found: tuple[CatalogObject, ...] = getattr(catalog, kind.plural)
    return found


def check_references(
    catalog: Catalog, item: CatalogObject, *, validate_bounce_address: bool = True
) -> None:
    """Malformed when the object names another one that `catalog` does not hold."""
    if isinstance(item, MailClass):
        if item.url_domain and item.url_domain not in catalog.url_domain_by_host:
            raise Malformed(
                f"mail class {item.name!r}: there is no URL domain {item.url_domain!r}",
                field="url_domain",
            )
        known = catalog.bounce_mailbox_by_address
        if item.bounce_mailbox and validate_bounce_address and item.bounce_mailbox not in known:
            raise Malformed(
                f"mail class {item.name!r}: there is no bounce mailbox {item.bounce_mailbox!r}"
                " here (a sending server of a split fleet sets simplemh_validate_bounce_address"
                " = false)",
                field="bounce_mailbox",
            )
    if isinstance(item, Destination):
        for name in item.mail_classes:
            if name != "all" and name.lower() not in catalog.mail_class_by_name:
                raise Malformed(
                    f"destination {item.name!r}: there is no mail class {name!r}",
                    field="mail_classes",
                )


#: Kinds whose objects others name.
NAMED_BY_OTHERS = frozenset(("url_domain", "bounce_mailbox", "mail_class"))


def users_of(catalog: Catalog, kind: Kind, key: str) -> Iterator[str]:
    """What names this object, as text for people: it can't be removed before."""
    for item in catalog.mail_classes:
        if (kind.name == "url_domain" and item.url_domain == key) or (
            kind.name == "bounce_mailbox" and item.bounce_mailbox == key
        ):
            yield f"mail class {item.name}"
    if kind.name == "mail_class":
        for destination in catalog.destinations:
            if key.lower() in map(str.lower, destination.mail_classes):
                yield f"destination {destination.name}"
