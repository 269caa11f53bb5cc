"""What a WSGI server loads: `sendback.web.serving:application`.

The application is built when a worker asks for it, not when this module is imported, so that
each worker opens its own journal.
"""

from sendback.web.answers import Wsgi


def build_application() -> Wsgi:
    """The application of this process, from the configuration that bootstrap finds."""
    from sendback import bootstrap
    from sendback.web.app import create_app
    from sendback.web.tracking import Site
    from sendback.web.visitor import TrustedProxies

    parts = bootstrap.build_web()
    site = Site(
        parts.recording,
        parts.catalog,
        proxies=TrustedProxies(parts.trusted_proxies),
        strict_hosts=parts.strict_hosts,
        strict_one_click=parts.strict_one_click,
        log=parts.log,
    )
    return create_app(site, fast_path=parts.fast_path)


def __getattr__(name: str) -> Wsgi:
    if name != "application":
        raise AttributeError(name)
    application = globals()["application"] = build_application()
    return application
