"""The instant decides, though no worker is alive: every read of a price, from the instant on.

The copies are poisoned: wherever a price of 7777.77 appears, a copy was shown.
"""

import io
import json
import time
from contextlib import suppress
from decimal import Decimal
from itertools import pairwise

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.urls import reverse
from rest_framework.test import APIClient

from price_changes.models import PriceChange
from price_changes.running import lifecycle, outcomes, starting
from price_changes.tests.changes import (
    SECOND,
    approved,
    clock,
    drained,
    planned,
    scheduled,
)
from services import ledger, price_state, repricing
from services.audit import book_check
from services.models import Plan, Service, Subscription, WholeLedger
from services.reading import pages
from services.reading.filters import BookFilter
from services.reading.ordering import Ordering
from services.reading.total import total_amount
from services.repricing import chunks
from services.repricing.writes import ledger_origin
from services.tests.factories import a_client, a_plan, a_reader, a_service, a_subscription

pytestmark = pytest.mark.django_db

POISON = Decimal("7777.77")
SEEN = ("7777.77", "7,777.77", "7 777,77", "7777,77")


def poisoned(*subscriptions: Subscription, service: Service) -> None:
    """Poison the copies, which no reader may show; written as a worker writes them."""
    with ledger_origin(writes_entries=True):
        Subscription.objects.filter(pk__in=[each.pk for each in subscriptions]).update(price=POISON)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE services_service DISABLE TRIGGER service_price_moved")
        Service.objects.filter(pk=service.pk).update(full_price=POISON)
        cursor.execute("ALTER TABLE services_service ENABLE TRIGGER service_price_moved")


class Due:
    """A list price of 150 in force and a lock that has ended, with no worker."""

    def __init__(self) -> None:
        self.client = a_client("Ant Ltd")
        self.phone, self.plan = a_service(100, "Phone"), a_plan(20)
        self.follower = a_subscription(self.client, self.phone, self.plan)
        self.locked = a_subscription(self.client, self.phone, self.plan)
        self.released = a_subscription(self.client, self.phone, self.plan)
        self.negotiated = a_subscription(self.client, self.phone, self.plan)
        self.ended = a_subscription(
            self.client, self.phone, self.plan, started_at=clock() - 9 * SECOND
        )
        Subscription.objects.filter(pk=self.ended.pk).update(ended_at=clock())
        price_state.lock(self.locked.pk, None, "as agreed", "ann")
        price_state.negotiate(self.negotiated.pk, 7, "as agreed", "ann")
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE services_subscription SET price_state = 'locked', price = 70,"
                " locked_until = clock_timestamp() WHERE id = %s",
                [self.released.pk],
            )
        self.at = clock()
        self.change = scheduled(self.at, kind="list_price", service=self.phone.pk, new_value="150")
        poisoned(self.follower, self.released, service=self.phone)

    # The price of each from then on; the ended one pays no more.
    prices = ("120.00", "80.00", "120.00", "7.00")
    paid = Decimal("327.00")
    total = paid + 80

    @property
    def all(self) -> tuple[Subscription, ...]:
        return self.follower, self.locked, self.released, self.negotiated, self.ended


@pytest.fixture
def due() -> Due:
    return Due()


