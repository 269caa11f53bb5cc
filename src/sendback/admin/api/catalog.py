"""Catalog objects: list, read, add, replace, change, remove; one set of endpoints for each kind."""

import json
from typing import Any

from flask import Response, g, request
from pydantic import BaseModel

from sendback.admin.api.answers import answer, expected_version, nothing, page
from sendback.admin.api.models import (
    Items,
    Name,
    Paged,
    change_model,
    object_model,
    stored_model,
)
from sendback.admin.api.routes import Routes
from sendback.admin.api.services import Services
from sendback.database.catalog import CatalogStore, Stored
from sendback.database.kinds import KINDS, CatalogObject, Kind
from sendback.errors import Malformed, NotFound
from sendback.model.catalog import Destination

_DOCUMENTS = ("apple_app_site_association", "android_asset_links")


def add_catalog(routes: Routes, services: Services) -> None:
    """The endpoints of every kind."""
    for kind in KINDS.values():
        _add_kind(routes, services, kind)


def _add_kind(routes: Routes, services: Services, kind: Kind) -> None:
    store = services.store
    path, one = f"/{kind.plural_slug}", f"/{kind.plural_slug}/{{name}}"
    whole: type[BaseModel] = object_model(kind)
    some: type[BaseModel] = change_model(kind)
    stored: type[BaseModel] = stored_model(kind)
    tag = "Catalog"

    @routes.add("get", path, scope="read", tag=tag, summary=f"List {kind.titles}", gives=Items)
    def list_(query: Paged) -> Response:
        objects = store.stored(kind)
        names = [kind.key_of(found.item) for found in objects]
        start = 0
        if query.cursor is not None:
            start = next((i for i, name in enumerate(names) if name > _after(query)), len(names))
        part = objects[start : start + query.limit]
        is_last = start + query.limit >= len(objects)
        last = None if is_last else kind.key_of(part[-1].item)
        return page([_shown(kind, found) for found in part], last)

    @routes.add("get", one, scope="read", tag=tag, summary=f"Show a {kind.title}", gives=stored)
    def show(path: Name) -> Response:
        return _answer(kind, store.get(kind, path.name))

    @routes.add(
        "post",
        path,
        scope="admin",
        tag=tag,
        summary=f"Add a {kind.title}",
        status=201,
        gives=stored,
        idempotent=True,
    )
    def add(body: whole) -> Response:  # type: ignore[valid-type]  # noqa: ARG001 - checked by it
        item = kind.build(_given())
        _check_reach(services, item)
        made = store.add(kind, item, actor=g.principal.name)
        response = _answer(kind, made, 201)
        response.headers["Location"] = f"/api/v1/{kind.plural_slug}/{kind.key_of(made.item)}"
        return response

    @routes.add("put", one, scope="admin", tag=tag, summary=f"Replace a {kind.title}", gives=stored)
    def replace(path: Name, body: whole) -> Response:  # type: ignore[valid-type]  # noqa: ARG001
        old = _in_database(store, kind, path.name)
        item = kind.build(kind.unmasked(_given(), old.item))
        if kind.normal_key(kind.key_of(item)) != kind.normal_key(path.name):
            raise Malformed(f"a {kind.title} can't be renamed", field=kind.key)
        _check_reach(services, item, old.item)
        expected = expected_version()
        return _answer(kind, store.replace(kind, item, actor=g.principal.name, expected=expected))

    @routes.add(
        "patch", one, scope="admin", tag=tag, summary=f"Change a {kind.title}", gives=stored
    )
    def change(path: Name, body: some) -> Response:  # type: ignore[valid-type]  # noqa: ARG001
        values = _given()
        if kind.name == "destination":
            old = _in_database(store, kind, path.name).item
            merged = kind.plain(old, secrets=True) | kind.unmasked(values, old)
            _check_reach(services, kind.build(merged), old)
        changed = store.change(
            kind, path.name, values, actor=g.principal.name, expected=expected_version()
        )
        return _answer(kind, changed)

    @routes.add("delete", one, scope="admin", tag=tag, summary=f"Remove a {kind.title}", status=204)
    def remove(path: Name) -> Response:
        store.remove(kind, path.name, actor=g.principal.name, expected=expected_version())
        return nothing()


def _check_reach(services: Services, item: CatalogObject, old: CatalogObject | None = None) -> None:
    """Malformed for a destination that only the file or the command line may make.

    Who has a key for the API must not reach the node's files, nor the network behind it.
    """
    if not isinstance(item, Destination):
        return
    had = isinstance(old, Destination) and old.allow_private_networks
    moves = isinstance(old, Destination) and (item.url, item.type) != (old.url, old.type)
    if item.allow_private_networks and (moves or not had):
        raise Malformed(
            "only the configuration file or the command line may allow private networks,"
            " or point what is allowed elsewhere",
            field="allow_private_networks",
        )
    if item.type == "ndjson" and services.check_path is not None:
        services.check_path(item.url)


def _in_database(store: CatalogStore, kind: Kind, name: str) -> Stored:
    found = store.get(kind, name)
    if found.origin == "built-in":
        raise NotFound(f"{kind.title} {name!r} is built in; add one of your own")
    return found


def _given() -> dict[str, Any]:
    """The body as it came; an association document given as an object is serialised once.

    7.0 is an integer in JSON's eyes, and so here.
    """
    values: dict[str, Any] = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in request.get_json().items()
    }
    for field in _DOCUMENTS:
        if isinstance(values.get(field), dict | list):
            values[field] = json.dumps(values[field], ensure_ascii=False)
    return values


def _after(query: Paged) -> str:
    from sendback.admin.api.answers import place_of

    return place_of(query.cursor, str) or ""


def _shown(kind: Kind, stored: Stored) -> dict[str, Any]:
    return {**kind.plain(stored.item), "origin": stored.origin, "version": stored.version}


def _answer(kind: Kind, stored: Stored, status: int = 200) -> Response:
    return answer(_shown(kind, stored), status, ETag=f'"{stored.version}"')
