"""A set moves all rows in one commit, judged by what was recorded by its instant.

Later writes, and writes while a worker lists the rows, are neither lost nor in the way.
"""

from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.urls import reverse

from price_changes.kinds.rows import rows_sql
from price_changes.models import ListedRows, PriceChange
from price_changes.planning import status_now
from price_changes.planning.counting import BUCKET_OF_PERCENT, PERCENT, PREVIEW, count
from price_changes.planning.preview import listed
from price_changes.running import lifecycle, listing, outcomes
from price_changes.tests.changes import (
    SECOND,
    accounted,
    approved,
    clock,
    drained,
    planned,
    reverted,
    scheduled,
    stands,
    started,
)
from pricebook.tests.servers import until
from services import price_state, repricing
from services.audit import book_check
from services.ledger.page import one_as_of
from services.ledger.point_in_time import as_of
from services.models import (
    Clock,
    LockEnd,
    Plan,
    RepricingStep,
    Service,
    Subscription,
    WholeLedger,
)
from services.repricing import chunks, lock_ends
from services.tests.factories import (
    a_book,
    a_client,
    a_plan,
    a_reader,
    a_service,
    a_subscription,
)
from services.tests.interleaving import CREATE, a_person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def row():
    return a_subscription(a_client(), a_service(20), a_plan(0))


def a_raise(**values):
    return planned(kind="set", adjustment="add", operand=5, **values)


def paid(subscription, at):
    """Price and state at an instant, as readers get them; None if nothing is paid."""
    sql, params = as_of(at, subscription_id=subscription.pk)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        found = cursor.fetchone()
    return found and found[4:6]


def create_like(row, person):
    person.execute(CREATE + "(%s, %s, %s, '')", [row.client_id, row.service_id, row.plan_id])


def right():
    report = book_check.check()
    return not report.differs and not report.waiting


class TestOneCommit:
    def test_lists_and_moves_all_rows(self):
        book = a_book(subscriptions=20, services=2, plans=2)
        change = approved(a_raise(), "current")
        assert started()
        change.refresh_from_db()
        assert (change.status, book.filter(price_state="negotiated").count()) == ("applied", 20)
        assert not RepricingStep.objects.exists()
        assert not ListedRows.objects.exists()
        entries = WholeLedger.objects.filter(change_id=change.pk)
        assert entries.values("xact").distinct().count() == 1
        assert right()

    def test_of_ids_that_lie_far_apart(self, monkeypatch):
        book = a_book(subscriptions=20, services=1, plans=1)
        monkeypatch.setattr(chunks, "CHUNK", 3)  # so many ids of a pair in a stretch of the list
        change = approved(a_raise(), "current")
        assert started()
        change.refresh_from_db()
        assert (change.status, book.filter(price_state="negotiated").count()) == ("applied", 20)
        assert accounted(change)
        assert not RepricingStep.objects.exists()

    def test_has_room_for_so_many_rows(self, monkeypatch):
        book = a_book(subscriptions=20, services=2, plans=2)
        monkeypatch.setattr(chunks, "AT_ONCE", 19)
        change = approved(a_raise(), "current")
        assert started()
        change.refresh_from_db()
        assert (change.status, book.filter(price_state="negotiated").count()) == ("applying", 0)
        drained()
        change.refresh_from_db()
        assert change.status == "applied"

    def test_of_a_row_that_cannot_be_written_leaves_it_out(self, row):
        dear = a_subscription(row.client, a_service(30), row.plan)
        change = approved(a_raise(), "current")
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE services_subscription ADD CONSTRAINT refused CHECK"
                f" (id <> {dear.pk} OR price_state = 'follows') NOT VALID"
            )
        try:
            drained()
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE services_subscription DROP CONSTRAINT refused")
        found = outcomes.outcome(change)
        assert (found["applied"], found["failed"]) == (1, 1)
        assert stands(row)[0] == 25

    def test_comes_when_whoever_holds_a_row_has_ended(self, row):
        other = a_subscription(row.client, a_service(30), row.plan)
        change = approved(a_raise(), "current")
        with a_person() as person:
            person.execute("UPDATE services_subscription SET comment = 'x' WHERE id = %s", [row.pk])
            assert not started()
            assert stands(other)[0] == 30
            person.commit()
        assert started()
        assert (stands(row)[0], stands(other)[0]) == (25, 35)
        assert outcomes.outcome(change)["applied"] == 2


