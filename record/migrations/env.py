"""Alembic's entry point: runs the migrations on the connection that `record.schema` hands over.

The caller's transaction and lock surround the whole upgrade.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
