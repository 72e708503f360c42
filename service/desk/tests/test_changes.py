"""Price changes in the desk: listed, planned, looked at, approved, rejected, taken back."""

import html
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Sum
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from clients.models import Client
from desk.changes.plan_form import NAMES
from keys.tests.asking import with_key
from keys.tests.making import a_key
from price_changes import verbs
from price_changes.models import PriceChange
from price_changes.running import lifecycle, rejecting
from price_changes.tests.changes import clock, planned
from price_changes.tests.test_admin import logged_in, messages_of, text_of
from pricebook.kit import authors
from pricebook.kit.figures import amount, money
from pricebook.tests.authorship import who
from pricebook.tests.pages import OpenedForm
from services import repricing, tasks
from services.models import Plan, Service, Skip, Subscription
from services.reading.filters import LASTING, BookFilter
from services.repricing import chunks
from services.repricing.drain import start_due
from services.tests.factories import a_book, a_client, a_subscription
from services.tests.interleaving import in_background

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


# For a plan: its kind, the fields that are wrong, where it is said, and in which words.
WRONG: list[tuple[str, dict[str, str], str, str]] = [
    ("list_price", {"new_value": "1,234"}, "new_value", "can be 1234 or 1.234"),
    ("list_price", {"effective_at_1": "10:00"}, "effective_at", "Give the date too"),
    ("list_price", {"effective_at_0": "2099-01-01", "effective_at_1": "noon"},
     "effective_at", "is no time"),
    ("list_price", {"effective_at_0": "2001-01-01"}, "effective_at", "has passed"),
    ("list_price", {"effective_at_0": "2027-03-28", "effective_at_1": "02:30",
                    "time_zone": "Europe/Berlin"}, "effective_at", "skipped"),
    ("list_price", {"effective_at_0": "2027-10-31", "effective_at_1": "02:30",
                    "time_zone": "Europe/Berlin"},
     "effective_at", "2027-10-31T02:30+02:00 or 2027-10-31T02:30+01:00"),
    ("list_price", {"time_zone": "Mars/Olympus"}, "time_zone", "is no time zone"),
    ("list_price", {"locked_until_0": "2099-01-01"}, "locked_until", "tick that"),
    ("discount", {"new_value": "101"}, "new_value", "whole number from 0 to 100"),
    ("set", {"operand": ""}, "operand", "required"),
    ("set", {"whole_book": ""}, "whole_book", "every subscription"),
    ("set", {"where_client": "Nobody"}, "where_client", "No client is called"),
    ("set", {"where_skipped_by": "1,2"}, "where_skipped_by", "a whole number from 1"),
    ("set", {"where_source": "nowhere"}, "__all__", "No subscription matches"),
]  # fmt: skip


def url(page: str, *args: object) -> str:
    return reverse(f"desk:{page}", args=args)


def verb_of(change: PriceChange, verb: str) -> str:
    return url("change_verb", change.pk, verb)


@pytest.fixture
def ann() -> Browser:
    return logged_in("ann")


@pytest.fixture
def book() -> Any:
    return a_book(12, services=2, plans=2)


def of_list_price(**values: Any) -> PriceChange:
    service = Service.objects.earliest("pk")
    return planned(**{"kind": "list_price", "service": service.pk, "new_value": 777, **values})


def of_set(**values: Any) -> PriceChange:
    return planned(**{"kind": "set", "adjustment": "add", "operand": 5, **values})


def approved(change: PriceChange, when_moved: str | None = None) -> PriceChange:
    change = lifecycle.approve(change.pk, change.fingerprint, "ann", when_moved)
    change.refresh_from_db()
    return change


def applied(change: PriceChange, when_moved: str | None = None) -> PriceChange:
    change = approved(change, when_moved)
    repricing.reprice()
    change.refresh_from_db()
    return change


def total_of(**which: int) -> Decimal:
    """The total of these subscriptions as they are written."""
    found = Subscription.objects.filter(**which).aggregate(total=Sum("price"))
    return Decimal(found["total"])


