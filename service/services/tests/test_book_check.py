"""The book check: finds what bypassed the triggers, fixes it, and raises no false alarm."""

import json
import random
import threading
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from services import price_state, repricing
from services.audit import book_check
from services.audit.book_report import Repair, Unrecorded
from services.models import KeptBookCheck, Service, Subscription, Subtotal, WholeLedger, book_clock
from services.tests.factories import a_book, a_plan, a_service, a_subscription
from services.tests.moved_clock import MovedClock

pytestmark = pytest.mark.django_db


@contextmanager
def triggers_off():
    """Writes that no trigger sees, like those of a restore, or by hand in the database."""
    with connection.cursor() as cursor:
        # The table's owner may do this; session_replication_role is for superusers.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE services_subscription DISABLE TRIGGER USER")
        try:
            yield cursor
        finally:
            cursor.execute("ALTER TABLE services_subscription ENABLE TRIGGER USER")
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def check_book(*arguments: str) -> tuple[int, str]:
    """The exit code and the output of the command."""
    out = StringIO()
    try:
        call_command("check_book", *arguments, stdout=out)
    except SystemExit as exit:
        return int(exit.code or 0), out.getvalue()
    return 0, out.getvalue()


class TestCheck:
    def test_an_empty_book_is_right(self):
        assert check_book()[0] == 0

    def test_a_book_that_the_triggers_kept_is_right(self, django_assert_num_queries):
        book = a_book(subscriptions=500)
        book.filter(external_id__endswith="7").delete()
        # 2 queries: * the check, one statement and so one snapshot * a point; there is none
        with django_assert_num_queries(2):
            checked = book_check.check()
        assert not checked.differs
        assert checked.subscriptions == 450
        assert checked.amount == sum(book.values_list("price", flat=True))

    def test_finds_a_price_that_went_around_the_triggers(self):
        right = a_subscription(service=a_service(200, name="Phone"))
        with triggers_off():
            wrong = a_subscription(service=right.service, plan=right.plan, price=Decimal("123.45"))
        checked = book_check.check()
        assert [row.id for row in checked.mispriced] == [wrong.pk]
        assert checked.mispriced[0].difference == Decimal("-76.55")

        code, printed = check_book()
        assert code == 1
        for part in (str(wrong.pk), "Phone", "123.45", "200.00", "-76.55", "1 prices differ"):
            assert part in printed

    def test_names_the_first_and_counts_the_rest(self):
        a_book(subscriptions=60)
        with triggers_off():
            Subscription.objects.update(price=1)
        checked = book_check.check(limit=4)
        assert checked.differing == 60
        assert [row.id for row in checked.mispriced] == list(
            Subscription.objects.order_by("id").values_list("id", flat=True)[:4]
        )
        assert "… and 56 more" in check_book("--limit", "4")[1]
        assert check_book("--limit", "0")[0] == 1

    @pytest.mark.parametrize("column", ["followers", "followers_amount"])
    def test_finds_and_mends_a_count_of_followers(self, column):
        a_subscription()
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE services_subtotal SET {column} = {column} + 1 WHERE service_id IS NOT NULL"
            )
        assert len(book_check.check().wrong_subtotals) == 1
        assert book_check.repair().subtotals == 1
        assert not book_check.check().differs

    def test_finds_a_row_that_the_total_does_not_count(self):
        with triggers_off():
            a_subscription(service=a_service(70), price=Decimal(70))
        (wrong,) = book_check.check().wrong_subtotals
        assert (wrong.subscriptions, wrong.counted_subscriptions) == (1, 0)
        assert (wrong.amount, wrong.counted_amount) == (70, 0)
        assert check_book()[0] == 1

    def test_finds_a_total_without_rows(self):
        Subtotal.objects.create(service_id=4711, plan_id=4711, subscriptions=1, amount=10)
        (wrong,) = book_check.check().wrong_subtotals
        assert (wrong.subscriptions, wrong.counted_subscriptions) == (0, 1)

    def test_a_price_that_waits_for_a_worker_is_late_and_not_wrong(self):
        subscription = a_subscription(service=a_service(200))
        a_subscription(service=a_service(200))
        Service.objects.filter(pk=subscription.service_id).update(full_price=300)
        checked = book_check.check()
        assert (checked.waiting, checked.differing) == (1, 0)
        repricing.reprice()
        assert book_check.check().waiting == 0

    def test_what_has_ended_keeps_its_price(self):
        ended = a_subscription(
            service=a_service(200), started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z"
        )
        Service.objects.filter(pk=ended.service_id).update(full_price=300)
        repricing.reprice()
        checked = book_check.check()
        assert (checked.waiting, checked.differing, checked.amount) == (0, 0, 200)

    def test_finds_a_row_that_the_ledger_does_not_know_of(self):
        with triggers_off():
            unknown = a_subscription(service=a_service(200), price=200)
        checked = book_check.check()
        assert checked.differing_from_ledger == 1
        assert checked.unrecorded == [Unrecorded(unknown.pk, Decimal(200), "follows", None, None)]
        assert f"subscription {unknown.pk}: 200.00, follows" in check_book()[1]

    @pytest.mark.parametrize(
        "around",
        [
            {"price": 1, "price_state": "negotiated"},
            {"price": 1, "ended_at": "2026-01-01T00:00Z", "started_at": "2025-01-01T00:00Z"},
            {"price_state": "negotiated"},
            {"price_state": "locked", "locked_until": "2999-01-01T00:00Z"},
        ],
    )
    def test_finds_a_price_or_a_state_that_went_around_the_ledger(self, around):
        other, changed = a_subscription(), a_subscription(service=a_service(200))
        with triggers_off():
            Subscription.objects.filter(pk=changed.pk).update(**around)
        checked = book_check.check()
        assert checked.differs
        assert [row.id for row in checked.unrecorded] == [changed.pk]
        assert (checked.unrecorded[0].recorded_price, checked.differing_from_ledger) == (200, 1)
        assert other.pk not in [row.id for row in checked.unrecorded]

    def test_finds_the_price_of_one_that_has_ended_since_it_was_moved(
        self, moved_clock: MovedClock
    ):
        ended = a_subscription(service=a_service(200), ended_at=book_clock() + timedelta(days=1))
        Service.objects.filter(pk=ended.service_id).update(full_price=300)
        repricing.reprice()
        moved_clock.passes(timedelta(days=2))
        assert not book_check.check().differs
        with triggers_off():
            Subscription.objects.filter(pk=ended.pk).update(price=200)
        assert [row.id for row in book_check.check().unrecorded] == [ended.pk]

    def test_finds_one_that_is_gone_and_left_no_last_entry(self):
        stays, goes = a_subscription(), a_subscription(service=a_service(200))
        stays.delete()  # with its triggers: the ledger says so
        pk = goes.pk
        with triggers_off():
            goes.delete()
        checked = book_check.check()
        assert checked.unrecorded == [Unrecorded(pk, None, None, Decimal(200), "follows")]

    def test_names_the_first_that_the_ledger_does_not_know_and_counts_the_rest(self):
        book = a_book(subscriptions=30)
        with triggers_off():
            book.update(price_state="negotiated")
        checked = book_check.check(limit=4)
        assert (checked.differing_from_ledger, len(checked.unrecorded)) == (30, 4)
        assert "… and 26 more" in check_book("--limit", "4")[1]
        assert book_check.check(limit=0).differs

    def test_locked_and_negotiated_prices_are_not_the_rules_and_not_wrong(self):
        locked, negotiated = a_subscription(), a_subscription(service=a_service(200))
        price_state.lock(locked.pk, None, "a promise", "Ann")
        price_state.negotiate(negotiated.pk, 1, "a friend", "Ann")
        Service.objects.update(full_price=300)
        repricing.reprice()
        assert not book_check.check().differs

    def test_speaks_json(self):
        with triggers_off():
            a_subscription(service=a_service(200), price=Decimal("0.10"))
        code, printed = check_book("--json")
        report = json.loads(printed, parse_float=Decimal)
        assert code == 1
        assert report["differs"] is True
        assert report["amount"] == Decimal("0.10")
        assert report["mispriced"][0]["rule_price"] == 200