# The functions that read the catalogue, and how often each is called.
COUNTED = """
CREATE TEMP SEQUENCE asked;
CREATE OR REPLACE FUNCTION list_price_at(service bigint, at timestamptz) RETURNS numeric
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM nextval('asked');
    RETURN (SELECT full_price FROM services_service WHERE id = service);
END $$
"""


class TestItsPreview:
    def test_behind_a_list_price_asks_the_catalogue_once_for_each_service(self):
        """And once for an earlier end; for each of the 200 rows it would be read 20,200 times."""
        first = a_book(subscriptions=200, services=3, plans=2).first()
        at = clock()
        approved(planned(
            kind="list_price", service=first.service_id, new_value=7, effective_at=at + SECOND
        ))  # fmt: skip
        change = a_raise(effective_at=at + 3 * SECOND)
        Subscription.objects.filter(pk=first.pk).update(ended_at=at + 2 * SECOND)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(COUNTED)
            rows = count(change, movers=True).rows
            cursor.execute("SELECT nextval('asked') - 1")
            [asked] = cursor.fetchone()
            transaction.set_rollback(True)
        assert rows == 200
        assert asked == 2 * (3 + 1)  # there are two groupings

    def test_has_who_ends_before_at_the_price_of_the_moment_before(self, row):
        at = clock() + SECOND
        for value, later in ((7, at), (9, at + SECOND)):
            approved(planned(
                kind="list_price", service=row.service_id, new_value=value, effective_at=later
            ))  # fmt: skip
        Subscription.objects.filter(pk=row.pk).update(ended_at=at + SECOND)
        [told] = listed(a_raise(effective_at=at + 2 * SECOND))
        assert (told.old_price, told.reason) == (7, "ended")

    def test_of_the_catalogue_names_a_price_once(self, row):
        """Named wherever it is needed, a price takes 1,919 look-ups to plan, even for one row."""
        change = planned(kind="list_price", service=row.service_id, new_value=7)
        sql, params = rows_sql(change)
        with connection.cursor() as cursor:
            preview = PREVIEW.format(
                rows=sql, change=change.pk, percent=PERCENT, percents=BUCKET_OF_PERCENT
            )
            cursor.execute(f"EXPLAIN {preview}", params * 2)
            told = "\n".join(line for (line,) in cursor.fetchall())
        assert told.count("InitPlan") + told.count("SubPlan") < 200


