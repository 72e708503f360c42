"""A price written for an ended subscription is its own: no rule and no worker moves it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from django.db import connection

from services import ledger, price_state
from services.audit import book_check
from services.ledger import point_in_time
from services.models import BookNow, LedgerEntry, Service, Subscription
from services.repricing.writes import ledger_origin
from services.tests.factories import a_client, a_plan, a_service, a_subscription

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
SAID = "Said when it had ended"


@pytest.fixture
def service() -> Service:
    return a_service(full_price=100)


@pytest.fixture
def now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT book_clock()")
        found: datetime = cursor.fetchone()[0]
    return found


@pytest.fixture
def ended(service: Service, now: datetime) -> Subscription:
    """A follower, at the rule's price of its end."""
    return a_subscription(service=service, started_at=now - 9 * DAY, ended_at=now - DAY)


@pytest.fixture
def said(service: Service, now: datetime) -> Subscription:
    return a_subscription(
        service=service, started_at=now - 9 * DAY, ended_at=now - DAY, price=Decimal(9)
    )


def stands(subscription: Subscription) -> tuple[object, ...]:
    """As the row does; and so does its newest entry."""
    subscription.refresh_from_db()
    entry = LedgerEntry.objects.filter(subscription_id=subscription.pk).latest("id")
    assert (entry.price_state, entry.price) == (subscription.price_state, subscription.price)
    return subscription.price_state, subscription.price, subscription.price_reason


def paid(subscription: Subscription, at: datetime) -> Decimal | None:
    """By the list of then, and by the explanation, which are one."""
    sql, values = point_in_time.as_of(at)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT price FROM ({sql}) told WHERE subscription_id = %s", [*values, subscription.pk]
        )
        row = cursor.fetchone()
    explained = ledger.explain(subscription.pk, at)
    if row is None:
        return None
    assert explained
    assert explained.price == row[0]
    price: Decimal = row[0]
    return price


class TestWhoComesWhenItHasEnded:
    def test_has_negotiated_what_it_paid(self, service: Service, now: datetime) -> None:
        row = a_subscription(
            service=service, started_at=now - 9 * DAY, ended_at=now - DAY, price=Decimal(9)
        )
        assert stands(row) == ("negotiated", 9, SAID)
        assert paid(row, now - 5 * DAY) == 9
        assert not book_check.check().differs

    def test_follows_if_that_is_the_rules_price(self, service: Service, now: datetime) -> None:
        row = a_subscription(
            service=service, started_at=now - 9 * DAY, ended_at=now - DAY, price=Decimal(100)
        )
        assert stands(row) == ("follows", 100, "")

    def test_follows_if_it_says_no_price(self, ended: Subscription) -> None:
        assert stands(ended) == ("follows", 100, "")

    def test_follows_the_rule_whatever_it_says_while_it_is_active(
        self, service: Service, now: datetime
    ) -> None:
        row = a_subscription(service=service, ended_at=now + DAY, price=Decimal(9))
        assert stands(row) == ("follows", 100, "")

    def test_each_of_many_by_its_own_end(self, service: Service, now: datetime) -> None:
        client, plan = a_client(), a_plan()
        ends = [(now - DAY, 9), (now - 2 * DAY, 100), (None, 9), (now + DAY, 9), (now - DAY, 8)]
        Subscription.objects.bulk_create(
            Subscription(
                client=client,
                service=service,
                plan=plan,
                started_at=now - 9 * DAY,
                ended_at=end,
                price=Decimal(price),
            )
            for end, price in ends
        )
        rows: list[object] = list(
            Subscription.objects.order_by("id").values_list("price_state", "price")
        )
        assert rows == [
            ("negotiated", 9),
            ("follows", 100),
            ("follows", 100),
            ("follows", 100),
            ("negotiated", 8),
        ]


