"""Repricing: whatever moves the catalogue, the prices follow, once and set-wise."""

import re
import time
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.db import DataError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from services import repricing
from services.models import Plan, Repricing, RepricingStep, Service, Skip, Subscription
from services.repricing import (
    catalogue_edit,
    chunks,
    drain,
    followers,
    locks,
    movers,
    plan_due,
    progress,
    reprice,
    stamp,
)
from services.tests.factories import a_book, a_service, a_subscription
from services.tests.interleaving import Pause, a_person, in_background
from services.tests.plans import explained


def by_save(service, plan):
    service.full_price = 777
    service.save()


def by_update(service, plan):
    Service.objects.filter(pk=service.pk).update(full_price=777)


def by_bulk_update(service, plan):
    service.full_price = 777
    Service.objects.bulk_update([service], ["full_price"])


def by_upsert(service, plan):
    Service.objects.bulk_create(
        [Service(pk=service.pk, name=service.name, full_price=777)],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["full_price"],
    )


def by_sql(service, plan):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE services_service SET full_price = 777 WHERE id = %s", [service.pk])


def by_merge(service, plan):
    with connection.cursor() as cursor:
        cursor.execute(
            "MERGE INTO services_service USING (VALUES (%s)) AS new (id)"
            " ON services_service.id = new.id"
            " WHEN MATCHED THEN UPDATE SET full_price = 777",
            [service.pk],
        )


def plan_by_save(service, plan):
    plan.discount_percent = 77
    plan.save()


def plan_by_update(service, plan):
    Plan.objects.filter(pk=plan.pk).update(discount_percent=77)


def plan_by_bulk_update(service, plan):
    plan.discount_percent = 77
    Plan.objects.bulk_update([plan], ["discount_percent"])


EDITS = [
    by_save, by_update, by_bulk_update, by_upsert, by_sql, by_merge,
    plan_by_save, plan_by_update, plan_by_bulk_update,
]  # fmt: skip


@pytest.fixture
def book(db):
    """Twelve subscriptions of three services and two plans."""
    return a_book(subscriptions=12)


@pytest.fixture
def service(book):
    return Service.objects.get(pk=book.first().service_id)


@pytest.fixture
def plan(book):
    return Plan.objects.get(pk=book.first().plan_id)


def comments(book):
    return list(book.order_by("pk").values_list("comment", flat=True))


class TestCatalogueEdit:
    @pytest.mark.parametrize("edit", EDITS)
    def test_by_any_path_leaves_one_repricing_that_moves_every_price(
        self, book, service, plan, edit
    ):
        edit(service, plan)
        assert Repricing.objects.count() == 1
        waiting = book.mispriced().count()
        assert waiting > 0

        assert reprice() == waiting
        assert not book.mispriced().exists()
        assert not Repricing.objects.due().exists()
        assert Repricing.objects.get().repriced == waiting

    @pytest.mark.django_db(transaction=True)
    def test_from_psql_leaves_one_too(self):
        service = a_subscription(service=a_service(full_price=100)).service
        with psycopg.connect(**connection.get_connection_params()) as psql:
            psql.execute("UPDATE services_service SET full_price = 777")
        repriced = Repricing.objects.get()
        assert (repriced.service, repriced.old_value, repriced.new_value) == (service, 100, 777)
        assert repriced.author == connection.settings_dict["USER"]
        assert reprice() == 1

    def test_that_changes_nothing_leaves_none(self, service, plan):
        Service.objects.filter(pk=service.pk).update(name="Renamed")
        Service.objects.filter(pk=service.pk).update(full_price=service.full_price)
        Plan.objects.filter(pk=plan.pk).update(discount_percent=plan.discount_percent)
        assert not Repricing.objects.exists()

    def test_of_many_rows_leaves_one_for_each(self, book):
        Service.objects.filter(subscriptions__in=book).distinct().update(full_price=500)
        assert Repricing.objects.count() == 3
        reprice()
        assert not book.mispriced().exists()

    def test_of_any_number_of_services_takes_a_bounded_number_of_locks(self, db):
        # The server has one table of locks for all sessions: 15,000 of ours would fill it.
        Service.objects.bulk_create(Service(name=f"S{n}", full_price=1) for n in range(2000))
        Service.objects.update(full_price=2)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks"
                " WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            )
            # The catalogue has 1,024, and so have the names of new services.
            assert cursor.fetchone()[0] <= 1024 + 1024
        assert Repricing.objects.count() == 2000

    def test_that_is_rolled_back_leaves_none(self, service):
        with transaction.atomic():
            Service.objects.update(full_price=777)
            transaction.set_rollback(True)
        assert not Repricing.objects.exists()

    def test_carries_its_author_and_comment(self, service):
        with catalogue_edit(author="Ann", comment="Prices of 2027"):
            Service.objects.filter(pk=service.pk).update(full_price=777)
        Service.objects.filter(pk=service.pk).update(full_price=778)
        made = Repricing.objects.order_by("id").values_list("author", "comment")
        assert list(made) == [("Ann", "Prices of 2027"), (connection.settings_dict["USER"], "")]

    def test_whose_comment_is_too_long_does_not_happen(self, service):
        with pytest.raises(DataError), catalogue_edit(comment="x" * 51):
            Service.objects.filter(pk=service.pk).update(full_price=777)
        assert Service.objects.get(pk=service.pk).full_price == service.full_price


