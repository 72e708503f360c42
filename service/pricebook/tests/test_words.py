"""The catalogues of translations: which texts are found, and that all are translated."""

import subprocess
import sys
from io import BytesIO, StringIO
from pathlib import Path

import django.contrib.admin
import pytest
import unfold
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from django.conf import settings
from django.core.management import CommandError, call_command
from django.template import engines
from django.utils import translation
from django.utils.translation import trans_real

from pricebook.words import catalogues, of_django, of_unfold
from pricebook.words.catalogues import NotAText, in_python, in_template

TEMPLATE = """{% load i18n %}
    <p>{% translate "Plain" %} {# a comment #}{% translate "After a comment, it's 100 %" %}</p>
  {% translate "Short" context "of a name" %}
        {% blocktranslate trimmed with name=user rows=number|default:_("none") %}
            Moved {{ rows }} rows
            of {{ name }}, 5 %.
        {% endblocktranslate %}
   {% blocktranslate count n=number %}{{ n }} (one){% plural %}{{ n }} rows{% endblocktranslate %}
{% if user == _("compared") %}{% endif %}{{ user|default:_("a default") }}{{ _("a constant") }}
"""
MODULE = """
from django.utils import translation as t
from django.utils.translation import gettext as _, gettext_lazy as _lazy, ngettext, pgettext

TEXTS = [_lazy("lazy"), t.gettext("by its module"), pgettext("of a name", "short"), known]
a = _("one "
      "text") % {"name": 1}
b = ngettext("%(n)s row", "%(n)s rows", 2) % {"n": 2}
c = f"{_('inside')}"
d = _(known)
"""


class Asked:
    """A language that notes which texts are looked up."""

    def __init__(self):
        self.texts = set()

    def to_language(self):
        return "xa"

    def gettext(self, text):
        self.texts.add(text)
        return text

    def ngettext(self, singular, plural, number):
        self.texts.add(singular)
        return singular if number == 1 else plural


def text_of(found):
    text = found.text if isinstance(found.text, str) else found.text[0]
    return text if found.context is None else f"{found.context}\x04{text}"


class TestTextsFound:
    def test_in_a_template_are_those_that_it_looks_up(self, monkeypatch):
        asked = Asked()
        monkeypatch.setitem(trans_real._translations, "xa", asked)
        with translation.override("xa"):
            rendered = engines["django"].from_string(TEMPLATE).render({"user": "", "number": 0})
        assert "it&#x27;s 100 %" in rendered or "it's 100 %" in rendered
        assert {text_of(found) for found in in_template(TEMPLATE)} == asked.texts
        assert "Moved %(rows)s rows of %(name)s, 5 %%." in asked.texts

    def test_in_a_module_are_those_of_any_name_of_the_functions(self):
        assert {text_of(found) for found in in_python(MODULE)} == {
            "lazy", "by its module", "of a name\x04short", "one text", "%(n)s row", "inside",
        }  # fmt: skip

    @pytest.mark.parametrize("call", ['_(f"moved {rows}")', '_("moved %s" % rows)'])
    def test_are_not_put_together_before_the_look_up(self, call):
        with pytest.raises(NotAText, match="after the look-up"):
            [*in_python(f"from django.utils.translation import gettext as _\n{call}")]


