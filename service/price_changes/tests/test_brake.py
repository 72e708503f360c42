"""The brake: one action holds every start from now on, and every door says so.

`test_oracle` plays it in histories, at all instants and under all schedules of the workers. Here
are the doors, the words, and what a release can't bring back.
"""

import io
import json
import re
from datetime import timedelta
from functools import partial

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.urls import reverse

from keys.tests.making import a_member_of_staff
from price_changes import verbs
from price_changes.errors import ChangeError
from price_changes.models import Brake, PriceChange
from price_changes.running import dry_runs, lifecycle, starting
from price_changes.tests.api import a_person, a_program
from price_changes.tests.changes import approved, drained, planned
from price_changes.tests.timeline import Timeline
from pricebook.kit.scopes import APPROVE, PULL_BRAKE, VIEW_CHANGE
from services import ledger
from services.models import CatalogueValue, Plan, Service, Subscription
from services.reading.filters import BookFilter
from services.reading.total import total_amount
from services.tests.factories import a_plan, a_service, a_subscription

pytestmark = pytest.mark.django_db

URL = "/api/brake/"
HOUR = timedelta(hours=1)


class Book:
    """One subscription at 20.00, and a clock that the test moves."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.phone = a_service(20, "Phone")
        self.row = a_subscription(service=self.phone)

    def passes(self, hours):
        self.timeline.set(self.timeline.now + hours * HOUR)

    def rises_to(self, value, hours=None) -> PriceChange:
        """A list price, approved for so many hours ahead, or for now."""
        at = None if hours is None else self.timeline.now + hours * HOUR
        return approved(
            planned(kind="list_price", service=self.phone.pk, new_value=value, effective_at=at)
        )

    def adds(self, amount, hours=None) -> PriceChange:
        at = None if hours is None else self.timeline.now + hours * HOUR
        return approved(planned(kind="set", adjustment="add", operand=amount, effective_at=at))

    @property
    def prices(self):
        """The price, by each reader."""
        return {
            Subscription.objects.in_force().get(pk=self.row.pk).price,
            total_amount(BookFilter(service=self.phone.pk)).amount,
            ledger.explain(self.row.pk).price,
            ledger.total_as_of(self.timeline.now).amount,
        }


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def braked(book):
    """A list price and a set that were to come, while the brake was on; it is released since."""
    changes = [book.rises_to(24, 2), book.adds(5, 3)]
    book.passes(1)
    verbs.pull_brake("carl", "wrong list")
    book.passes(4)
    verbs.release_brake("dora", "checked")
    book.passes(1)
    return changes


def told(change):
    return a_program().get(f"/api/price-changes/{change.pk}/").json()


def status(change):
    return PriceChange.objects.values_list("status", flat=True).get(pk=change.pk)


class TestHeld:
    def test_moves_nothing_and_says_so_before_and_after_the_worker(self, book, braked):
        for stored in ("scheduled", "held"):
            assert book.prices == {20}
            for change in braked:
                assert status(change) == stored
                body = told(change)
                assert (body["status"], body["brake"]["pulled_by"]) == ("held", "carl")
                assert body["brake"]["reason"] == "wrong list"
                assert "The brake was on at its instant: carl had pulled it" in body["note"]
                assert {"preview", "approve", "cancel"} <= set(body["allowed"])
            drained()

    def test_comes_when_somebody_has_looked_at_it_again(self, book, braked):
        for change, price in zip(braked, (24, 29), strict=True):
            again = lifecycle.preview(change.pk)
            approved(again)
            drained()
            assert book.prices == {price}
            assert status(change) == "applied"
            assert told(change)["brake"] is None
            book.passes(1)

    def test_is_taken_back_by_nobody(self, braked):
        with pytest.raises(ChangeError) as refused:
            lifecycle.revert(braked[0].pk, "carl")
        assert refused.value.code == "wrong_state"
        assert lifecycle.cancel(braked[0].pk, "carl").status == "cancelled"

    def test_a_discount_that_another_plan_has_by_now_stays_held(self, book):
        plan = a_plan(10)
        at = book.timeline.now + 9 * HOUR
        change = approved(planned(kind="discount", plan=plan.pk, new_value=15, effective_at=at))
        verbs.pull_brake("carl", "wrong list")
        other = Plan.objects.create(plan_type=plan.plan_type, discount_percent=15)
        verbs.release_brake("dora", "checked")
        assert status(change) == "held"
        assert f"plan {other.pk} is" in told(change)["note"]
        book.passes(10)
        drained()
        assert Plan.objects.in_force().get(pk=plan.pk).discount_percent == 10
        assert not CatalogueValue.objects.filter(started=False).exists()


class TestWhileItIsOn:
    @pytest.fixture
    def on(self, book):
        verbs.pull_brake("carl", "wrong list")
        return book

    @pytest.mark.parametrize("of", ["rises_to", "adds"])
    def test_nothing_is_approved_for_now(self, on, of):
        with pytest.raises(ChangeError) as refused:
            getattr(on, of)(24)
        error = refused.value
        assert (error.code, error.status_code) == ("brake_is_on", 409)
        assert "carl pulled the brake" in error.detail
        assert error.about["reason"] == "wrong list"
        assert on.prices == {20}

    def test_what_is_approved_for_later_says_that_it_will_be_held(self, on, admin_client):
        change = on.rises_to(24, 2)
        body = told(change)
        assert (body["status"], body["will_be_held"]) == ("scheduled", True)
        assert body["brake"]["released_at"] is None
        url = reverse("admin:price_changes_pricechange_change", args=[change.pk])
        assert "the change will be held" in admin_client.get(url).content.decode()
        pending = a_program().get(f"/api/subscriptions/{on.row.pk}/").json()["pending_changes"]
        assert [(each["id"], each["will_be_held"]) for each in pending] == [(change.pk, True)]
        assert ledger.total_as_of(on.timeline.now + 3 * HOUR).amount == 20
        verbs.release_brake("dora", "checked")
        assert told(change)["will_be_held"] is False
        assert ledger.total_as_of(on.timeline.now + 3 * HOUR).amount == 24

    def test_people_write_prices_and_take_back(self, book):
        first, a_set = book.rises_to(24), book.adds(5)
        drained()
        book.passes(1)
        verbs.pull_brake("carl", "wrong list")
        for change, price in ((a_set, 24), (first, 20)):
            lifecycle.revert(change.pk, "carl", approve_too=True)
            drained()
            assert book.prices == {price}
            book.passes(1)
        Service.objects.filter(pk=book.phone.pk).update(full_price=21)
        assert book.prices == {21}
        # To take that back is to bring the change back.
        back = PriceChange.objects.get(reverts=first)
        for bring_back in (partial(lifecycle.revert, approve_too=True), dry_runs.of_revert):
            with pytest.raises(ChangeError) as refused:
                bring_back(back.pk, "carl")
            assert refused.value.code == "brake_is_on"

    def test_a_revert_under_way_is_not_cancelled(self, book):
        """That would bring the change back too, if it came before the worker."""
        change = book.rises_to(24)
        drained()
        book.passes(1)
        back = lifecycle.revert(change.pk, "carl", approve_too=True)
        assert starting.start_due()
        verbs.pull_brake("carl", "wrong list")
        for cancel in (lifecycle.cancel, dry_runs.of_cancel):
            with pytest.raises(ChangeError) as refused:
                cancel(back.pk, "carl")
            assert refused.value.code == "brake_is_on"
        assert book.prices == {20}

    def test_what_has_begun_goes_on(self, book):
        change = book.rises_to(24)
        verbs.pull_brake("carl", "wrong list")
        assert verbs.brake_state().under_way == [change.pk]
        drained()
        assert (status(change), book.prices) == ("applied", {24})


class TestScheduledRevert:
    """It is a start like others, though it is written as the undoing of another change."""

    def test_is_held_or_comes(self, book):
        change = book.rises_to(24)
        drained()
        book.passes(1)
        back = lifecycle.revert(change.pk, "carl")
        at = book.timeline.now + 4 * HOUR
        lifecycle.approve(back.pk, back.fingerprint, "carl", effective_at=at)
        verbs.pull_brake("carl", "wrong list")
        assert ledger.total_as_of(at).amount == 24
        verbs.release_brake("dora", "checked")
        assert ledger.total_as_of(at).amount == 20
        verbs.pull_brake("carl", "again")
        book.passes(5)
        verbs.release_brake("dora", "checked")
        for _ in range(2):
            assert (book.prices, told(back)["status"]) == ({24}, "held")
            drained()


class TestTheFact:
    def test_there_is_one_at_a_time(self, book):
        with pytest.raises(ChangeError) as refused:
            verbs.release_brake("carl", "why not")
        assert refused.value.code == "brake_is_off"
        verbs.pull_brake("carl", "wrong list")
        with pytest.raises(ChangeError) as refused:
            verbs.pull_brake("dora", "me too")
        assert refused.value.code == "brake_is_on"

    @pytest.mark.parametrize("what", ["delete", "update", "second"])
    def test_stays_whoever_writes(self, book, what):
        brake = verbs.pull_brake("carl", "wrong list")
        rows = Brake.objects.filter(pk=brake.pk)
        write = {
            "delete": rows.delete,
            "update": lambda: rows.update(pulled_by="dora"),
            "second": lambda: Brake.objects.create(
                pulled_at=brake.pulled_at, pulled_by="dora", reason="too"
            ),
        }[what]
        with pytest.raises(DatabaseError), transaction.atomic():
            write()


def command(*arguments):
    out = io.StringIO()
    call_command("brake", *arguments, stdout=out)
    return out.getvalue()


class TestDoors:
    def test_the_api_pulls_shows_and_releases_once_for_a_key(self, book):
        change = book.rises_to(24, 2)
        program = a_program("erp", may_approve=True)
        headers = {"Idempotency-Key": "a"}
        for _ in range(2):
            body = program.post(f"{URL}pull/", {"reason": "wrong list"}, headers=headers).json()
            assert (body["on"], body["to_come"], body["under_way"]) == (True, [change.pk], [])
        assert Brake.objects.count() == 1
        refused = program.post(f"{URL}pull/", {"reason": "again"})
        assert (refused.status_code, refused.json()["code"]) == (409, "brake_is_on")
        body = program.post(f"{URL}release/", {"reason": "checked"}).json()
        assert (body["on"], body["brake"]) == (False, None)
        assert program.get(URL).json()["history"][0]["release_reason"] == "checked"

    @pytest.mark.parametrize(
        ("body", "code"),
        [({}, "missing"), ({"reason": " "}, "missing"), ({"reason": "x" * 1001}, "bad_text"),
         ({"reason": 7}, "bad_text"), ({"why": "x"}, "unknown_field")],
    )  # fmt: skip
    def test_the_api_wants_a_reason(self, body, code):
        response = a_program("erp", may_approve=True).post(f"{URL}pull/", body)
        assert (response.status_code, response.json()["code"]) == (400, code)
        assert not Brake.objects.exists()

    @pytest.mark.parametrize("right", [APPROVE, PULL_BRAKE])
    def test_it_takes_a_right_to_approve_or_its_own(self, right):
        assert a_person("ann", VIEW_CHANGE).post(f"{URL}pull/", {"reason": "x"}).status_code == 403
        assert a_person("bob", right).post(f"{URL}pull/", {"reason": "x"}).status_code == 200

    def test_the_command(self):
        assert command("show") == "The brake is off.\n"
        assert command("show", "--check")
        told = command("on", "--reason", "wrong list", "--author", "carl")
        assert told.startswith("The brake is on. carl (claimed) pulled the brake ")
        with pytest.raises(CommandError, match="The brake is on"):
            command("show", "--check")
        with pytest.raises(CommandError, match=r"can't be pulled twice\. \(brake_is_on\)"):
            command("on", "--reason", "again")
        told = json.loads(command("off", "--reason", "checked", "--author", "dora", "--json"))
        assert (told["on"], told["history"][0]["released_by"]) == (False, "dora (claimed)")
        assert "dora (claimed) released it" in command("show")

    def test_the_page_pulls_and_releases(self, client):
        client.force_login(a_member_of_staff("ann", VIEW_CHANGE, APPROVE))
        page = reverse("admin:price_changes_pricechange_brake")
        for does, on in (("pull", True), ("", True), ("pull", True), ("release", False)):
            seen = Brake.objects.values_list("pk", flat=True).last() or ""
            told = {"reason": "wrong list", "does": does, "brake": seen}
            answer = client.post(page, told, follow=True)
            assert verbs.brake_state().on == on
            assert "wrong list" in answer.content.decode()
        assert Brake.objects.count() == 1

    def test_the_page_is_for_those_who_may(self, client):
        page = reverse("admin:price_changes_pricechange_brake")
        for name, rights, looks in (("ann", [], 403), ("bob", [VIEW_CHANGE], 200)):
            client.force_login(a_member_of_staff(name, *rights))
            assert client.get(page).status_code == looks
            assert client.post(page, {"reason": "x", "does": "pull"}).status_code == 403
        assert not Brake.objects.exists()

    def test_every_page_says_so(self, book, admin_client):
        change = book.rises_to(24, 2)
        pages = [
            reverse("desk:home"),
            reverse("admin:price_changes_pricechange_changelist"),
            reverse("admin:price_changes_pricechange_change", args=[change.pk]),
            reverse("admin:price_changes_pricechange_add"),
        ]
        said = re.compile("The brake is on. carl pulled the brake .*: wrong list.")
        for page in pages:
            assert not said.search(admin_client.get(page).content.decode())
        verbs.pull_brake("carl", "wrong list")
        for page in pages:
            assert said.search(admin_client.get(page).content.decode())
