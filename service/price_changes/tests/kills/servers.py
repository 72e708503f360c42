"""`python -m price_changes.tests.kills.servers ROUNDS SEED [FAULT...]`: servers, and rounds.

Prints a line of JSON for each round: ROUNDS of them, then one with each fault. Its home is
PRICEBOOK_HOME, which nothing else may use.
"""

import itertools
import json
import os
import sys
from dataclasses import asdict

import psycopg

from pricebook.local.home import Home
from pricebook.local.postgres import DATABASE, SUPERUSER
from pricebook.local.runner import Runner
from pricebook.tests.append_only import emptying


def main(rounds: int, seed: int, *faults: str) -> None:
    home = Home.from_environment()
    for left in home.run.glob("ready.*"):
        left.unlink()
    with Runner(home) as runner:
        prepare(runner)
        os.environ.update(runner.environment())
        import django

        django.setup()
        from price_changes.tests.kills.rounds import Rounds

        played = Rounds(runner, home.path)
        try:
            for outcome in itertools.chain(
                played.play(range(seed, seed + rounds)),
                map(played.show, faults),
            ):
                print(json.dumps(asdict(outcome)), flush=True)
        finally:
            played.end()


def prepare(runner: Runner) -> None:
    info = runner.postgres.conninfo(SUPERUSER, DATABASE)
    with psycopg.connect(info, autocommit=True) as connection:
        # Writes survive the death of a process without it; the machine does not die.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    runner.manage("migrate", "--verbosity=0")
    with psycopg.connect(info, autocommit=True) as connection:
        connection.execute(emptying("DISABLE"))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
