"""`./pricebook cluster up|run|report|down`: see docs/cluster.md."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
from typing import Any

from cluster import needs
from cluster.topology import Cluster, say
from pricebook.local.home import Fault, Home


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    home = Home.from_environment()
    try:
        if options.verb == "report":
            return report(home)
        needs.require()
        home.make()
        with one_at_a_time(home):
            return {"up": up, "run": run, "down": down}[options.verb](home, options)
    except BrokenPipeError:  # `report | head`
        return 0
    except KeyboardInterrupt:
        say("interrupted: `run` goes on where it stopped, `down` ends what is left")
        return 130
    except Fault as fault:
        print(f"pricebook: {fault}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./pricebook cluster", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="up|run|report|down")
    verbs.add_parser("up", help="start the cluster, from nothing")
    run = verbs.add_parser("run", help="put it through rounds of faults; starts it if it is not up")
    run.add_argument(
        "--seed", type=int, default=1, help="which faults, in which order (default: 1)"
    )
    run.add_argument(
        "--rounds", type=positive, default=3,
        help="rounds that the journal is to have of this seed: those that it has are not repeated",
    )  # fmt: skip
    verbs.add_parser("report", help="print the summary of all rounds in the journal")
    down = verbs.add_parser("down", help="end all of it: namespaces, processes, files")
    down.add_argument("--all", action="store_true", help="the journal and Patroni's venv too")
    return parser


def positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no number of rounds: 1 or more")
    return int(text)


class one_at_a_time:
    """Only one `cluster` works on a home; the kernel lets the next one in if we are killed."""

    def __init__(self, home: Home) -> None:
        self.path = home.path / "cluster.lock"

    def __enter__(self) -> None:
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.descriptor)
            raise Fault(
                "cluster: another `cluster` works on this home; end that one first"
            ) from None

    def __exit__(self, *exception: object) -> None:
        os.close(self.descriptor)


def up(home: Home, options: Any) -> int:
    cluster = Cluster(home)
    needs.prepare(cluster.places)
    cluster.up()
    return 0


def down(home: Home, options: Any) -> int:
    cluster = Cluster(home)
    ended = cluster.down()
    if options.all:
        shutil.rmtree(cluster.places.venv, ignore_errors=True)
        cluster.places.journal.unlink(missing_ok=True)
    say(f"ended {ended} processes" if ended else "nothing was up")
    return 0


def run(home: Home, options: Any) -> int:
    from cluster import rounds

    cluster = Cluster(home)
    needs.prepare(cluster.places)
    return rounds.run(cluster, options.seed, options.rounds)


def report(home: Home) -> int:
    from cluster import report
    from cluster.hosts import Places

    print(report.of(Places(home).journal))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
