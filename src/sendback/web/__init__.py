"""The public HTTP side: clicks, opens, unsubscribes, well-known files; for recipients and apps.

answers.py      what goes out: prebuilt answers, status and headers to the byte
visitor.py      who asks, and on which host, through the proxies we trust
tracking.py     the hot path, a raw WSGI callable in front of Flask
unsubscribe.py  the unsubscribe link, page and one-click POST
wellknown.py    association files of URL domains, robots.txt
pages.py        the few pages a recipient may see, translated
app.py          the Flask application around all of it
serving.py      what a WSGI server loads

No SQLAlchemy, psycopg_pool, itsdangerous or pydantic here: a web process is small and starts at
once, and no database is asked but the one of the metadata, after the MAC.
"""
