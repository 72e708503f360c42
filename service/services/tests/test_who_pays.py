"""No paid figure includes an inactive subscription: before a start, after an end, or at it.

Starts and ends pass here with no write and no worker; then workers come, and nothing is different.
"""

from __future__ import annotations

import io
import json
import random
from datetime import datetime, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from clients.models import Client
from price_changes.tests.changes import scheduled
from services import ledger, price_state, repricing
from services.audit import book_check
from services.models import Plan, Service, Subscription, book_clock
from services.models.subtotal import PaidBoundary, Subtotal
from services.reading import total
from services.reading.filters import BookFilter
from services.reading.total import Total, figures, fold
from services.tasks import fold_total
from services.tests.factories import (
    a_book,
    a_client,
    a_plan,
    a_reader,
    a_service,
    a_subscription,
)
from services.tests.interleaving import replaced
from services.tests.moved_clock import MovedClock
from services.tests.test_book_check import triggers_off
from services.tests.test_total import elsewhere, in_background, repeated

pytestmark = pytest.mark.django_db

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOTHING = Total(Decimal(0), 0)


def get(url: str, **query: Any) -> dict[str, Any]:
    answer = a_reader().get(url, query)
    assert answer.status_code == 200, (url, query, answer.content)
    body: dict[str, Any] = json.loads(answer.content, parse_float=Decimal)
    return body


def pair(body: dict[str, Any], amount: str = "total_amount", count: str = "count") -> Total:
    return Total(Decimal(str(body[amount])), body[count])


def sum_of(rows: list[Subscription]) -> Total:
    return Total(sum((row.price for row in rows), Decimal(0)), len(rows))


def standing(at: datetime) -> tuple[list[Subscription], list[Subscription]]:
    """All rows as they are in force, and those of them that pay: the oracle."""
    rows = list(Subscription.objects.in_force().order_by("id"))
    paying = [
        row for row in rows if row.started_at <= at and (row.ended_at is None or row.ended_at > at)
    ]
    return rows, paying


def assert_told(admin: Any = None) -> None:
    """Every figure of the book is that of its rows, and what is paid, of those that pay."""
    now = book_clock()
    rows, paying = standing(now)
    url = reverse("subscription-list")

    def of(found: list[Subscription], name: str, pk: int) -> list[Subscription]:
        return [row for row in found if getattr(row, f"{name}_id") == pk]

    def listed(**query: Any) -> None:
        wanted = [
            row for row in rows if all(getattr(row, f"{k}_id") == v for k, v in query.items())
        ]
        pay = [row for row in wanted if row in paying]
        body = get(url, **query)
        assert (pair(body), pair(body, "paid_amount", "paid_count")) == (
            sum_of(wanted),
            sum_of(pay),
        ), query
        told = get("/api/totals/", by="service,plan", **query)
        assert pair(told) == sum_of(pay), query
        assert sum(row["count"] for row in told["result"]) == len(pay), query
        assert all(row["count"] for row in told["result"]), query

    listed()
    for name, model in (("client", Client), ("service", Service), ("plan", Plan)):
        told: dict[int, Total] = {}
        for page_of in get_all(f"/api/{name}s/"):
            assert pair(page_of, count="subscriptions") == sum_of(paying), name
            told |= {row["id"]: pair(row) for row in page_of["result"]}
        for pk in model.objects.values_list("pk", flat=True):
            assert told[pk] == sum_of(of(paying, name, pk)), (name, pk)
            assert pair(get(f"/api/{name}s/{pk}/")) == told[pk]
            listed(**{name: pk})
    for state in ("active", "ended", "upcoming"):
        body = get(url, state=state)
        pay = pair(body, "paid_amount", "paid_count")
        assert pay == (sum_of(paying) if state == "active" else NOTHING)
        if state == "active":
            assert pair(body) == pay
    assert sum(get(url, state=each)["count"] for each in ("active", "ended", "upcoming")) == len(
        rows
    )
    assert ledger.total_as_of(now) == sum_of(paying)
    assert figures().paid == sum_of(paying)
    if admin is not None:
        home = admin.get("/").content.decode()
        assert f"{sum_of(paying).amount:,.2f} USD" in home
        assert f"<dd>{len(paying):,}</dd>" in home
        for name in ("service", "plan"):
            shown = admin.get(reverse(f"admin:services_{name}_changelist")).context["cl"]
            for record in shown.result_list:
                mine = sum_of(of(paying, name, record.pk))
                assert (record.amount or 0, record.subscription_count or 0) == (
                    mine.amount,
                    mine.subscriptions,
                )
        page = admin.get(reverse("admin:services_subscription_changelist"))
        assert page.context["cl"].paginator.figures.paid == sum_of(paying)
        page = admin.get(reverse("admin:services_subscription_changelist"), {"q": "Client"})
        assert page.context["cl"].paginator.figures.paid == sum_of(paying)


