#!/bin/sh
# Makes the databases of the record and of Temporal, each for a user who has no other; PostgreSQL's
# image runs this once, when its volume is new.
set -eu

# The script goes in by standard input: psql puts no variables into what --command gives it. The
# passwords are neither arguments, which everybody on the machine can read, nor in the server's log,
# which would have the statement that fails.
psql --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres <<'SQL'
\getenv trips DATABASE_PASSWORD
\getenv temporal TEMPORAL_DATABASE_PASSWORD
SET log_min_error_statement = panic;
CREATE ROLE trips LOGIN PASSWORD :'trips';
CREATE ROLE temporal LOGIN PASSWORD :'temporal';
CREATE DATABASE trips OWNER trips;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
REVOKE ALL ON DATABASE trips, temporal, temporal_visibility FROM PUBLIC;
SQL
