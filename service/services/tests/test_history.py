"""The past of a book, brought in from a file: effective then, recorded now."""

import csv
import io
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction

from services import corrections, ledger, repricing
from services.audit import book_check
from services.corrections import Line
from services.ledger.point_in_time import as_of
from services.models import Correction, Service, Subscription, book_clock
from services.past.exporting import export_history
from services.past.importing import import_history
from services.tests.factories import a_plan, a_service, a_subscription
from services.tests.test_import_export import as_csv, read
from services.transfer.csv_file import BadBook
from services.transfer.exporting import export_book

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
ID = {"source": "crm", "external_id": "1"}


@pytest.fixture
def now():
    return book_clock()


@pytest.fixture
def one(now):
    """It pays 20, as its service says, and has done so for 100 days."""
    return a_subscription(service=a_service(20), plan=a_plan(0), started_at=now - 100 * DAY, **ID)


def bring(rows, **options):
    return import_history(io.BytesIO(as_csv(rows)), **options)


def the_problem(rows):
    with pytest.raises(BadBook) as bad, transaction.atomic():
        bring(rows)
    assert not Correction.objects.exists()
    [problem] = bad.value.problems
    return problem


def at(instant, **given):
    return ID | {"effective_at": instant.isoformat()} | given


def paid(ids, instant, known_at=None):
    """The price that each of the subscriptions paid then."""
    sql, params = as_of(instant, among=ids, known_at=known_at)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return {row[0]: row[4] for row in cursor.fetchall()}


class TestLines:
    def test_are_effective_then_and_recorded_now(self, one, now):
        known = book_clock()
        brought = bring(
            [
                at(now - 100 * DAY, price="15", comment="old system"),
                at(now - 60 * DAY, price="18.50"),
                at(now - 30 * DAY, price="20"),
            ],
            author="ann",
        )
        assert (brought.lines, brought.corrected, brought.moved.rows) == (3, 2, 1)
        instants = [now - days * DAY for days in (100, 61, 60, 31, 30, 1)]
        assert [float(paid([one.pk], each)[one.pk]) for each in instants] == [
            15, 15, 18.5, 18.5, 20, 20,
        ]  # fmt: skip
        assert paid([one.pk], instants[0], known_at=known) == {one.pk: 20}
        assert ledger.total_as_of(instants[1]).amount == 15
        told = [each for each in ledger.history(one.pk) if each["correction_id"]]
        assert [(each["effective_at"], each["price"]) for each in told] == [
            (instants[0], 15), (instants[2], Decimal("18.50")), (instants[4], 20),
        ]  # fmt: skip
        assert [each["correction_reason"] for each in told] == ["old system", "history", "history"]
        explained = ledger.explain(one.pk, instants[1])
        assert (explained.price, explained.author) == (15, "ann")
        one.refresh_from_db()
        assert (one.price, one.price_state) == (20, "follows")
        assert not book_check.check().differs

    def test_that_say_what_the_book_tells_write_nothing(self, one, now):
        assert bring([at(now - 100 * DAY, price="20")]).corrected == 0
        bring([at(now - 100 * DAY, price="15"), at(now - 50 * DAY, price="20")])
        assert (
            bring([at(now - 100 * DAY, price="15"), at(now - 50 * DAY, price="20")]).corrected == 0
        )
        assert Correction.objects.count() == 1

    def test_last_to_their_own_end_or_to_the_next_move(self, moved_clock, one, now):
        moved_clock.passes(DAY)
        Service.objects.update(full_price=30)
        repricing.reprice()
        moved_clock.passes(DAY)
        bring([at(now - 50 * DAY, price="10", until=(now - 40 * DAY).isoformat()),
               at(now - 20 * DAY, price="11")])  # fmt: skip
        instants = [now - 51 * DAY, now - 50 * DAY, now - 40 * DAY, now - 20 * DAY, now]
        assert [paid([one.pk], each)[one.pk] for each in instants] == [20, 10, 20, 11, 11]
        assert paid([one.pk], now + 25 * timedelta(hours=1))[one.pk] == 30

    def test_in_a_dry_run_write_nothing(self, one, now):
        brought = bring([at(now - 9 * DAY, price="1"), at(now - DAY, price="20")], dry_run=True)
        assert (brought.corrected, Correction.objects.exists()) == (1, False)

    def test_are_refused_whole_each_with_its_reason(self, one, now):
        alike = [a_subscription(client=one.client, service=one.service, plan=one.plan,
                                started_at=now - 9 * DAY) for _ in range(2)]  # fmt: skip
        named = {"email": one.client.user.email, "service": one.service.name,
                 "started_at": (now - 9 * DAY).isoformat()}  # fmt: skip
        before = now - 100 * DAY
        for rows, column, reason in [
            ([at(before - DAY, price="1")], "effective_at", "before the start"),
            ([at(now + DAY, price="1")], "effective_at", "has not passed"),
            ([at(before, price="1"), at(before, price="2")], "effective_at", "on line 2 too"),
            ([at(before, price="1", until=before.isoformat())], "until", "is not after"),
            ([at(before, price="1", until=(now - DAY).isoformat()), at(now - 2 * DAY, price="20")],
             "until", "next line begins"),
            ([at(before, price="1")], "price", "does not meet the price in force, 20.00"),
            ([at(before, price="x")], "price", "is not a price"),
            ([at(before, price="1", external_id="2")], "external_id", "'crm' in the book"),
            ([at(before, price="1", external_id="")], "", "names no subscription"),
            ([at(before, price="1", **dict.fromkeys(ID, ""), subscription=str(2**62))],
             "subscription", "is no subscription"),
            ([at(now - DAY, price="1", **dict.fromkeys(ID, "")) | named], "email",
             f"{alike[0].pk}, {alike[1].pk}"),
        ]:  # fmt: skip
            problem = the_problem(rows)
            assert (problem.column, problem.line) == (
                column,
                len(rows) + 1 - (column == "until" and len(rows) > 1),
            )
            assert reason in problem.reason