def get_all(url: str | None) -> list[dict[str, Any]]:
    pages = []
    while url:
        pages.append(get(url))
        url = pages[-1]["next"]
    return pages


def a_row_of_each() -> dict[str, Subscription]:
    """Rows of one client, service and plan: ended, active, ending, upcoming, and a period."""
    client, phone, plan, now = a_client(), a_service(50), a_plan(), book_clock()
    dates: dict[str, dict[str, datetime]] = {
        "ended": {"started_at": now - 300 * DAY, "ended_at": now - 100 * DAY},
        "active": {},
        "ending": {"started_at": now - DAY, "ended_at": now + HOUR},
        "upcoming": {"started_at": now + 2 * HOUR},
        "period": {"started_at": now + 3 * HOUR, "ended_at": now + 4 * HOUR},
    }
    return {name: a_subscription(client, phone, plan, **each) for name, each in dates.items()}


class TestWhoPaysNothing:
    """The steps of the fault: one that has ended, one that is to begin."""

    def test_is_in_no_figure_of_what_is_paid(self, admin_client):
        client, phone, now = a_client(), a_service(50), book_clock()
        a_subscription(client, phone, started_at=now - 300 * DAY, ended_at=now - 100 * DAY)
        a_subscription(client, phone, started_at=now + 100 * DAY)
        url, then = reverse("subscription-list"), book_clock().isoformat()

        assert pair(get(url, client=client.pk, as_of=then)) == NOTHING
        assert pair(get(url, client=client.pk, state="active")) == NOTHING
        for body in (
            get(f"/api/clients/{client.pk}/"),
            get("/api/totals/", by="service", client=client.pk),
            get("/api/totals/", by="service"),
            get(f"/api/services/{phone.pk}/"),
        ):
            assert pair(body) == NOTHING
        assert pair(get(url, as_of=then, state="active")) == NOTHING

        # The list's total stays the sum of its rows, and says beside it what is paid of it.
        for query in ({}, {"client": client.pk}, {"service": phone.pk}):
            body = get(url, **query)
            assert (len(body["result"]), pair(body)) == (2, Total(Decimal(100), 2))
            assert pair(body, "paid_amount", "paid_count") == NOTHING
        for state in ("ended", "upcoming"):
            for query in ({}, {"as_of": then}):
                body = get(url, state=state, **query)
                assert (len(body["result"]), pair(body)) == (1, Total(Decimal(50), 1)), state
                assert pair(body, "paid_amount", "paid_count") == NOTHING
        assert_told(admin_client)


