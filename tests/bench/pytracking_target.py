"""pytracking's own Django view for clicks, sealed with Fernet, telling nobody: a yardstick.

What a Python programme that redirects trackable links costs when it is taken off the shelf
(facts/peers.md section D). It records nothing.
"""

from web_targets import LINKS, MESSAGE

KEY = b"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
METADATA = {"email": MESSAGE.email, "listid": MESSAGE.listid, "sendid": MESSAGE.sendid}


def path() -> str:
    """The path of a click link to the first of `LINKS`."""
    import pytracking

    url = pytracking.get_click_tracking_url(
        LINKS[0].url,
        METADATA,
        base_click_tracking_url="http://localhost/click/",
        encryption_bytestring_key=KEY,
    )
    return url.removeprefix("http://localhost")


def _application():
    """The WSGI application: Django with one route and no middleware."""
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.urls import path as route
    from pytracking.django import ClickTrackingView

    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=(route("click/<path:path>", ClickTrackingView.as_view()),),
        PYTRACKING_CONFIGURATION={"encryption_bytestring_key": KEY},
        USE_TZ=True,
    )
    return get_wsgi_application()


def __getattr__(name: str):
    if name == "app_django":
        return _application()
    raise AttributeError(name)
