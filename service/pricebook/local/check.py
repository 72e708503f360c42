"""`check` runs the checks that CI runs, changing nothing; `fix` fixes what a machine can fix."""

import os
import subprocess
import sys

from pricebook.local.home import Home
from pricebook.local.paths import CHECKOUT, MANAGE, PYTHON
from pricebook.local.runner import Runner
from pricebook.local.up import no_arguments

SOURCES = [".", "pricebook"]  # the launcher has no .py by which ruff would find it

IMPORTS = "from importlinter.cli import lint_imports_command as command; command()"
# As a command it would have to be in INSTALLED_APPS, though it never runs in production.
MIGRATIONS = """
import django
from django.core.management import call_command
from django_migration_linter.management.commands.lintmigrations import Command
django.setup()
call_command(
    Command(),
    include_apps=[
        "pricebook", "clients", "services", "price_changes", "events", "desk",
        "rest_framework_api_key",
    ],
    sql_analyser="postgresql",  # which it knows by its ENGINE, and ours has another name
    no_cache=True,
    quiet=["ok", "ignore"],
)
"""


def check(arguments: list[str]) -> int:
    """Run all checks, so that one run shows all there is to fix."""
    no_arguments("check", arguments)
    commands = {
        "ruff check": [*PYTHON, "-m", "ruff", "check", *SOURCES],
        "ruff format": [*PYTHON, "-m", "ruff", "format", "--check", *SOURCES],
        "mypy": [*PYTHON, "-m", "mypy"],
        "import contracts": [*PYTHON, "-c", IMPORTS],
        "migrations made": [*MANAGE, "makemigrations", "--check", "--dry-run"],
        "migrations safe": [*PYTHON, "-c", MIGRATIONS],
    }
    with Runner(Home.from_environment()) as runner:
        return run(commands, runner.environment())


def fix(arguments: list[str]) -> int:
    commands = {
        "ruff check --fix": [*PYTHON, "-m", "ruff", "check", "--fix", *SOURCES],
        "ruff format": [*PYTHON, "-m", "ruff", "format", *SOURCES],
    }
    return run(commands, dict(os.environ))


def run(commands: dict[str, list[str]], environment: dict[str, str]) -> int:
    failed = []
    for name, command in commands.items():
        print(f"--- {name}", flush=True)
        if subprocess.run(command, cwd=CHECKOUT, env=environment).returncode:
            failed.append(name)
    print(f"--- failed: {', '.join(failed)}" if failed else "--- all well", file=sys.stderr)
    return 1 if failed else 0