class TestAnInstantThatPasses:
    def test_moves_every_figure_with_no_write_and_no_worker(self, moved_clock, admin_client):
        rows = a_row_of_each()
        paid = []
        for instant in (
            None,
            rows["ending"].ended_at,
            rows["upcoming"].started_at,
            rows["period"].started_at,
            rows["period"].ended_at,
        ):
            if instant:
                moved_clock.to(instant)
            assert_told(admin_client)
            paid.append(figures().paid.subscriptions)
        assert paid == [2, 1, 2, 3, 2]
        assert Subtotal.objects.in_force().filter(service_id=None).count()  # and nothing else
        assert PaidBoundary.objects.count() == 4

    def test_is_folded_when_it_has_passed_and_nothing_moves(self, moved_clock):
        rows = a_row_of_each()
        fold()
        assert PaidBoundary.objects.count() == 4
        moved_clock.to(rows["upcoming"].started_at)
        before = figures()
        assert fold() > 0
        assert (figures(), PaidBoundary.objects.count()) == (before, 2)
        assert_told()
        moved_clock.passes(9 * HOUR)
        assert_told()
        fold()
        assert PaidBoundary.objects.count() == 0
        assert_told()
        assert not book_check.check().differs

    def test_is_an_instant_and_not_a_moment_more(self, moved_clock):
        """A start is part of the period and an end is not, as they stand in the row."""
        phone = a_service(50)
        at = book_clock() + HOUR
        both = ({"started_at": at - 9 * DAY, "ended_at": at}, {"started_at": at})
        Subscription.objects.bulk_create(
            Subscription(client=a_client(), service=phone, plan=a_plan(), **each) for each in both
        )
        moved_clock.to(at - timedelta(milliseconds=500))
        assert figures(BookFilter(service=phone.pk)).paid == Total(Decimal(50), 1)
        moved_clock.to(at)
        assert figures(BookFilter(service=phone.pk)).paid == Total(Decimal(50), 1)
        # Nothing moves for the service at that instant, but for the clients it does.
        assert PaidBoundary.objects.filter(amount=0, subscriptions=0).count() == 1

    @pytest.mark.parametrize("folded", [False, True], ids=["before the fold", "after the fold"])
    def test_does_not_matter_to_who_writes_the_row_again(self, moved_clock, folded):
        """The old row's part is judged by the clock of the write, as the new one's is."""
        rows = a_row_of_each()
        moved_clock.passes(9 * HOUR)  # all boundaries have passed
        if folded:
            fold()
        upcoming = Subscription.objects.filter(pk=rows["upcoming"].pk)
        upcoming.update(ended_at=book_clock() - HOUR)
        assert_told()
        upcoming.update(ended_at=book_clock() + HOUR)
        assert_told()
        Subscription.objects.filter(pk=rows["ending"].pk).update(ended_at=None)  # opened again
        assert_told()
        Subscription.objects.filter(pk=rows["period"].pk).update(plan=a_plan(10))
        assert_told()
        price_state.negotiate(rows["upcoming"].pk, Decimal(7), "a friend", "ada")
        Subscription.objects.filter(pk=rows["ended"].pk).delete()
        assert_told()
        fold()
        moved_clock.passes(9 * HOUR)
        assert_told()
        assert not book_check.check().differs
        Subscription.objects.all().delete()
        assert_told()


@pytest.mark.django_db(transaction=True)
class TestVersion:
    """An answer from before a start or an end is not confirmed after it."""

    def paths(self, row: Subscription) -> list[str]:
        return [
            "/api/subscriptions/",
            f"/api/subscriptions/?service={row.service_id}",
            f"/api/subscriptions/?client={row.client_id}",
            "/api/clients/",
            "/api/services/",
            "/api/plans/?plan_type=full",
            "/api/totals/?by=plan",
            f"/api/totals/?client={row.client_id}",
        ]

    def test_is_another_one_after_each_boundary_and_after_the_fold(self, moved_clock):
        rows = a_row_of_each()
        seen: dict[str, set[str]] = {path: set() for path in self.paths(rows["ended"])}

        def moved() -> None:
            for path, etags in seen.items():
                fresh = a_reader().get(path, headers={"If-None-Match": ", ".join(etags)})
                assert fresh.status_code == 200, path
                etags.add(fresh["ETag"])
                again = a_reader().get(path, headers={"If-None-Match": fresh["ETag"]})
                assert again.status_code == 304, path

        moved()
        for name in ("ending", "upcoming", "period"):
            moved_clock.to(rows[name].ended_at if name == "ending" else rows[name].started_at)
            moved()
        fold()
        moved()
        moved_clock.to(rows["period"].ended_at)
        moved()
        fold()
        moved()

    def test_of_one_is_another_one_after_each_boundary_and_not_after_the_fold(self, moved_clock):
        """Its ETag is a digest of the answer, and a fold changes no figure."""
        rows = a_row_of_each()
        row = rows["ended"]
        paths = (f"/api/clients/{row.client_id}/", f"/api/plans/{row.plan_id}/")

        def etags() -> list[str]:
            return [a_reader().get(path)["ETag"] for path in paths]

        for name in ("ending", "upcoming", "period"):
            before = etags()
            moved_clock.to(rows[name].ended_at if name == "ending" else rows[name].started_at)
            after = etags()
            assert not set(before) & set(after)
            fold()
            assert etags() == after
            for path, etag in zip(paths, after, strict=True):
                again = a_reader().get(path, headers={"If-None-Match": etag})
                assert again.status_code == 304

    @pytest.mark.parametrize("folded", [False, True], ids=["before the fold", "after the fold"])
    def test_keeps_what_is_cached_until_then(self, moved_clock, folded):
        rows = a_row_of_each()
        of_client = BookFilter(client=rows["ended"].client_id)
        fold()
        assert figures(of_client).paid.subscriptions == 2
        known = total.cached(of_client)
        moved_clock.passes(HOUR / 2)
        assert figures(of_client).paid.subscriptions == 2
        assert total.cached(of_client) == known  # read, and not summed again
        moved_clock.to(rows["ending"].ended_at)
        if folded:
            fold()
        assert figures(of_client).paid.subscriptions == 1
        moved_clock.to(rows["upcoming"].started_at)
        if folded:
            fold()
        assert figures(of_client).paid.subscriptions == 2

    def test_of_names_leaves_starts_and_ends_alone(self, moved_clock):
        rows = a_row_of_each()
        get("/api/clients/")
        moved_clock.to(rows["upcoming"].started_at)
        with CaptureQueriesContext(connection) as queries:
            get("/api/clients/")
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {queries[-1]['sql']}")
            counting = [
                line
                for (line,) in cursor.fetchall()
                if "on clients_client " in line and "never executed" not in line
            ]
        assert len(counting) == 1  # those of the page, and not all of them once more


