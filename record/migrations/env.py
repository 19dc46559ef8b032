"""Alembic's entry point: runs the migrations on the connection that `record.schema` hands over.

The caller's transaction and lock surround the whole upgrade.
"""

from alembic import context

from record.schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
