"""The ledger: its last entry of a subscription is what the row says, whoever writes."""

import io
import time
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone

from services import repricing
from services.audit import book_check
from services.models import Plan, Repricing, Service, Skip, Subscription, WholeLedger
from services.repricing import catalogue_edit, chunks, reprice
from services.tests.factories import a_book, a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import (
    a_person,
    execute_in_background,
    in_background,
    without_trigger,
)
from services.transfer.importing import import_book

pytestmark = pytest.mark.django_db

FIELDS = ("price", "price_state", "locked_until", "client_id", "service_id", "plan_id")


def last_words():
    """The last entry of each subscription that the ledger knows."""
    last = WholeLedger.objects.order_by("subscription_id", "-id").distinct("subscription_id")
    return {entry.subscription_id: tuple(getattr(entry, name) for name in FIELDS) for entry in last}


def folds():
    """Whether the ledger folds to the state: the rows that are there, and no others."""
    rows = {pk: tuple(values) for pk, *values in Subscription.objects.values_list("pk", *FIELDS)}
    return {pk: words for pk, words in last_words().items() if words[0] is not None} == rows


def entries(subscription, *fields):
    """These fields of a subscription's entries, the first one first."""
    written = WholeLedger.objects.filter(subscription_id=subscription.pk).order_by("id")
    return list(written.values_list(*fields, flat=len(fields) == 1))


def prices(subscription):
    """The prices of a subscription's entries, but for those of a start or an end."""
    written = WholeLedger.objects.filter(subscription_id=subscription.pk, period_only=False)
    return list(written.order_by("id").values_list("price", flat=True))


def last_entry(subscription):
    return WholeLedger.objects.filter(subscription_id=subscription.pk).latest("id")


def price_at(subscription, instant):
    """The price that it paid then: that of the last recorded entry in force by then."""
    known = WholeLedger.objects.filter(subscription_id=subscription.pk, effective_at__lte=instant)
    return known.latest("id").price


def execute(sql, arguments=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)


@pytest.fixture
def book(db):
    """Twelve subscriptions of three services and two plans."""
    return a_book(subscriptions=12)


# --- Whoever writes -----------------------------------------------------------------------------


def by_save(book):
    row = book.first()
    row.plan = a_plan(50)
    row.save()


def by_save_of_a_new_one(book):
    Subscription(client=a_client(), service=book.first().service, plan=a_plan(50)).save()


def by_update(book):
    book.update(plan=a_plan(50))


def by_bulk_create(book):
    pairs = [(row.service, row.plan) for row in book.select_related("service", "plan")]
    client = a_client()
    Subscription.objects.bulk_create(
        Subscription(client=client, service=service, plan=plan, **given)
        for service, plan in pairs
        for given in ({}, {"price": 1}, {"price": 2, "price_state": "negotiated"})
    )


def by_bulk_update(book):
    rows, half = list(book), a_plan(50)
    for row in rows:
        row.plan = half
    Subscription.objects.bulk_update(rows, ["plan"])


def by_upsert(book):
    row = book.first()
    Subscription.objects.bulk_create(
        [
            Subscription(
                client=row.client,
                service=row.service,
                plan=a_plan(50),
                source=row.source,
                external_id=row.external_id,
            )
        ],
        update_conflicts=True,
        unique_fields=["source", "external_id"],
        update_fields=["plan"],
    )


def by_sql(book):
    execute("UPDATE services_subscription SET price = price + 1")


def by_sql_of_the_state(book):
    execute(
        "UPDATE services_subscription SET price_state = CASE id % 3 WHEN 0 THEN 'locked'"
        " WHEN 1 THEN 'negotiated' ELSE 'follows' END,"
        " price = price + id % 3, locked_until = CASE id % 3 WHEN 0 THEN now() + '1 day' END"
    )


def by_moving_to_another_client(book):
    book.update(client=a_client())


def by_merge(book):
    execute(
        "MERGE INTO services_subscription old USING services_subscription new"
        " ON old.id = new.id AND new.id % 2 = 0"
        " WHEN MATCHED THEN UPDATE SET price_state = 'negotiated', price = 1"
    )