@pytest.mark.django_db(transaction=True)
class TestAStatementThatBeganBeforeItsSnapshot:
    """Its rows have been written after its own instant: they had begun for their writer."""

    def test_counts_who_had_begun_by_then_and_keeps_no_other_figure(self, late_snapshot):
        row = a_subscription(service=a_service(50))
        Subscription.objects.filter(pk=row.pk).update(started_at=book_clock())
        one = Total(Decimal(50), 1)
        of_client = BookFilter(client=row.client_id)
        assert figures().paid == figures(of_client).paid == total.cached(of_client).figures.paid
        assert figures().paid == one
        for path in (
            f"/api/clients/{row.client_id}/",
            f"/api/totals/?client={row.client_id}",
            "/api/totals/",
            f"/api/services/{row.service_id}/",
        ):
            assert pair(get(path)) == one
        assert not book_check.check().differs


class TestLateCopies:
    """A list price not copied yet, a lock that has ended: only for subscriptions that pay."""

    def test_are_put_right_for_who_pays(self, moved_clock):
        rows = a_row_of_each()
        locked = {name: a_subscription(service=rows["ended"].service) for name in ("on", "gone")}
        for row in locked.values():
            price_state.lock(row.pk, book_clock() + HOUR / 2, "as agreed", "ann")
        Subscription.objects.filter(pk=locked["gone"].pk).update(ended_at=book_clock() + HOUR)
        begins = a_subscription(service=rows["ended"].service, started_at=book_clock() + 2 * HOUR)
        price_state.lock(begins.pk, book_clock() + HOUR / 2, "as agreed", "ann")
        scheduled(book_clock(), kind="list_price", service=rows["ended"].service_id, new_value="60")
        for passes in (timedelta(0), HOUR / 2, HOUR, 3 * HOUR, 9 * HOUR):
            moved_clock.passes(passes)
            assert_told()
        fold()
        assert_told()
        moved_clock.passes(timedelta(0))
        repricing.reprice()
        assert_told()
        assert not book_check.check().differs


