"""Finds the texts to translate, keeps each app's `locale/<language>/LC_MESSAGES/django.po` in line
with them, and compiles it to `django.mo`.

A catalogue is sorted by its texts and has neither places nor dates, so a change of it shows what
was translated. Django's own `templatize` says which texts a template looks up, and Python is read
as Python, so the texts found are those that are looked up when the code runs (test_words.py).
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.utils.translation.template import templatize

from pricebook.words import model_names

APPS = model_names.OURS
LANGUAGES = [code for code, _ in settings.LANGUAGES if code != "en"]
# The functions that look a text up, and what their arguments are: c a context, t a text, p its
# plural.
FUNCTIONS = {
    "gettext": "t",
    "ngettext": "tp",
    "pgettext": "ct",
    "npgettext": "ctp",
}
FUNCTIONS |= {f"{name}_lazy": arguments for name, arguments in FUNCTIONS.items()}
FUNCTIONS["gettext_noop"] = "t"
SKIPPED = ("tests", "migrations", "locale", "__pycache__")
CALL = re.compile(r"\b(?:n?p?gettext|_)\(")  # in what `templatize` gives
PLACES = re.compile(r"%\((\w+)\)[a-z]|\{(\w*)\}")

Text = str | tuple[str, str]  # a text, or its singular and plural


class NotAText(Exception):
    """A text to translate is put together before it is looked up, so no catalogue can have it."""


@dataclass(frozen=True)
class Found:
    """A text to translate, and where it stands."""

    context: str | None
    text: Text
    place: str

    @property
    def key(self) -> tuple[str | None, str]:
        return self.context, self.text if isinstance(self.text, str) else self.text[0]


def texts_of(app: Path) -> Iterator[Found]:
    """The texts of an app's models, modules and templates. Raises NotAText."""
    yield from (Found(None, name, "models") for name in model_names.names_of(app.name))
    for path in sorted(app.rglob("*")):
        if {*path.relative_to(app).parts}.intersection(SKIPPED):
            continue
        if path.suffix == ".py":
            yield from in_python(path.read_text(encoding="utf-8"), path.name)
        elif path.suffix in (".html", ".txt") and "templates" in path.parts:
            yield from in_template(path.read_text(encoding="utf-8"), path.name)


def in_python(source: str, name: str = "") -> Iterator[Found]:
    """The texts of a module, by whatever name it has imported the functions."""
    tree = ast.parse(source)
    names = {each: each for each in FUNCTIONS}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation":
            names |= {each.asname: each.name for each in node.names if each.asname}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if (function := names.get(called, "")) in FUNCTIONS:
                yield from _found(function, node, f"{name}:{node.lineno}")


def in_template(source: str, name: str = "") -> Iterator[Found]:
    """The texts of a template."""
    # Between its calls there is nothing but letters that stand for the rest.
    given = templatize(source)
    for match in CALL.finditer(given):
        [statement] = ast.parse(_call_at(given, match.start())).body
        assert isinstance(statement, ast.Expr)
        assert isinstance(statement.value, ast.Call)
        function = match[0][:-1].replace("_", "gettext", match[0] == "_(")
        yield from _found(function, statement.value, name)


def _call_at(source: str, start: int) -> str:
    """The call that begins at a place, to its closing bracket."""
    rest, depth = source[start:], 0
    for token in tokenize.generate_tokens(StringIO(rest).readline):
        depth += {"(": 1, ")": -1}.get(token.string, 0)
        if token.string == ")" and not depth:
            lines = rest.splitlines(keepends=True)
            row, column = token.end
            return "".join(lines[: row - 1]) + lines[row - 1][:column]
    raise NotAText(rest[:80])


def _found(function: str, call: ast.Call, place: str) -> Iterator[Found]:
    context, texts = None, []
    for kind, argument in zip(FUNCTIONS[function], call.args, strict=False):
        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            if isinstance(argument, ast.JoinedStr | ast.BinOp):
                raise NotAText(f"{place}: put values in with %(name)s, after the look-up")
            return  # a name, of a text that is marked elsewhere
        if kind == "c":
            context = argument.value
        else:
            texts.append(argument.value)
    if texts and texts[0]:
        yield Found(context, texts[0] if len(texts) == 1 else (texts[0], texts[1]), place)