def by_import(book):
    header = "company_name,email,full_address,service,full_price,plan_type,discount_percent"
    lines = [
        f"{header},source,external_id,started_at",
        "Acme,acme@example.com,,Phone,20,full,0,crm,1,2026-01-01",
        "Acme,acme@example.com,,Phone,20,student,30,crm,2,2026-01-01",
    ]
    import_book(io.BytesIO("\n".join(lines).encode()))
    # And again, with another price and another plan.
    lines[1:] = [line.replace(",20,", ",30,").replace("student,30", "full,0") for line in lines[1:]]
    import_book(io.BytesIO("\n".join(lines).encode()), update=True)


def by_copy(book):
    row = book.first()
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY services_subscription (client_id, service_id, plan_id, price, comment) FROM STDIN"
        ) as copy,
    ):
        for price in (None, 1, 2):
            copy.write_row((row.client_id, row.service_id, row.plan_id, price, ""))


def by_repricing(book):
    Service.objects.update(full_price=777)
    Plan.objects.update(discount_percent=30)
    reprice()


def by_deleting(book):
    book.first().delete()
    book.filter(pk__gt=book.last().pk - 5).delete()


def by_sql_of_everything_at_once(book):
    execute(
        """
        WITH gone AS (DELETE FROM services_subscription WHERE id % 3 = 0),
             moved AS (UPDATE services_subscription SET price = 5 WHERE id % 3 = 1)
        INSERT INTO services_subscription (client_id, service_id, plan_id, comment)
        SELECT client_id, service_id, plan_id, '' FROM services_subscription WHERE id % 3 = 2
        """
    )


WRITERS = [
    by_save, by_save_of_a_new_one, by_update, by_bulk_create, by_bulk_update, by_upsert,
    by_sql, by_sql_of_the_state, by_moving_to_another_client, by_merge, by_import, by_copy,
    by_repricing, by_deleting, by_sql_of_everything_at_once,
]  # fmt: skip


class TestWhoeverWrites:
    @pytest.mark.parametrize("write", WRITERS)
    def test_the_last_entry_is_what_the_row_says(self, book, write):
        assert folds()
        write(book)
        assert folds()

    def test_each_row_of_a_book_has_one_entry_of_its_own(self, book):
        for row in book:
            assert entries(row, *FIELDS) == [tuple(getattr(row, name) for name in FIELDS)]

    def test_without_the_trigger_it_is_not(self, book):
        execute("SET CONSTRAINTS ALL IMMEDIATE")
        with without_trigger("subscription_written_update"):
            by_update(book)
        assert not folds()

    @pytest.mark.django_db(transaction=True)
    def test_emptying_the_table_ends_the_history_of_each(self):
        book = a_book(subscriptions=12)
        known = [row.pk for row in book]
        execute("TRUNCATE services_subscription CASCADE")
        assert {pk: words[0] for pk, words in last_words().items()} == dict.fromkeys(known)
        assert folds()

    def test_one_that_is_deleted_has_a_last_entry_without_a_price(self, subscription):
        pk = subscription.pk
        subscription.delete()
        last = WholeLedger.objects.filter(subscription_id=pk).latest("id")
        assert (last.price, last.service_id) == (None, subscription.service_id)

    @pytest.mark.django_db(transaction=True)
    def test_two_writers_of_one_row_leave_their_entries_in_the_order_of_their_commits(
        self, subscription
    ):
        negotiated = "UPDATE services_subscription SET price_state = 'negotiated', price = %s"
        with a_person() as first, a_person() as second:
            first.execute(negotiated, [1])
            writing = execute_in_background(second, negotiated, [2]).until_it_waits()
            first.commit()
            writing.result()
            second.commit()
        assert prices(subscription) == [100, 1, 2]
        assert folds()


class TestAPriceThatWasNeverVisible:
    def test_leaves_no_entry(self, subscription):
        Subscription.objects.filter(pk=subscription.pk).update(price=1)  # it follows: put right
        assert prices(subscription) == [100]

    def test_leaves_none_when_it_is_created_with_one(self):
        created = a_subscription(service=a_service(full_price=100), price=1)
        assert prices(created) == [100]

    def test_leaves_none_when_it_is_rolled_back(self, subscription):
        with transaction.atomic():
            Subscription.objects.filter(pk=subscription.pk).update(
                price_state="negotiated", price=1
            )
            transaction.set_rollback(True)
        assert prices(subscription) == [100]

    def test_nor_does_a_write_that_changes_no_price(self, subscription):
        Subscription.objects.filter(pk=subscription.pk).update(comment="typed", price=100)
        Subscription.objects.filter(pk=subscription.pk).update(
            started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z"
        )
        assert prices(subscription) == [100]

    def test_a_repricing_that_finds_the_price_right_leaves_none(self, subscription):
        Repricing.objects.create(service=subscription.service, plan=subscription.plan)
        assert reprice() == 0
        assert prices(subscription) == [100]


