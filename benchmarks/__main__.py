"""`python -m benchmarks [NAME…|all] [--quick] [--rows N] [--plot DIR]`: list claims or run them."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def claims() -> dict[str, str]:
    """Name and first line of every module that can be run, without importing any."""
    found = {}
    for path in sorted(HERE.glob("[a-z]*.py")):
        module = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in module.body):
            found[path.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def main(arguments: list[str]) -> int:
    known = claims()
    names = []
    while arguments and not arguments[0].startswith("-"):
        names.append(arguments.pop(0))
    if not names:
        width = max(map(len, known))
        print("\n".join(f"{name:{width}}  {claim}" for name, claim in known.items()))
        print(f"\nRun: ./pricebook bench {next(iter(known))} --quick   (or: all)")
        return 0
    if names == ["all"]:
        names = list(known)
    for name in names:
        if name not in known:
            print(f"There is no benchmark {name!r}; there are {', '.join(known)}.", file=sys.stderr)
            return 2
    if len(names) == 1:
        return int(importlib.import_module(f"benchmarks.{names[0]}").main(arguments) or 0)
    # A process each: none inherits another's memory, caches or connections.
    codes = [
        subprocess.run([sys.executable, "-m", "benchmarks", name, *arguments]).returncode
        for name in names
    ]
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
