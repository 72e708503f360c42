"""`./pricebook bench`: lists the claims, runs named ones, or runs the quick proof."""

import ast
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.progress import BEGAN

HERE = Path(__file__).parent
QUICK = ("ladder", "goals")  # together under three minutes on two cores
NAMED_ONLY = ("peers",)  # installs other packages, so `all` leaves it out
HINT = """
Run: ./pricebook bench --quick            the tutorial's ladder and our goals, in three minutes
     ./pricebook bench {first} --quick    one claim, small   (or: all)
     ./pricebook bench {first} --help     its options and what it does"""


def claims() -> dict[str, str]:
    """The name and the first line of all that can be run, modules and folders, importing none."""
    files = {path.stem: path for path in HERE.glob("[a-z]*.py")}
    files |= {path.parent.name: path for path in HERE.glob("[a-z]*/__init__.py")}
    found = {}
    for name, path in sorted(files.items()):
        module = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in module.body):
            found[name] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def main(arguments: list[str]) -> int:
    known = claims()
    names = []
    while arguments and not arguments[0].startswith("-"):
        names.append(arguments.pop(0))
    if not names and (not arguments or arguments[0] in ("-h", "--help")):
        width = max(map(len, known))
        print("\n".join(f"{name:{width}}  {claim}" for name, claim in known.items()))
        print(HINT.format(first=next(iter(known))))
        return 0
    if not names and "--quick" in arguments:
        return quick(arguments)
    if not names:
        print(f"{arguments[0]} goes with a claim.", file=sys.stderr)
        print(HINT.format(first=next(iter(known))), file=sys.stderr)
        return 2
    if names == ["all"]:
        names = [name for name in known if name not in NAMED_ONLY]
    for name in names:
        if name not in known:
            print(f"There is no benchmark {name!r}; there are {', '.join(known)}.", file=sys.stderr)
            return 2
    if len(names) == 1:
        return int(importlib.import_module(f"benchmarks.{names[0]}").main(arguments) or 0)
    return max(in_a_process(name, arguments) for name in names)


def quick(arguments: list[str]) -> int:
    """The quick proof: tables on stdout, progress on stderr, JSON and plots in HOME/bench."""
    began = time.monotonic()
    os.environ[BEGAN] = str(began)
    if not any(word.partition("=")[0] == "--plot" for word in arguments):
        from benchmarks.results import directory

        arguments = [*arguments, "--plot", str(directory())]
    code = max(in_a_process(name, arguments) for name in QUICK)
    print(f"\nTook {time.monotonic() - began:.0f} s on {len(os.sched_getaffinity(0))} cores.")
    return code


def in_a_process(name: str, arguments: list[str]) -> int:
    """Run it in a process of its own, so that it inherits no memory, caches or connections."""
    return subprocess.run([sys.executable, "-m", "benchmarks", name, *arguments]).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