@pytest.fixture
def read_only(due):
    """Reads write nothing: a write is refused."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL transaction_read_only = on")
        yield
        transaction.set_rollback(True)


@pytest.fixture
def reader(due) -> APIClient:
    reader = APIClient()
    reader.force_authenticate(User(username="reader", is_staff=True, is_superuser=True))
    return reader


@pytest.fixture
def desk(due, client):
    client.force_login(User.objects.create_superuser("root", "root@example.com", "x"))
    return client


def clean(text: str) -> str:
    assert not [each for each in SEEN if each in text], text[:2000]
    return text


class TestTheApi:
    @pytest.mark.parametrize("ordering", ["id", "-id", "price", "-price", "client_name"])
    def test_lists_what_is_in_force(self, due, reader, read_only, ordering):
        body = reader.get(reverse("subscription-list"), {"ordering": ordering}).json()
        found = {row["id"]: row for row in body["result"]}
        for subscription, price in zip(due.all, (*due.prices, "80.00"), strict=True):
            assert Decimal(str(found[subscription.pk]["price"])) == Decimal(price)
        assert Decimal(str(body["total_amount"])) == due.total
        assert Decimal(str(body["paid_amount"])) == due.paid
        assert found[due.released.pk]["price_state"] == "follows"
        assert found[due.released.pk]["locked_until"] is None
        in_order = [row["price"] for row in body["result"]]
        if "price" in ordering:
            assert in_order == sorted(in_order, reverse=ordering.startswith("-"))

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"price_from": "100"}, 2),
            ({"price_to": "100"}, 3),
            ({"price_state": "follows"}, 3),
            ({"price_state": "locked"}, 1),
            ({"price_from": "7000"}, 0),
        ],
    )
    def test_looks_for_what_is_in_force(self, due, reader, read_only, given, expected):
        of_client = {"client": due.client.pk, **given}
        body = reader.get(reverse("subscription-list"), of_client).json()
        assert (body["count"], len(body["result"])) == (expected, expected)
        assert Decimal(str(body["total_amount"])) == sum(
            Decimal(str(row["price"])) for row in body["result"]
        )

    def test_nowhere_shows_a_copy(self, due, reader, read_only):
        one, phone = due.follower.pk, due.phone.pk
        for url in (
            "/api/subscriptions/",
            f"/api/subscriptions/?service={phone}",
            "/api/subscriptions/?plan_type=discount",
            f"/api/subscriptions/{one}/",
            f"/api/subscriptions/{one}/explain/",
            f"/api/subscriptions/{one}/?as_of={clock().isoformat().replace('+', '%2B')}",
            f"/api/subscriptions/?as_of={clock().isoformat().replace('+', '%2B')}",
            "/api/clients/",
            f"/api/clients/{due.client.pk}/",
            "/api/services/",
            "/api/services/?ordering=-full_price",
            "/api/services/?ordering=total_amount",
            f"/api/services/{phone}/",
            "/api/plans/",
            f"/api/plans/{due.plan.pk}/",
            "/api/totals/?by=service",
            f"/api/totals/?by=plan&client={due.client.pk}",
            "/api/price-changes/",
            f"/api/price-changes/{due.change.pk}/",
        ):
            answer = reader.get(url)
            assert answer.status_code == 200, (url, answer.content)
            clean(answer.content.decode())

    @pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson"])
    def test_streams_what_is_in_force(self, due, reader, read_only, accept):
        answer = reader.get(reverse("subscription-list"), HTTP_ACCEPT=accept)
        text = clean(b"".join(answer.streaming_content).decode())
        assert text.count("120.00") == 2

    def test_totals_are_the_sums_of_who_pays(self, due, reader, read_only):
        for url, name in (("services", due.phone.pk), ("plans", due.plan.pk)):
            body = reader.get(f"/api/{url}/{name}/").json()
            assert Decimal(str(body["total_amount"])) == due.paid
        body = reader.get("/api/totals/", {"by": "service"}).json()
        assert Decimal(str(body["total_amount"])) == due.paid
        body = reader.get(f"/api/clients/{due.client.pk}/").json()
        assert Decimal(str(body["total_amount"])) == due.paid

    @pytest.mark.django_db(transaction=True)
    def test_an_answer_from_before_the_instant_is_not_confirmed_after_it(self, moved_clock):
        reader = a_reader()
        service = a_service(40)
        a_subscription(service=service)
        change = approved(
            planned(
                kind="list_price",
                service=service.pk,
                new_value="50",
                effective_at=clock() + 3600 * SECOND,
            )
        )
        url = reverse("subscription-list")
        before = reader.get(url, {"service": service.pk})
        again = {"HTTP_IF_NONE_MATCH": before["ETag"]}
        assert reader.get(url, {"service": service.pk}, **again).status_code == 304
        moved_clock.to(change.effective_at)
        after = reader.get(url, {"service": service.pk}, **again)
        assert after.status_code == 200
        assert after.json()["result"][0]["price"] == 50


class TestPages:
    def test_show_what_is_in_force(self, due, desk):
        for url in (
            reverse("desk:home"),
            reverse("admin:services_subscription_changelist"),
            reverse("admin:services_subscription_change", args=[due.follower.pk]),
            reverse("admin:services_service_changelist"),
            reverse("admin:services_service_change", args=[due.phone.pk]),
            reverse("admin:services_plan_changelist"),
            reverse("admin:clients_client_changelist"),
            reverse("admin:price_changes_pricechange_changelist"),
            reverse("admin:price_changes_pricechange_change", args=[due.change.pk]),
        ):
            answer = desk.get(url)
            assert answer.status_code == 200, url
            clean(answer.content.decode())
        page = desk.get(reverse("admin:services_subscription_changelist")).content.decode()
        assert page.count("120.00") == 2


class TestCommands:
    def test_print_what_is_in_force(self, due, read_only, tmp_path):
        for arguments in (
            ["price_state", "history", str(due.released.pk)],
            ["price_state", "explain", str(due.follower.pk)],
            ["price_state", "as_of", clock().isoformat(), "--client", str(due.client.pk)],
            ["check_book", "--json"],
            ["price_change", "show", str(due.change.pk)],
        ):
            out = io.StringIO()
            with suppress(SystemExit):  # the check finds the poison where it lies
                call_command(*arguments, stdout=out)
            if arguments[0] != "check_book":
                clean(out.getvalue())

    def test_export_what_is_in_force(self, due, tmp_path):
        file = tmp_path / "book.csv"
        call_command("export_book", str(file), stdout=io.StringIO(), stderr=io.StringIO())
        assert clean(file.read_text()).count("120.00") == 2


class TestTheLedger:
    def test_knows_what_was_paid_at_every_instant(self, due, read_only):
        early = due.at - SECOND / 1_000_000
        assert ledger.explain(due.follower.pk, early).price == 80
        why = ledger.explain(due.follower.pk, due.at)
        assert (why.price, why.since, why.change.id) == (120, due.at, due.change.pk)
        assert ledger.total_as_of(clock()).amount == due.paid

    def test_says_who_took_a_price_back(self, due):
        drained()
        lifecycle.revert(due.change.pk, "bob", approve_too=True)
        back = PriceChange.objects.get(reverts=due.change)
        for _ in range(2):  # and again when the workers have come
            why = ledger.explain(due.follower.pk)
            assert (why.price, why.change.id, why.author) == (80, back.pk, "bob")
            assert due.at < why.since <= clock()
            drained()

    def test_says_who_moved_the_price_at_an_instant_of_several(self, moved_clock):
        service, plan = a_service("0.10"), a_plan(1)
        row = a_subscription(service=service, plan=plan)
        at = clock() + 3600 * SECOND
        list_price = {"kind": "list_price", "service": service.pk, "effective_at": at}
        discount = {"kind": "discount", "plan": plan.pk, "effective_at": at}
        moves = approved(planned(new_value="0.20", **list_price))
        approved(planned(new_value="2", **discount))  # 0.196 is 0.20
        approved(planned(new_value="0.20", **list_price), "current")  # the present value
        withdrawn = approved(planned(new_value="30", **discount))
        lifecycle.cancel(withdrawn.pk, "carl")
        moved_clock.to(at + 3600 * SECOND)
        for _ in range(2):  # and again when the workers have come
            for known_at in (None, at + 3600 * SECOND):
                why = ledger.explain(row.pk, known_at=known_at)
                assert (why.price, why.since) == (Decimal("0.20"), at)
                assert why.change.id == moves.pk
            drained()

    def test_says_the_same_after_the_workers_have_come(self, due):
        at, now = due.at, clock()
        before = [
            (why.price, why.price_state, why.since, why.change and why.change.id, why.text)
            for each in due.all
            for instant in (at - SECOND / 1_000_000, at, now)
            for why in [ledger.explain(each.pk, instant)]
        ]
        totals = [ledger.total_as_of(instant) for instant in (at, now)]
        drained()
        assert before == [
            (why.price, why.price_state, why.since, why.change and why.change.id, why.text)
            for each in due.all
            for instant in (at - SECOND / 1_000_000, at, now)
            for why in [ledger.explain(each.pk, instant)]
        ]
        assert totals == [ledger.total_as_of(instant) for instant in (at, now)]


class TestWriters:
    """Writers use what is in force too."""

    def test_price_who_comes_by_it(self, due):
        late = a_subscription(due.client, due.phone, due.plan)
        assert late.price == 120
        mover = a_subscription(due.client, a_service(10), due.plan)
        Subscription.objects.filter(pk=mover.pk).update(service=due.phone)
        assert Subscription.objects.get(pk=mover.pk).price == 120

    def test_lock_at_it(self, due):
        price_state.lock(due.follower.pk, None, "as agreed", "ann")
        drained()
        assert Subscription.objects.get(pk=due.follower.pk).price == 120

    def test_an_edit_back_to_the_old_value_is_an_edit(self, due):
        Service.objects.filter(pk=due.phone.pk).update(full_price=100)
        assert Subscription.objects.in_force().get(pk=due.follower.pk).price == 80
        drained()
        assert Service.objects.get(pk=due.phone.pk).full_price == 100
        assert Subscription.objects.get(pk=due.follower.pk).price == 80
        assert ledger.explain(due.follower.pk, due.at).price == 120

    def test_to_write_what_is_in_force_is_no_edit(self, due):
        changes = PriceChange.objects.count()
        Service.objects.filter(pk=due.phone.pk).update(full_price=150)
        assert PriceChange.objects.count() == changes
        drained()
        assert Subscription.objects.get(pk=due.follower.pk).price == 120

    def test_a_cancel_after_the_instant_takes_back_from_then_on(self, due):
        lifecycle.cancel(due.change.pk, "bob")
        cancelled = clock()
        for _ in range(2):  # and again when the workers have come
            assert Subscription.objects.in_force().get(pk=due.follower.pk).price == 80
            assert ledger.explain(due.follower.pk, due.at).price == 120
            assert ledger.explain(due.follower.pk, cancelled).price == 80
            drained()
        assert Subscription.objects.get(pk=due.follower.pk).price == 80

    def test_a_cancel_before_it_leaves_no_trace(self, moved_clock):
        phone = a_service(100)
        row = a_subscription(service=phone)
        change = approved(
            planned(
                kind="list_price",
                service=phone.pk,
                new_value="150",
                effective_at=clock() + 3600 * SECOND,
            )
        )
        lifecycle.cancel(change.pk, "bob")
        moved_clock.to(change.effective_at)
        assert Subscription.objects.in_force().get(pk=row.pk).price == 100
        drained()
        assert Subscription.objects.get(pk=row.pk).price == 100

    def test_the_end_of_a_lock_knows_nothing_of_what_never_came_into_force(self):
        row = a_subscription(service=a_service(100))
        change = approved(
            planned(
                kind="list_price",
                service=row.service_id,
                new_value="150",
                effective_at=clock() + 3600 * SECOND,
            )
        )
        lifecycle.cancel(change.pk, "bob")
        price_state.lock(row.pk, clock() + SECOND / 4, "as agreed", "ann")
        time.sleep(0.3)
        drained()
        *_, released = ledger.history(row.pk)
        assert (released["price"], released["change_id"]) == (100, None)
        assert released["effective_at"] <= clock()

    def test_the_end_of_a_lock_leaves_the_entries_of_what_has_not_begun_to_that(self, due):
        scheduled(clock(), kind="list_price", service=due.phone.pk, new_value="160")
        drained()
        entries = [
            (entry["change_id"], entry["effective_at"])
            for entry in ledger.history(due.released.pk)
            if entry["change_id"]
        ]
        assert len(entries) == len(set(entries)) == 2

    def test_an_end_in_the_past_keeps_the_price_that_it_ended_with(self):
        row = a_subscription(service=a_service(20), started_at=clock() - 90 * SECOND)
        before = clock()
        Service.objects.filter(pk=row.service_id).update(full_price=24)
        drained()
        Subscription.objects.filter(pk=row.pk).update(ended_at=before)
        row.refresh_from_db()
        assert row.price == 20
        assert "It ended at" in ledger.explain(row.pk).text


MOVES = {
    "another client": lambda rows: rows.update(client=a_client()),
    "another plan": lambda rows: rows.update(plan=a_plan(50)),
    "a price": lambda rows: rows.update(price=7),
    "a lock": lambda rows: rows.update(price_state="locked", price_reason="as agreed"),
    "a price of its own": lambda rows: price_state.negotiate(rows.get().pk, 7, "deal", "ann"),
    "its deletion": lambda rows: rows.get().delete(),
}


class TestWhatMovedBeforeAWrite:
    """Its entry comes first, though no worker has copied it: so the feed has that price too."""

    def test_is_not_entered_for_one_that_came_later_with_a_start_in_the_past(self):
        service = a_service(full_price=100)
        a_subscription(service=service)
        scheduled(clock(), kind="list_price", service=service.pk, new_value=150)
        row = a_subscription(service=service, started_at=clock() - 3600 * SECOND)
        row.client = a_client()
        row.save()
        drained()
        entries = WholeLedger.objects.filter(subscription_id=row.pk).order_by("id")
        assert {entry.price for entry in entries if not entry.period_only} == {150}
        assert [entry.price for entry in entries if entry.period_only] == [
            100,
            150,
        ]  # by the writer
        assert {entry.change_id for entry in entries} == {None}

    @pytest.mark.parametrize("what", MOVES)
    def test_is_entered_by_the_writer(self, what):
        row = a_subscription(service=a_service(100))
        values = {"kind": "list_price", "service": row.service_id}
        changes = [scheduled(clock(), new_value=price, **values) for price in ("150", "160")]
        MOVES[what](Subscription.objects.filter(pk=row.pk))
        for _ in range(2):  # and again when the workers have come
            entries = WholeLedger.objects.filter(subscription_id=row.pk).order_by("pk")
            told = [(each.effective_at, each.price, each.change_id) for each in entries][1:3]
            assert told == [
                (change.effective_at, change.new_value, change.pk) for change in changes
            ]
            assert list(entries) == sorted(entries, key=lambda entry: entry.effective_at)
            drained()
        assert len(entries) == (3 if what == "a price" else 4)
        assert [outcomes.outcome(change)["applied"] for change in changes] == [1, 1]
        assert not book_check.check().differs

    def test_is_entered_before_it_was_kept(self, moved_clock):
        row = a_subscription(service=a_service(100))
        values = {"kind": "list_price", "service": row.service_id}
        begin = clock() + 600 * SECOND
        scheduled(begin, new_value="150", **values)
        scheduled(begin + SECOND, "current", new_value="160", for_new_only=True, **values)
        moved_clock.to(begin + 2 * SECOND)
        price_state.release(row.pk, "ann")
        drained()
        entries = WholeLedger.objects.filter(subscription_id=row.pk).order_by("pk")
        assert list(entries.values_list("price", "price_state")) == [
            (100, "follows"),
            (150, "follows"),
            (150, "locked"),
            (160, "follows"),
        ]


class TestDiscounts:
    def test_are_in_force_too(self):
        plan = Plan.objects.create(plan_type="student", discount_percent=10)
        row = a_subscription(service=a_service(100), plan=plan)
        scheduled(clock(), kind="discount", plan=plan.pk, new_value="25")
        found = Subscription.objects.in_force().select_related("plan").get(pk=row.pk)
        assert (found.price, found.plan.discount_percent) == (75, 25)
        assert total_amount(BookFilter(plan=plan.pk)).amount == 75
        page = pages.page(BookFilter(plan=plan.pk), None, 10, Ordering("price"))
        assert [each["plan"]["discount_percent"] for each in page.result] == [25]
        assert json.dumps([str(each["price"]) for each in page.result]) == '["75.00"]'


class TestAFirstChangeWhenALaterOneHasNotBegun:
    """Somebody's lock holds up the start of the later one: what was written since is left to it."""

    LATER = {"list_price": "160", "discount": 50}

    @pytest.mark.parametrize("kind", LATER)
    @pytest.mark.parametrize("firsts", [1, 2])
    @pytest.mark.parametrize("written", ["came", "moved to another client"])
    def test_leaves_out_what_was_written_after_the_later_one(self, kind, firsts, written):
        plan, service = a_plan(0), a_service(100)
        there, other = (a_subscription(plan=plan, service=service) for _ in range(2))
        first = [
            scheduled(clock(), kind="list_price", service=service.pk, new_value=140 + number)
            for number in range(firsts)
        ]
        of = {"service": service.pk} if kind == "list_price" else {"plan": plan.pk}
        later = scheduled(clock(), kind=kind, new_value=self.LATER[kind], **of)
        if written == "came":
            row = a_subscription(plan=plan, service=service)
        else:
            row = other
            Subscription.objects.filter(pk=row.pk).update(client=a_client())
        entries = WholeLedger.objects.filter(subscription_id=row.pk).order_by("pk")
        known = list(entries.values_list("effective_at", "price", "change_id"))

        for change in first:
            starting.start(change)
        repricing.plan_due()
        while chunks.take_chunk("price", set()):
            pass
        assert WholeLedger.objects.filter(subscription_id=there.pk).latest("id").price == (
            140 + firsts - 1
        )
        assert list(entries.values_list("effective_at", "price", "change_id")) == known
        drained()
        assert list(entries.values_list("effective_at", "price", "change_id")) == known
        assert WholeLedger.objects.filter(subscription_id=there.pk).latest("id").change_id == (
            later.pk
        )
        assert not book_check.check().differs