class TestReprice:
    def test_twice_changes_nothing(self, book, service):
        by_update(service, None)
        assert reprice() > 0
        assert reprice() == 0
        with connection.cursor() as cursor:  # and a message that comes again writes no row
            cursor.execute("SELECT max(xmin::text::bigint) FROM services_subscription")
            written = cursor.fetchone()
            assert reprice() == 0
            cursor.execute("SELECT max(xmin::text::bigint) FROM services_subscription")
            assert cursor.fetchone() == written

    @pytest.mark.parametrize("rows", [1, 4, 5, 6, 9, 10, 11])
    def test_ends_at_the_last_row_wherever_a_chunk_ends(self, db, monkeypatch, rows):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        book = a_book(subscriptions=rows, services=1, plans=1)
        Service.objects.update(full_price=777)
        assert reprice() == rows
        assert not book.mispriced().exists()
        assert not RepricingStep.objects.exists()

    def test_moves_no_more_than_a_chunk_at_a_time(self, db, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        book = a_book(subscriptions=12, services=1, plans=1)
        Service.objects.update(full_price=777)
        plan_due()
        left = []
        while chunks.take_chunk("price", set()) is not None:
            left.append(book.mispriced().count())
        assert left == [7, 2, 0]

    def test_stops_when_its_time_is_over_and_leaves_the_rest_due(self, book, service):
        by_update(service, None)
        assert reprice(seconds=0) == 0
        assert Repricing.objects.due().exists()

    def test_of_two_edits_the_later_price_stays(self, book, service):
        by_update(service, None)
        plan_due()
        Service.objects.filter(pk=service.pk).update(full_price=888)
        moved = reprice()
        # The first edit's steps have not begun: the second's look at the same rows.
        assert moved == book.filter(service=service).count()
        assert not book.mispriced().exists()
        assert not Repricing.objects.due().exists()

    def test_a_step_that_has_begun_goes_on_to_its_end(self, db, monkeypatch):
        # Or edits in quick succession would starve the last rows.
        monkeypatch.setattr(chunks, "CHUNK", 5)
        book = a_book(subscriptions=12, services=1, plans=1)
        Service.objects.update(full_price=777)
        for full_price in (778, 779, 780):
            plan_due()
            chunks.take_chunk("price", set())
            Service.objects.update(full_price=full_price)
        assert Repricing.objects.earliest("id").steps.count() == 0
        assert not book.filter(price=100).exists()
        reprice()
        assert not book.mispriced().exists()

    def test_leaves_ended_subscriptions_alone(self, service, plan):
        day = timedelta(days=1)
        ended = a_subscription(
            service=service,
            plan=plan,
            started_at=timezone.now() - 2 * day,
            ended_at=timezone.now() - day,
        )
        ending = a_subscription(service=service, plan=plan, ended_at=timezone.now() + day)
        by_update(service, plan)
        reprice()
        prices = dict(Subscription.objects.values_list("pk", "price"))
        assert (prices[ended.pk], prices[ending.pk]) == (ended.price, 777)

    def test_a_service_without_subscriptions_is_done_at_once(self, db):
        a_service(full_price=1, name="Unsold")
        Service.objects.update(full_price=2)
        assert reprice() == 0
        assert Repricing.objects.get().finished_at

    def test_survives_the_service_being_deleted(self, book, service):
        by_update(service, None)
        plan_due()
        book.filter(service=service).delete()
        service.delete()
        assert reprice() == 0
        assert not RepricingStep.objects.exists()

    def test_shows_its_progress(self, db, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        a_book(subscriptions=20, services=1, plans=1)
        Service.objects.update(full_price=777)

        assert progress(Repricing.objects.get()).done == 0
        plan_due()
        chunks.take_chunk("price", set())
        halfway = progress(Repricing.objects.get())
        assert (halfway.done, halfway.total, halfway.repriced) == (5, 20, 5)
        assert halfway.fraction == 0.25
        assert not halfway.finished
        assert halfway.rate > 0
        assert halfway.left > timedelta(0)

        reprice()
        done = progress(Repricing.objects.get())
        assert (done.done, done.fraction, done.finished, done.left) == (20, 1.0, True, None)


@pytest.mark.usefixtures("small_steps_together")
class TestSmallSteps:
    """Steps of a few rows share a transaction, as far as the room of the pages goes."""

    @pytest.fixture
    def book(self, transactional_db):
        """Four pairs of five rows, all of them to be moved."""
        book = a_book(subscriptions=20, services=2, plans=2)
        Service.objects.update(full_price=777)
        plan_due()
        return book

    def test_are_done_together(self, book):
        assert chunks.take_chunk("price", set()) == 20
        assert not RepricingStep.objects.exists()
        assert sum(Repricing.objects.values_list("repriced", flat=True)) == 20
        assert sum(Repricing.objects.values_list("checked", flat=True)) == 20

    def test_are_counted_each_on_its_own_repricing(self, book):
        chunks.take_chunk("price", set())
        assert list(Repricing.objects.values_list("repriced", flat=True)) == [10, 10]

    def test_are_stamped_together(self, book):
        book.update(comment="")
        with catalogue_edit(comment="2027"):
            Service.objects.update(full_price=778)
        reprice()
        assert chunks.take_chunk("comment", set()) == 20
        assert book.filter(comment="2027").count() == 20
        assert list(Repricing.objects.values_list("stamped", flat=True)) == [10, 10, 0, 0]

    def test_no_more_than_there_is_room_for(self, book, monkeypatch):
        monkeypatch.setattr(chunks, "_room", lambda: 12)
        assert chunks.take_chunk("price", set()) == 10
        assert list(RepricingStep.objects.values_list("checked", flat=True)) == [0, 0]

    def test_none_that_has_grown_past_the_room(self, book, monkeypatch):
        """It was counted when it was planned."""
        monkeypatch.setattr(chunks, "_room", lambda: 12)
        RepricingStep.objects.update(subscriptions=1)
        first = RepricingStep.objects.earliest("pk")
        two = Subscription.objects.of_pair(first.service_id, first.plan_id, 0, first.last_id)[:2]
        RepricingStep.objects.filter(pk=first.pk).update(after_id=two[1].pk)  # three are left
        assert chunks.take_chunk("price", set()) == 12
        assert sorted(RepricingStep.objects.values_list("checked", flat=True)) == [0, 4]
        assert reprice() == 6

    def test_a_large_one_is_left_to_a_transaction_of_its_own(self, book, monkeypatch):
        monkeypatch.setattr(chunks, "_room", lambda: 25)
        large = RepricingStep.objects.order_by("pk")[1]
        RepricingStep.objects.filter(pk=large.pk).update(subscriptions=5_000)
        assert chunks.take_chunk("price", set()) == 15
        assert list(RepricingStep.objects.all()) == [large]

    def test_what_one_worker_has_no_room_for_another_takes(self, book, monkeypatch):
        monkeypatch.setattr(chunks, "_room", lambda: 12)
        pause = Pause(monkeypatch, chunks, "_fill_up")
        first = in_background(chunks.take_chunk, "price", set())
        pause.until_reached()
        assert chunks.take_chunk("price", set()) == 10
        pause.go_on()
        assert first.result() == 10

    def test_one_after_the_other_in_a_small_book(self, book, monkeypatch):
        monkeypatch.undo()
        assert chunks.take_chunk("price", set()) == 5

    def test_none_is_begun_late(self, book, monkeypatch):
        monkeypatch.setattr(chunks, "SECONDS", -1)
        assert chunks.take_chunk("price", set()) == 5

    def test_one_that_fails_takes_nothing_of_the_others_with_it(self, book):
        refused = RepricingStep.objects.order_by("pk")[2]
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE services_subscription ADD CONSTRAINT refused CHECK"
                f" (price <> 777 OR (service_id, plan_id) <> ({refused.service_id},"
                f" {refused.plan_id})) NOT VALID"
            )
        try:
            discounted = Plan.objects.get(pk=refused.plan_id).discount_percent
            assert discounted == 0, "its price would not be 777"
            assert chunks.take_chunk("price", set()) == 10
            assert sorted(RepricingStep.objects.values_list("checked", flat=True)) == [0, 0]
            assert reprice() == 5
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE services_subscription DROP CONSTRAINT refused")
        assert Skip.objects.filter(reason=Skip.Reason.FAILED).count() == 5
        assert sum(Repricing.objects.values_list("failed", flat=True)) == 5

    def test_one_that_somebody_holds_up_is_left_at_once_and_the_others_are_kept(
        self, book, monkeypatch
    ):
        monkeypatch.setattr(locks, "LOCK_TIMEOUT", "60s")
        held = RepricingStep.objects.order_by("pk")[2]
        with a_person() as person:
            person.execute("SELECT lock_service(%s, true)", [held.service_id])
            assert in_background(chunks.take_chunk, "price", set()).result() == 10
            person.rollback()
        assert reprice() == 10

    def test_wait_at_the_end_for_a_counter_as_long_as_one_alone(self, book, monkeypatch):
        """Another worker holds it until its COMMIT is on the disk, which may take 10 ms."""
        monkeypatch.setattr(locks, "LOCK_TIMEOUT", "60s")
        with a_person() as person:
            person.execute("SELECT FROM services_repricing FOR NO KEY UPDATE")
            chunk = in_background(chunks.take_chunk, "price", set()).until_it_waits()
            time.sleep(0.1)
            assert chunk.waits_for_a_lock()
            person.commit()
            assert chunk.result() == 20

    def test_lock_the_counters_in_one_order(self, book, monkeypatch):
        """Whatever the order of the steps: of two workers none waits for the other."""
        monkeypatch.setattr(locks, "LOCK_TIMEOUT", "60s")
        low, high = Repricing.objects.order_by("pk")
        low.steps.update(effective_at=timezone.now())
        with a_person() as person:
            person.execute("SELECT FROM services_repricing WHERE id = %s FOR UPDATE", [low.pk])
            chunk = in_background(chunks.take_chunk, "price", set()).until_it_waits()
            person.execute(
                "SELECT FROM services_repricing WHERE id = %s FOR UPDATE NOWAIT", [high.pk]
            )
            person.commit()
            assert chunk.result() == 20

    def test_are_not_held_up_by_a_counter_of_one_of_them(self, book, monkeypatch):
        monkeypatch.setattr(drain, "TRIES", 0)
        held = RepricingStep.objects.order_by("pk")[2].repricing_id
        with a_person() as person:
            person.execute("SELECT FROM services_repricing WHERE id = %s FOR UPDATE", [held])
            assert reprice() == 10
        assert reprice() == 10

    def test_part_when_one_of_them_fails_at_the_commit(self, book, monkeypatch):
        """The error does not say whose row it is."""
        refused = RepricingStep.objects.order_by("pk")[2]
        rows = Subscription.objects.filter(service=refused.service_id, plan=refused.plan_id)
        refused_id = rows.order_by("pk")[1].pk
        together = []
        fill_up = chunks._fill_up
        monkeypatch.setattr(
            chunks, "_fill_up", lambda *arguments: together.append(fill_up(*arguments))
        )
        with refused_at_the_commit(refused_id):
            assert chunks.take_chunk("price", set(), sizes := {}) == 5
            assert chunks.take_chunk("price", set(), sizes) == 5
            assert len(together) == 1
            assert reprice() == 9
        [skip] = Skip.objects.filter(reason=Skip.Reason.FAILED)
        assert skip.subscription_id == refused_id
        assert sum(Repricing.objects.values_list("repriced", flat=True)) == 19
        assert sum(Repricing.objects.values_list("failed", flat=True)) == 1
        assert sum(Repricing.objects.values_list("checked", flat=True)) == 20


@contextmanager
def refused_at_the_commit(subscription_id):
    """A constraint of somebody's that is deferred, and refuses this row."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE check_violation USING MESSAGE = 'refused'; END$$"
        )
        cursor.execute(
            "CREATE CONSTRAINT TRIGGER refused AFTER UPDATE ON services_subscription"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
            f" WHEN (NEW.id = {subscription_id}) EXECUTE FUNCTION refuse()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")


class TestRepriceOne:
    def test_puts_one_right_and_no_other(self, book, service):
        by_update(service, None)
        first, second = book.filter(service=service)[:2]
        assert repricing.reprice_one(first.pk)
        assert not repricing.reprice_one(first.pk)
        assert not book.mispriced().filter(pk=first.pk).exists()
        assert book.mispriced().filter(pk=second.pk).exists()

    def test_of_one_that_is_gone_does_nothing(self, db):
        assert not repricing.reprice_one(0)
        assert not repricing.stamp_one(0)


class TestStamp:
    @pytest.fixture
    def book(self, db):
        book = a_book(subscriptions=6, services=2, plans=1)
        book.filter(external_id__in=["1", "3"]).update(comment="")
        return book

    def edit(self, book, comment):
        service = Service.objects.get(pk=book.get(external_id="1").service_id)
        with catalogue_edit(comment=comment):
            service.full_price += 1
            service.save()
        return service

    def test_never_goes_over_what_a_person_wrote(self, book):
        self.edit(book, "2027")
        assert stamp() == 2
        assert comments(book) == ["2027", "row 2", "2027", "row 4", "row 5", "row 6"]

    def test_goes_over_an_earlier_stamp(self, book):
        for comment in ("2027", "2028"):
            self.edit(book, comment)
            stamp()
        assert comments(book)[:3] == ["2028", "row 2", "2028"]

    def test_a_stamp_that_a_person_has_changed_is_the_persons(self, book):
        self.edit(book, "2027")
        stamp()
        book.filter(external_id="1").update(comment="2027, but call first")
        self.edit(book, "2028")
        stamp()
        assert comments(book)[0] == "2027, but call first"

    def test_of_two_edits_the_later_comment_stays(self, book):
        self.edit(book, "2027")
        self.edit(book, "2028")
        stamp()
        assert comments(book)[0] == "2028"
        assert not RepricingStep.objects.filter(kind="comment").exists()

    def test_an_edit_without_a_comment_stamps_nothing(self, book):
        self.edit(book, "")
        assert stamp() == 0

    def test_concerns_only_active_ones_of_what_was_edited(self, book):
        day = timedelta(days=1)
        service = self.edit(book, "")
        elsewhere, ended = (
            a_subscription(plan=book.first().plan),
            a_subscription(
                service=service,
                plan=book.first().plan,
                started_at=timezone.now() - 2 * day,
                ended_at=timezone.now() - day,
            ),
        )
        self.edit(book, "2027")
        stamp()
        found = dict(Subscription.objects.values_list("pk", "comment"))
        assert (found[elsewhere.pk], found[ended.pk]) == ("", "")

    def test_moves_no_price_and_a_repricing_stamps_nothing(self, book):
        self.edit(book, "2027")
        due = book.mispriced().count()
        stamp()
        assert book.mispriced().count() == due > 0
        assert not Repricing.objects.latest("id").finished_at
        reprice()
        plan_due()
        assert Repricing.objects.latest("id").finished_at

    def test_one_by_the_newest_edit_or_by_a_comment_of_its_own(self, book):
        self.edit(book, "2027")
        first, second, third = book.order_by("pk")[:3]
        assert repricing.stamp_one(first.pk)
        assert not repricing.stamp_one(second.pk)
        assert repricing.stamp_one(third.pk, "by hand")
        assert comments(book)[:3] == ["2027", "row 2", "by hand"]


class TestQueryBudget:
    """The number of a worker's queries. BEGIN and COMMIT are not counted."""

    def queries(self, call):
        with CaptureQueriesContext(connection) as queries:
            call()
        return [
            query["sql"]
            for query in queries
            if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))
        ]

    def test_nothing_due(self, book):
        # 4 queries: * what has fallen due * lock_timeout * wait for a listing * a step to claim
        assert len(self.queries(reprice)) == 4

    @pytest.mark.parametrize("rows", [10, 1000])
    def test_does_not_grow_with_the_rows(self, db, rows):
        a_book(subscriptions=rows, services=1, plans=1)
        Service.objects.update(full_price=777)
        # 24 queries: * 2 rounds (a chunk, closing) of 5: what has fallen due, what to plan,
        #     lock_timeout, wait for a listing, claim
        #   * 3 plan: lock_timeout, claim the repricing, insert its steps
        #   * 9 the chunk: lock service and plan, rows ahead, what is due with its price, say the
        #     entries' origin, the update, unsay it, room for another step, delete the step, count
        #     on the repricing
        #   * 2 close the repricing: lock_timeout, the update
        assert len(self.queries(reprice)) == 24

    def test_of_one_subscription(self, book, service):
        by_update(service, None)
        pk = book.filter(service=service).first().pk
        # 9 queries: * lock_timeout * its pair * lock service and plan
        #   * whether it waits for a paused change * what is due with its price
        #   * say the entry's origin * the update * unsay it * who has ended since
        assert len(self.queries(lambda: repricing.reprice_one(pk))) == 9