class TestOneThatHasEnded:
    def test_has_negotiated_another_price_that_is_written(self, ended: Subscription) -> None:
        Subscription.objects.filter(pk=ended.pk).update(price=9)
        assert stands(ended) == ("negotiated", 9, SAID)

    def test_follows_still_where_the_rules_is_written(self, ended: Subscription) -> None:
        Subscription.objects.filter(pk=ended.pk).update(price=100)
        assert stands(ended) == ("follows", 100, "")

    def test_pays_nothing_else_for_what_was_before(
        self, ended: Subscription, now: datetime
    ) -> None:
        Subscription.objects.filter(pk=ended.pk).update(price=9)
        assert paid(ended, now - 5 * DAY) == 100

    def test_keeps_what_it_paid_last_at_another_plan(self, ended: Subscription) -> None:
        Subscription.objects.filter(pk=ended.pk).update(plan=a_plan(50))
        assert stands(ended) == ("negotiated", 100, SAID)

    def test_whose_price_and_end_are_put_at_once(self, service: Service, now: datetime) -> None:
        row = a_subscription(service=service, started_at=now - 9 * DAY)
        Subscription.objects.filter(pk=row.pk).update(price=9, ended_at=now - DAY)
        assert stands(row) == ("negotiated", 9, SAID)

    def test_that_had_negotiated_and_is_to_follow_has_the_rules_price(
        self, service: Service, now: datetime
    ) -> None:
        row = a_subscription(
            service=service,
            started_at=now - 9 * DAY,
            ended_at=now - DAY,
            price=Decimal(9),
            price_state="negotiated",
        )
        Subscription.objects.filter(pk=row.pk).update(price_state="follows")
        assert stands(row) == ("follows", 100, "")


class TestWhatWasSaid:
    """Stays, until it is opened again or another price is said."""

    @pytest.mark.parametrize(
        "written",
        [
            {"plan": a_plan},
            {"service": a_service},
            {"plan": a_plan, "price": lambda: 9},
            {"ended_at": lambda: BookNow() - 2 * DAY},
            {"client": a_client, "comment": lambda: "moved"},
            {"price_state": lambda: "follows"},
            {"price_state": lambda: "follows", "price": lambda: 9},
        ],
    )
    def test_whatever_else_is_written(
        self, said: Subscription, written: dict[str, Callable[[], object]]
    ) -> None:
        values = {name: value() for name, value in written.items()}
        Subscription.objects.filter(pk=said.pk).update(**values)
        assert stands(said) == ("negotiated", 9, SAID)
        assert not book_check.check().differs

    def test_behind_the_back_of_who_has_made_it(self, said: Subscription) -> None:
        made = Subscription.objects.bulk_create(
            Subscription(
                client=said.client,
                service=said.service,
                plan=said.plan,
                started_at=said.started_at,
                ended_at=said.ended_at,
                price=Decimal(price),
            )
            for price in (9, 8)
        )
        Subscription.objects.bulk_update(made, ["comment", "price", "price_state"])
        assert [stands(row)[:2] for row in made] == [("negotiated", 9), ("negotiated", 8)]

    def test_until_another_price_is_said(self, said: Subscription) -> None:
        Subscription.objects.filter(pk=said.pk).update(price=7, plan=a_plan(50))
        assert stands(said) == ("negotiated", 7, SAID)

    def test_of_a_service_that_comes_later_in_its_transaction(
        self, said: Subscription, now: datetime
    ) -> None:
        row = a_subscription(
            client=said.client,
            service=Service(pk=987_654),
            plan=said.plan,
            started_at=now - 9 * DAY,
            ended_at=now - DAY,
            price=Decimal(9),
        )
        Service.objects.create(pk=987_654, name="Later", full_price=100)
        assert stands(row) == ("negotiated", 9, SAID)
        assert paid(row, now - 5 * DAY) == 9

    def test_by_a_move_to_a_service_that_comes_later_in_its_transaction(
        self, ended: Subscription, now: datetime
    ) -> None:
        Subscription.objects.filter(pk=ended.pk).update(service_id=987_654)
        Service.objects.create(pk=987_654, name="Later", full_price=70)
        assert stands(ended) == ("negotiated", 100, SAID)
        assert paid(ended, now - 5 * DAY) == 100
        assert not book_check.check().differs


