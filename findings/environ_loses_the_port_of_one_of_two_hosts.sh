#!/bin/sh
# django-environ 0.14.0 (psycopg 3.3.9): of two hosts with one port given, the port counts for both.
#
# libpq takes several hosts, each with a port of its own, and 5432 for one that names none:
# postgresql://db1:5433,db2/book means db2's port 5432. env.db_url makes HOST "db1,db2" and PORT
# "5433" of it, without an error, and libpq takes a single port for all hosts.
#
# Guess before the run: PORT "5433," or an error.
#
# Why it matters: the second host is the one for the day on which the first is lost. On that day
# everybody asks it at a port where nothing listens; until then nobody notices.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "django-environ==0.14.0" "psycopg[binary]==3.3.9"
cat > "$folder/look.py" <<'PYTHON'
import environ
from psycopg.conninfo import conninfo_attempts, conninfo_to_dict

ADDRESS = "postgresql://book@db1:5433,db2/book"


def asked(host, port):
    attempts = conninfo_attempts({"host": host, "port": port, "hostaddr": "127.0.0.1,127.0.0.2"})
    return [(each["host"], str(each.get("port") or 5432)) for each in attempts]


libpq = conninfo_to_dict(ADDRESS)
read = environ.Env().db_url_config(ADDRESS)
by_libpq = asked(libpq["host"], libpq["port"])
by_environ = asked(read["HOST"], str(read["PORT"]))
print("libpq itself:", libpq["host"], repr(libpq["port"]), by_libpq)
print("django-environ:", read["HOST"], repr(read["PORT"]), by_environ)
assert by_libpq == [("db1", "5433"), ("db2", "5432")], by_libpq
assert by_environ == [("db1", "5433"), ("db2", "5433")], by_environ
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