class TestCatalogue:
    @pytest.fixture
    def app(self, tmp_path):
        templates = tmp_path / "shop" / "templates"
        templates.mkdir(parents=True)
        (templates / "a.html").write_text('{% load i18n %}{% translate "One" %}')
        return tmp_path / "shop"

    def write(self, app, *messages, **options):
        catalogue = Catalog(locale="ru")
        for text, said in messages:
            catalogue.add(text, said, **options)
        path = catalogues.path_of(app, "ru")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(catalogues.as_po(catalogue))
        return catalogue

    def test_keeps_translations_of_texts_that_are_there(self, app):
        self.write(app, ("One", "Один"), ("Two", "Два"))
        made = catalogues.brought_in_line(app, "ru")
        assert [(each.id, each.string) for each in catalogues.messages(made)] == [("One", "Один")]

    @pytest.mark.parametrize(
        ("before", "flags"),
        [(("One", "Один"), ["fuzzy"]), ((("One", "Ones"), ("а", "б", "в")), [])],
    )
    def test_keeps_none_that_is_a_guess_or_of_a_plural(self, app, before, flags):
        self.write(app, before, flags=flags)
        assert catalogues.untranslated(catalogues.brought_in_line(app, "ru")) == ["One"]

    def test_is_the_same_bytes_whenever_it_is_compiled(self, app):
        made = self.write(app, ("One", "Один"), (("%(n)s row", "%(n)s rows"), ("а", "б", "в")))
        assert b"Date" not in catalogues.as_mo(made)
        assert "Один".encode() in catalogues.as_mo(made)

    @pytest.mark.parametrize(
        ("text", "said", "fits"),
        [
            ("%(rows)s of %(name)s", "%(name)s: %(rows)s", True),
            ("%(rows)s rows", "строки", False),
            ("rows", "%(rows)s", False),
            ("The key of {} is {}", "{}: ключ {}", True),
            (("one row", "%(n)s rows"), ("строка", "%(n)s строки", "%(n)s строк"), True),
            (("one row", "%(n)s rows"), ("%(m)s", "%(n)s строки", "%(n)s строк"), False),
        ],
    )
    def test_has_the_places_for_values_that_its_texts_have(self, app, text, said, fits):
        assert (catalogues.misplaced(self.write(app, (text, said))) == []) == fits

    def test_says_nothing_that_another_app_says_otherwise(self, app):
        one, other = (self.write(app, ("One", said)) for said in ("Один", "Одна"))
        assert catalogues.contradictions([one, one]) == []
        assert catalogues.contradictions([one, other]) == ["One"]


def test_all_texts_are_translated_and_compiled():
    out = StringIO()
    try:
        call_command("words", "--check", stdout=out)
    except CommandError as error:
        pytest.fail(f"{error}\n{out.getvalue()}")


def test_no_other_package_says_our_texts_otherwise():
    """Where two catalogues have a text one wins, and ours has to."""
    with translation.override("ru"):
        lost = {
            message.id: translation.gettext(message.id)
            for app in catalogues.APPS
            for message in catalogues.messages(catalogues.stored(settings.BASE_DIR / app, "ru"))
            if isinstance(message.id, str) and message.context is None
            if translation.gettext(message.id) != message.string
        }
    assert not lost


def test_unfold_says_all_in_russian():
    root = Path(unfold.__file__).parent
    found = set()
    for path in root.rglob("*"):
        inside = path.relative_to(root).parts
        if inside[0] == "contrib" and inside[1:2] != ("filters",):
            continue  # not installed
        if path.suffix == ".py":
            found |= {*in_python(path.read_text(encoding="utf-8"))}
        elif path.suffix == ".html":
            found |= {*in_template(path.read_text(encoding="utf-8"))}
    texts = {each.key[1] for each in found if any(letter.isalpha() for letter in each.key[1])}
    with translation.override("ru"):
        # A singular that has a plural is found by ngettext alone in older releases of Python.
        english = {
            text
            for text in texts
            if text == translation.gettext(text) == translation.ngettext(text, text, 1)
        }
    assert not english
    assert set(of_unfold.TEXTS) <= texts, "Unfold says these no more"


def test_django_still_says_what_we_translate_otherwise():
    root = Path(django.contrib.admin.__file__).parent
    po = (root / "locale" / "en" / "LC_MESSAGES" / "django.po").read_bytes()
    theirs = {message.id for message in read_po(BytesIO(po))}
    assert set(of_django.TEXTS) <= theirs


def test_the_launcher_speaks_english_whatever_the_deployment_does():
    checkout = settings.BASE_DIR.parent
    launcher = subprocess.run(
        [sys.executable, checkout / "pricebook", "--help"],
        env={"LANGUAGE_CODE": "ru", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert launcher.stdout.startswith("Usage: ./pricebook")