class TestWhatWasRecordedSince:
    """A worker comes late."""

    @pytest.fixture
    def change(self, row):
        return approved(a_raise(filter={"price_state": "follows"}), "current")

    def comes(self, change, row):
        """Let a worker come; returns what was paid at the instant."""
        assert started()
        assert outcomes.outcome(change)["applied"] == 1
        assert not book_check.check().differs
        entries = WholeLedger.objects.filter(subscription_id=row.pk, period_only=False)
        assert entries.latest("pk") == entries.latest("effective_at", "pk")
        return paid(row, change.effective_at)

    def test_a_price_stands_upon_the_set(self, change, row):
        price_state.negotiate(row.pk, Decimal(9), "a deal", "ann")
        assert self.comes(change, row) == (25, "negotiated")
        assert paid(row, clock()) == (9, "negotiated")
        assert stands(row)[:2] == (9, "negotiated")

    def test_a_lock_keeps_what_was_in_force(self, change, row):
        price_state.lock(row.pk, None, "asked", "ann")
        assert self.comes(change, row) == (25, "negotiated")
        assert stands(row)[:2] == (25, "locked")

    def test_a_second_set_stands_upon_the_first_and_the_lock_upon_both(self, change, row):
        second = approved(planned(kind="set", adjustment="percent", operand=10), "current")
        price_state.lock(row.pk, None, "asked", "ann")
        assert self.comes(change, row) == (25, "negotiated")
        assert paid(row, second.effective_at) == (Decimal("27.50"), "negotiated")
        assert stands(row)[:2] == (Decimal("27.50"), "locked")
        entries = WholeLedger.objects.filter(subscription_id=row.pk, price_state="locked")
        assert [entry.price for entry in entries] == [20, 25, Decimal("27.50")]

    def test_a_lock_that_the_set_has_replaced_ends_no_more(self, row):
        price_state.lock(row.pk, clock() + SECOND / 2, "asked", "ann")
        change = approved(planned(kind="set", adjustment="lock"), "current")
        until(lambda: LockEnd.objects.filter(until__lte=Clock()).exists())
        lock_ends.release_ended()  # by a worker that does not know the set
        assert stands(row)[1] == "follows"
        assert self.comes(change, row) == (20, "locked")
        assert stands(row)[:3] == (20, "locked", None)

    @pytest.mark.parametrize("at_once", [True, False])
    def test_an_end_before_the_instant_makes_no_difference_to_it(self, monkeypatch, at_once):
        """It was recorded after the instant: a worker in time would have moved the row."""
        monkeypatch.setattr(chunks, "AT_ONCE", 4000 if at_once else 0)
        told = []
        for late in (False, True):
            row = a_subscription(a_client(), a_service(20), a_plan(0))
            change = approved(a_raise(filter={"subscription": row.pk}), "current")
            if not late:
                drained()
            before = change.effective_at - SECOND / 10_000
            Subscription.objects.filter(pk=row.pk).update(ended_at=before)
            drained()
            entries = WholeLedger.objects.filter(subscription_id=row.pk).order_by("effective_at")
            told.append(
                (
                    stands(row),
                    entries.values_list("price", "price_state", "period_only").last(),
                    paid(row, change.effective_at),
                    outcomes.outcome(change) | {"drift": None},
                    one_as_of(clock(), row.pk)[0]["price"],
                )
            )
            assert accounted(change)
        assert not book_check.check().differs
        assert told[0] == told[1]
        assert told[0][0][:2] == (20, "negotiated")

    def test_an_end_before_the_instant_leaves_what_was_said_behind_it(self, row):
        change = approved(a_raise(), "current")
        before = change.effective_at - SECOND / 10_000
        Subscription.objects.filter(pk=row.pk).update(ended_at=before)
        Subscription.objects.filter(pk=row.pk).update(price=9, price_state="negotiated")
        assert self.comes(change, row) == (25, "negotiated")
        assert stands(row)[:2] == (9, "negotiated")

    @pytest.mark.parametrize("at_once", [True, False])
    def test_who_follows_by_it_is_kept_by_one_for_new_only(self, monkeypatch, row, at_once):
        """And later changes are not applied to it."""
        monkeypatch.setattr(chunks, "AT_ONCE", 4000 if at_once else 0)
        price_state.lock(row.pk, None, "asked", "ann")
        approved(planned(kind="set", adjustment="release"), "current")
        scheduled(
            clock(), kind="list_price", service=row.service_id, new_value="150", for_new_only=True
        )
        Service.objects.filter(pk=row.service_id).update(full_price=120)
        drained()
        assert stands(row)[:2] == (20, "locked")
        assert paid(row, clock()) == (20, "locked")
        assert not WholeLedger.objects.filter(subscription_id=row.pk, price=120).exists()
        assert not book_check.check().differs

    def test_another_client_has_its_price(self, change, row):
        Subscription.objects.filter(pk=row.pk).update(client=a_client())
        assert self.comes(change, row) == (25, "negotiated")
        assert stands(row)[:2] == (25, "negotiated")
        assert paid(row, clock()) == (25, "negotiated")

    def test_another_service_has_its_own(self, change, row):
        Subscription.objects.filter(pk=row.pk).update(service=a_service(70))
        assert self.comes(change, row) == (25, "negotiated")
        assert stands(row)[:2] == (70, "follows")

    def test_who_was_deleted_paid_it_until_then(self, change, row):
        deleted = row.pk
        row.delete()
        row.pk = deleted
        assert self.comes(change, row) == (25, "negotiated")
        assert paid(row, clock()) is None

    def test_who_came_is_not_listed(self, change, row):
        came = a_subscription(row.client, row.service, row.plan)
        assert self.comes(change, row) == (25, "negotiated")
        assert stands(came)[:2] == (20, "follows")

    def test_who_follows_since_is_not_listed(self, row):
        price_state.negotiate(row.pk, Decimal(9), "a deal", "ann")
        change = approved(a_raise(filter={"price_state": "negotiated"}), "current")
        price_state.follow(row.pk, "ann")
        assert self.comes(change, row) == (14, "negotiated")
        assert stands(row)[:2] == (20, "follows")

    def test_an_edit_of_the_catalogue_moves_nobody_of_it(self, change, row):
        Service.objects.update(full_price=50)
        assert self.comes(change, row) == (25, "negotiated")
        drained()
        assert stands(row)[:2] == (25, "negotiated")
        assert right()

    def test_a_change_of_the_catalogue_does_not_count_whom_the_set_has(self, change, row):
        listed = {"kind": "list_price", "service": row.service_id, "new_value": 40}
        later = scheduled(clock(), "current", **listed)
        price_state.lock(row.pk, None, "asked", "ann")
        assert paid(row, clock()) == (40, "locked")
        assert self.comes(change, row) == (25, "negotiated")
        drained()
        assert stands(row)[:2] == (25, "locked")
        assert outcomes.outcome(later)["skipped"] == {"locked": 1}
        assert accounted(later)

    @pytest.fixture
    def kept(self, change, row):
        """A change for new subscriptions only, after the set; it has locked the row by then."""
        listed = {"kind": "list_price", "service": row.service_id, "new_value": 30}
        kept = scheduled(clock(), **listed, for_new_only=True)
        Subscription.objects.filter(pk=row.pk).update(ended_at=clock() + 3600 * SECOND)
        assert WholeLedger.objects.filter(change_id=kept.pk, price_state="locked").exists()
        return kept

    def test_one_for_new_only_keeps_nobody_of_it(self, change, kept, row):
        assert self.comes(change, row) == (25, "negotiated")
        assert stands(row)[:2] == (25, "negotiated")
        drained()
        assert outcomes.outcome(kept)["skipped"] == {"negotiated": 1}
        assert accounted(kept)

    def test_a_revert_of_the_set_finds_nobody_behind_it(self, change, kept, row):
        assert self.comes(change, row) == (25, "negotiated")
        drained()
        reverted(change)
        assert stands(row)[:2] == (30, "follows")

    def test_a_revert_of_what_came_behind_it_finds_the_set(self, change, kept, row):
        assert self.comes(change, row) == (25, "negotiated")
        drained()
        raised = approved(a_raise(), "current")
        price_state.lock(row.pk, None, "asked", "ann")
        drained()
        assert stands(row)[:2] == (30, "locked")
        assert paid(row, raised.effective_at) == (30, "negotiated")

    def test_would_be_judged_by_who_does_not_ask_the_ledger(self, monkeypatch, change, row):
        monkeypatch.setattr(listing, "rows_then", listing.rows_sql)
        price_state.negotiate(row.pk, Decimal(9), "a deal", "ann")
        assert started()
        assert outcomes.outcome(change)["applied"] == 0

    def test_frozen_rows_that_had_moved_before_are_skipped(self, row):
        at = clock() + 3600 * SECOND
        frozen = approved(a_raise(effective_at=at), "frozen")
        price_state.negotiate(row.pk, Decimal(9), "a deal", "ann")
        PriceChange.objects.filter(pk=frozen.pk).update(effective_at=clock())
        price_state.negotiate(row.pk, Decimal(11), "a better one", "ann")
        assert started()
        assert outcomes.outcome(frozen)["skipped"] == {"moved_since": 1}
        assert stands(row)[0] == 11