class TestAFirstChangeThatBeginsBehindLaterOnes:
    """Its row owes it nothing, or knows what came later: each fact is entered once."""

    @pytest.mark.parametrize("edits", [1, 2])
    @pytest.mark.parametrize("came", ["before", "between"])
    def test_has_no_later_one_entered_again_that_follows_itself(self, edits, came):
        plan, service = a_plan(0), a_service(100)
        rows = [a_subscription(plan=plan, service=service)] if came == "before" else []
        first = scheduled(clock(), kind="discount", plan=plan.pk, new_value=40)
        if came == "between":
            rows.append(a_subscription(plan=plan, service=service))
        for number in range(edits):
            Service.objects.filter(pk=service.pk).update(full_price=150 + number)
        repricing.plan_due()
        while chunks.take_chunk("price", set()):
            pass
        starting.start(first)
        drained()
        [row] = rows
        told = WholeLedger.objects.filter(subscription_id=row.pk)
        facts = [
            (entry.effective_at, entry.change_id, entry.price) for entry in told.order_by("pk")
        ]
        again = [fact for fact, next in pairwise(facts) if fact == next]
        assert not again
        if came == "between":
            assert len(facts) == len(set(facts)) == 1 + edits
        row.refresh_from_db()
        assert row.price == (149 + edits) * Decimal("0.6")
        assert told.order_by("effective_at", "pk").last().price == row.price
        assert not book_check.check().differs