def updates_of_subscriptions(cursor):
    """(rows updated, of these HOT) by this server process so far."""
    cursor.execute("SELECT pg_stat_force_next_flush()")
    cursor.execute(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
        " WHERE relname = 'services_subscription'"
    )
    return cursor.fetchone()


def rows_read(plan):
    """The most rows that one node of the plan has had in its hands."""
    kept = [float(rows) for rows in re.findall(r"actual rows=([0-9.]+)", plan)]
    removed = [float(rows) for rows in re.findall(r"Rows Removed by Filter: ([0-9]+)", plan)]
    return max(kept + removed)


@pytest.mark.django_db(transaction=True)
class TestRepricingOfManyRows:
    ROWS = 20_000

    def test_is_hot_and_lets_no_index_grow(self):
        a_book(subscriptions=self.ROWS, services=10, plans=4, clients=500)
        sizes = (
            "SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes"
            " WHERE relname = 'services_subscription' ORDER BY 1"
        )
        with connection.cursor() as cursor:
            cursor.execute("VACUUM services_subscription")
            cursor.execute(sizes)
            before = cursor.fetchall()
            updated_before, hot_before = updates_of_subscriptions(cursor)

            Service.objects.update(full_price=777)
            assert reprice() == self.ROWS

            updated, hot = updates_of_subscriptions(cursor)
            cursor.execute(sizes)
            assert cursor.fetchall() == before
        assert updated - updated_before == self.ROWS
        assert (hot - hot_before) / self.ROWS >= 0.9

    def test_reads_the_rows_of_the_pair_and_no_others(self, monkeypatch, empty_files):
        """Also where the statistics know of a few, and many came after them."""
        monkeypatch.setattr(chunks, "CHUNK", 900)
        a_book(subscriptions=self.ROWS, services=4, plans=5, clients=500)
        few = a_book(subscriptions=10, services=1, plans=1, clients=1).last()
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO services_subscription (client_id, service_id, plan_id, comment)"
                " SELECT %s, %s, %s, '' FROM generate_series(1, 5000)",
                [few.client_id, few.service_id, few.plan_id],
            )
        last = Subscription.objects.latest("id")
        pair = {"service_id": last.service_id, "plan_id": last.plan_id}
        step = RepricingStep(**pair, after_id=0, last_id=last.pk)
        with transaction.atomic():
            with CaptureQueriesContext(connection) as queries:
                chunk, rows, last_id, done = movers._next_rows(step, chunks.CHUNK)
                followers.move(chunk, **pair)
            assert rows == chunk.count() == 900
            assert (last_id, done) == (chunk.last().pk, False)
            statements = [query["sql"] for query in queries]
            [bound] = [sql for sql in statements if sql.startswith("SELECT MAX")]
            [update] = [sql for sql in statements if "WITH moved" in sql]
            for statement in (bound, update):
                plan = explained(statement)
                assert "subscription_service_plan" in plan
                assert "Seq Scan" not in plan
                assert rows_read(plan) == 900