class TestHistories:
    """Writes of every kind in any order; starts and ends on both sides of a clock that goes on."""

    @pytest.mark.parametrize("seed", range(4))
    def test_keep_every_figure_equal_to_the_rows(self, moved_clock, seed):
        play = random.Random(f"who pays {seed}")
        services = [a_service(price) for price in (10, 20)]
        plans, clients = [a_plan(0), a_plan(50)], [a_client(), a_client()]

        def instant() -> datetime:
            return book_clock() + play.choice((-30, -3, -1, 0, 1, 2, 5, 30)) * HOUR

        def period() -> dict[str, Any]:
            start, end = sorted((instant(), instant()))
            return {
                "started_at": start,
                "ended_at": play.choice((None, end if end > start else end + HOUR)),
            }

        def a_few() -> Any:
            pks = list(Subscription.objects.values_list("pk", flat=True))
            return Subscription.objects.filter(pk__in=play.sample(pks, min(2, len(pks))))

        def create() -> None:
            Subscription.objects.bulk_create(
                Subscription(
                    client=play.choice(clients),
                    service=play.choice(services),
                    plan=play.choice(plans),
                    **play.choice(({"started_at": book_clock()}, period(), period())),
                )
                for _ in range(play.randint(1, 3))
            )

        def state() -> None:
            pk = a_few().exclude(ended_at__lte=book_clock()).values_list("pk", flat=True).first()
            if pk is None:
                return
            if play.random() < 0.5:
                price_state.negotiate(pk, Decimal(play.randint(1, 99)), "a friend", "ada")
            else:
                price_state.lock(pk, book_clock() + 2 * HOUR, "as agreed", "ada")

        writes = (
            create,
            create,
            lambda: a_few().update(**period()),
            lambda: a_few().update(comment="x"),
            lambda: a_few().update(plan=play.choice(plans), service=play.choice(services)),
            state,
            lambda: a_few().delete(),
            lambda: Service.objects.filter(pk=play.choice(services).pk).update(
                full_price=play.randint(1, 99)
            ),
            repricing.reprice,
            fold,
            fold,
            lambda: moved_clock.passes(play.choice((1, 3, 30)) * HOUR),
            lambda: moved_clock.passes(play.choice((1, 3)) * HOUR),
        )
        for step in range(40):
            play.choice(writes)()
            for each in (BookFilter(), *[BookFilter(service=one.pk) for one in services]):
                _, paying = standing(book_clock())
                mine = [row for row in paying if each.service in (None, row.service_id)]
                assert figures(each).paid == sum_of(mine), step
            checked = book_check.check()
            assert not checked.wrong_subtotals, (step, checked.wrong_subtotals)
        assert_told()
        moved_clock.passes(100 * DAY)
        assert_told()


def right() -> bool:
    return not book_check.check().wrong_subtotals and figures().paid == sum_of(
        standing(book_clock())[1]
    )


def right_all_along(clock: MovedClock) -> bool:
    """Whether what is paid was right after each of many writes, and while nothing was written."""
    rows = a_row_of_each()
    phone, subscriptions = rows["ended"].service, Subscription.objects
    begins = a_subscription(service=phone, started_at=book_clock() + 50 * HOUR)

    def released(**dates: Any) -> Subscription:
        row = a_subscription(service=phone, **dates)
        price_state.lock(row.pk, book_clock() + HOUR / 4, "as agreed", "ann")
        return row

    def late() -> None:
        released()
        released(ended_at=book_clock() + HOUR / 2)
        released(started_at=book_clock() + 8 * HOUR)
        at = book_clock()
        scheduled(at, kind="list_price", service=phone.pk, new_value="60")

    def written_again(**values: Any) -> None:
        for row in rows.values():
            subscriptions.filter(pk=row.pk).update(**values)

    found = [right()]
    for step in (
        late,
        lambda: clock.passes(HOUR / 3),
        lambda: clock.passes(HOUR),
        lambda: written_again(plan=a_plan(50)),
        fold,
        lambda: subscriptions.filter(pk=rows["active"].pk).update(ended_at=book_clock() + HOUR),
        lambda: subscriptions.filter(pk=rows["ending"].pk).update(ended_at=None),
        lambda: clock.passes(HOUR),
        lambda: subscriptions.filter(pk=begins.pk).update(started_at=book_clock() - DAY),
        lambda: subscriptions.filter(pk__in=[row.pk for row in a_row_of_each().values()]).delete(),
        repricing.reprice,
        lambda: written_again(price_state="negotiated", price=7),
        lambda: clock.passes(HOUR),
        lambda: subscriptions.filter(pk__in=[row.pk for row in rows.values()]).delete(),
        fold,
        lambda: clock.passes(99 * HOUR),
    ):
        step()
        found.append(right())
    return all(found)


INSERT, UPDATE, DELETE = (f"subtotal_of_{each}" for each in ("insert", "update", "delete"))
LATE = "late_copies"
BY_INDEXES = "SET enable_seqscan TO 'off'"


def scans_for_late_copies() -> int:
    """How often it reads all subscriptions. Each is planned for the first time."""
    scans = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'services_subscription'"
    with connection.cursor() as cursor:
        cursor.execute(f"{scans} UNION ALL SELECT 0")
        before = cursor.fetchone()[0]
        cursor.execute("SELECT count(*) FROM late_copies()")
        cursor.execute(f"{scans} UNION ALL SELECT 0")
        return int(cursor.fetchone()[0] - before)


