"""Locked and negotiated prices travel: there and back, and into a book by `--update`."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from services import price_state, repricing
from services.audit import book_check
from services.models import Service, Subscription, WholeLedger, book_clock
from services.moves import NeedsAnotherPerson
from services.reading.total import figures
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.test_import_export import (
    as_csv,
    empty_the_book,
    everything,
    lines,
    problems,
    read,
    the_problem,
    without_ids,
    xmins,
)
from services.tests.test_import_outcomes import outcomes_of
from services.transfer.exporting import export_book
from services.transfer.sheets import workbook
from services.transfer.sheets.excel_csv import ExcelCSV

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
STATE = {"price_state": "", "price": "", "locked_until": "", "price_reason": ""}
DEAL = STATE | {"price_state": "negotiated", "price": "15.00", "price_reason": "deal"}
FOLLOWS = STATE | {"price_state": "follows"}


FORMS = {
    "programs": None,
    "ru": ExcelCSV.of("ru").write,
    "en": ExcelCSV.of("en").write,
    "workbook": workbook.write,
}
ODD = [
    *("=1+1", "+1", "-1", "@x", '="x"', '="a"&"b"', '=""', "'=1", "00123", "1E5", "12 May", "TRUE"),
    *("ИСТИНА", "50%", "12,50", "2026-10-01", "# end", "sep=;", "<r>x</r>", "_x000D_", 'b;"c"'),
    *("a\nb", "ä\N{SNOWMAN}", "7" * 50, "https://example.com", "internal:About!A1", "#N/A"),
]


def exported(form: str = "programs") -> bytes:
    out = io.BytesIO()
    export_book(out, sheet=FORMS[form])
    return out.getvalue()


def every_state() -> None:
    now = book_clock()
    service, plan, client = a_service("19.99"), a_plan(33), a_client()
    for number, (starts, ends) in enumerate(
        [(-9, None), (-9, 2), (1, None), (1, 3), (-9, -1), (-8, -2)]
    ):
        for state in ("follows", "locked", "locked until", "negotiated"):
            row = a_subscription(
                client, service, plan, started_at=now + starts * DAY, comment=f"{state} {number}"
            )
            if state == "negotiated":
                price_state.negotiate(row.pk, f"{number}.07", 'a "deal", really\nso', "ann")
            elif state != "follows":
                until = now + (number + 1) * DAY / 2 if "until" in state else None
                price_state.lock(row.pk, until, "promised", "ann")
            if ends is not None:
                Subscription.objects.filter(pk=row.pk).update(ended_at=now + ends * DAY)
    Subscription.objects.filter(comment="locked 0").update(stamp="stamped")
    Service.objects.filter(pk=service.pk).update(full_price=30)
    repricing.reprice()


def odd_texts() -> None:
    """A subscription for each odd text, at odd times."""
    plan = a_plan(10)
    for number, text in enumerate(ODD):
        a_subscription(
            a_client(text, email=f"{number}@example.com", full_address=text),
            a_service("9999999999.99", name=f"{text[:40]} {number}"),
            plan,
            comment=text,
            source="=erp",
            external_id=text,
            started_at=datetime(2026, 10, 25, 0, number, tzinfo=UTC),  # clocks show these twice
            ended_at=None if number % 2 else datetime(2030, 7, 1, 12, 30, number, tzinfo=UTC),
        )


def as_it_stands(moved_clock, days):
    """The rows in force and the figures, now and after each of some days."""
    found = []
    for _ in range(days):
        rows = Subscription.objects.in_force().order_by("pk").values_list(
            "comment", "price", "price_state", "locked_until", "price_reason", "ended_at"
        )  # fmt: skip
        active = [row for row in rows if row[-1] is None or row[-1] > book_clock()]
        ended = [row[:2] for row in rows if row not in active]
        found.append((active, ended, figures()))
        moved_clock.passes(DAY)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_book_of_every_state_is_equal_to_that_of_its_file(moved_clock, settings, form):
    settings.TIME_ZONE = "Europe/Berlin"
    every_state()
    odd_texts()
    content, before, now = exported(form), everything(), book_clock()
    as_programs_get_it = exported()
    later = as_it_stands(moved_clock, 5)
    moved_clock.to(now)
    unmoved = xmins()
    assert read(content).subscriptions_same == len(before)
    assert xmins() == unmoved

    empty_the_book()
    read(content)
    assert everything() == before
    assert without_ids(exported()) == without_ids(as_programs_get_it)
    assert not book_check.check().differs
    assert as_it_stands(moved_clock, 5) == later
    repricing.lock_ends.release_ended()
    assert not book_check.check().differs


@pytest.mark.parametrize(
    ("change", "column", "reason"),
    [
        (DEAL | {"price": ""}, "price", "is missing"),
        (DEAL | {"price_state": "gone"}, "price_state", "follows, locked, negotiated"),
        (DEAL | {"locked_until": "2999-01-01"}, "locked_until", "price_state locked alone"),
        (DEAL | {"price_state": "locked", "locked_until": "2026-01-02"}, "locked_until", "passed"),
        (FOLLOWS | {"price_reason": "why"}, "price_reason", "locked or negotiated"),
        (FOLLOWS | {"price": "15.00"}, "price", "say its price_state"),
    ],
)
def test_half_a_state_is_refused(change, column, reason):
    problem = the_problem(lines(change))
    assert (problem.line, problem.column) == (2, column)
    assert reason in problem.reason


def test_the_columns_of_a_state_go_together():
    assert the_problem(as_csv(lines({"price_state": "follows", "price_reason": ""}))).value == (
        "locked_until"
    )


def test_states_are_written_as_the_verbs_do():
    read(lines({}, {}, {}, {}))
    rows = list(Subscription.objects.order_by("pk"))
    price_state.negotiate(rows[1].pk, 11, "old", "ann")
    price_state.lock(rows[2].pk, None, "old", "ann")
    price_state.negotiate(rows[3].pk, 12, "kept", "ann")
    until = (book_clock() + DAY).isoformat()
    edited = lines(
        DEAL,
        FOLLOWS,
        {**DEAL, "price_state": "locked", "price": "20", "locked_until": until},
        STATE | {"comment": "said"},
    )
    assert {each.column for each in problems(edited)} == {*DEAL, "comment"}
    found = outcomes_of(edited, update=True)
    assert found[0].differences == {
        "price_state": ("follows", "negotiated"), "price": ("20.00", "15.00"),
        "price_reason": ("", "deal"),
    }  # fmt: skip
    assert [each.outcome for each in found] == ["changed"] * 4
    stand = Subscription.objects.order_by("pk").values_list("price", "price_state", "price_reason")
    assert list(stand) == [
        (Decimal(15), "negotiated", "deal"),
        (Decimal(20), "follows", ""),
        (Decimal(20), "locked", "deal"),
        (Decimal(12), "negotiated", "kept"),
    ]
    assert {each.outcome for each in outcomes_of(edited, update=True)} == {"unchanged"}
    assert not book_check.check().differs
    assert WholeLedger.objects.filter(subscription_id=rows[0].pk).count() == 2


def test_a_line_may_move_and_say_a_state():
    read(lines(DEAL))
    a_service(50, name="DSL")
    read(lines(DEAL | {"service": "DSL", "full_price": "50"}), update=True)
    row = Subscription.objects.get()
    assert (row.service.name, row.price, row.price_state) == ("DSL", 15, "negotiated")


def test_a_lock_or_a_deal_without_a_reason_is_refused_where_it_is_made():
    read(lines({}))
    problem = the_problem(lines(DEAL | {"price_reason": ""}), update=True)
    assert (problem.line, problem.column) == (2, "price_reason")


@pytest.mark.parametrize("state", [DEAL, DEAL | {"price_state": "locked", "price": "20"}])
def test_a_state_counts_for_the_limits(state, settings):
    read(lines({}))
    settings.APPROVAL_BY_ANOTHER = True
    with pytest.raises(NeedsAnotherPerson):
        read(lines(state), update=True)
    assert Subscription.objects.get().price_state == "follows"
