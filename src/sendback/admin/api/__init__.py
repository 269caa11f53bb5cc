"""The REST API, version 1: the catalog, messages, events, deliveries, statistics, access.

An application of its own, mounted at `/api/v1`, so that every answer there is JSON, errors too
(problem+json). It calls what `services.Services` holds, and knows nothing of who provides it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sendback.admin.api.services import Services

if TYPE_CHECKING:
    from flask import Flask
    from flask_openapi3.openapi import OpenAPI

    from sendback.admin.auth import Access

__all__ = ["PREFIX", "Services", "create_api", "mount"]

PREFIX = "/api/v1"


def mount(app: Flask, services: Services, access: Access) -> None:
    """Answer `/api/v1/...` of this application by the API."""
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    api = create_api(services, access)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {PREFIX: api.wsgi_app})  # type: ignore[method-assign]


def create_api(services: Services, access: Access) -> OpenAPI:
    """The API as a WSGI application that believes to stand at `/`."""
    from importlib.metadata import version

    from flask import Response
    from flask_openapi3.models.info import Info
    from flask_openapi3.openapi import OpenAPI

    from sendback.admin.api import answers
    from sendback.admin.api.catalog import add_catalog
    from sendback.admin.api.deliveries import add_deliveries
    from sendback.admin.api.document import add_document
    from sendback.admin.api.events import add_events
    from sendback.admin.api.figures import add_figures
    from sendback.admin.api.lists import add_lists
    from sendback.admin.api.mail import add_mail
    from sendback.admin.api.people import add_people
    from sendback.admin.api.routes import Routes
    from sendback.database.idempotency import IdempotencyKeys

    app = OpenAPI(
        "sendback.admin.api",
        info=Info(title="sendback", version=version("sendback")),
        security_schemes={"api_key": {"type": "http", "scheme": "bearer"}},
        validation_error_callback=answers.from_pydantic,
        doc_ui=False,
        static_folder=None,
        template_folder="../templates",
    )
    app.request_class = answers.ApiRequest
    app.config["MAX_CONTENT_LENGTH"] = answers.MAX_BODY
    app.url_map.strict_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    answers.add_error_answers(app)
    routes = Routes(app, access, IdempotencyKeys(services.database))
    add_catalog(routes, services)
    add_mail(routes, services)
    add_events(routes, services)
    add_deliveries(routes, services)
    add_figures(routes, services)
    add_lists(routes, services)
    add_people(routes, access)
    add_document(routes)

    @app.after_request
    def seal(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app


_HEADERS: dict[str, Any] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