class TestRepair:
    def test_mends_prices_and_total_and_says_so(self):
        a_book(subscriptions=300)
        with triggers_off():
            Subscription.objects.filter(external_id__endswith="3").update(price=1)
            Subscription.objects.filter(external_id__endswith="4").delete()
        code, printed = check_book("--repair")
        assert code == 0
        assert "Fixed 30 prices and" in printed
        assert not book_check.check().differs

    def test_appends_to_the_ledger_what_the_rows_say(self):
        book = a_book(subscriptions=30, services=1)
        with triggers_off():
            book.filter(external_id__endswith="3").update(price_state="negotiated", price=1)
            gone = set(book.filter(external_id__endswith="4").values_list("pk", flat=True))
            book.filter(pk__in=gone).delete()
        assert book_check.repair().entries == 6
        assert not book_check.check().differs
        appended = WholeLedger.objects.filter(author="check_book").exclude(price=1)
        assert {(entry.subscription_id, entry.price) for entry in appended} == {
            (pk, None) for pk in gone
        }

    def test_touches_nothing_that_is_right(self):
        a_book(subscriptions=30)
        before = list(Subtotal.objects.values())
        assert check_book("--repair")[0] == 0
        assert list(Subtotal.objects.values()) == before
        assert book_check.repair() == Repair(prices=0, subtotals=0, entries=0)


