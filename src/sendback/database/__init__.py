"""The main database: catalog, statistics, suppression, counts, accounts, audit.

SQLite in the data directory unless several nodes share a Postgres. No process needs it to answer
a recipient: what those need of the catalog is in `snapshot.py`, which imports no SQLAlchemy; so
does `kinds.py`. This file imports nothing, to keep those two cheap.
"""