class TestWaits:
    def test_for_who_began_to_write_before_it(self, row):
        with a_person() as person:
            create_like(row, person)
            change = approved(a_raise(), "current")
            assert not started()
            change.refresh_from_db()
            assert f"process {person.info.backend_pid}" in change.note
            assert stands(row)[0] == 20
            person.commit()
        assert started()
        change.refresh_from_db()
        assert (change.status, change.note) == ("applied", "")
        assert set(Subscription.objects.values_list("price", flat=True)) == {25}

    def test_would_forget_him_if_it_did_not(self, monkeypatch, row):
        monkeypatch.setattr(listing, "all_recorded_until", lambda by_others: None)
        with a_person() as person:
            create_like(row, person)
            approved(a_raise(), "current")
            assert started()
            person.commit()
        drained()
        assert set(Subscription.objects.values_list("price", flat=True)) == {20, 25}

    def test_until_what_came_before_is_copied(self, row):
        list_price = {"kind": "list_price", "service": row.service_id, "new_value": 40}
        change = scheduled(clock(), "current", **list_price)
        raised = approved(a_raise(), "hold")
        assert not started()
        drained()
        raised.refresh_from_db()
        assert (raised.status, stands(row)[0]) == ("applied", 45)
        assert paid(row, change.effective_at) == (40, "follows")
        assert outcomes.outcome(change)["applied"] == 1

    def test_while_a_change_before_it_is_paused(self, row):
        Service.objects.update(full_price=40)
        edit = PriceChange.objects.latest("pk")
        lifecycle.pause(edit.pk, "ann")
        raised = approved(a_raise(), "current")
        drained()
        raised.refresh_from_db()
        assert raised.status == "scheduled"
        assert f"price change {edit.pk} is paused" in status_now.warning(raised)
        lifecycle.resume(edit.pk, "ann")
        drained()
        assert stands(row)[:2] == (45, "negotiated")
        assert outcomes.outcome(edit)["applied"] == outcomes.outcome(raised)["applied"] == 1

    def test_and_others_do_not_wait_for_one_that_waits_for_a_paused_one(self, row):
        other = a_subscription(row.client, a_service(30), row.plan)
        Service.objects.filter(pk=row.service_id).update(full_price=40)
        lifecycle.pause(PriceChange.objects.latest("pk").pk, "ann")
        approved(a_raise(), "current")
        Service.objects.filter(pk=other.service_id).update(full_price=60)
        drained()
        assert stands(other)[0] == 60

    def test_and_what_came_after_it_is_copied_after_it(self, row):
        with a_person() as person:
            person.execute("UPDATE clients_client SET company_name = 'x'")
            approved(a_raise(), "current")
            Service.objects.update(full_price=40)
            repricing.reprice()
            assert Subscription.objects.get(pk=row.pk).price == 20
            person.commit()
        drained()
        assert stands(row)[:2] == (25, "negotiated")
        until(right)


