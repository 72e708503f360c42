"""A language that marks each translated text, and the texts of a page that it leaves unmarked.

    Price change 5 of Acme  →  ⟦Price change ⟦5⟧ of Acme⟧

A text is marked if the Russian catalogues have it: one that is looked up, but that no catalogue
has, stays as it is.
"""

import re
from html.parser import HTMLParser

from django.apps import apps
from django.db.models import CharField, TextField
from django.utils.translation import trans_real

CODE = "xa"
READ_OUT = ("aria-label", "title", "placeholder", "alt", "aria-description")
UNSEEN = ("script", "style", "template", "svg", "code", "kbd", "head")
VOID = ("br", "hr", "img", "input", "link", "meta", "col", "source", "wbr")
# Names of ours and of others, units, and codes that programs read too.
NAMES = {"pricebook", "unfold", "api", "usd", "utc", "en", "ru", "english", "русский", "ctrl"}
NAMES |= {"csv", "xlsx", "utf"}
# Also the kinds of authors, and the plans of a preview, which are stored.
OF_PROGRAMS = re.compile(
    r"\((?:person|key) \d+\)|, full \d+ %|[a-z_]+(?:[.:/_-][a-z_*]+)+|https?://\S+|\S+@\S+|docs/\S+"
)
WORD = re.compile(r"[^\W\d_]{2,}")


class Marked:
    """In the place of a DjangoTranslation."""

    def __init__(self):
        catalogues = trans_real.translation("ru")._catalog._catalogs
        keys = [key for catalogue in catalogues for key in catalogue if key]
        self.known = {key if isinstance(key, str) else key[0] for key in keys}

    def gettext(self, text):
        return f"⟦{text.rpartition(chr(4))[2]}⟧" if text in self.known else text

    def ngettext(self, singular, plural, number):
        text = singular if number == 1 else plural
        return f"⟦{text.rpartition(chr(4))[2]}⟧" if singular in self.known else text

    def language(self):
        return CODE

    def to_language(self):
        return CODE


class Unmarked(HTMLParser):
    """The texts of a page, seen or read out, that stand in no mark."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.depth = 0  # marks may be open over several elements
        self.skipped: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        for name in READ_OUT:
            self._outside(given.get(name) or "", 0)
        if tag == "input" and given.get("type") in ("submit", "button"):
            self._outside(given.get("value") or "", 0)
        icon = "material-symbols-outlined" in (given.get("class") or "")
        if tag not in VOID and (self.skipped or icon or tag in UNSEEN):
            self.skipped.append(tag)

    def handle_endtag(self, tag):
        if self.skipped and tag in self.skipped:
            while self.skipped.pop() != tag:
                pass

    def handle_data(self, data):
        if not self.skipped:
            self.depth = self._outside(data, self.depth)

    def _outside(self, text, depth):
        for part in re.split("([⟦⟧])", text):
            if part in ("⟦", "⟧"):
                depth += 1 if part == "⟦" else -1
            elif depth == 0 and part.strip():
                self.found.append(part.strip())
        return depth


def data() -> list[str]:
    """The texts of the database, the longest first."""
    found = set()
    for model in apps.get_models():
        if not model._meta.managed:
            continue
        names = [
            field.attname
            for field in model._meta.concrete_fields
            if isinstance(field, CharField | TextField) and not field.choices
        ]
        for row in model._base_manager.values_list(*names) if names else ():
            found |= {str(value) for value in row if value}
    return sorted({each.casefold() for each in found}, key=len, reverse=True)


def untranslated(page: str, known: list[str]) -> set[str]:
    """The texts of a page without a mark that have a word, and are no data."""
    left = set()
    for text in Unmarked(page).found:
        if " | Can " in f" {text}":
            continue  # Django's permissions are stored
        rest = OF_PROGRAMS.sub(" ", text).casefold()
        for each in known:
            rest = rest.replace(each, " ")
        if {*WORD.findall(rest)} - NAMES:
            left.add(" ".join(text.split()))
    return left