def errors_of(answer: Any) -> str:
    assert answer.status_code == 200
    return str(dict(answer.context["form"].errors))


class TestTheList:
    def test_is_by_what_each_needs(self, ann, book):
        later = timezone.now() + timedelta(days=2)
        first = approved(of_set(title="Comes first", effective_at=later - HOUR))
        second = approved(of_list_price(effective_at=later))
        waiting = of_set()
        rejected = rejecting.reject(of_set().pk, "bob (person 9)", "Too much")
        Service.objects.filter(pk=book.first().service_id).update(full_price=130)
        repricing.reprice()
        edit = PriceChange.objects.latest("pk")
        page = ann.get(url("changes"))
        shown = {
            each.name: [change.pk for change in each.changes] for each in page.context["sections"]
        }
        assert shown == {
            "waiting": [waiting.pk],
            "scheduled": [first.pk, second.pk],
            "finished": [edit.pk, rejected.pk],
        }
        text = text_of(page)
        assert "Comes first" in text
        assert "+60.00" in text  # the effect of a set of twelve, and of the edit of six
        assert "Too much" in text

    def test_can_be_filtered_and_says_what_is_no_filter(self, ann, book):
        service, plan = Service.objects.earliest("pk"), Plan.objects.earliest("pk")
        of_set(title="Five more", filter={"plan": plan.pk})
        applied(of_list_price())

        def found(**query: str) -> list[str]:
            sections = ann.get(url("changes"), query).context["sections"]
            return [change.kind for each in sections for change in each.changes]

        assert found() == ["set", "list_price"]
        assert found(state="waiting") == ["set"]
        assert found(about=f"service:{service.pk}") == ["list_price"]
        assert found(about=f"plan:{plan.pk}") == ["set"]
        assert found(q="five") == ["set"]
        assert found(since="2100-01-01") == []
        for name, bad in (
            ("state", "x"), ("about", "service:x"), ("about", f"plan:{'9' * 30}"),
            ("since", "yesterday"), ("until", "9999-12-31"), ("after", "x"), ("q", "\x00"),
        ):  # fmt: skip
            answer = ann.get(url("changes"), {name: bad})
            assert answer.status_code == 400
            assert answer.context["sections"] == []

    def test_is_read_by_keyset_with_as_many_queries_for_more(
        self, ann, django_assert_max_num_queries, monkeypatch
    ):
        monkeypatch.setattr("desk.changes.listing.PAGE", 3)
        a_book(12, services=3)
        for service in Service.objects.order_by("pk"):
            applied(planned(kind="list_price", service=service.pk, new_value=5))
            approved(planned(kind="list_price", service=service.pk, new_value=6,
                             effective_at=clock() + service.pk * HOUR))  # fmt: skip
            rejecting.reject(of_set(filter={"service": service.pk}).pk, "ann", "No")
        with django_assert_max_num_queries(17):
            page = ann.get(url("changes"))
        seen = []
        while page.context["next"]:
            seen += [change.pk for change in page.context["sections"][-1].changes]
            page = ann.get(url("changes"), {"after": page.context["next"]})
        seen += [change.pk for change in page.context["sections"][-1].changes]
        finished = PriceChange.objects.filter(status__in=("applied", "cancelled"))
        assert seen == list(finished.order_by("-pk").values_list("pk", flat=True))


