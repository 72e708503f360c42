"""The layout as promised: small modules, and verbs where the documents say that they are."""

import importlib
import re
from pathlib import Path

from django.apps import apps
from django.conf import settings

LONGEST, LONG = 400, 270  # lines
SHARE_OF_LONG = 0.1


def lengths() -> dict[str, int]:
    """The lines of each module of the product, by its path."""
    modules = [
        path
        for path in Path(settings.BASE_DIR).rglob("*.py")
        if not {"tests", "migrations"} & set(path.parts) and path.name != "conftest.py"
    ]
    found = {str(path.relative_to(settings.BASE_DIR)): path.read_text() for path in modules}
    return {name: text.count("\n") for name, text in found.items() if text}


def test_no_module_is_longer_than_one_reads_at_a_sitting():
    assert not {name: lines for name, lines in lengths().items() if lines > LONGEST}


def test_nine_of_ten_modules_are_short():
    found = lengths()
    long = {name: lines for name, lines in found.items() if lines > LONG}
    assert len(long) <= SHARE_OF_LONG * len(found), long


def test_the_glossary_has_the_words_of_each_choice():
    """A status, a kind, an adjustment: what a field may say is a word that people meet."""
    glossary = (settings.BASE_DIR.parent / "docs" / "glossary.md").read_text().lower()
    fields = [
        field
        for label in ("price_changes", "services")
        for model in apps.get_app_config(label).get_models()
        for field in model._meta.get_fields()
        if getattr(field, "choices", None)
    ]
    words = {str(value).replace("_", " ") for field in fields for value, _ in field.choices}
    assert len(fields) >= 8
    assert not {word for word in words if not re.search(rf"\b{word}", glossary)}


def test_the_verbs_stand_where_the_guide_says():
    """As `price_changes.verbs.approve`: a module's name, in code, that Python can import."""
    guide = (settings.BASE_DIR.parent / "docs" / "price-changes.md").read_text()
    [sentence] = re.findall(r"The same verbs with the same words [^\n]*", guide)
    names = re.findall(r"`((?:price_changes|services)\.[a-z_.]+)`", sentence)
    assert len(names) == 4
    for name in names:
        assert importlib.import_module(name).__doc__, name
    verbs = importlib.import_module("price_changes.verbs")
    assert {"plan", "preview", "approve", "cancel", "revert"} <= set(verbs.__all__)
