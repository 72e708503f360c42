"""The clients who are to be told of a price change: their list, and the facts of who was told.

`test_oracle` plays the rule that holds a change in histories. Here are the list, the refusals, and
the doors.
"""

import io
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlencode

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.http import QueryDict

from desk.changes.plan_form import DeskPlanForm
from price_changes.errors import ChangeError
from price_changes.forms import PlanForm
from price_changes.kinds import TO_PLAN
from price_changes.models import PriceChange, Told, ToTell
from price_changes.notices import EARLY, NOT_TOLD, TOLD, standing, tell, to_tell
from price_changes.planning import status_now
from price_changes.running import brake, lifecycle
from price_changes.running.lifecycle import preview
from price_changes.tests import api
from price_changes.tests.changes import approved, drained, planned
from price_changes.tests.timeline import Timeline
from services import ledger
from services.models import Subscription
from services.tests.factories import a_client, a_service, a_subscription

pytestmark = pytest.mark.django_db

START = datetime(2027, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Book:
    """Ann's two subscriptions and Bob's one follow the list price of 20.00; Cat's is her own."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.phone = a_service(20, "Phone")
        self.ann, self.bob, self.cat = (a_client(name) for name in ("Ann", "Bob", "Cat"))
        self.rows = [
            a_subscription(service=self.phone, client=client)
            for client in (self.ann, self.ann, self.bob, self.cat)
        ]
        Subscription.objects.filter(pk=self.rows[-1].pk).update(
            price=7, price_state="negotiated", price_reason="an old friend"
        )

    def rises(self, days=40, **more):
        at = self.timeline.now + days * DAY
        plan = {"kind": "list_price", "service": self.phone.pk, "new_value": 24}
        return approved(planned(**plan, effective_at=at, **more))

    def told(self, change, day, *clients):
        """They are told on the day of this number, and that is recorded then."""
        self.timeline.set(START + day * DAY)
        return tell(change, [(client.pk, self.today, "") for client in clients], "hand", "carl")

    def comes(self, change):
        """The price of a row at the instant of the change, whether a worker has come or not."""
        self.timeline.set(change.effective_at)
        before, after = (self.price, drained() or self.price)
        assert before == after or change.kind == "set"
        change.refresh_from_db()
        return after

    @property
    def price(self):
        return Subscription.objects.in_force().get(pk=self.rows[0].pk).price

    @property
    def today(self):
        return self.timeline.now.date()


@pytest.fixture
def book() -> Book:
    return Book()


def test_names_the_clients_whose_price_moves(book):
    change = book.rises()
    listed = to_tell(change)
    assert [(each.client_name, each.email, each.rows) for each in listed] == [
        ("Ann", book.ann.user.email, 2),
        ("Bob", book.bob.user.email, 1),
    ]
    assert [(each.old_total, each.new_total) for each in listed] == [(40, 48), (20, 24)]
    a_subscription(service=book.phone, client=book.cat)
    assert to_tell(change).count() == 2, "it stays as it was made"


def test_records_who_was_told(book):
    change = book.rises()
    ann, bob = book.ann.pk, book.bob.pk
    outcome = tell(change, [(ann, book.today, "by post"), (bob, None, "")], "hand", "carl")
    assert (outcome.recorded, outcome.unchanged) == (1, 1)
    assert (outcome.standing.told_in_time, outcome.standing.not_told) == (1, 1)
    (told,) = to_tell(change, TOLD)
    assert (told.client_id, told.told_on, told.told_by, told.way, told.note) == (
        ann,
        book.today,
        "carl",
        "hand",
        "by post",
    )
    assert tell(change, [(ann, book.today, "by post")], "file", "dora").recorded == 0
    assert tell(change, [(ann, None, "returned")], "hand", "dora").standing.not_told == 2
    assert to_tell(change, NOT_TOLD).count() == 2
    assert [(each.told_on, each.recorded_by) for each in Told.objects.order_by("pk")] == [
        (book.today, "carl"),
        (None, "dora"),
    ]
    with pytest.raises(DatabaseError, match="stays as it was written"), transaction.atomic():
        Told.objects.update(told_on=None)


@pytest.mark.parametrize(
    ("mark", "code"),
    [
        (lambda book: (book.cat.pk, book.today, ""), "not_to_be_told"),
        (lambda book: (book.bob.pk, book.today + DAY, ""), "not_told_yet"),
        (lambda book: (book.ann.pk, None, ""), "given_twice"),
        (lambda book: (book.bob.pk, book.today, "\0"), "bad_text"),
        (lambda book: (book.bob.pk, book.today, "\u202e"), "bad_text"),
    ],
)
def test_refuses_all_for_one_mark(book, mark, code):
    change = book.rises()
    with pytest.raises(ChangeError) as refused:
        tell(change, [(book.ann.pk, book.today, ""), mark(book)], "hand", "carl")
    assert refused.value.code == code
    assert not Told.objects.exists()


def test_what_is_told_of_another_instant_is_refused(book):
    """A page or a file of before an approval anew; also without days of notice the list is new."""
    change = book.rises()
    earlier = change.effective_at
    book.told(change, 1, book.ann)
    brake.pull("wrong list", "carl")
    book.comes(change)
    brake.release("right again", "carl")
    at = book.timeline.now + 40 * DAY
    fingerprint = preview(change.pk).fingerprint
    change = lifecycle.approve(change.pk, fingerprint, "bob", effective_at=at)
    assert standing(change).total == 0
    assert to_tell(change, NOT_TOLD).count() == 2
    marks = [(book.ann.pk, book.today, "")]
    with pytest.raises(ChangeError) as refused:
        tell(change, marks, "hand", "carl", told_of=earlier)
    assert (refused.value.code, refused.value.about["value"]) == (
        "another_instant",
        earlier.isoformat(),
    )
    assert tell(change, marks, "hand", "carl", told_of=at).recorded == 1


def test_a_mark_without_a_note_leaves_the_note(book):
    change = book.rises()
    for note, recorded in (("letter 4711", 1), ("", 0), ("letter 4712", 1)):
        marks = [(book.ann.pk, book.today, note)]
        assert tell(change, marks, "hand", "carl").recorded == recorded
    assert to_tell(change).first().note == "letter 4712"


def test_has_no_list_before_the_approval_nor_after_the_instant(book):
    change = planned(kind="list_price", service=book.phone.pk, new_value=24)
    for asked in (to_tell, lambda change: tell(change, [], "hand", "carl")):
        with pytest.raises(ChangeError) as refused:
            asked(change)
        assert refused.value.code == "wrong_state"
    assert standing(change).total == ToTell.objects.count() == 0


class TestRule:
    """A change with `notice_days` comes if all were told in time, and else is held."""

    @pytest.fixture(params=["list_price", "set"])
    def change(self, book, request):
        """Ann and Bob are to be told 30 days before it comes, in 40 days."""
        if request.param == "list_price":
            return book.rises(notice_days=30)
        at = book.timeline.now + 40 * DAY
        only = {"service": book.phone.pk, "price_state": "follows"}
        plan = {"kind": "set", "adjustment": "add", "operand": 4, "filter": only}
        return approved(planned(**plan, effective_at=at, notice_days=30))

    @pytest.mark.parametrize(("day", "price"), [(10, 24), (11, 20)])
    def test_holds_it_if_one_was_told_too_late(self, book, change, day, price):
        book.told(change, 9, book.ann)
        book.told(change, day, book.bob)
        status_now.refresh([change])
        assert change.will_be_held == (price == 20)
        assert ledger.total_as_of(change.effective_at).amount == (
            3 * price + 7 if change.kind == "list_price" else 67
        ), "a set is known by its rows"
        assert book.comes(change) == price
        assert change.status == ("applied" if price == 24 else "held")

    def test_the_brake_and_the_notice_hold_it_each_on_its_own(self, book, change):
        brake.pull("wrong list", "carl")
        book.told(change, 8, book.ann, book.bob)
        assert ledger.total_as_of(change.effective_at).amount == 67
        tell(change, [(book.bob.pk, None, "it came back")], "hand", "carl")
        brake.release("right again", "carl")
        assert ledger.total_as_of(change.effective_at).amount == 67
        book.told(change, 9, book.bob)
        assert book.comes(change) == 24

    def test_a_letter_that_comes_back_at_just_the_instant_comes_too_late(self, book, change):
        book.told(change, 9, book.ann, book.bob)
        book.timeline.set(change.effective_at)
        numbers = tell(change, [(book.ann.pk, None, "it came back")], "hand", "carl").standing
        assert (numbers.told_in_time, numbers.not_told) == (1, 1)
        assert (to_tell(change, EARLY).count(), to_tell(change, NOT_TOLD).count()) == (1, 1)
        assert book.comes(change) == 24
        assert change.status == "applied"

    def test_says_who_is_left(self, book, change):
        book.told(change, 9, book.ann)
        status_now.refresh([change])
        assert status_now.warning(change) == (
            "Told: 1 of 2 clients; by 2027-01-11 all have to be, else it will be held."
        )
        book.timeline.set(change.effective_at)
        status_now.refresh([change])
        assert (change.status, change.remark) == (
            "held",
            "1 of 2 clients were not told by 2027-01-11: preview it again, and approve or cancel.",
        )
        drained()
        stored = PriceChange.objects.get(pk=change.pk)
        assert (stored.status, stored.note) == ("held", change.note)

    def test_asks_anew_for_another_instant(self, book, change):
        book.told(change, 9, book.ann)
        book.comes(change)
        again = preview(change.pk)
        at = book.timeline.now + 31 * DAY
        change = lifecycle.approve(change.pk, again.fingerprint, "bob", effective_at=at)
        assert standing(change).not_told == 2
        assert change.notice_by == (book.timeline.now + DAY).date()
        book.told(change, 41, book.ann, book.bob)
        assert book.comes(change) == 24

    def test_of_too_few_days_is_refused(self, book):
        for days, code in ((40, "notice_too_short"), (41, None)):
            change = planned(kind="list_price", service=book.phone.pk, new_value=24, notice_days=40)
            at = book.timeline.now + days * DAY - HOUR
            asked = partial(
                lifecycle.approve, change.pk, change.fingerprint, "bob", effective_at=at
            )
            if code is None:
                asked()
                continue
            with pytest.raises(ChangeError) as refused:
                asked()
            assert refused.value.code == code
            assert refused.value.about["earliest"] == "2027-02-10T00:00:00+00:00"

    def test_lets_come_what_moves_nobody(self, book):
        change = book.rises(notice_days=30, for_new_only=True)
        book.comes(change)
        assert change.status == "applied"


class TestDoors:
    def test_the_api_refuses_what_are_no_days(self, book):
        program = api.a_program(**api.PLAN)
        for days in (-1, 366, 1.5, True, "ten", [30], "9" * 5000):
            answer = program.post(api.URL, self.plan(book, days))
            assert (answer.status_code, answer.json()["code"]) == (400, "out_of_range"), days
            assert answer.json()["parameter"] == "notice_days"
        assert not PriceChange.objects.exists()

    def test_the_api_plans_and_approves_it(self, book):
        program = api.a_program(**api.ALL)
        short = program.post(api.URL, self.plan(book, 41))
        assert (short.status_code, short.json()["code"]) == (409, "notice_too_short")
        change = api.planned(program, **self.plan(book, 40))
        assert (change["notice_days"], change["notice_by"]) == (40, None)
        change = api.approve(program, change).json()
        assert (change["notice_by"], change["will_be_held"]) == ("2027-01-01", True)

    def test_a_form_plans_it(self, book):
        plan = {"service": book.phone.pk, "new_value": "24", "notice_days": "30"}
        for form in (
            PlanForm(TO_PLAN["list_price"], plan),
            DeskPlanForm(
                TO_PLAN["list_price"], "", QueryDict(urlencode({**plan, "time_zone": "UTC"}))
            ),
        ):
            assert form.is_valid(), form.errors
            assert form.values()["notice_days"] == 30

    def test_a_command_lists_and_records(self, book):
        change, ann = book.rises(notice_days=30), book.ann.pk
        with pytest.raises(CommandError, match="--on DATE"):
            self.notices(change, "--client", ann)
        assert "told in time: 0 of 2" in self.notices(change)
        told = self.notices(change, "--client", ann, "--on", book.today, "--note", "by post")
        assert "told in time: 1 of 2; too late: 0; by 2027-01-11 all have to be" in told
        [line] = self.notices(change, "--only", "told", "--json").splitlines()
        assert json.loads(line) == json.loads(line) | {
            "client_id": ann,
            "old_total": 40,
            "told_on": "2027-01-01",
            "told_by": "carl (claimed)",
            "note": "by post",
        }

    def plan(self, book, days):
        at = (book.timeline.now + 40 * DAY).isoformat()
        plan = {"kind": "list_price", "service": book.phone.pk, "new_value": 24}
        return {**plan, "effective_at": at, "notice_days": days}

    def notices(self, change, *options):
        out = io.StringIO()
        given = [str(each) for each in (change.pk, *options)]
        call_command("price_change", "notices", *given, "--author", "carl", stdout=out)
        return out.getvalue()