def test_a_book_and_its_past_make_an_empty_book_that_tells_the_same(moved_clock):
    began = moved_clock.now()
    services = [a_service(20, name="Phone"), a_service(50, name="DSL")]
    half = a_plan(50)
    book = [
        a_subscription(
            service=services[n % 2], plan=half if n % 3 else a_plan(0), started_at=began - n * DAY,
            **({"source": "crm", "external_id": str(n)} if n % 4 else {}),
        )
        for n in range(1, 9)
    ]  # fmt: skip
    book += [  # named alike: one has an id elsewhere, and one is of another price
        a_subscription(
            book[3].client, book[3].service, plan, started_at=book[3].started_at, comment="another",
            **others,
        )
        for plan, others in ((half, {}), (a_plan(10), {"source": "crm", "external_id": "x"}))
    ]  # fmt: skip
    moved_clock.passes(5 * DAY)
    services[0].full_price = 30
    services[0].save()
    repricing.reprice()
    moved_clock.passes(5 * DAY)
    corrections.correct([Line(book[2].pk, began + DAY, Decimal(7), began + 3 * DAY)], "x", "ann")
    Subscription.objects.filter(pk=book[3].pk).update(ended_at=moved_clock.now())
    moved_clock.passes(5 * DAY)
    services[1].full_price = 40
    services[1].save()
    repricing.reprice()
    moved_clock.passes(DAY)
    instants = [began + n * DAY / 2 for n in range(-18, 32)]

    def told(ids):
        rows = Subscription.objects.select_related("client__user", "service").in_bulk(ids)
        return [
            {(each.client.user.email, each.service.name, each.started_at, each.external_id,
              each.comment): price
             for id, price in paid(ids, at).items() if (each := rows.get(id))}
            for at in instants
        ]  # fmt: skip

    ids = [each.pk for each in book]
    expected = told(ids)
    assert len({frozenset(each.values()) for each in expected}) > 5
    file, past = io.BytesIO(), io.BytesIO()
    export_book(file)
    lines = export_history(past)
    assert lines == len(list(csv.reader(io.StringIO(past.getvalue().decode())))) - 1 > len(book)
    Subscription.objects.all().delete()
    read(file.getvalue())
    fresh = list(Subscription.objects.order_by("pk").values_list("pk", flat=True))
    assert told(fresh) != expected
    past.seek(0)
    import_history(past)
    assert told(fresh) == expected
    again = io.BytesIO()
    export_history(again)
    assert again.getvalue() == past.getvalue()
    assert not book_check.check().differs
