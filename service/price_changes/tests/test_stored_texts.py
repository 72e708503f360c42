"""Texts that outlive their request are stored in English, and shown in the reader's language."""

import io
import re
from contextlib import suppress

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import CharField, JSONField, TextField
from django.test.client import RequestFactory
from django.utils import translation

from events import delivering
from price_changes import notes
from price_changes.tests.changes import planned
from price_changes.tests.doors import DOORS, Book, outcome
from pricebook.words import stored
from services.audit import book_check
from services.bulk.running import LinesRefused
from services.past import statements
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.transfer import (
    incoming_catalogue,
    incoming_subscriptions,
    look_alikes,
    matching,
)

CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)


def stored_texts():
    """The texts of the book that are not in English, each with its field."""
    for model in apps.get_models():
        fields = [
            each.attname
            for each in model._meta.concrete_fields
            if isinstance(each, CharField | TextField | JSONField)
        ]
        if model._meta.managed and fields:
            for row in model._base_manager.values(*fields):
                for name, value in row.items():
                    if CYRILLIC.search(str(value)):
                        yield model.__name__, name, str(value)


class Undo(Exception):
    """Takes back what a door has written."""


@pytest.mark.django_db
def test_no_door_stores_a_text_in_its_readers_language(settings, monkeypatch):
    settings.LANGUAGE_CODE = "ru"
    environ = RequestFactory._base_environ

    def in_russian(self, **request):
        return {**environ(self, **request), "HTTP_ACCEPT_LANGUAGE": "ru"}

    monkeypatch.setattr(RequestFactory, "_base_environ", in_russian)
    found, outcomes = set(), set()
    for door in {door.attempt.__qualname__: door for door in DOORS}.values():
        settings.APPROVAL_LIMIT_AMOUNT = None  # while the book is made
        try:
            with translation.override("ru"), transaction.atomic():
                outcomes.add(outcome(door, "amount", settings, Book.made()))
                found |= {(door.name, *each) for each in stored_texts()}
                raise Undo
        except Undo:
            pass
    assert sorted(found) == []
    assert outcomes >= {"waits", "refused"}  # the texts of the limits are among them


# --- How they are shown -------------------------------------------------------------------------

IN_RUSSIAN = {
    notes.HELD_BY_BRAKE
    % {"by": "ann", "at": "2027-01-31T12:00:00+00:00", "reason": "wait. See (5)."}: (
        "В момент изменения был включён тормоз: ann включил его 31.01.2027 12:00 UTC (wait. See"
        " (5).). Пересчитайте предпросмотр и одобрите или отмените."
    ),
    # Two sentences, and the words of a person.
    " ".join(
        [
            notes.WRITTEN_BETWEEN % {"rows": "12,431"},
            "A word of ann.",
            notes.OTHER_BEFORE % {"before": "20.00", "expected": "21.00"},
        ]
    ): (
        "Между предпросмотром и началом записано подписок: 12\xa0431. A word of ann. Значение до"
        " изменения было 20,00, а не 21,00."
    ),
    # A text within a text.
    notes.NOT_STARTED % {"reason": notes.PLAN_THERE % {"to": "student 50 %"}}: (
        "Начать изменение не удалось: план студенческий 50 % уже есть, а двух таких быть не может."
        " Отмените изменение и переведите подписки одного плана на другой; или задайте другому"
        " плану другую скидку, пересчитайте предпросмотр и одобрите."
    ),
    notes.BY_CHANGE % {"number": 1234}: "Изменение цен 1234",
}


@pytest.mark.parametrize("text", IN_RUSSIAN)
def test_a_stored_note_is_shown_in_the_readers_language(text):
    with translation.override("ru"):
        assert stored.shown(text) == IN_RUSSIAN[text]
    with translation.override("en"):
        assert stored.shown(text) == text


def said_by(module):
    """The texts that the statements of a module give as reasons, with x for each value."""
    for sql in vars(module).values():
        if isinstance(sql, str) and "SELECT" in sql:
            quoted = r"'((?:[^']|'')*)'(?:\s*'((?:[^']|'')*)')*"
            for literal in re.finditer(quoted, sql):
                parts = re.findall(r"'((?:[^']|'')*)'", literal[0])
                yield "".join(parts).replace("''", "'")