@contextmanager
def not_to_be_truncated():
    """As outside the tests, whose tables are emptied."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE services_ledgerentry ENABLE TRIGGER ledger_not_truncated")
        try:
            yield
        finally:
            cursor.execute("ALTER TABLE services_ledgerentry DISABLE TRIGGER ledger_not_truncated")


class TestAppendOnly:
    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE services_ledgerentry SET price = 1",
            "DELETE FROM services_ledgerentry",
            "TRUNCATE services_ledgerentry",
            "MERGE INTO services_ledgerentry USING (VALUES (1)) one ON true"
            " WHEN MATCHED THEN DELETE",
        ],
    )
    def test_an_entry_is_neither_changed_nor_deleted(self, subscription, sql):
        with (
            not_to_be_truncated(),
            pytest.raises(DatabaseError, match="append-only"),
            transaction.atomic(),
        ):
            execute(sql)
        assert prices(subscription) == [100]

    def test_without_its_trigger_it_could_be(self, subscription):
        with without_trigger("ledger_append_only", "services_ledgerentry"):
            execute("UPDATE services_ledgerentry SET price = 1")
        assert prices(subscription) == [1]


class TestAnIdStays:
    """The ledger knows a subscription by its id, and would go on under the old one."""

    MOVE = "UPDATE services_subscription SET id = id + 1000"

    def test_can_not_be_changed(self, subscription):
        with pytest.raises(IntegrityError, match="keeps its id"), transaction.atomic():
            execute(self.MOVE)
        assert not book_check.check().differs

    def test_may_be_named_in_an_update(self, subscription):
        execute("UPDATE services_subscription SET id = id, comment = 'the same'")
        assert Subscription.objects.get().comment == "the same"

    def test_without_its_trigger_would_leave_its_history_behind(self, subscription):
        execute("SET CONSTRAINTS ALL IMMEDIATE")  # no table is altered before its checks
        with without_trigger("subscription_keeps_id"):
            execute(self.MOVE)
        assert book_check.check().differs


# --- The origin of an entry ---------------------------------------------------------------------


class TestOrigin:
    def test_names_who_saved(self, subscription):
        with catalogue_edit(author="Ann"):
            subscription.plan = a_plan(50)
            subscription.save()
        assert (last_entry(subscription).author, last_entry(subscription).price) == ("Ann", 50)

    @pytest.mark.django_db(transaction=True)
    def test_names_the_user_of_the_database_where_nobody_is_named(self, subscription):
        with psycopg.connect(**connection.get_connection_params()) as psql:
            psql.execute("UPDATE services_subscription SET price_state = 'negotiated', price = 1")
        assert last_entry(subscription).author == connection.settings_dict["USER"]

    def test_names_who_deletes(self, subscription):
        pk = subscription.pk
        with catalogue_edit(author="Ann"):
            subscription.delete()
        assert WholeLedger.objects.filter(subscription_id=pk).latest("id").author == "Ann"

    def test_is_the_instant_of_the_edit_however_late_the_worker(self, subscription):
        Service.objects.update(full_price=200)
        edit = Repricing.objects.get()
        reprice()
        last = last_entry(subscription)
        assert last.effective_at == edit.effective_at < last.recorded_at
        assert last.change_id == edit.change_id

    def test_of_a_write_is_the_moment_at_which_it_held_the_locks(self, subscription):
        before = timezone.now()
        Subscription.objects.update(price_state="negotiated", price=1)
        assert before < last_entry(subscription).effective_at < timezone.now()


# --- Several edits that fell due ----------------------------------------------------------------


def rows_written(call):
    """How many versions of subscriptions a call writes."""
    with connection.cursor() as cursor:
        count = "SELECT n_tup_upd FROM pg_stat_xact_user_tables WHERE relname = %s"
        cursor.execute(count, ["services_subscription"])
        (before,) = cursor.fetchone()
        call()
        cursor.execute(count, ["services_subscription"])
        return cursor.fetchone()[0] - before


def edit_service(service, *full_prices):
    for full_price in full_prices:
        Service.objects.filter(pk=service.pk).update(full_price=full_price)


def instants():
    """When each edit of the catalogue came into force, the first one first."""
    return list(Repricing.objects.order_by("id").values_list("effective_at", flat=True))


class TestSeveralEditsThatFellDue:
    """Before a worker came."""

    def test_move_a_row_once_and_leave_an_entry_each(self, subscription):
        edit_service(subscription.service, 200, 300, 400)
        assert rows_written(reprice) == 1
        assert prices(subscription) == [100, 200, 300, 400]
        assert entries(subscription, "effective_at")[1:] == instants()
        assert not Repricing.objects.due().exists()
        assert folds()

    def test_there_and_back_move_no_row_and_leave_both_entries(self, subscription):
        edit_service(subscription.service, 200, 100)
        assert rows_written(reprice) == 0
        assert prices(subscription) == [100, 200, 100]
        there, back = instants()
        assert price_at(subscription, there) == 200
        assert price_at(subscription, back - timedelta(microseconds=1)) == 200
        assert price_at(subscription, back) == 100

    def test_of_service_and_plan_leave_the_price_of_each_instant(self, subscription):
        edit_service(subscription.service, 200)
        Plan.objects.filter(pk=subscription.plan_id).update(discount_percent=50)
        edit_service(subscription.service, 300)
        reprice()
        assert prices(subscription) == [100, 200, 100, 150]

    def test_owe_one_that_came_between_them_the_later_ones_only(self, subscription):
        edit_service(subscription.service, 200)
        between = a_subscription(service=subscription.service, plan=subscription.plan)
        edit_service(subscription.service, 300)
        reprice()
        assert prices(between) == [200, 300]
        assert prices(subscription) == [100, 200, 300]

    def test_owe_nothing_to_who_is_locked_or_has_ended(self, subscription):
        pair = {"service": subscription.service, "plan": subscription.plan}
        locked, ended = a_subscription(**pair), a_subscription(**pair)
        Subscription.objects.filter(pk=locked.pk).update(price_state="locked")
        Subscription.objects.filter(pk=ended.pk).update(
            started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z"
        )
        edit_service(subscription.service, 200, 300)
        reprice()
        assert (prices(locked), prices(ended)) == ([100, 100], [100])

    def test_one_by_one_leave_the_same_history(self, subscription):
        for full_price in (200, 100, 300):
            edit_service(subscription.service, full_price)
            reprice()
        assert prices(subscription) == [100, 200, 100, 300]
        assert entries(subscription, "effective_at")[1:] == instants()

    def test_the_second_of_which_came_between_two_chunks(self, db, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 4)
        book = a_book(subscriptions=10, services=1, plans=1)
        service = Service.objects.get()
        edit_service(service, 200)
        repricing.plan_due()
        assert chunks.take_chunk("price", set()) == 4
        edit_service(service, 300)
        reprice()
        for row in book:
            assert prices(row) == [100, 200, 300]
            assert entries(row, "effective_at")[1:] == instants()
        assert folds()

    @pytest.mark.django_db(transaction=True)
    def test_and_that_two_workers_do_in_chunks_leave_one_entry_each(self, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 7)
        book = a_book(subscriptions=60, services=1, plans=2)
        service = Service.objects.get()
        edit_service(service, 200, 300)
        workers = [in_background(reprice) for _ in range(2)]
        edit_service(service, 400)
        for worker in workers:
            worker.result()
        reprice()
        for row in book.select_related("plan"):
            factor = 100 - row.plan.discount_percent
            assert prices(row) == [full_price * factor / 100 for full_price in (100, 200, 300, 400)]
            assert entries(row, "effective_at")[1:] == instants()
        assert folds()

    @pytest.mark.django_db(transaction=True)
    def test_write_nothing_before_what_somebody_agreed_on_meanwhile(self, subscription):
        """The chunk waits for a person, and has to see the entries that he leaves."""
        row = "UPDATE services_subscription SET price_state = %s, price = %s"
        edit_service(subscription.service, 200, 300)
        with a_person() as person:
            person.execute(row, ["locked", 42])
            worker = in_background(reprice).until_it_waits()
            person.execute(row, ["follows", None])
            person.commit()
            worker.result()
        reprice()
        *_, locked, _ = entries(subscription, "price", "effective_at")
        assert prices(subscription) == [100, 200, 300, 42, 300]
        assert price_at(subscription, locked[1]) == 42
        assert folds()

    def test_of_one_subscription_alone_leave_its_entries_too(self, subscription):
        edit_service(subscription.service, 200, 300)
        assert repricing.reprice_one(subscription.pk)
        assert prices(subscription) == [100, 200, 300]
        assert reprice() == 0
        assert prices(subscription) == [100, 200, 300]

    def test_know_an_edit_by_its_entry(self, subscription):
        """Without it, a row moved by itself would get an entry of the first edit once more."""
        edit_service(subscription.service, 200)
        repricing.reprice_one(subscription.pk)
        edit_service(subscription.service, 300)
        Repricing.objects.update(position=WholeLedger.objects.latest("id").pk + 1000)
        reprice()
        assert prices(subscription) == [100, 200, 300]


# --- Rows that can't be written -----------------------------------------------------------------


@contextmanager
def a_row_that_refuses(row):
    """Its price can't become 777: an auditor's constraint, say."""
    table = "ALTER TABLE services_subscription"
    execute("SET CONSTRAINTS ALL IMMEDIATE")
    execute(f"{table} ADD CONSTRAINT frozen CHECK (id <> {row.pk} OR price <> 777)")
    yield
    execute("SET CONSTRAINTS ALL IMMEDIATE")
    execute(f"{table} DROP CONSTRAINT frozen")


class TestARowThatCanNotBeWritten:
    @pytest.mark.parametrize("place", [0, 5, 11])
    def test_is_left_out_with_the_reason_and_holds_up_no_other(self, db, place):
        book = a_book(subscriptions=12, services=1, plans=1)
        refused = book.order_by("pk")[place]
        with a_row_that_refuses(refused):
            edit_service(refused.service, 777)
            assert reprice() == 11
        assert list(book.mispriced().values_list("pk", flat=True)) == [refused.pk]

        (skip,) = Skip.objects.all()
        assert (skip.reason, skip.rows, skip.subscription_id) == ("failed", 1, refused.pk)
        assert "frozen" in skip.detail
        done = Repricing.objects.get()
        assert (done.subscriptions, done.checked, done.repriced, done.failed) == (12, 12, 11, 1)
        assert done.finished_at
        assert prices(refused) == [100]
        assert folds()

    def test_is_one_of_several(self, db, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        book = a_book(subscriptions=12, services=1, plans=1)
        refused = list(book.order_by("pk"))[3:6]
        execute("SET CONSTRAINTS ALL IMMEDIATE")
        execute(
            "ALTER TABLE services_subscription ADD CONSTRAINT frozen"
            f" CHECK (id NOT BETWEEN {refused[0].pk} AND {refused[-1].pk} OR price <> 777)"
        )
        edit_service(refused[0].service, 777)
        assert reprice() == 9
        failed = Skip.objects.filter(reason="failed").values_list("subscription_id", flat=True)
        assert set(failed) == {row.pk for row in refused}
        done = Repricing.objects.get()
        assert (done.checked, done.repriced, done.failed) == (12, 9, 3)

    def test_of_several_edits_has_no_entry_of_any(self, db):
        book = a_book(subscriptions=5, services=1, plans=1)
        refused = book.order_by("pk")[2]
        with a_row_that_refuses(refused):
            edit_service(refused.service, 200, 777)
            assert reprice() == 4
        assert prices(refused) == [100]
        assert folds()


class TestAStatementOfManyRows:
    def test_costs_the_same_in_a_session_that_began_with_single_ones(self, empty_files):
        """Its triggers keep the plans of their first call, made for as many rows as that had."""
        book = a_book(subscriptions=6_000, services=2, plans=2)

        def seconds(*before):
            with connection.cursor() as cursor:
                cursor.execute("DISCARD PLANS")
            for write in before:
                write()
            began = time.perf_counter()
            book.update(price_state="negotiated", price=F("price") + 1)
            return time.perf_counter() - began

        def one():
            book.filter(pk=book.first().pk).update(price_state="negotiated", price=F("price") + 1)

        seconds()
        first = seconds()
        assert seconds(one) < 5 * first  # row by row it would be fifty times as long