def path_of(app: Path, language: str) -> Path:
    return app / "locale" / language / "LC_MESSAGES" / "django.po"


def stored(app: Path, language: str) -> Catalog:
    """The catalogue as it is on the disk; empty if there is none."""
    path = path_of(app, language)
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def brought_in_line(app: Path, language: str) -> Catalog:
    """The app's catalogue with all its texts and no others; translations stay."""
    old = stored(app, language)
    new = Catalog(locale=language, charset="utf-8")
    for found in texts_of(app):
        known = old.get(found.key[1], found.context)
        # (If a text had no plural before, or has none now, its translation is another one.)
        fits = known is not None and isinstance(known.string, tuple) == (
            isinstance(found.text, tuple)
        )
        # (A text that one place gives a plural and another one does not is one message.)
        had = new.get(found.key[1], found.context)
        if had is None or not had.pluralizable or not isinstance(found.text, str):
            kept = known.string if known is not None and fits and not known.fuzzy else None
            new.add(found.text, kept, context=found.context)
    return new


def messages(catalogue: Catalog) -> Iterator[Message]:
    return (message for message in catalogue if message.id)


def _translations(message: Message) -> tuple[str, ...]:
    said = message.string
    return tuple(said) if isinstance(said, tuple | list) else (said or "",)


def untranslated(catalogue: Catalog) -> list[str]:
    """The texts without a translation, or without one of its plurals."""
    return [str(each.id) for each in messages(catalogue) if not all(_translations(each))]


def misplaced(catalogue: Catalog) -> list[str]:
    """The texts whose translation has other places for values (`%(rows)s`) than the text has.

    A singular may lack one that its plural has.
    """
    return [
        str(message.id)
        for message in messages(catalogue)
        for translation in _translations(message)
        if translation and not _fits(message.id, translation)
    ]


def _fits(texts: str | Sequence[str], translation: str) -> bool:
    allowed = _places([texts] if isinstance(texts, str) else list(texts))
    needed = _places([texts] if isinstance(texts, str) else [])
    return needed <= _places([translation]) <= allowed


def _places(texts: list[str]) -> set[str]:
    return {match[0] for text in texts for match in PLACES.finditer(text)}


def contradictions(catalogues: Iterable[Catalog]) -> list[str]:
    """The texts that two apps translate in two ways: at run time one of them would win."""
    said: dict[tuple[str | None, str], set[object]] = defaultdict(set)
    for catalogue in catalogues:
        for message in messages(catalogue):
            if all(_translations(message)):
                text = message.id if isinstance(message.id, str) else message.id[0]
                said[message.context, text].add(_translations(message)[0])
    return [text for (_, text), translations in said.items() if len(translations) > 1]


def as_po(catalogue: Catalog) -> bytes:
    out = BytesIO()
    write_po(out, catalogue, width=100, omit_header=True, sort_output=True, no_location=True)
    return _header(catalogue) + out.getvalue()


class Compiled(Catalog):
    """A catalogue whose header has no date: it is the same bytes whenever it is compiled."""

    mime_headers = property(
        lambda self: [
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Plural-Forms", self.plural_forms),
        ]
    )


def as_mo(catalogue: Catalog) -> bytes:
    compiled = Compiled(locale=catalogue.locale, charset="utf-8")
    for message in messages(catalogue):
        compiled.add(message.id, message.string, context=message.context)
    out = BytesIO()
    write_mo(out, compiled)
    return out.getvalue()


def _header(catalogue: Catalog) -> bytes:
    return (
        f'msgid ""\nmsgstr ""\n"Language: {catalogue.locale}\\n"\n"MIME-Version: 1.0\\n"\n'
        '"Content-Type: text/plain; charset=utf-8\\n"\n"Content-Transfer-Encoding: 8bit\\n"\n'
        f'"Plural-Forms: {catalogue.plural_forms}\\n"\n\n'
    ).encode()
