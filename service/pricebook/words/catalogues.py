"""Finds the texts to translate, keeps each app's `locale/<language>/LC_MESSAGES/django.po` in line
with them, and compiles it to `django.mo`.

A catalogue is sorted by its texts and has neither places nor dates, so a change of it shows what
was translated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_python
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.utils.translation.template import templatize

APPS = ("clients", "services", "price_changes", "keys", "events", "desk", "pricebook")
LANGUAGES = [code for code, _ in settings.LANGUAGES if code != "en"]
NAMES: dict[str, tuple[int | tuple[int, str], ...] | None] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
SKIPPED = ("tests", "migrations", "locale", "__pycache__")

Text = str | tuple[str, str]  # a text, or its singular and plural


@dataclass(frozen=True)
class Found:
    """A text to translate, and where it stands."""

    context: str | None
    text: Text
    place: str


def texts_of(app: Path) -> Iterator[Found]:
    """The texts of an app's modules and templates."""
    for path in sorted(app.rglob("*")):
        if path.suffix not in (".py", ".html", ".txt") or {*path.parts}.intersection(SKIPPED):
            continue
        source = path.read_text(encoding="utf-8")
        if path.suffix != ".py":
            if "templates" not in path.parts:
                continue
            source = templatize(source)
        for line, function, said, _comments in extract_python(
            BytesIO(source.encode()), NAMES, (), {"encoding": "utf-8"}
        ):
            if found := _found(function, said, f"{path.name}:{line}"):
                yield found


def _found(function: Any, said: object, place: str) -> Found | None:
    parts = list(said) if isinstance(said, tuple | list) else [said]
    if any(each is None for each in parts[: 1 + ("npgettext" in function)]):
        return None  # not a text, but a name
    context = str(parts.pop(0)) if "pgettext" in function else None
    plural = "ngettext" in function or "npgettext" in function
    text: Text = (str(parts[0]), str(parts[1])) if plural else str(parts[0])
    return Found(context, text, place) if text else None


def path_of(app: Path, language: str) -> Path:
    return app / "locale" / language / "LC_MESSAGES" / "django.po"


def brought_in_line(app: Path, language: str) -> Catalog:
    """The app's catalogue with all its texts and no others; translations stay."""
    path = path_of(app, language)
    old = Catalog(locale=language)
    if path.exists():
        with path.open("rb") as file:
            old = read_po(file, locale=language)
    new = Catalog(locale=language, charset="utf-8")
    for found in texts_of(app):
        known = old.get(found.text if isinstance(found.text, str) else found.text[0], found.context)
        new.add(found.text, known.string if known else None, context=found.context)
    return new


def untranslated(catalogue: Catalog) -> list[str]:
    """The texts without a translation, or without one of its plurals."""
    return [
        str(message.id)
        for message in catalogue
        if message.id
        and not (all(message.string) if isinstance(message.string, tuple) else message.string)
    ]


def as_po(catalogue: Catalog) -> bytes:
    out = BytesIO()
    write_po(out, catalogue, width=100, omit_header=True, sort_output=True, no_location=True)
    return _header(catalogue) + out.getvalue()


def as_mo(catalogue: Catalog) -> bytes:
    out = BytesIO()
    with_header = read_po(BytesIO(as_po(catalogue)), locale=catalogue.locale)
    with_header.header_comment = ""
    write_mo(out, with_header)
    return out.getvalue()


def _header(catalogue: Catalog) -> bytes:
    return (
        f'msgid ""\nmsgstr ""\n"Language: {catalogue.locale}\\n"\n"MIME-Version: 1.0\\n"\n'
        '"Content-Type: text/plain; charset=utf-8\\n"\n"Content-Transfer-Encoding: 8bit\\n"\n'
        f'"Plural-Forms: {catalogue.plural_forms}\\n"\n\n'
    ).encode()
