"""Alembic's entry: runs the migrations on the connection that `store.migrate` gives."""

from alembic import context

from houyi.store import tables

config = context.config
connection = config.attributes["connection"]
context.configure(connection=connection, target_metadata=tables.metadata, render_as_batch=True)
context.run_migrations()
