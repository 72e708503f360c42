#!/bin/sh
# psycopg_pool 3.3.3 (psycopg 3.3.9): who asks a pool for a connection waits for all of `timeout`,
# though the server refuses each attempt within milliseconds, and is told nothing of the refusal.
#
# Connections are made by threads of the pool, which try again on their own; a client waits for one
# of theirs. The error in the end is the pool's: how long was waited, and not why in vain.
#
# Guess before the run: the first refusal reaches the client, as it does without a pool.
#
# Why it matters: with the default of 30 seconds a failover, or a database that is being started
# again, holds each thread of a web server that long, although nothing on the way is slow. The reads
# that a replica could answer wait as well: `timeout` is what a lost primary costs each of them.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "psycopg[binary]==3.3.9" "psycopg-pool==3.3.3"
cat > "$folder/look.py" <<'PYTHON'
import logging
import socket
import time

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

logging.disable()
with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]  # closed from here on: whoever comes is refused
address = f"host=127.0.0.1 port={port} dbname=x user=x"


def seconds_until(error, call):
    began = time.monotonic()
    try:
        call()
    except error as raised:
        return time.monotonic() - began, str(raised).splitlines()[0]
    raise SystemExit("nobody was refused")


plain, why = seconds_until(psycopg.OperationalError, lambda: psycopg.connect(address))
print(f"without a pool, at once: {'refused' in why}")
with ConnectionPool(address, min_size=1, timeout=2, reconnect_timeout=60, open=True) as pool:
    pooled, said = seconds_until(PoolTimeout, pool.getconn)
print(f"with one: {said}")
assert plain < 0.5 and 1.9 < pooled < 3, (plain, pooled)
assert "refused" in why and "refused" not in said, (why, said)
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