@pytest.mark.django_db(transaction=True)
class TestBesideWriters:
    """Other connections write, reprice and fold all the time that the checks run."""

    def test_raises_no_false_alarm(self):
        book = a_book(subscriptions=3_000, services=2, plans=2)
        services = list(Service.objects.filter(subscriptions__in=book).distinct())
        done = threading.Event()
        failures: list[BaseException] = []

        def beside(work):
            def run():
                try:
                    while not done.is_set():
                        work()
                except BaseException as error:
                    failures.append(error)
                finally:
                    connection.close()

            return threading.Thread(target=run)

        def edit():
            service = random.choice(services)
            Service.objects.filter(pk=service.pk).update(full_price=random.randint(1, 1_000))
            done.wait(0.02)  # or more edits come than two workers can ever apply

        def subscribe():
            subscription = a_subscription(
                client=book[0].client, service=random.choice(services), plan=a_plan()
            )
            if random.random() < 0.5:
                subscription.delete()

        threads = [beside(work) for work in (edit, subscribe, repricing.reprice, repricing.reprice)]
        for thread in threads:
            thread.start()
        checks = [book_check.check() for _ in range(20)]
        done.set()
        for thread in threads:
            thread.join()

        assert not failures
        assert [str(check) for check in checks if check.differs] == []
        assert len({check.amount for check in checks}) > 1  # the book did move meanwhile

        repricing.reprice()
        assert book_check.check().waiting == 0

    def test_two_repairs_at_once_mend_once(self):
        a_book(subscriptions=100)
        with triggers_off():
            Subscription.objects.filter(external_id__endswith="4").delete()

        def repair():
            try:
                book_check.repair()
            finally:
                connection.close()

        threads = [threading.Thread(target=repair) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not book_check.check().differs


def test_the_last_results_are_kept_in_the_book_and_told_by_the_command():
    assert check_book("--last") == (0, "No book check is kept: workers make one every hour.\n")
    a_subscription(service=a_service(200))
    for _ in range(3):
        book_check.remember(book_check.check())
    assert check_book("--author", "ann")[0] == 0
    last = book_check.last_book_check()
    assert (last.differences, last.author, last.counts.amount) == (0, "ann (claimed)", 200)
    code, said = check_book("--last")
    assert code == 0
    assert "by ann (claimed): 1 subscriptions, total 200.00; 0 prices differ" in said
    Subtotal.objects.update(amount=1)
    check_book()
    assert check_book("--last")[0] == 1


def test_a_hundred_results_are_kept(monkeypatch):
    monkeypatch.setattr(book_check, "KEPT", 2)
    for _ in range(4):
        book_check.remember(book_check.check())
    assert KeptBookCheck.objects.count() == 2
