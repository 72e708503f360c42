"""Sentences begin with their subject: none begins with "Who", "What" or "Of" in place of it.

Such a sentence has to be read twice. Questions may begin so, and headings of documents.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
FOLDERS = (".ci", "benchmarks", "cluster", "docs", "findings", "service")
MARKUP = r"""[\s*_"'`(\[>“‘-]*"""
NO_SUBJECT = re.compile(rf"{MARKUP}(?:Who|Whose|Whom|What|Of)(?:'s)?\s+\w")
SENTENCE_END = re.compile(r"""(?<=[.!?])["')*_`\]”’]*\s+|\n\s*\n""")
COMMENT = re.compile(r"^(?P<code>.*?)(?<!\S)(?:\#+:?|--|//)\s+(?P<comment>\S.*)$")


def files() -> Iterator[Path]:
    for found in [CHECKOUT.iterdir(), *((CHECKOUT / folder).rglob("*") for folder in FOLDERS)]:
        yield from (path for path in found if path.is_file())


def without_subject(text: str) -> list[str]:
    """Its sentences that begin so."""
    sentences = [" ".join(each.split()) for each in SENTENCE_END.split(text)]
    return [each for each in sentences if NO_SUBJECT.match(each) and "?" not in each[-3:]]


def comments(text: str) -> Iterator[str]:
    """The comments of Python, SQL, JavaScript and configurations; neighbouring lines as one."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        found = COMMENT.match(line)
        if not found or found["code"].strip():
            yield "\n".join(lines)
            lines = []
        if found:
            lines.append(found["comment"])


def python(text: str) -> Iterator[str]:
    """Its strings, with the comments of SQL in them, and its comments."""
    tree = ast.parse(text)
    formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {part for each in formatted for part in each.values}
    for each in formatted:
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in each.values
        )
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.value
            yield from comments(node.value)
    yield from comments(text)


def markdown(text: str) -> Iterator[str]:
    """Paragraphs, items of lists and cells of tables; no code, no headings."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for block in re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.)\s|\n(?=\|)|\|", text):
        if not block.lstrip().startswith("#"):
            yield block


def html(text: str) -> Iterator[str]:
    """Texts, attributes and comments."""
    yield from re.findall(r"\{#(.*?)#\}", text, re.DOTALL)
    yield from re.findall(r'"([^"<>]+)"', text)
    yield from re.split(r"<[^>]*>|\{%.*?%\}|\{#.*?#\}", text, flags=re.DOTALL)


def css(text: str) -> Iterator[str]:
    yield from re.findall(r"/\*(.*?)\*/", text, re.DOTALL)


READERS = {".py": python, ".md": markdown, ".html": html, ".css": css}
READ_FOR_COMMENTS = (".sql", ".js", ".toml", ".yml", ".yaml", ".sh", ".example", "")


def read(path: Path) -> Iterator[str]:
    """The texts of a file that people read."""
    if path.name == "pricebook":
        yield from python(path.read_text(encoding="utf-8"))
    elif reader := READERS.get(path.suffix):
        yield from reader(path.read_text(encoding="utf-8"))
    elif path.suffix in READ_FOR_COMMENTS:
        yield from comments(path.read_text(encoding="utf-8"))


def test_sentences_begin_with_their_subject():
    found = {
        str(path.relative_to(CHECKOUT)): sentences
        for path in files()
        if path != Path(__file__)
        and (sentences := [each for text in read(path) for each in without_subject(text)])
    }
    assert not found


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (python, '"""What a pair owes.\n\nMore of it.\n"""'),
        (python, 'raise Refused(f"{name} is held. Who approved it must look again.")'),
        (python, "price = 5  # Of a follower alone"),
        (python, "# A price is stored.\n# What is late\n# follows."),
        (python, 'SQL = """\nSELECT 1\n  -- Who is gone pays nothing.\n"""'),
        (markdown, "- *Who pays* is decided by the clock."),
        (markdown, "| word | meaning |\n| kept | Of a subscription: locked. |"),
        (html, "<td>Prices</td><p>What every client pays.</p>"),
        (html, '<nav aria-label="Who did it">'),
        (comments, "SELECT 1;  -- Whose price it is"),
    ],
)
def test_is_found_in(reader, text):
    assert [each for block in reader(text) for each in without_subject(block)]


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (python, '"""Who pays what? The ledger says."""'),
        (python, "# It says who pays. Offers are not read."),
        (python, 'NAMES = ("What", "Who")'),
        (markdown, "## What it costs\n\nLittle."),
        (markdown, "| **Who pays?** | `as_of` |"),
        (html, "<h2>Whom else?</h2>"),
    ],
)
def test_is_not_found_in(reader, text):
    assert not [each for block in reader(text) for each in without_subject(block)]
