"""`manage.py test`, as the tutorial types it, runs the same suite as `./pricebook test`."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError

# As pricebook/local/suite.py has them: tests that run only if one asks for them.
APART = ("clients", "cluster", "drill", "hosts", "lost", "nights", "thorough", "traces", "upgrade")


class PytestRunner:
    """Hands Django's options and labels (`services.tests.test_api`, or paths) to pytest."""

    def __init__(
        self, verbosity: int = 1, failfast: bool = False, keepdb: bool = False, **options: Any
    ) -> None:
        self.verbosity = verbosity
        self.failfast = failfast
        self.keepdb = keepdb
        self.browser = options.get("browser", False)

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        parser.add_argument("--keepdb", action="store_true", help="Use the test database again.")
        parser.add_argument("--browser", action="store_true", help="The browser tests as well.")

    def run_tests(self, test_labels: list[str]) -> int:
        try:
            import pytest
        except ImportError:
            raise CommandError(
                "pytest is not installed here: install requirements/test.txt, "
                "or run the suite by ./pricebook test"
            ) from None
        arguments = ["-c", str(settings.BASE_DIR.parent / "pyproject.toml")]
        apart = [*APART, "matrix" if self.browser else "browser"]
        arguments += ["-m", " and ".join(f"not {tier}" for tier in apart)]
        if self.verbosity != 1:
            arguments.append("-q" if self.verbosity == 0 else "-" + "v" * (self.verbosity - 1))
        if self.failfast:
            arguments.append("--exitfirst")
        if self.keepdb:
            arguments.append("--reuse-db")
        labels = [self.path_of(label) for label in test_labels] or [str(settings.BASE_DIR)]
        return int(pytest.main([*arguments, *labels]))

    def path_of(self, label: str) -> str:
        """pytest's name for `services.tests.test_api.ServicesApiTestCase.test_01_get`."""
        if "::" in label or Path(label).exists():
            return label
        *parts, last = label.split(".")
        for length in range(len(parts) + 1, 0, -1):
            names = [*parts, last]
            path = settings.BASE_DIR.joinpath(*names[:length])
            if path.is_dir() and length == len(names):
                return str(path)
            if path.with_suffix(".py").is_file():
                return "::".join([str(path.with_suffix(".py")), *names[length:]])
        raise CommandError(f"There is no test called {label}.")
