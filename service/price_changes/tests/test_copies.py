"""A page reads the tables only while none of their copies is late."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from price_changes.tests.changes import SECOND, approved, clock, drained, planned
from services import price_state, repricing
from services.models import Service, Subscription
from services.models.in_force import VIEWS
from services.reading import pages
from services.reading.copies import IS_LATE, from_copies
from services.reading.filters import BookFilter
from services.tests.factories import a_book

pytestmark = pytest.mark.django_db

HOUR = 3600 * SECOND
FILTERS = [{}, {"price_state": "follows"}, {"price_from": 50}, {"plan_type": "full"}]


@pytest.fixture
def book():
    rows = a_book(12)
    price_state.lock(rows.first().pk, clock() + HOUR, "for a while", "ann")
    return rows


def read(given):
    """The ids and prices of a page, its total, and how often the database was asked."""
    with CaptureQueriesContext(connection) as queries:
        found = pages.page(BookFilter(**given), None, 100)
    views = [any(view in query["sql"] for view in VIEWS.values()) for query in queries]
    return [(row["id"], row["price"]) for row in found.result], found.total, views


def in_force(given):
    rows = Subscription.objects.in_force().filter(BookFilter(**given).condition())
    found = list(rows.order_by("pk").values_list("pk", "price"))
    return found, sum(price for _, price in found)


def said_late():
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {IS_LATE}, copies_late_since(book_now()) IS NOT NULL")
        by_page, by_views = cursor.fetchone()
    assert by_page == by_views
    return by_page


def a_list_price_comes(book, moved_clock):
    at = clock() + HOUR / 2
    approved(planned(
        kind="list_price", service=book.last().service_id, new_value=777, effective_at=at
    ))  # fmt: skip
    moved_clock.to(at)


def a_list_price_has_begun(book, moved_clock):
    Service.objects.filter(pk=book.last().service_id).update(full_price=777)
    repricing.plan_due()


def a_lock_ends(book, moved_clock):
    moved_clock.passes(1.5 * HOUR)


LATE = [a_list_price_comes, a_list_price_has_begun, a_lock_ends]


@pytest.mark.parametrize("given", FILTERS)
def test_a_page_is_one_statement_upon_the_tables(book, given):
    assert not said_late()
    rows, total, views = read(given)
    assert (rows, total.amount) == in_force(given)
    assert views == [False]


@pytest.mark.parametrize("given", FILTERS)
@pytest.mark.parametrize("late", LATE)
def test_a_page_is_what_is_in_force_while_a_copy_is_late(book, moved_clock, late, given):
    before = list(Subscription.objects.order_by("pk").values_list("pk", "price"))
    late(book, moved_clock)
    assert said_late()
    # Nothing has been copied: this is about readers.
    assert list(Subscription.objects.order_by("pk").values_list("pk", "price")) == before
    rows, total, views = read(given)
    assert (rows, total.amount) == in_force(given)
    assert views == [False, True]
    assert read(given) == (rows, total, [True])


def test_the_tables_are_read_again_once_nothing_is_late(book, moved_clock):
    a_list_price_comes(book, moved_clock)
    assert [read({})[2], read({})[2]] == [[False, True], [True]]
    drained()
    assert not said_late()
    rows, total, views = read({})
    assert (rows, total.amount) == in_force({})
    assert views == [True]
    assert read({}) == (rows, total, [False])


def test_names_of_views_are_replaced_by_those_of_their_tables():
    text = from_copies(" ".join(VIEWS.values()))
    assert not any(view in text for view in VIEWS.values())
    assert "FROM services_subtotal" in text
    assert from_copies("SELECT price_in_force, my_plan_in_force") == (
        "SELECT price_in_force, my_plan_in_force"
    )