MUTANTS = [
    *[
        (function, *texts)
        for function in (INSERT, UPDATE, DELETE)
        for texts in (
            ("started_at <= clock AND ", ""),
            (" AND (ended_at IS NULL OR ended_at > clock) AS pays", " AS pays"),
            ("(started_at, 1)", "(started_at, -1)"),
            ("(ended_at, -1)", "(ended_at, 1)"),
            ("coalesce(sum(sign) FILTER (WHERE pays AND follows), 0)", "0"),
            ("coalesce(sum(sign * price) FILTER (WHERE pays AND follows), 0)", "0"),
            ("coalesce(sum(sign * price) FILTER (WHERE pays), 0)", "0"),
            ("sum(sign * way * price),", "0,"),
            ("sum(sign * way) FILTER (WHERE price_state = 'follows')", "0"),
            ("sum(sign * way * price) FILTER (WHERE price_state = 'follows')", "0"),
            ("started_at > clock OR ended_at > clock", "false"),
        )
    ],
    (UPDATE, "ended_at, -1\n", "ended_at, 1\n"),
    (UPDATE, "SELECT *, -1\n", "SELECT *, 1\n"),
    (UPDATE, "OR EXISTS (SELECT FROM old_rows", "OR false AND EXISTS (SELECT FROM old_rows"),
    (DELETE, "-1 AS sign", "1 AS sign"),
    (LATE, "0::numeric, subscriptions, amount", "0::numeric, 0::bigint, amount"),
    (LATE, "0::numeric, subscriptions, amount", "0::numeric, subscriptions, 0::numeric"),
    (LATE, "0, 0, followers, followers_amount", "0, 0, 0, followers_amount"),
    (LATE, "0, 0, followers, followers_amount", "0, 0, followers, 0"),
    (LATE, "paid_followers * price_rule", "followers * price_rule"),
    (LATE, " - paid_amount", " - amount"),
    (LATE, "THEN short ELSE 0", "THEN 0 ELSE 0"),
    (LATE, "THEN short ELSE 0", "THEN short ELSE short"),
    (LATE, "CASE WHEN started_at <= clock AND ", "CASE WHEN "),
]


class TestProtections:
    def test_are_right_all_along(self, moved_clock):
        assert right_all_along(moved_clock)

    @pytest.mark.thorough
    @pytest.mark.parametrize(("function", "text", "mutant"), MUTANTS)
    def test_are_missed_when_one_is_taken_out(self, moved_clock, function, text, mutant):
        with replaced(function, lambda definition: definition.replace(text, mutant)):
            assert not right_all_along(moved_clock)

    def test_late_copies_are_found_by_indexes_though_the_plan_knows_no_instant(self):
        service = a_book(subscriptions=2000, services=2, plans=1).first().service
        # The plan takes a third of these for such as have yet to end.
        Subscription.objects.update(started_at=book_clock() - 2 * HOUR)
        Subscription.objects.update(ended_at=book_clock() - HOUR)
        Service.objects.filter(pk=service.pk).update(full_price=7)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE services_subscription")
            # However many dead pages others have left: to read all is the cheaper plan.
            cursor.execute("SET LOCAL random_page_cost = 10000")
        assert scans_for_late_copies() == 0
        with replaced(LATE, lambda definition: definition.replace(BY_INDEXES, "")):
            assert scans_for_late_copies() > 0

    @pytest.mark.django_db(transaction=True)
    def test_without_counting_what_passed_the_fold_would_bring_an_old_version_back(
        self, moved_clock, monkeypatch
    ):
        counted = "followers, followers_amount, 1\n"
        assert counted in total.FOLD
        monkeypatch.setattr(total, "FOLD", total.FOLD.replace(counted, counted.replace("1", "0")))
        rows = a_row_of_each()
        fold()
        before = a_reader().get("/api/services/")["ETag"]
        moved_clock.to(rows["ending"].ended_at)
        fold()
        again = a_reader().get("/api/services/", headers={"If-None-Match": before})
        assert again.status_code == 304

    @pytest.mark.django_db(transaction=True)
    def test_by_the_instant_of_the_statement_a_figure_would_be_kept_that_never_was(
        self, late_snapshot, monkeypatch
    ):
        row = a_subscription(service=a_service(50))
        Subscription.objects.filter(pk=row.pk).update(started_at=book_clock())
        of_client = BookFilter(client=row.client_id)
        monkeypatch.setattr(total, "SUMMED", total.SUMMED.replace("{clock}", "book_now()"))
        assert figures(of_client).paid == total.cached(of_client).figures.paid == NOTHING