class TestPlanning:
    def test_a_list_price_from_midnight_of_a_named_zone(self, ann, book):
        service = Service.objects.earliest("pk")
        form = OpenedForm(ann, url("plan_change", "list_price") + f"?service={service.pk}")
        assert form.fields["service"] == str(service.pk)
        answer = form.send(
            new_value="1 123,50",
            effective_at_0="2099-01-15",
            time_zone="America/Vancouver",
            title="Prices of 2099",
        )
        change = PriceChange.objects.get()
        assert (change.new_value, change.effective_local) == (
            Decimal("1123.50"),
            "2099-01-15T00:00:00",
        )
        assert (change.effective_zone, who(change.planned_by)) == (
            "America/Vancouver",
            "person ann",
        )
        page = text_of(answer)
        assert f"List price of {service}: 100.00 → 1,123.50 USD" in page
        assert "2099-01-15 00:00 America/Vancouver" in page
        assert 'data-done="plan"' in page

    def test_a_set_has_a_field_for_each_filter_and_those_of_its_effect(self, ann, book):
        form = ann.get(url("plan_change", "set")).context["form"]
        assert {f"where_{name}" for name in LASTING} <= form.fields.keys()
        shown = [field.name for part in form.parts() for field in part["fields"] + part["folded"]]
        assert sorted(shown) == sorted(form.fields.keys() - {"adjustment"})
        lock = ann.get(url("plan_change", "set") + "?adjustment=lock").context["form"].fields
        assert "locked_until" in lock
        assert not lock.keys() & {"operand", "floor", "ceiling", "rounding_step", "comment"}
        one = book.first()
        OpenedForm(ann, url("plan_change", "set") + f"?where_service={one.service_id}").send(
            where_client=one.client.company_name,
            where_except_client=book.last().client.company_name,
            where_price_from="1",
            where_started_from_0="2001-02-03",
            time_zone="Europe/Berlin",
            operand="−2,5",
        )
        assert PriceChange.objects.get().filter == {
            "service": one.service_id,
            "client": one.client_id,
            "except_client": book.last().client_id,
            "price_from": "1.00",
            "started_from": "2001-02-02T23:00:00+00:00",
        }

    def test_what_is_wrong_is_said_at_its_field_in_words(self, ann, book):
        one = book.first()
        right: dict[str, Any] = {
            "list_price": {"service": one.service_id, "new_value": "5"},
            "discount": {"plan": one.plan_id, "new_value": "5"},
            "set": {"whole_book": "on", "operand": "5"},
        }
        for kind, fields, field, says in WRONG:
            answer = OpenedForm(ann, url("plan_change", kind)).send(**(right[kind] | fields))
            errors = dict(answer.context["form"].errors)
            assert says in str(errors[field])
            assert not re.search(rf"\b({'|'.join(NAMES)})\b", str(list(errors.values())))
        assert not PriceChange.objects.exists()

    def test_the_second_reading_of_a_double_hour_can_be_given(self, ann, book):
        form = OpenedForm(ann, url("plan_change", "list_price"))
        form.send(service=book.first().service_id, new_value="5", effective_at_0="2027-10-31",
                  effective_at_1="02:30+01:00", time_zone="Europe/Berlin")  # fmt: skip
        assert PriceChange.objects.get().effective_at.isoformat() == "2027-10-31T01:30:00+00:00"

    def test_counts_what_it_is_about(self, ann, book):
        service = Service.objects.earliest("pk")
        paid = f"6 subscriptions pay {money(total_of(service=service.pk))} now."
        query = {"where_service": service.pk, "where_price_from": "1"}
        assert ann.get(url("change_count", "set"), query).json() == {"says": paid}
        assert ann.get(url("change_count", "set")).json() == {"says": "No filter is set."}
        answer = OpenedForm(ann, url("plan_change", "list_price")).send(
            service=service.pk, count="1"
        )
        assert paid in text_of(answer)
        assert not PriceChange.objects.exists()
        names = ann.get(url("change_clients"), {"q": book.first().client.company_name[:4]}).json()
        assert book.first().client.company_name in names["names"]

    @pytest.mark.parametrize("value", ["\x00", "9" * 30, "abc", "'"])
    def test_any_address_opens_the_form(self, ann, value):
        names = ["service", "where_client", "new_value", "effective_at", "time_zone", "x"]
        for kind in ("list_price", "discount", "set"):
            query = dict.fromkeys(names, value)
            assert ann.get(url("plan_change", kind), query).status_code == 200
            assert ann.get(url("change_count", kind), query).status_code == 200
        assert ann.get(url("plan_change", "set") + "?adjustment=gold").status_code == 404
        assert ann.get(url("plan_change", "revert")).status_code == 404


