"""The changes that are scheduled for a subscription, and the subscriptions of a change."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from price_changes.errors import ChangeError
from price_changes.kinds.relations import fetch
from price_changes.models import PriceChange
from price_changes.planning import definition
from price_changes.planning.around import NAMED, NAMES, named
from price_changes.planning.pending import pending_of
from price_changes.planning.preview import listed
from price_changes.running import lifecycle
from price_changes.tests.changes import SECOND, applied, approved, clock, planned
from services.models import Service, Subscription
from services.reading import access_paths, pages, scheduled
from services.reading.access_paths import access_path
from services.reading.filters import BookFilter
from services.reading.total import total_amount
from services.tests.factories import a_book, a_plan, a_reader, a_service, a_subscription
from services.tests.plans import most_rows
from services.transfer import chunks
from services.transfer.formats import NDJSON

pytestmark = pytest.mark.django_db

LIST = "/api/subscriptions/"


# The names of each change, by SQL.
NAMED_OF = f"SELECT id, {NAMED}::text FROM price_changes_pricechange change"


def later():
    return clock() + timedelta(hours=1)


def every_kind(book):
    """A scheduled change of each kind, and two that are not scheduled."""
    first, last, at = book.first(), book.last(), later()
    book.filter(pk=first.pk).update(price_state="locked")
    book.filter(pk=book.all()[3].pk).update(ended_at=clock())
    back = lifecycle.revert(applied(planned(
        kind="set", adjustment="add", operand=2, filter={"comment_prefix": "row 1"}
    )).pk, "ann")  # fmt: skip
    changes = [
        approved(planned(
            kind="set", adjustment="release", effective_at=at - SECOND,
            filter={"service": first.service_id, "price_state": "locked", "state": "active"},
        )),
        approved(planned(
            kind="set", adjustment="lock", effective_at=at - SECOND,
            filter={"email": last.client.user.email, "comment_prefix": "row"},
        )),
        approved(planned(
            kind="list_price", service=first.service_id, new_value=1, effective_at=at
        )),
        approved(planned(kind="discount", plan=last.plan_id, new_value=50, effective_at=at)),
        approved(planned(
            kind="list_price", service=last.service_id, new_value=7, for_new_only=True,
            effective_at=at + SECOND,
        )),
        lifecycle.approve(back.pk, back.fingerprint, "ann", effective_at=at + 3 * SECOND),
    ]  # fmt: skip
    planned(kind="set", adjustment="add", operand=1)
    lifecycle.cancel(
        approved(planned(kind="set", adjustment="add", operand=1, effective_at=at)).pk, "ann"
    )
    return changes


def expected_of(changes):
    """For each subscription the changes that would move it, by the list old → new."""
    moves = {change.pk: {row.subscription for row in listed(change, 0, 1000, "moves")}
             for change in changes}  # fmt: skip
    assert all(moves.values()), moves
    return moves


def found(**given):
    page = a_reader().get(LIST, {"page_size": 1000, **given})
    assert page.status_code == 200, page.data
    ids = [row["id"] for row in page.data["result"]]
    prices = Subscription.objects.filter(pk__in=ids).values_list("price", flat=True)
    # The total is that of the rows, and so is what /api/totals/ says and the stream sends.
    assert (page.data["count"], page.data["total_amount"]) == (len(ids), sum(prices))
    together = a_reader().get("/api/totals/", {"by": "service", **given}).data
    paid = (page.data["paid_count"], page.data["paid_amount"])  # of the rows: one has ended
    assert (together["count"], together["total_amount"]) == paid
    text = b"".join(a_reader().get(LIST, {"format": "ndjson", **given}).streaming_content)
    assert [json.loads(line)["id"] for line in text.splitlines()[:-1]] == ids
    return set(ids)


class TestNames:
    def test_are_the_same_in_python_and_in_sql(self):
        book = a_book(60, services=3, plans=2)
        every_kind(book)
        row = book.first()
        which = {"client": row.client_id, "plan": row.plan_id, "subscription": row.pk}
        planned(kind="set", adjustment="add", operand=1, filter=which)
        by_sql = {pk: json.loads(names) for pk, names in fetch(NAMED_OF, [])}
        assert by_sql == {change.pk: named(change) for change in PriceChange.objects.all()}
        assert {name for names in by_sql.values() for name in names} == set(NAMES)


class TestFilter:
    def test_finds_what_each_would_move(self):
        book = a_book(60, services=3, plans=2)
        moves = expected_of(every_kind(book))
        for change, ids in moves.items():
            assert found(pending=change) == ids
        some = set().union(*moves.values())
        everything = set(Subscription.objects.values_list("pk", flat=True))
        assert found(pending="true") == some != everything
        assert found(pending="false") == everything - some

    def test_goes_with_every_other_filter_and_ordering(self):
        book = a_book(60, services=3, plans=2)
        some = set().union(*expected_of(every_kind(book)).values())
        one = book.last()
        for given in (
            {"service": one.service_id},
            {"plan_type": one.plan.plan_type},
            {"plan_type": one.plan.plan_type, "plan": one.plan_id},
            {"client": one.client_id},
            {"source": one.source, "comment_prefix": "row 2"},
            {"q": one.client.company_name},
            {"started_from": "2020-01-01T00:00:00Z"},
            {"price_from": "50", "price_state": "follows"},
        ):
            for word in ("true", "false"):
                matching = BookFilter.of(given).subscriptions()
                ids = set(matching.values_list("pk", flat=True))
                assert found(pending=word, **given) == (
                    ids & some if word == "true" else ids - some
                )
        for ordering in ("-id", "price", "-client_name", "started_at"):
            walked, url = [], f"{LIST}?pending=true&ordering={ordering}&page_size=7"
            while url:
                page = a_reader().get(url).data
                walked += [row["id"] for row in page["result"]]
                url = page["next"]
            assert len(walked) == len(some)
            assert set(walked) == some

    def test_of_what_is_not_scheduled_finds_nothing(self):
        a_book(5)
        change = planned(kind="set", adjustment="add", operand=1)
        for word in (change.pk, 2**63 - 1, "true"):
            assert found(pending=word) == set()
        assert len(found(pending="false")) == 5

    def test_is_judged_as_of_the_instant(self):
        one, other = a_subscription(), a_subscription()
        at = later()
        for subscription, until in ((one, at - SECOND), (other, at + SECOND)):
            Subscription.objects.filter(pk=subscription.pk).update(
                price_state="locked", locked_until=until
            )
        change = approved(planned(
            kind="set", adjustment="percent", operand=5, effective_at=at
        ))  # fmt: skip
        assert found(pending=change.pk) == {one.pk}

    def test_costs_two_queries_more(self):
        every_kind(a_book(60, services=3, plans=2))
        # 3 queries: * scheduled changes * instants at which rows stand otherwise * the page
        for given in ("true", "false"):
            with CaptureQueriesContext(connection) as queries:
                a_reader().get(LIST, {"pending": given})
            assert len(queries) == 3

    @pytest.mark.django_db(transaction=True)
    def test_gets_no_etag_for_what_is_scheduled_moves_without_the_book(self):
        a_book(5)
        answer = a_reader().get(f"{LIST}?pending=false")
        assert "ETag" not in answer
        assert answer.data["count"] == 5
        approved(planned(kind="set", adjustment="add", operand=1, effective_at=later()))
        assert a_reader().get(f"{LIST}?pending=false").data["count"] == 0
        assert total_amount(BookFilter.of({"pending": "false"})).subscriptions == 0

    @pytest.mark.parametrize("value", ["", "yes", "TRUE", "0", "-1", "1.0", "٣", "9" * 30, "null"])
    def test_refuses_what_it_is_not(self, value):
        answer = a_reader().get(LIST, {"pending": value})
        assert answer.status_code == 400
        assert answer.data["parameter"] == "pending"

    def test_is_no_part_of_a_change(self):
        a_subscription()
        for value in (True, "false", 1):
            with pytest.raises(ChangeError) as refused:
                definition.plan(
                    {"kind": "set", "adjustment": "lock", "filter": {"pending": value}}, "ann"
                )
            assert refused.value.code == "not_for_a_change"

    def test_goes_not_with_as_of(self):
        answer = a_reader().get(f"{LIST}?pending=true&as_of=2026-01-01T00:00:00Z")
        assert (answer.status_code, answer.data["code"]) == (400, "not_with_as_of")


class TestServedAtSize:
    def test_judges_so_many_rows_and_no_more(self, monkeypatch):
        book = a_book(30, services=3)
        one = book.first()
        for amount in (1, 2):
            approved(planned(kind="set", adjustment="add", operand=amount, effective_at=later()))
        monkeypatch.setattr(access_paths, "JUDGED_ROWS", 59)
        for given in ({}, {"source": one.source}, {"q": "Company"}, {"ordering": "price"}):
            answer = a_reader().get(LIST, {"pending": "true", **given})
            assert (answer.status_code, answer.data["code"]) == (400, "not_served_at_size")
            assert "59 with pending" in answer.data["detail"]
        together = a_reader().get("/api/totals/?pending=true")
        assert (together.status_code, together.data["code"]) == (400, "not_served_at_size")
        assert (together.data["parameter"], together.data["value"]) == ("pending", "true")
        for given in ({"service": one.service_id}, {"client": one.client_id}):
            assert a_reader().get(LIST, {"pending": "true", **given}).status_code == 200
        monkeypatch.setattr(access_paths, "JUDGED_ROWS", 60)
        for path in (LIST, "/api/totals/"):
            assert a_reader().get(f"{path}?pending=true").status_code == 200

    def test_of_more_changes_than_can_be_asked_for_says_so(self, monkeypatch):
        a_subscription()
        for _ in range(3):
            change = planned(kind="set", adjustment="add", operand=1, effective_at=later())
            approved(change)
        monkeypatch.setattr(scheduled, "MOST_SCHEDULED", 2)
        for format in ("json", "csv"):
            answer = a_reader().get(f"{LIST}?pending=true&format={format}")
            assert (answer.status_code, answer.json()["code"]) == (400, "too_many_scheduled")
        assert len(found(pending=change.pk)) == 1

    def test_reads_few_rows_where_another_filter_leaves_few(self):
        book = a_book(4000, services=4, plans=1, clients=400)
        approved(planned(
            kind="list_price", service=book.first().service_id, new_value=7, effective_at=later()
        ))  # fmt: skip
        back = lifecycle.revert(applied(planned(
            kind="set", adjustment="add", operand=2
        )).pk, "ann")  # fmt: skip
        lifecycle.approve(back.pk, back.fingerprint, "ann", effective_at=later())
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE services_subscription, services_ledgerentry")
        given = {"client": book.first().client_id, "pending": "true"}
        sql, params = pages.statement(access_path(BookFilter.of(given)), None, 100)
        assert most_rows(sql, params) < 1000  # of 4,000; a few hundred clients

    def test_asks_for_each_row_by_itself(self):
        """It makes no hash of all rows that a change moves, which may be the whole book."""
        book = a_book(4000, services=4, plans=1)
        approved(planned(kind="set", adjustment="add", operand=1, effective_at=later()))
        for given in ({}, {"service": book.first().service_id}, {"source": book.first().source}):
            wanted = BookFilter.of({"pending": "true", **given})
            sql, params = pages.statement(access_path(wanted), None, 100)
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", params)
                assert "hashed" not in str(cursor.fetchall())

    def test_judges_the_rows_of_a_chunk_and_not_the_book(self):
        book = a_book(6000, services=4, plans=1)
        approved(planned(
            kind="list_price", service=book.first().service_id, new_value=7, effective_at=later()
        ))  # fmt: skip
        for given in ({}, {"source": book.first().source}):
            wanted = BookFilter.of({"pending": "true", **given})
            sql, params = chunks.statement(NDJSON, wanted, 0, 500)
            assert most_rows(sql, params) <= 1000


class TestPendingOf:
    def test_are_those_that_would_move_it(self):
        book = a_book(60, services=3, plans=2)
        changes = every_kind(book)
        moves = expected_of(changes)
        for subscription in book:
            expected = [change for change in changes if subscription.pk in moves[change.pk]]
            assert [change for change, _ in pending_of(subscription.pk)] == expected

    def test_costs_three_queries_however_much_is_scheduled(self):
        service, plan = a_service(full_price=100), a_plan(0)
        one = a_subscription(service=service, plan=plan)
        at = later()
        for number in range(1, 4):
            approved(planned(
                kind="list_price", service=service.pk, new_value=number, effective_at=at
            ))  # fmt: skip
            # 3 queries: * scheduled changes that may concern it * instants at which rows stand
            # otherwise * what these make of its price
            with CaptureQueriesContext(connection) as queries:
                prices = [price for _, price in pending_of(one.pk)]
            assert (len(queries), prices) == (3, list(range(1, number + 1)))
            with CaptureQueriesContext(connection) as queries:
                a_reader().get(f"{LIST}{one.pk}/")
            # * the subscription, and whether changes are scheduled * those three
            assert len(queries) == 4

    def test_of_a_set_stand_upon_what_comes_before_it(self):
        one = a_subscription(service=a_service(100), plan=a_plan(0))
        at = later()
        approved(planned(
            kind="list_price", service=one.service_id, new_value=200, effective_at=at
        ))  # fmt: skip
        change = approved(planned(
            kind="set", adjustment="percent", operand=10, effective_at=at + SECOND
        ))  # fmt: skip
        assert [price for _, price in pending_of(one.pk)] == [200, 220]
        assert [row.new_price for row in listed(change)] == [220]

    def test_asks_no_change_that_names_another(self):
        book = a_book(60, services=3, plans=2)
        every_kind(book)
        idle = a_subscription(service=a_service(5), plan=a_plan(99)).pk
        with CaptureQueriesContext(connection) as queries:
            pending_of(idle)
        # Two of six: * the set of an e-mail * the revert
        assert queries[2]["sql"].count("change_row") == 2

    def test_of_one_that_is_not_there_is_empty(self):
        every_kind(a_book(60, services=3, plans=2))
        assert pending_of(2**62) == []

    def test_reads_the_row_and_not_the_book(self, empty_files):
        book = a_book(subscriptions=3000, services=1, plans=1)
        at = later()
        approved(planned(kind="set", adjustment="add", operand=1, effective_at=at))
        approved(planned(
            kind="list_price", service=Service.objects.get().pk, new_value=150, effective_at=at
        ))  # fmt: skip
        back = lifecycle.revert(applied(planned(
            kind="set", adjustment="add", operand=2
        )).pk, "ann")  # fmt: skip
        lifecycle.approve(back.pk, back.fingerprint, "ann", effective_at=at)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE services_subscription, services_ledgerentry")
        with CaptureQueriesContext(connection) as queries:
            assert len(pending_of(book.last().pk)) == 2
        assert most_rows(queries[1]["sql"]) < 10


class TestAdmin:
    def test_finds_them_too(self, admin_client):
        book = a_book(60, services=3, plans=2)
        some = set().union(*expected_of(every_kind(book)).values())
        url = reverse("admin:services_subscription_changelist")
        for word, expected in (("true", len(some)), ("false", 60 - len(some))):
            page = admin_client.get(url, {"pending": word})
            assert page.context["cl"].paginator.count == expected
