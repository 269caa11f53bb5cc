"""What a WSGI server loads: `sendback.web.serving:application`.

The application is built when a worker asks for it, not when this module is imported, so that
each worker opens its own journal.
"""

import gc

from sendback.web.answers import Wsgi
from sendback.web.tracking import Site, Tracking
from sendback.web.visitor import TrustedProxies


def build_site() -> tuple[Site, bool]:
    """Every public route of this process, and whether they stand in front of Flask."""
    from sendback import bootstrap

    parts = bootstrap.build_web()
    site = Site(
        parts.recording,
        parts.catalog,
        proxies=TrustedProxies(parts.trusted_proxies),
        strict_hosts=parts.strict_hosts,
        strict_one_click=parts.strict_one_click,
        log=parts.log,
    )
    return site, parts.fast_path


def build_application() -> Wsgi:
    """The application of this process, from the configuration that bootstrap finds.

    On the fast path nothing is left for Flask to answer, so it is not even imported: a worker is
    ready a third sooner and 8 MB smaller.
    """
    site, fast_path = build_site()
    application: Wsgi
    if fast_path:
        application = Tracking(site)
    else:
        from sendback.web.app import create_app

        application = create_app(site, fast_path=False)
    calm_collector()
    return application


def calm_collector() -> None:
    """Look for garbage cycles seldom, and never among what stands for good.

    A visit leaves none behind; but visits under way are many objects, so the collector would be
    called every few of them and now and then walk everything: 5 us of an external click, and a
    p99 of 19 ms in place of 6 (docs/adr/0052).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def __getattr__(name: str) -> Wsgi:
    if name != "application":
        raise AttributeError(name)
    application = globals()["application"] = build_application()
    return application