class TestThePage:
    def test_shows_the_preview_from_what_is_stored(self, ann, book, django_assert_num_queries):
        Subscription.objects.filter(pk=book.last().pk).update(price_state="locked")
        change = of_set(title="Five more", reason="Because", filter={"price_from": "1"})
        # * the session * its user * the change * whether rows are scheduled before it
        # * the changes that it names * the whole book's total * the brake
        with django_assert_num_queries(7) as queries:
            answer = ann.get(url("change", change.pk))
        assert not any("services_subscription" in query["sql"] for query in queries)
        shown = answer.context["preview"]
        assert [(each["label"], each["rows"], each["pays"]) for each in shown.staying] == [
            ("Locked", 1, book.last().price)
        ]
        by_percent = next(each for each in shown.charts if each.id == "by-percent")
        assert {row.label for row in by_percent.rows} == {
            "2\u00a0% to 5\u00a0%",
            "5\u00a0% to 10\u00a0%",
        }
        assert sum(int(row.values[0].raw) for row in by_percent.rows) == 11
        assert answer.context["whole_book"]["after"] == total_of() + 55
        assert len(answer.content) < 150_000

    def test_shows_the_outcome_with_the_money(self, ann, book, django_assert_max_num_queries):
        service = Service.objects.earliest("pk")
        locked = book.filter(service=service).first()
        Subscription.objects.filter(pk=locked.pk).update(price_state="locked")
        before = total_of(service=service.pk) - locked.price
        change = applied(of_list_price())
        with django_assert_max_num_queries(16) as queries:
            answer = ann.get(url("change", change.pk))
        assert not any("services_subscription" in query["sql"] for query in queries)
        outcome = answer.context["outcome"]
        after = total_of(service=service.pk) - locked.price
        assert (outcome.applied, outcome.before, outcome.after) == (5, before, after)
        assert [(each["rows"], each["pays"]) for each in outcome.skipped] == [(1, locked.price)]
        Service.objects.filter(pk=service.pk).update(full_price=100)
        repricing.reprice()
        edit = PriceChange.objects.latest("pk")
        outcome = ann.get(url("change", edit.pk)).context["outcome"]
        assert (outcome.before, outcome.after) == (after, before)

    @pytest.mark.usefixtures("by_chunks")
    def test_of_a_cancelled_one_says_what_was_taken_back(self, ann, book, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        change = approved(of_set())
        start_due()
        chunks.take_chunk("price", set())
        page = text_of(ann.get(url("change", change.pk)))
        assert "data-live" in page
        assert "of 12 rows done" in page
        OpenedForm(ann, verb_of(change, "pause")).send()
        assert "the rest waits" in text_of(ann.get(url("change", change.pk)))
        OpenedForm(ann, verb_of(change, "cancel")).send()
        back = change.reverted_by.get()
        page = text_of(ann.get(url("change", change.pk)))
        link = f'<a href="{url("change", back.pk)}">price change {back.pk}</a>'
        assert f"Moved 12, taken back by {link}." in page
        assert "rows done" not in page
        repricing.reprice()
        assert not book.mispriced().exists()

    def test_rows_are_found_by_their_client(self, ann, book):
        one = a_subscription(client=a_client(company_name="Ромашка"), service=book.first().service)
        Subscription.objects.filter(pk=book.last().pk).update(price_state="locked")
        change = of_set()

        def rows(**query: str) -> list[int]:
            answer = ann.get(url("change_rows", change.pk), query)
            return [each["row"].subscription for each in answer.context["rows"]]

        assert rows(client="ромашко") == [one.pk]
        assert rows(client="Nobody at all") == []
        assert rows(client=book.last().client.company_name, only="locked") == [book.last().pk]
        applied(change)
        change.refresh_from_db()
        assert rows(client="Ромашка") == [one.pk]
        assert rows(client="Nobody at all") == []
        a_follower = a_subscription(client=a_client(company_name="Василёк"))
        change = applied(of_list_price(title="x", service=a_follower.service_id))
        assert rows(client="Василёк") == [a_follower.pk]
        bad = ann.get(url("change_rows", change.pk), {"only": "x"}, follow=True)
        assert "There is no list of rows “x”" in messages_of(bad)


class TestVerbs:
    def test_approve_compares_the_figures_and_says_them_back(self, ann, book):
        change = of_set()
        compared = ann.get(verb_of(change, "approve")).context["compared"]
        total = total_of()
        assert ("Total after", money(total + 60), money(total + 60)) in compared
        answer = OpenedForm(ann, verb_of(change, "approve")).send(when_moved="frozen")
        assert (
            f"12 rows move, total {amount(total)} → {money(total + 60)} (+60.00)."
            in messages_of(answer)
        )
        change.refresh_from_db()
        assert (change.status, change.when_moved) == ("scheduled", "frozen")

        other = of_set()
        form = OpenedForm(ann, verb_of(other, "approve"))
        Subscription.objects.filter(pk=book.last().pk).update(price_state="negotiated", price=999)
        compared = ann.get(form.url).context["compared"]
        moved = {label: (was, now) for label, was, now in compared}
        assert moved["Total before"][0] != moved["Total before"][1]
        assert "Nothing was approved" in messages_of(form.send(when_moved="hold"))
        other.refresh_from_db()
        assert other.status == "planned"

    def test_a_question_that_has_become_another_one_is_asked_again(self, ann, book, moved_clock):
        """Cancelled before its instant, nothing would happen; after it, prices would go back."""
        change = approved(of_list_price(effective_at=clock() + HOUR), "current")
        form = OpenedForm(ann, verb_of(change, "cancel"))
        moved_clock.to(change.effective_at)
        answer = form.send()
        assert "It is no longer as you saw it" in messages_of(answer)
        assert not change.reverted_by.exists()
        assert answer.context["would"].moves == 6
        again = OpenedForm(ann, verb_of(change, "cancel"))
        again.send()
        assert "Nothing was done." in messages_of(again.ask())
        assert change.reverted_by.count() == 1

    def test_revert_shows_what_goes_back_and_plans_it_once(self, ann, book):
        total = total_of()
        change = applied(of_set())
        form = OpenedForm(ann, verb_of(change, "revert"))
        would = ann.get(form.url).context["would"]
        assert (would.moves, would.before, would.after) == (12, total + 60, total)
        assert not change.reverted_by.exists()
        form.send()
        assert "Nothing was done." in messages_of(form.ask())
        back = change.reverted_by.get()
        OpenedForm(ann, verb_of(back, "approve")).send()
        repricing.reprice()
        page = ann.get(url("change", change.pk), {"back": url("changes")})
        assert "Taken back by" in text_of(page)
        assert f'<a href="{url("changes")}">← Back to the list' in page.content.decode()
        page = text_of(ann.get(verb_of(back, "revert")))
        assert f"It takes price change {change.pk} back. A change is planned that brings" in page
        assert "Plan to take it back" in page

    def test_reject_takes_a_reason_at_each_door(self, ann, book):
        change = of_set()
        form = OpenedForm(ann, verb_of(change, "reject"))
        assert "required" in errors_of(form.send(reason=""))
        page = text_of(form.send(reason="Five per cent at most."))
        assert "Rejected by ann" in page
        assert "Five per cent at most." in page
        change.refresh_from_db()
        assert (change.status, who(change.cancelled_by)) == ("cancelled", "person ann")

        api = with_key(a_key("erp", "price_changes:approve", "price_changes:read")[1])
        other = of_set()
        address = f"/api/price-changes/{other.pk}/reject/"
        for body in ({}, {"reason": " "}, {"reason": "x" * 1001}, {"reason": 7}):
            assert api.post(address, body, format="json").status_code == 400
        answer = api.post(address, {"reason": "No"}, format="json").json()
        assert (answer["status"], answer["rejected_because"]) == ("cancelled", "No")
        assert api.post(address, {"reason": "No"}, format="json").json()["code"] == "wrong_state"
        running = approved(of_set())
        assert "reject" not in lifecycle.allowing.allowed(running)

    def test_the_rest_of_a_change_is_what_it_has_skipped_exactly(self, ann, book, moved_clock):
        change = approved(of_set(effective_at=clock() + HOUR), "frozen")
        touched = book.last()
        Subscription.objects.filter(pk=touched.pk).update(price_state="negotiated", price=9)
        moved_clock.to(change.effective_at)
        repricing.reprice()
        assert "Plan the rest of it" in text_of(ann.get(url("change", change.pk)))
        answer = ann.get(url("rest_of_change", change.pk))
        form = OpenedForm(ann, answer.url)
        assert form.fields["where_skipped_by"] == str(change.pk)
        form.send()
        rest = PriceChange.objects.latest("pk")
        assert (rest.filter, rest.operand) == ({"skipped_by": change.pk}, 5)
        lifecycle.approve(rest.pk, rest.fingerprint, "ann", "current", clock() + HOUR)
        # A row that is skipped later is no part of it.
        work = Skip.objects.filter(subscription_id=touched.pk).get().repricing
        other = book.first()
        assert other.pk != touched.pk
        Skip.objects.create(repricing=work, reason="moved_since", subscription_id=other.pk)
        assert BookFilter(skipped_by=change.pk).subscriptions().count() == 2
        rest.refresh_from_db()
        moved_clock.to(rest.effective_at)
        repricing.reprice()
        assert Subscription.objects.get(pk=touched.pk).price == 14
        assert Subscription.objects.get(pk=other.pk).price == other.price

    def test_one_like_it_begins_with_all_that_it_said(self, ann, book):
        at = clock() + HOUR
        values = {"operand": "2.5", "adjustment": "percent", "floor": "3", "rounding_step": "0.5"}
        which = {"service": book.first().service_id, "price_from": "1.00", "state": "active"}
        change = of_set(**values, filter=which, effective_at=at, title="Again", reason="Costs")
        form = OpenedForm(ann, ann.get(url("clone_change", change.pk)).url)
        assert "Costs</textarea>" in text_of(ann.get(form.url))
        form.send()
        like = PriceChange.objects.latest("pk")
        names = ("filter", "operand", "floor", "rounding_step", "title", "adjustment")
        for name in names:
            assert getattr(like, name) == getattr(change, name), name
        assert abs(like.effective_at - change.effective_at) < timedelta(seconds=1)
        assert like.preview["moves"] == change.preview["moves"]


class TestRights:
    def test_each_page_takes_what_the_verb_takes(self, book):
        change = of_set()
        eve = logged_in("eve", "view_pricechange")
        page = eve.get(url("change", change.pk))
        assert page.context["verbs"] == []
        client = Client.objects.earliest("pk").company_name
        assert client not in text_of(page)
        assert "The whole book with it" not in text_of(page)
        pages = [url("new_change"), url("plan_change", "set"), url("change_count", "set"),
                 url("change_rows", change.pk), url("clone_change", change.pk),
                 *(verb_of(change, verb) for verb in ("approve", "reject", "cancel", "preview")),
        ]  # fmt: skip
        for path in pages:
            assert eve.get(path).status_code == 403, path
            assert eve.post(path).status_code == 403, path
        assert eve.post(url("brake"), {"does": "pull", "reason": "x"}).status_code == 403
        planner = logged_in("pat", "view_pricechange", "add_pricechange")
        page = text_of(planner.get(url("plan_change", "list_price")))
        assert "You lack services.view_service" in page
        change.refresh_from_db()
        assert change.status == "planned"

    def test_another_person_has_to_approve_where_that_is_asked(self, ann, book, settings):
        settings.APPROVAL_BY_ANOTHER = True
        OpenedForm(ann, url("plan_change", "set")).send(whole_book="on", operand="5")
        change = PriceChange.objects.get()
        assert "Alone you can" in text_of(ann.get(url("change", change.pk)))
        assert '<button class="primary"' not in text_of(ann.get(verb_of(change, "approve")))
        given = {"fingerprint": change.fingerprint, "when_moved": "hold"}
        assert "Nothing was done" in messages_of(
            ann.post(verb_of(change, "approve"), given, follow=True)
        )
        OpenedForm(logged_in("bob"), verb_of(change, "approve")).send(when_moved="hold")
        change.refresh_from_db()
        assert (change.status, who(change.approved_by)) == ("scheduled", "person bob")

    def test_an_edit_beyond_a_limit_is_accepted_by_another_person(self, ann, book, settings):
        settings.APPROVAL_LIMIT_ROWS = Decimal(1)
        service, user = Service.objects.earliest("pk"), User.objects.get(username="ann")
        before = total_of(service=service.pk)
        with repricing.catalogue_edit(author=authors.person(user.pk, "ann")):
            Service.objects.filter(pk=service.pk).update(full_price=130)
        tasks.set_price()
        change = PriceChange.objects.get()
        sections = ann.get(url("changes"), {"state": "not_approved"}).context["sections"]
        assert [each.pk for each in sections[0].changes] == [change.pk]
        page = ann.get(url("change", change.pk))
        outcome = page.context["outcome"]
        assert (outcome.before, outcome.after) == (before, total_of(service=service.pk))
        assert "<dt>Edited</dt><dd>ann" in text_of(page)
        assert "Alone you can" in text_of(page)
        assert '<button class="primary"' not in text_of(ann.get(verb_of(change, "accept")))
        form = OpenedForm(logged_in("bob"), verb_of(change, "accept"))
        assert "Accepted: it stands." in messages_of(form.send())
        assert "Nothing was done." in messages_of(form.ask())
        change.refresh_from_db()
        assert who(change.accepted_by) == "person bob"

    def test_the_brake_is_pulled_and_released_with_a_reason(self, ann, book):
        assert "required" in errors_of(ann.post(url("brake"), {"does": "pull"}))
        assert "The brake is on." in messages_of(
            ann.post(url("brake"), {"does": "pull", "reason": "The list is wrong"}, follow=True)
        )
        assert "The list is wrong" in text_of(ann.get(url("changes")))
        twice = ann.post(url("brake"), {"does": "pull", "reason": "x"})
        assert "Nothing was done." in messages_of(twice)
        stale = OpenedForm(ann, url("brake"))
        OpenedForm(ann, url("brake")).ask(does="release", reason="Fixed")
        assert "The list is wrong" not in text_of(ann.get(url("changes")))
        ann.post(url("brake"), {"does": "pull", "reason": "Another reason"})
        told = messages_of(stale.ask(does="release", reason="Fixed"))
        assert "The brake that you saw is off already" in told
        assert "Another reason" in told
        assert verbs.brake_state().on

    @pytest.mark.parametrize("pk", ["9" * 30, 999])
    def test_no_such_change(self, ann, pk):
        for page in ("", "rows/", "approve/", "clone/"):
            assert ann.get(f"/desk/changes/{pk}/{page}").status_code == 404


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", ["approve", "cancel"])
def test_two_clicks_at_once_have_one_effect_and_the_second_is_told(verb: str) -> None:
    """From two tabs: each waits for the other, and then compares what it has shown."""
    a_book(4, services=1, plans=1)
    change = of_set()
    tabs = [OpenedForm(logged_in("ann"), verb_of(change, verb)) for _ in range(2)]
    with transaction.atomic():
        PriceChange.objects.select_for_update().get(pk=change.pk)
        running = [in_background(tab.ask).until_it_waits() for tab in tabs]
    told = [html.unescape(text_of(each.result())) for each in running]
    assert sum("Nothing was done." in each for each in told) == 1
    change.refresh_from_db()
    assert change.status == {"approve": "scheduled", "cancel": "cancelled"}[verb]
