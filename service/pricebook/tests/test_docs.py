"""The files, commands, addresses and tests that the documentation names exist."""

import ast
import functools
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.cache import cache
from django.core.management import get_commands
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import resolve

from benchmarks import __main__ as bench
from benchmarks import list_page
from pricebook.kit.named_statements import named_statements
from services.tests.factories import a_book

CHECKOUT = Path(__file__).resolve().parents[3]
DOCUMENTS = [*sorted(CHECKOUT.glob("*.md")), *sorted(CHECKOUT.glob("docs/**/*.md"))]
LAUNCHER = runpy.run_path(str(CHECKOUT / "pricebook"))

documents = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=[str(path.relative_to(CHECKOUT)) for path in DOCUMENTS]
)


@documents
class TestDocument:
    def test_links_lead_somewhere(self, document):
        for target in re.findall(
            r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", read(document)
        ):
            path, _, anchor = "".join(target).partition("#")
            if path.startswith(("http:", "https:")):
                continue
            linked = document.parent / path if path else document
            assert linked.exists(), f"{target}: there is no {linked}"
            if anchor and linked.suffix == ".md":
                assert anchor in anchors(linked), f"{linked} has no heading #{anchor}"

    def test_files_exist(self, document):
        for path in re.findall(
            r"`((?:\.ci|\.env|benchmarks|cluster|docs|requirements|service)[\w.-]*/[\w./*-]+)[` ]",
            read(document),
        ):
            found = [*CHECKOUT.glob(path), *CHECKOUT.glob(f"service/{path}")]
            assert found or path == "service/service/", f"there is no {path}"

    def test_commands_are_known(self, document):
        for line in commands(document):
            _, command, rest = LAUNCHER["parse"](shlex.split(line, comments=True)[1:])
            if command == "manage" and rest and rest[0].islower():
                assert rest[0] in get_commands(), line
            if command == "bench" and rest and rest[0] != "all" and not rest[0].startswith("-"):
                assert rest[0] in claims(), line

    @pytest.mark.django_db
    def test_statements_have_these_names(self, document):
        known = {each.name for each in named_statements()}
        for line in commands(document):
            _, command, rest = LAUNCHER["parse"](shlex.split(line, comments=True)[1:])
            if command == "manage" and rest[:1] == ["explain_queries"]:
                for name in rest[1:]:
                    if name != "list" and not name.startswith("-"):
                        assert any(name in each for each in known), line

    def test_addresses_are_served(self, document):
        for path in re.findall(r"(?:127\.0\.0\.1|localhost):8000(/[\w/-]*)", read(document)):
            resolve(path)

    def test_tests_exist(self, document):
        known = names_of_tests()
        for name in re.findall(r"`(test_\w+\.py(?:::\w+)*)`", read(document)):
            assert name in known, f"there is no test {name}"


class TestLadder:
    """The list's steps in docs/tutorial.md, each run on a book of 120."""

    @pytest.mark.django_db
    def test_queries_are_as_documented(self):
        a_book(120)
        cache.delete(settings.PRICE_CACHE_NAME)
        documented = dict(
            re.findall(
                r"^\| ((?:ch\.|shipped)[^|]*) \| (\d+) \|",
                read(CHECKOUT / "docs" / "tutorial.md"),
                re.MULTILINE,
            )
        )
        assert documented.keys() == {name for name, *_ in list_page.STEPS}
        for name, view, query, cool in list_page.STEPS:
            if name == "shipped, any filter, warm":
                continue  # needs a commit: test_total.py has it
            cool()
            with CaptureQueriesContext(connection) as captured:
                list_page.call_of(view, query)()
            assert len(captured) == int(documented[name]), name


def test_every_decision_is_linked_from_a_document():
    linked = "".join(read(document) for document in DOCUMENTS)
    for decision in CHECKOUT.glob("docs/decisions/*.md"):
        assert f"decisions/{decision.name}" in linked, f"nothing leads to {decision}"


def test_statements_and_their_command_are_named_by_a_document():
    lines = [line for document in DOCUMENTS for line in commands(document)]
    for beginning in (
        "./pricebook manage explain_queries list",
        "./pricebook manage explain_queries --sql",
        "./pricebook manage write_schema",
    ):
        assert any(line.startswith(beginning) for line in lines), beginning


def test_the_readme_names_every_command_of_the_launcher():
    named = {LAUNCHER["parse"](shlex.split(line, comments=True)[1:])[1] for line in readme_lines()}
    assert named >= {"demo", "test", "up", "manage", "bench"}


def readme_lines() -> list[str]:
    return list(commands(CHECKOUT / "README.md"))


def read(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def anchors(document: Path) -> set[str]:
    """The headings' anchors, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", read(document), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def commands(document: Path) -> Iterator[str]:
    """Whole lines of code blocks, and texts in backticks."""
    for line in read(document).splitlines():
        if line.startswith(("    ./pricebook ", "./pricebook ")):
            yield line.strip()
        elif not line.startswith("    "):
            yield from re.findall(r"`(\./pricebook [a-z][^`|…]*)`", line)


@functools.cache
def claims() -> frozenset[str]:
    """The names that `./pricebook bench` knows."""
    return frozenset(bench.claims())


@functools.cache
def names_of_tests() -> frozenset[str]:
    """`test_x.py`, `test_x.py::TestX`, `test_x.py::TestX::test_x` of all apps."""
    return frozenset(_names_of_tests())


def _names_of_tests() -> Iterator[str]:
    for path in CHECKOUT.glob("service/*/tests/test_*.py"):
        yield path.name
        for node in ast.parse(read(path)).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                yield f"{path.name}::{node.name}"
            if isinstance(node, ast.ClassDef):
                for function in node.body:
                    if isinstance(function, ast.FunctionDef):
                        yield f"{path.name}::{node.name}::{function.name}"