class TestFold:
    def test_merges_what_is_to_come_soon_of_one_instant(self, moved_clock):
        phone, at = a_service(50), book_clock() + HOUR / 2
        for _ in range(3):
            a_subscription(service=phone, started_at=at)
        far = at + 9 * DAY
        for _ in range(2):
            a_subscription(service=phone, started_at=far)
        fold()
        assert PaidBoundary.objects.filter(at=at).values_list(
            "subscriptions", "amount", "followers", "followers_amount"
        ).get() == (3, 150, 3, 150)
        assert PaidBoundary.objects.filter(at=far).count() == 2
        fold_total(all_to_come=True)
        assert PaidBoundary.objects.filter(at=far).count() == 1
        moved_clock.to(at)
        assert figures().paid == Total(Decimal(150), 3)
        moved_clock.to(far)
        assert figures().paid == Total(Decimal(250), 5)

    def test_that_is_killed_has_done_nothing(self, moved_clock):
        a_row_of_each()
        moved_clock.passes(9 * HOUR)
        before = figures(), list(PaidBoundary.objects.values()), list(Subtotal.objects.values())
        with transaction.atomic():
            fold()
            assert PaidBoundary.objects.count() == 0
            transaction.set_rollback(True)
        assert before == (
            figures(),
            list(PaidBoundary.objects.values()),
            list(Subtotal.objects.values()),
        )

    def test_of_nothing_that_has_passed_leaves_the_version(self, moved_clock):
        a_row_of_each()
        fold()
        version = sum(Subtotal.objects.values_list("changes", flat=True))
        fold()
        assert sum(Subtotal.objects.values_list("changes", flat=True)) == version

    def test_and_a_truncate_leave_no_boundary(self):
        a_row_of_each()
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("TRUNCATE services_subscription")
        assert PaidBoundary.objects.count() == 0
        assert figures().paid == NOTHING

    @pytest.mark.django_db(transaction=True)
    def test_never_moves_what_is_paid_while_others_write_and_instants_pass(self):
        service, plans = a_service(10), [a_plan(0), a_plan(50)]
        client = a_client()

        def soon() -> datetime:
            return book_clock() + timedelta(milliseconds=random.randint(-50, 300))

        def write() -> None:
            start = soon()
            row = a_subscription(
                client,
                service,
                random.choice(plans),
                started_at=start,
                ended_at=start + timedelta(milliseconds=random.randint(1, 300)),
            )
            rows = Subscription.objects.filter(pk__in=[row.pk, row.pk - 1])
            if random.random() < 0.5:
                length = timedelta(milliseconds=random.randint(1, 600))
                rows.update(ended_at=F("started_at") + length)
            else:
                rows.update(plan=random.choice(plans))
            if random.random() < 0.2:
                rows.delete()

        folded: list[int] = []
        seen = set()
        with in_background(
            *[repeated(3, write)] * 2, *[repeated(3, lambda: folded.append(fold()))] * 2
        ):
            for _ in range(200):
                checked = book_check.check()
                assert not checked.wrong_subtotals
                seen.add((checked.paid_subscriptions, checked.paid_amount))
        assert sum(folded) > 20
        assert len(seen) > 10
        assert elsewhere(lambda: not book_check.check().differs)