class TestOpenedAgain:
    @pytest.mark.parametrize(
        "written", [{"client": a_client}, {"comment": lambda: "again"}, {"price": lambda: 7}]
    )
    def test_it_follows_whatever_else_is_written(
        self, said: Subscription, written: dict[str, Callable[[], object]]
    ) -> None:
        values = {name: value() for name, value in written.items()}
        Subscription.objects.filter(pk=said.pk).update(ended_at=None, **values)
        assert stands(said) == ("follows", 100, "")

    @pytest.mark.parametrize("later", [None, 3 * DAY])
    def test_it_follows(self, said: Subscription, now: datetime, later: timedelta | None) -> None:
        Subscription.objects.filter(pk=said.pk).update(ended_at=later and now + later)
        assert stands(said) == ("follows", 100, "")
        assert paid(said, now - 5 * DAY) == 9
        assert paid(said, now - DAY / 2) is None
        assert paid(said, now + DAY) == 100
        assert not book_check.check().differs

    def test_it_keeps_a_price_that_the_same_write_says(self, said: Subscription) -> None:
        Subscription.objects.filter(pk=said.pk).update(
            ended_at=None, price=7, price_state="negotiated", price_reason="Asked"
        )
        assert stands(said) == ("negotiated", 7, "Asked")

    def test_it_keeps_what_a_person_has_negotiated(self, service: Service, now: datetime) -> None:
        row = a_subscription(service=service, started_at=now - 9 * DAY)
        price_state.negotiate(row.pk, Decimal(8), "Asked", "ann")
        Subscription.objects.filter(pk=row.pk).update(ended_at=BookNow())
        Subscription.objects.filter(pk=row.pk).update(ended_at=None)
        assert stands(row) == ("negotiated", 8, "Asked")

    def test_it_keeps_what_it_paid_while_its_end_is_only_corrected(
        self, said: Subscription, now: datetime
    ) -> None:
        Subscription.objects.filter(pk=said.pk).update(ended_at=now - 2 * DAY)
        assert stands(said) == ("negotiated", 9, SAID)
        assert paid(said, now - 5 * DAY) == 9
        assert paid(said, now - DAY * 3 / 2) is None


class TestTheMigration:
    """A book in which such rows and their entries follow."""

    def test_makes_them_negotiated(self, ended: Subscription, now: datetime) -> None:
        period: dict[str, Any] = {"started_at": now - 9 * DAY, "ended_at": now - DAY}
        said, opened = (
            a_subscription(service=ended.service, price=Decimal(9), **period) for _ in range(2)
        )
        Subscription.objects.filter(pk=opened.pk).update(ended_at=None)
        migration = import_module("services.migrations.0029_said_when_ended")
        before = "DROP TRIGGER ledger_append_only ON services_ledgerentry"
        after = migration.SAID[migration.SAID.index("CREATE TRIGGER") :].partition(";")[0]
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(before)
            cursor.execute("UPDATE services_ledgerentry SET price_state = 'follows'")
            cursor.execute(after)
            with ledger_origin(writes_entries=True):
                cursor.execute("UPDATE services_subscription SET price_state = 'follows'")
        assert paid(said, now - 5 * DAY) == 100
        with connection.cursor() as cursor:
            cursor.execute(migration.SAID)
        assert stands(said) == ("negotiated", 9, SAID)
        assert stands(opened) == ("follows", 100, "")
        assert stands(ended) == ("follows", 100, "")
        assert [paid(row, now - 5 * DAY) for row in (said, opened, ended)] == [9, 9, 100]
        assert not book_check.check().differs
        with pytest.raises(Exception, match="append-only"):
            LedgerEntry.objects.update(price_state="locked")