class TestAnswersUntilThen:
    """They name the set, because its instant has come and its rows are not moved."""

    URL = reverse("subscription-list")

    def test_name_it(self, row):
        change = approved(a_raise(), "current")
        named = [{"id": change.pk, "title": change.title}]
        for url in (self.URL, reverse("subscription-detail", args=[row.pk])):
            found = a_reader().get(url).json()["waiting_for"]
            assert [{"id": each["id"], "title": each["title"]} for each in found] == named
        drained()
        for url in (self.URL, reverse("subscription-detail", args=[row.pk])):
            assert a_reader().get(url).json()["waiting_for"] == []

    def test_name_a_larger_one_until_it_is_listed(self, by_chunks, row):
        a_subscription(row.client, a_service(30), row.plan)
        approved(a_raise(), "current")
        assert len(a_reader().get(self.URL).json()["waiting_for"]) == 1
        assert started()
        assert a_reader().get(self.URL).json()["waiting_for"] == []
        assert not Subscription.objects.filter(price_state="negotiated").exists()

    def test_are_not_confirmed_when_it_has_come(self, moved_clock, row):
        change = approved(a_raise(effective_at=clock() + 3600 * SECOND), "current")
        reader = a_reader()
        before = reader.get(self.URL)
        again = {"HTTP_IF_NONE_MATCH": before["ETag"]}
        assert (before.json()["waiting_for"], reader.get(self.URL, **again).status_code) == (
            [],
            304,
        )
        moved_clock.to(change.effective_at)
        after = reader.get(self.URL, **again)
        assert (after.status_code, len(after.json()["waiting_for"])) == (200, 1)
        assert not after.has_header("ETag")

    def test_of_a_list_cost_no_other_query_where_none_has_come(
        self, row, django_assert_num_queries
    ):
        reader = a_reader()
        reader.get(self.URL)
        with django_assert_num_queries(1):
            reader.get(self.URL)


class TestAtOneInstant:
    def test_a_set_has_what_stands_before_it_alone(self, row):
        at = clock()
        first = scheduled(at, "current", kind="list_price", service=row.service_id, new_value=40)
        raised = scheduled(at, "current", kind="set", adjustment="add", operand=5)
        behind = scheduled(at, "current", kind="discount", plan=row.plan_id, new_value=50)
        for change in (first, raised, behind):
            assert change.effective_at == at
        drained()
        assert stands(row)[:2] == (45, "negotiated")
        assert Plan.objects.get(pk=row.plan_id).discount_percent == 50
        assert right()


@pytest.mark.parametrize("filter", [{}, {"price_from": "105"}])
def test_a_set_is_not_held_for_one_that_has_ended_where_another_stands_behind_it(
    filter, moved_clock
):
    """At its instant a list price changes too: who has ended pays what it ended with."""
    service, now, hour = a_service(100), moved_clock.now(), 3600 * SECOND
    a_subscription(service=service, started_at=now - 9 * hour, ended_at=now - hour)
    row = a_subscription(service=service)
    Service.objects.filter(pk=service.pk).update(full_price=110)
    drained()
    at = now + 2 * hour
    values = {"kind": "set", "adjustment": "add", "operand": 5, "filter": filter}
    change = approved(planned(**values, effective_at=at), "hold")
    behind = {"kind": "list_price", "service": service.pk, "new_value": "200"}
    approved(planned(**behind, effective_at=at))
    moved_clock.to(at)
    drained()
    change.refresh_from_db()
    row.refresh_from_db()
    assert (change.status, row.price) == ("applied", 115)