REASON = re.compile(
    r"(is|has|does|goes|fits|may|belong|contradicts|differs)\b .*|goes with .*", re.DOTALL
)


@pytest.mark.parametrize(
    "module",
    [incoming_catalogue, incoming_subscriptions, look_alikes, matching, statements],
    ids=lambda module: module.__name__,
)
def test_a_reason_that_a_statement_gives_is_known(module):
    reasons = {each for each in said_by(module) if REASON.fullmatch(each) and len(each) > 20}
    assert reasons
    with translation.override("ru"):
        for reason in reasons:
            told = re.sub("%%?[sL]", "x", reason).replace("%%", "%").replace("%%", "%")
            whole = [told, f"{told}; import the book before its past"]
            said = "".join(stored.shown_in_context(each, "file") for each in whole)
            assert CYRILLIC.search(said), told


# --- Commands in Russian ------------------------------------------------------------------------


def printed(*words):
    out = io.StringIO()
    with translation.override("ru"), suppress(SystemExit):
        try:
            call_command(*words, stdout=out, stderr=out)
        except CommandError as error:
            out.write(str(error))
    return out.getvalue()


@pytest.mark.django_db
def test_commands_print_in_the_deployments_language(tmp_path):
    phone = a_service(20, "Phone")
    row = a_subscription(a_client(), phone, a_plan(0))
    change = planned(kind="list_price", service=phone.pk, new_value="22.10")

    shown = printed("price_change", "show", str(change.pk))
    assert f"Изменение цен {change.pk}: Цена сервиса Phone по каталогу: 20,00 → 22,10 USD" in shown
    assert re.search(r"состояние +запланировано", shown)
    assert re.search(r"изменится +1", shown)
    assert f"дальше: ./pricebook manage price_change approve {change.pk}" in shown
    assert "запланировано" in printed("price_change", "list")
    assert "Изменения цен 77 нет. (not_found)" in printed("price_change", "show", "77")

    assert "✓ Подписок: 1, итог 20,00" in printed("check_book")
    with translation.override("en"):
        assert str(book_check.last_book_check()).startswith("1 subscriptions, total 20.00")
    explained = printed("price_state", "explain", str(row.pk))
    assert "Цена следует каталогу: 20.00 × (100 − 0) / 100 = 20.00. Так с " in explained

    file = tmp_path / "book.csv"
    lines = [
        "company_name,email,service,full_price,plan_type,discount_percent,started_at,price",
        "A,a@x.org,Tea,12.345,full,0,2026-01-01,",
        "B,b@x.org,Tea,10.00,full,0,2026-13-01,",
    ]
    file.write_text("\n".join(lines))
    refused = printed("import_book", str(file))
    assert "В " in refused
    assert "строка 2, full_price: '12.345' — не цена; допустимо" in refused
    assert "строка 3, started_at: '2026-13-01' — не дата" in refused
    file.write_text("\n".join([lines[0], "A,a@x.org,Tea,10.00,full,0,2026-01-01,9.00"]))
    refused = printed("import_book", str(file))
    assert "'9.00' — не цена 10,00 со скидкой 0 %, она равна 10,00; исправьте" in refused


def test_a_refusal_that_a_worker_has_stored_is_found_in_the_catalogues():
    refused = LinesRefused(
        2,
        [b'{"line": 3, "outcome": "refused", "detail": "There is no job 7."}'],
    )
    other = "Somebody's own words, without a translation."
    with translation.override("ru"):
        said = stored.refusal_shown(refused.detail)
        assert said.startswith("Строка 3: Задания 7 нет. Ничего не записано")
        assert "в 2 строках" in said
        assert stored.refusal_shown(other) == other
        gone = delivering.GONE_REASON % {"code": 410, "number": 12}
        assert stored.shown(gone) == "Получатель ответил на событие 12: 410 (Gone)."
    assert stored.refusal_shown(refused.detail) == refused.detail
