"""Alembic's entry: runs inside the transaction and the lock that `database/upgrade.py` holds."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
