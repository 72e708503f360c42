"""`python -m pricebook.local COMMAND`: runs the commands of `./pricebook`."""

import importlib
import os
import sys

from pricebook.local.home import Fault, Home
from pricebook.local.paths import CHECKOUT, MANAGE, PYTHON
from pricebook.local.processes import foreground
from pricebook.local.runner import Runner
from pricebook.local.suite import only_suite, servers, test


def manage(arguments: list[str]) -> int:
    home = Home.from_environment()
    if arguments[:1] == ["test"]:
        with only_suite(home), servers(home) as (runner, environment):
            return runner.foreground([*MANAGE, *arguments], environment)
    # `up` and the demo import much, which a command that asks for neither does not need.
    served = importlib.import_module("pricebook.local.served")
    with Runner(home) as runner:
        served.tell(home)
        return runner.foreground([*MANAGE, *arguments], served.environment_of(runner))


def bench(arguments: list[str]) -> int:
    with Runner(Home.from_environment()) as runner:
        environment = runner.environment()
        environment["PYTHONPATH"] += os.pathsep + str(CHECKOUT)
        return runner.foreground([*PYTHON, "-m", "benchmarks", *arguments], environment)


def cluster(arguments: list[str]) -> int:
    # It starts servers of its own.
    environment = dict(os.environ)
    environment["PYTHONPATH"] += os.pathsep + str(CHECKOUT)
    return foreground([*PYTHON, "-m", "cluster", *arguments], environment)


def main(command: str, *arguments: str) -> int:
    here = {"manage": manage, "test": test, "bench": bench, "cluster": cluster}
    elsewhere = {
        "up": "up:up",
        "down": "up:down",
        "doctor": "doctor:main",
        "check": "check:check",
        "fix": "check:fix",
        "demo": "demo:main",
    }
    try:
        if command in here:
            return here[command](list(arguments))
        module, _, function = elsewhere[command].partition(":")
        imported = importlib.import_module(f"pricebook.local.{module}")
        return int(getattr(imported, function)(list(arguments)) or 0)
    except Fault as fault:
        print(f"pricebook: {fault}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("Try: ./pricebook --help")
    raise SystemExit(main(*sys.argv[1:]))
