#!/bin/sh
# Brings the schema of Temporal's databases up to date; what is there already stays as it is.
# As temporalio/samples-server has it (compose/scripts/setup-postgres.sh).
set -eu

tool() {
    temporal-sql-tool --plugin postgres12 --ep postgres -p 5432 -u temporal --db "$@"
}

tool temporal setup-schema -v 0.0
tool temporal update-schema -d /etc/temporal/schema/postgresql/v12/temporal/versioned
tool temporal_visibility setup-schema -v 0.0
tool temporal_visibility update-schema -d /etc/temporal/schema/postgresql/v12/visibility/versioned
