#!/usr/bin/env bash
# Runs once, when the database is made: the login of the nodes, which may add to the log and change no table. The
# migrations grant its rights to the group headroom_app.
set -euo pipefail
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set password="$HEADROOM_APP_PASSWORD" <<'SQL'
CREATE ROLE headroom_app NOLOGIN;
CREATE ROLE headroom LOGIN PASSWORD :'password' IN ROLE headroom_app;
SQL