class TestBookCheck:
    @pytest.mark.parametrize(
        "column",
        ["paid_subscriptions", "paid_amount", "paid_followers", "paid_followers_amount"],
    )
    def test_finds_and_mends_what_is_paid(self, column):
        a_row_of_each()
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE services_subtotal SET {column} = {column} + 1 WHERE id IN"
                " (SELECT max(id) FROM services_subtotal WHERE service_id IS NOT NULL)"
            )
        (wrong,) = book_check.check().wrong_subtotals
        assert getattr(wrong, f"counted_{column}") == getattr(wrong, column) + 1
        assert book_check.repair().subtotals == 1
        assert not book_check.check().differs
        assert_told()

    @pytest.mark.parametrize(
        "breaks",
        [
            "DELETE FROM services_paidboundary",
            "UPDATE services_paidboundary SET at = at + interval '1 second'",
            "UPDATE services_paidboundary SET amount = amount + 1",
            "UPDATE services_paidboundary SET followers = 0",
            "UPDATE services_paidboundary SET followers_amount = 0",
            "UPDATE services_paidboundary SET service_id = 4711",
        ],
    )
    def test_finds_and_mends_starts_and_ends_to_come(self, moved_clock, breaks):
        rows = a_row_of_each()
        with connection.cursor() as cursor:
            cursor.execute(breaks)
        checked = book_check.check()
        assert checked.differs
        assert sum(wrong.boundaries for wrong in checked.wrong_subtotals) >= 4
        out = io.StringIO()
        with pytest.raises(SystemExit):
            call_command("check_book", stdout=out)
        assert "starts and ends to come" in out.getvalue()
        assert book_check.repair().subtotals >= 1
        assert not book_check.check().differs
        moved_clock.to(rows["period"].started_at)
        assert_told()

    def test_finds_and_mends_rows_that_went_around_the_triggers(self, moved_clock):
        rows = a_row_of_each()
        with triggers_off():
            a_subscription(service=rows["ended"].service, started_at=book_clock() + HOUR, price=50)
            a_subscription(service=rows["ended"].service, ended_at=book_clock() + HOUR, price=50)
        assert book_check.check().differs
        book_check.repair()
        assert not book_check.check().differs
        assert_told()
        moved_clock.passes(2 * HOUR)
        assert_told()

    def test_says_what_is_paid_where_that_is_less(self):
        a_row_of_each()
        assert "5 subscriptions, total 250.00, of which 100.00 is paid by 2;" in str(
            book_check.check()
        )


class TestMigration:
    def test_fills_in_what_the_rows_say(self, moved_clock):
        rows = a_row_of_each()
        price_state.negotiate(rows["upcoming"].pk, Decimal(7), "a friend", "ada")
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE services_subtotal SET paid_subscriptions = 0, paid_amount = 0,"
                " paid_followers = 0, paid_followers_amount = 0"
            )
            cursor.execute("DELETE FROM services_paidboundary")
            cursor.execute(import_module("services.migrations.0023_who_pays").FILL)
        assert not book_check.check().differs
        assert_told()
        moved_clock.passes(9 * HOUR)
        assert_told()


class TestPagesAndCommands:
    def test_say_both_where_rows_do_not_pay(self, admin_client):
        a_row_of_each()
        page = admin_client.get(reverse("admin:services_subscription_changelist"))
        text = " ".join(page.content.decode().split())
        assert "250.00 USD</strong> for 5 subscriptions;" in text
        assert "100.00 USD</strong> of it is paid, by 2 active" in text
        for state, number in (("active", 2), ("ended", 1), ("upcoming", 2)):
            found = admin_client.get(
                reverse("admin:services_subscription_changelist"), {"state": state}
            )
            assert {row.pk for row in found.context["cl"].result_list} == set(
                BookFilter(state=state).subscriptions().values_list("pk", flat=True)
            )
            assert len(found.context["cl"].result_list) == number
        assert "upcoming" in text

    def test_say_one_where_all_pay(self, admin_client):
        a_subscription()
        page = admin_client.get(reverse("admin:services_subscription_changelist"))
        assert "of it is paid" not in page.content.decode()

    def test_end_a_stream_with_both(self):
        a_row_of_each()
        for form, expected in (
            ("csv", "count=5 total_amount=250.00 paid_count=2 paid_amount=100.00\n"),
            (
                "ndjson",
                '"count":5,"total_amount":250.00,"paid_count":2,"paid_amount":100.00,'
                '"currency":"USD"}}\n',
            ),
        ):
            answer = a_reader().get(reverse("subscription-list"), {"format": form})
            text = b"".join(answer.streaming_content).decode()
            assert text.endswith(expected)

    def test_print_who_was_active_had_ended_or_had_not_begun(self):
        rows = a_row_of_each()

        def said(*words: str) -> str:
            out = io.StringIO()
            client = str(rows["ended"].client_id)
            now = book_clock().isoformat()
            call_command("price_state", "as_of", now, "--client", client, *words, stdout=out)
            return out.getvalue()

        assert "2 subscriptions, 100.00 USD together." in said()
        assert said().splitlines()[:-1] == said("--state", "active").splitlines()[:-1]
        assert "1 subscriptions that had ended, of 50.00 USD, of which nothing was paid." in said(
            "--state", "ended"
        )
        assert "2 subscriptions that had not begun, of 100.00 USD," in said("--state", "upcoming")
        Subscription.objects.filter(pk=rows["ended"].pk).delete()
        assert "There is none that had ended at" in said("--state", "ended")
