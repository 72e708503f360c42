"""Price changes in the admin: planned, previewed, approved, watched and taken back by people."""

import html
import re
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from price_changes import serializers, verbs
from price_changes.admin import pages as admin_pages
from price_changes.models import PriceChange
from price_changes.running import lifecycle, outcomes, starting
from price_changes.running.lifecycle import preview
from price_changes.showing.progress import progress_of
from price_changes.tests.changes import clock, planned, scheduled
from pricebook.tests.authorship import who
from pricebook.tests.pages import OpenedForm
from services import repricing, tasks
from services.models import Service, Subscription
from services.reading.filters import LASTING
from services.repricing import chunks
from services.repricing.drain import start_due
from services.repricing.planning import plan_due
from services.tests.factories import a_book, a_reader, a_service, a_subscription
from services.tests.interleaving import in_background

pytestmark = pytest.mark.django_db

NUL = "\x00"
HOUR = timedelta(hours=1)


def url(page: str, *args: object) -> str:
    return reverse(f"admin:price_changes_pricechange_{page}", args=args)


def logged_in(name: str, *permissions: str) -> Browser:
    """A logged-in person with all permissions, or with these."""
    user, _ = User.objects.get_or_create(username=name, is_staff=True, is_superuser=not permissions)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    browser = Browser()
    browser.force_login(user)
    return browser


@pytest.fixture
def ann() -> Browser:
    return logged_in("ann")


@pytest.fixture
def book() -> Any:
    return a_book(12, services=2, plans=2)


def of_list_price(**values: Any) -> PriceChange:
    service = Service.objects.earliest("pk")
    return planned(kind="list_price", service=service.pk, new_value=777, **values)


def of_set(**values: Any) -> PriceChange:
    return planned(kind="set", adjustment="add", operand=5, **values)


def approved(change: PriceChange, when_moved: str | None = None) -> PriceChange:
    return lifecycle.approve(change.pk, change.fingerprint, "ann", when_moved)


def applied(change: PriceChange, when_moved: str | None = None) -> PriceChange:
    approved(change, when_moved)
    repricing.reprice()
    change.refresh_from_db()
    return change


def messages_of(response: Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def errors_of(response: Any) -> dict[str, list[str]]:
    return dict(response.context["form"].errors)


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


class TestPlanning:
    def test_the_kinds_are_offered(self, ann):
        page = text_of(ann.get(url("add")))
        for kind in ("list_price", "discount", "set"):
            assert url("plan", kind) in page

    def test_a_list_price_lands_on_its_preview(self, ann, book):
        service = Service.objects.earliest("pk")
        form = OpenedForm(ann, url("plan", "list_price") + f"?service={service.pk}")
        assert form.fields["service"] == str(service.pk)
        answer = form.send(new_value="123", title="Prices of 2027", reason="Costs", comment="2027")

        change = PriceChange.objects.get()
        assert (change.status, who(change.planned_by)) == ("planned", "person ann")
        assert (change.title, change.reason, change.comment) == ("Prices of 2027", "Costs", "2027")
        page = text_of(answer)
        assert f"List price of {service}: 100.00 → 123.00 USD" in page
        assert change.fingerprint in page
        assert not book.filter(price=123).exists()

    @pytest.mark.parametrize("text", ["4,50", "4.50", "4,5"])
    def test_an_amount_may_come_with_the_address(self, ann, book, text):
        service = Service.objects.earliest("pk")
        address = f"{url('plan', 'list_price')}?service={service.pk}&new_value={text}"
        form = OpenedForm(ann, address)
        assert form.fields["new_value"] == text
        form.send()
        assert PriceChange.objects.get().new_value == Decimal("4.50")

    def test_an_unclear_amount_of_an_address_is_asked_about(self, ann, book):
        service = Service.objects.earliest("pk")
        address = f"{url('plan', 'list_price')}?service={service.pk}&new_value=1,234"
        answer = OpenedForm(ann, address).send()
        assert "can be 1234 or 1.234" in str(errors_of(answer)["new_value"])
        assert not PriceChange.objects.exists()

    def test_a_discount_for_new_subscriptions_only(self, ann, book):
        plan = book.latest("pk").plan
        until = timezone.now() + timedelta(days=30)
        answer = OpenedForm(ann, url("plan", "discount")).send(
            plan=plan.pk,
            new_value="50",
            for_new_only="on",
            locked_until_0=f"{until:%Y-%m-%d}",
            locked_until_1="00:00:00",
        )
        change = PriceChange.objects.get()
        assert change.for_new_only
        assert change.locked_until is not None
        assert "for new subscriptions only" in text_of(answer)

    def test_a_set_of_what_a_filter_finds(self, ann, book):
        one = book.first()
        OpenedForm(ann, url("plan", "set") + f"?where_service={one.service_id}").send(
            where_price_from="1",
            where_comment_prefix="row",
            adjustment="percent",
            operand="−2,5",
            rounding_step="0,50",
            floor="10",
            ceiling="1000",
        )
        change = PriceChange.objects.get()
        assert change.filter == {
            "service": one.service_id,
            "price_from": "1.00",
            "comment_prefix": "row",
        }
        assert (change.operand, change.rounding_step) == (Decimal("-2.5"), Decimal("0.50"))
        assert (change.floor, change.ceiling) == (Decimal(10), Decimal(1000))

    def test_every_filter_that_there_is_has_a_field(self, ann):
        fields = ann.get(url("plan", "set")).context["form"].fields
        assert {f"where_{name}" for name in LASTING} <= fields.keys()

    def test_the_whole_book_has_to_be_meant(self, ann, book):
        form = OpenedForm(ann, url("plan", "set"))
        refused = form.send(adjustment="add", operand="1")
        assert "every subscription" in str(errors_of(refused)["whole_book"])
        form.send(whole_book="on")
        assert PriceChange.objects.get().preview["rows"] == 12

    @pytest.mark.parametrize(
        ("kind", "fields", "field", "says"),
        [
            ("list_price", {"new_value": "1.005"}, "new_value", "can be 1005 or 1.005"),
            ("list_price", {"new_value": "1,2345"}, "new_value", "has 4 decimals"),
            ("list_price", {"new_value": "-1"}, "new_value", "is less than 0"),
            ("list_price", {"new_value": "9" * 11}, "new_value", "lies from 0 to"),
            ("list_price", {"new_value": "NaN"}, "new_value", "has “N” in it"),
            ("list_price", {"new_value": "1e3"}, "new_value", "has “e” in it"),
            ("list_price", {"new_value": "1e400000"}, "new_value", "has “e” in it"),
            ("list_price", {"new_value": "9" * 400}, "new_value", "has 400 characters"),
            ("list_price", {"service": NUL}, "service", ""),
            ("list_price", {"service": "9" * 30}, "service", "Select a valid choice"),
            ("list_price", {"service": "abc"}, "service", "Select a valid choice"),
            (
                "list_price",
                {"effective_at_0": "2001-01-01", "effective_at_1": "00:00"},
                "effective_at",
                "has passed",
            ),
            (
                "list_price",
                {"locked_until_0": "2099-01-01", "locked_until_1": "00:00"},
                "locked_until",
                "for new subscriptions only",
            ),
            ("list_price", {"for_new_only": "on", "comment": "x"}, "comment", "nothing to stamp"),
            ("discount", {"new_value": "101"}, "new_value", "whole number from 0 to 100"),
            ("discount", {"new_value": "12,5"}, "new_value", "is no whole number"),
            ("set", {"adjustment": "add", "operand": "0,125"}, "operand", "at most two decimals"),
            ("set", {"adjustment": "percent", "operand": "1,234"}, "operand", "1.2340 for the sec"),
            ("set", {"adjustment": "add"}, "operand", "It is missing"),
            ("set", {"adjustment": "gold"}, "adjustment", "Select a valid choice"),
            ("set", {"adjustment": "lock", "operand": "1"}, "operand", "belongs to amount"),
            (
                "set",
                {"adjustment": "add", "operand": "1", "floor": "9", "ceiling": "1"},
                "floor",
                "above the ceiling",
            ),
            ("set", {"adjustment": "add", "operand": "-9999"}, "operand", "would move from"),
            (
                "set",
                {"adjustment": "add", "operand": "1", "where_subscription": "1,2"},
                "where_subscription",
                "It is an id: a whole number from 1",
            ),
            (
                "set",
                {"adjustment": "add", "operand": "1", "where_price_from": "0.001"},
                "where_price_from",
                "has 3 decimals",
            ),
            (
                "set",
                {"adjustment": "add", "operand": "1", "where_source": "nowhere"},
                "__all__",
                "No subscription matches",
            ),
        ],
    )
    def test_what_is_wrong_is_said_at_its_field(self, ann, book, kind, fields, field, says):
        form = OpenedForm(ann, url("plan", kind))
        subscription = book.first()
        right: dict[str, Any] = {
            "list_price": {"service": subscription.service_id, "new_value": "5"},
            "discount": {"plan": subscription.plan_id, "new_value": "5"},
            "set": {"where_client": "", "whole_book": "on"},
        }[kind]
        answer = form.send(**(right | fields))
        assert answer.status_code == 200
        assert says in str(errors_of(answer)[field])
        assert not PriceChange.objects.exists()

    @pytest.mark.parametrize("kind", ["list_price", "discount", "set"])
    @pytest.mark.parametrize("value", [NUL, "9" * 30, "abc", "2", "'"])
    def test_any_address_opens_the_form(self, ann, kind, value):
        names = ["service", "plan", "where_client", "new_value", "effective_at", "title", "x"]
        assert ann.get(url("plan", kind), dict.fromkeys(names, value)).status_code == 200

    def test_there_is_no_other_kind(self, ann):
        assert ann.get(url("plan", "revert")).status_code == 404


class TestThePage:
    def test_shows_what_it_would_do(self, ann, book):
        locked = book.last()
        Subscription.objects.filter(pk=locked.pk).update(price_state="locked")
        change = of_set(title="Five more", reason="Because")
        page = text_of(ann.get(url("change", change.pk)))
        assert "All subscriptions: plus 5.00 USD" in page
        assert "Because" in page
        assert "<dt>Would move</dt><dd>11</dd>" in page
        assert "<dt>Stay: locked</dt><dd>1</dd>" in page
        assert "<dt>Stop following the catalogue</dt><dd>11</dd>" in page
        assert "+55.00" in page
        assert "1 to 10" in page  # the distribution

    def test_names_what_is_scheduled_before_it(self, ann, book):
        at = timezone.now() + timedelta(days=1)
        approved(of_list_price(title="The earlier one", effective_at=at))
        later = of_set(effective_at=at + timedelta(days=1))
        assert "The earlier one" in text_of(ann.get(url("change", later.pk)))

    def test_reads_no_rows(self, ann, book, django_assert_num_queries):
        change = of_list_price()
        # * the session * its user * the change * those that it names * its service's name
        # * the list price of now, beside the one that was previewed
        # * what is scheduled before it, * and after it * the brake
        with django_assert_num_queries(9) as queries:
            ann.get(url("change", change.pk))
        assert not any("services_subscription" in query["sql"] for query in queries)

    def test_of_one_that_began_reads_counters(self, ann, book, django_assert_num_queries):
        change = applied(of_list_price())
        # * the session * its user * the change * its repricings and * their steps
        # * the counters * the skips * the rows that it holds, * and by whom its own are held, twice
        # * those that it names * its service's name * the brake
        with django_assert_num_queries(13) as queries:
            ann.get(url("change", change.pk))
        assert not any("services_subscription" in query["sql"] for query in queries)

    def test_shows_the_outcome_and_its_people(self, ann, book):
        locked = book.filter(service=Service.objects.earliest("pk")).first()
        Subscription.objects.filter(pk=locked.pk).update(price_state="locked")
        change = applied(of_list_price())
        page = text_of(ann.get(url("change", change.pk)))
        assert "<dt>Moved</dt><dd>5</dd>" in page
        assert "<dt>Skipped: locked</dt><dd>1</dd>" in page
        assert "Planned by ann" in page
        assert "Approved by ann" in page

    @pytest.mark.usefixtures("by_chunks")
    def test_refreshes_itself_while_rows_move(self, ann, book, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        change = approved(of_set())
        page = url("change", change.pk)
        assert "data-live" in text_of(ann.get(page))
        repricing.plan_due()
        start_due()
        chunks.take_chunk("price", set())
        running = text_of(ann.get(page))
        assert "data-live" in running
        assert "of 12 rows done" in running
        repricing.reprice()
        done = text_of(ann.get(page))
        assert "12 of 12 rows done" in done
        assert "data-live" not in done

    def test_of_one_for_next_year_is_left_in_peace(self, ann, book):
        change = approved(of_list_price(effective_at=timezone.now() + timedelta(days=365)))
        assert "data-live" not in text_of(ann.get(url("change", change.pk)))

    def test_links_who_holds_whose_rows(self, ann, book):
        service = Service.objects.earliest("pk")
        at = clock()
        early, late = (
            scheduled(at, kind="list_price", service=service.pk, new_value=value)
            for value in (777, 888)
        )
        repricing.reprice()
        rows = book.filter(service=service, price__gt=700).count()
        assert rows == book.filter(service=service).count() > 1
        link = f'<a class="text-link" href="{url("change", late.pk)}"'
        assert f"{rows} rows left to {link}" in text_of(ann.get(url("change", early.pk)))
        assert f"Holds {rows} rows of" in text_of(ann.get(url("change", late.pk)))

    @pytest.mark.parametrize("pk", [NUL, "9" * 30, "abc", "1.5"])
    def test_of_no_change_leads_away(self, ann, pk):
        assert ann.get(url("change", pk), follow=True).status_code == 200

    def test_is_not_to_be_written(self, ann, book):
        change = of_set()
        assert ann.post(url("change", change.pk), {"status": "applied"}).status_code == 403
        assert ann.post(url("delete", change.pk), {"post": "yes"}).status_code == 403


class TestRows:
    def test_old_and_new_page_by_page(self, ann, monkeypatch):
        a_book(60, services=1, plans=1)
        change = of_list_price()
        first = ann.get(url("rows", change.pk))
        assert len(first.context["rows"]) == 50
        assert "100.00</td>" in text_of(first)
        assert "777.00</td>" in text_of(first)
        second = ann.get(url("rows", change.pk), {"only": "moves", "after": first.context["next"]})
        seen = [row.subscription for page in (first, second) for row, *_ in page.context["rows"]]
        assert seen == sorted(Subscription.objects.values_list("pk", flat=True))
        assert second.context["next"] is None

    def test_by_reason(self, ann, book):
        locked = book.last()
        Subscription.objects.filter(pk=locked.pk).update(price_state="locked")
        change = of_set()
        [(row, *_)] = ann.get(url("rows", change.pk), {"only": "locked"}).context["rows"]
        assert row.subscription == locked.pk

    def test_that_moved_and_that_did_not(self, ann, book, moved_clock):
        change = approved(of_set(effective_at=clock() + HOUR), "frozen")
        touched = book.last()
        Subscription.objects.filter(pk=touched.pk).update(price_state="negotiated", price=9)
        moved_clock.to(change.effective_at)
        repricing.reprice()
        moved = ann.get(url("rows", change.pk)).context["rows"]
        assert len(moved) == 11
        assert all(row.new_price == row.old_price + 5 for row, *_ in moved)
        [(skipped, *_)] = ann.get(url("rows", change.pk), {"only": "moved_since"}).context["rows"]
        assert (skipped.subscription, skipped.old_price) == (touched.pk, Decimal(9))

    @pytest.mark.parametrize("query", [{"only": "x"}, {"after": "x"}, {"after": "9" * 30}])
    def test_that_there_are_not(self, ann, book, query):
        answer = ann.get(url("rows", of_set().pk), query, follow=True)
        assert "no such list" in messages_of(answer)

    @pytest.mark.parametrize("kind", ["list_price", "set"])
    def test_a_page_is_found_along_the_ids(self, empty_files, ann, kind):
        """If there are many; for a few the planner may as well sort all."""
        a_book(20_000, services=1, plans=2)
        change = of_list_price() if kind == "list_price" else of_set()
        with CaptureQueriesContext(connection) as queries:
            ann.get(url("rows", change.pk))
        [page] = [query["sql"] for query in queries if "change_row" in query["sql"]]
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS OFF) {page}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "Sort" not in plan, plan
        assert max(map(int, re.findall(r"actual rows=(\d+)", plan))) <= 100, plan

    def test_queries_do_not_grow_with_the_rows(self, ann, django_assert_num_queries):
        for more in (5, 40):
            a_book(more, services=more, plans=more, clients=more)
            change = of_set()
            # * the session * its user * the change * the clock * scheduled sets * whether values
            # are to come * the page * names of services, plans, clients * the brake
            with django_assert_num_queries(11):
                ann.get(url("rows", change.pk))
        applied(change)
        # also * whether any moved and * what was skipped, and not of what is to come or the clock
        with django_assert_num_queries(10):
            ann.get(url("rows", change.pk))


class TestVerbs:
    def test_approve_shows_what_is_approved_and_wakes_the_workers(
        self, ann, book, monkeypatch, django_capture_on_commit_callbacks
    ):
        woken: list[Any] = []
        monkeypatch.setattr("price_changes.admin.verbs.wake", lambda *called: woken.append(called))
        change = of_set()
        form = OpenedForm(ann, url("approve", change.pk))
        assert form.fields["fingerprint"] == change.fingerprint
        with django_capture_on_commit_callbacks(execute=True):
            answer = form.send(when_moved="frozen")
        assert "Approved." in messages_of(answer)
        change.refresh_from_db()
        assert (change.status, change.when_moved) == ("scheduled", "frozen")
        assert who(change.approved_by) == "person ann"
        assert woken == [(tasks.set_price, tasks.set_comment)]

    def test_a_fingerprint_that_is_not_the_latest_does_nothing(self, ann, book):
        change = of_set()
        form = OpenedForm(ann, url("approve", change.pk))
        Service.objects.update(full_price=999)
        repricing.reprice()
        preview(change.pk)
        answer = form.send(when_moved="hold")
        assert "is not the fingerprint of the latest preview" in messages_of(answer)
        change.refresh_from_db()
        assert change.status == "planned"

    @pytest.mark.usefixtures("by_chunks")
    def test_pause_resume_and_cancel(self, ann, book, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        change = approved(of_set())
        start_due()
        moved = chunks.take_chunk("price", set())  # five, or fewer where their stretch ends

        def do(verb: str) -> str:
            answer = ann.post(url(verb, change.pk), follow=True)
            change.refresh_from_db()
            return messages_of(answer)

        assert "Paused." in do("pause")
        assert change.status == "paused"
        assert "Paused by ann" in text_of(ann.get(url("change", change.pk)))
        assert "Resumed." in do("resume")
        assert change.status == "applying"
        assert "Resumed by ann" in text_of(ann.get(url("change", change.pk)))
        assert "are taken back" in text_of(ann.get(url("cancel", change.pk)))
        assert "Cancelled." in do("cancel")
        assert change.status == "cancelled"
        back = change.reverted_by.get()
        page = text_of(ann.get(url("change", change.pk)))
        link = f'<a class="text-link" href="{url("change", back.pk)}">price change {back.pk}</a>'
        assert f"Moved 12, taken back by {link}." in page
        assert f"{moved} of 12 rows done" in page
        assert f'max="1" value="{moved / 12:.4f}"' in page
        listed = text_of(ann.get(reverse("admin:price_changes_pricechange_changelist")))
        assert f'max="1" value="{moved / 12:.4f}"' in listed
        assert f"{moved} of 12" in listed
        repricing.reprice()
        assert not book.mispriced().exists()

    def test_a_list_price_for_new_subscriptions_is_taken_back_from_now_on_too(self, ann, book):
        values = {"kind": "list_price", "service": Service.objects.first().pk}
        change = approved(planned(**values, new_value="999", for_new_only=True))
        assert "taken back from now on" in text_of(ann.get(url("cancel", change.pk)))
        start_due()
        assert "taken back from now on" in text_of(ann.get(url("cancel", change.pk)))

    def test_a_list_price_that_is_cancelled_was_paid_until_then(self, ann, book, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        service = Service.objects.first()
        change = approved(planned(kind="list_price", service=service.pk, new_value="999"))
        assert "taken back from now on" in text_of(ann.get(url("cancel", change.pk)))
        start_due()
        plan_due()
        chunks.take_chunk("price", set())
        assert "taken back from now on" in text_of(ann.get(url("cancel", change.pk)))
        ann.post(url("cancel", change.pk))
        back = change.reverted_by.get()
        repricing.reprice()
        page = text_of(ann.get(url("change", change.pk)))
        rows = book.filter(service=service).count()
        assert f"Moved {rows}, taken back by" in page
        assert f"{rows} of {rows} rows done" in page
        assert not book.mispriced().exists()
        assert outcomes.outcome(back)["applied"] == rows

    def test_revert_plans_and_leads_to_the_preview(self, ann, book):
        change = applied(of_set())
        answer = ann.post(url("revert", change.pk), follow=True)
        back = change.reverted_by.get()
        assert answer.redirect_chain[-1][0] == url("change", back.pk)
        assert "Take back" not in text_of(answer)
        assert f'Takes back <a class="text-link" href="{url("change", change.pk)}"' in text_of(
            answer
        )
        OpenedForm(ann, url("approve", back.pk)).send()
        repricing.reprice()
        change.refresh_from_db()
        assert change.status == "reverted"
        assert "Taken back by" in text_of(ann.get(url("change", change.pk)))

    def test_preview_again_counts_anew(self, ann, book):
        change = of_set()
        Service.objects.update(full_price=999)
        repricing.reprice()
        ann.post(url("preview", change.pk))
        before = change.fingerprint
        change.refresh_from_db()
        assert change.fingerprint != before

    def test_one_that_is_held_is_approved_for_another_instant(self, ann, book, moved_clock):
        change = approved(of_set(effective_at=clock() + HOUR))
        Service.objects.update(full_price=999)
        repricing.reprice()
        moved_clock.to(change.effective_at)
        repricing.reprice()
        change.refresh_from_db()
        assert change.status == "held"
        assert "preview it again" in text_of(ann.get(url("change", change.pk)))
        ann.post(url("preview", change.pk))
        OpenedForm(ann, url("approve", change.pk)).send(
            effective_at_0="2099-01-01", effective_at_1="00:00:00"
        )
        change.refresh_from_db()
        assert (change.status, change.effective_at.year) == ("scheduled", 2099)

    def test_moves_nothing_when_it_is_only_looked_at(self, ann, book):
        change = of_set()
        for verb in ("approve", "cancel", "preview"):
            ann.get(url(verb, change.pk))
        change.refresh_from_db()
        assert change.status == "planned"

    def test_that_the_state_does_not_allow_names_those_that_do(self, ann, book):
        change = of_set()
        for answer in (
            ann.get(url("pause", change.pk), follow=True),
            ann.post(url("pause", change.pk), follow=True),
        ):
            assert "is planned; to pause, it has to be applying" in messages_of(answer)

    def test_buttons_are_those_that_the_state_allows(self, ann, book):
        change = of_set()

        def buttons() -> list[str]:
            return [verb.name for verb in ann.get(url("change", change.pk)).context["verbs"]]

        assert buttons() == ["approve", "preview", "cancel"]
        approved(change)
        assert buttons() == ["cancel"]
        repricing.reprice()
        assert buttons() == ["revert"]

    @pytest.mark.parametrize("verb", ["approve", "preview", "revert"])
    def test_of_no_change(self, ann, verb):
        assert ann.post(url(verb, 999)).status_code == 404
        assert ann.post(f"/admin/price_changes/pricechange/{'9' * 30}/{verb}/").status_code == 404


class TestPermissions:
    def test_to_look_is_not_to_plan_and_not_to_approve(self, book):
        eve = logged_in("eve", "view_pricechange")
        change = of_set()
        page = eve.get(url("change", change.pk))
        assert page.context["verbs"] == []
        for path in (url("add"), url("plan", "set")):
            assert eve.get(path).status_code == 403
        for verb in ("approve", "preview", "pause", "resume", "cancel", "revert"):
            assert eve.get(url(verb, change.pk)).status_code == 403
            assert eve.post(url(verb, change.pk)).status_code == 403

    def test_to_plan_is_not_to_approve(self, book):
        ann = logged_in("ann", "view_pricechange", "add_pricechange")
        change = of_set()
        page = ann.get(url("change", change.pk))
        assert [verb.name for verb in page.context["verbs"]] == ["preview"]
        assert ann.post(url("approve", change.pk)).status_code == 403
        assert ann.get(url("plan", "set")).status_code == 200

    def test_rows_are_for_those_who_may_see_subscriptions_and_clients(self, book):
        change, client = of_set(), book.first().client.company_name
        for given, missing in (
            ((), "services.view_subscription and clients.view_client"),
            (("view_subscription",), "clients.view_client"),
            (("view_client",), "services.view_subscription"),
        ):
            eve = logged_in(f"eve {missing}", "view_pricechange", *given)
            answer = eve.get(url("rows", change.pk), follow=True)
            assert f"You lack {missing}:" in messages_of(answer)
            assert "old" not in answer.context
        eve = logged_in("eve", "view_pricechange", "view_subscription", "view_client")
        assert client in text_of(eve.get(url("rows", change.pk)))

    @pytest.mark.parametrize(
        ("kind", "models"),
        [
            ("list_price", ["service"]),
            ("discount", ["plan"]),
            ("set", ["service", "plan", "client"]),
        ],
    )
    def test_a_picker_that_can_not_work_says_what_is_missing(self, book, kind, models):
        app = {"client": "clients"}
        plans = ("view_pricechange", "add_pricechange")
        page = text_of(logged_in("eve", *plans).get(url("plan", kind)))
        for model in models:
            permission = f"{app.get(model, 'services')}.view_{model}"
            assert f"There is nothing to pick from here. You lack {permission}" in page
        sees = logged_in("ann", *plans, *(f"view_{model}" for model in models))
        assert "You lack" not in text_of(sees.get(url("plan", kind)))

    def test_the_clients_that_move_most_are_for_those_who_may_see_clients(self, book):
        change, client = of_set(), book.first().client.company_name
        approver = ("view_pricechange", "approve_pricechange")
        for page in ("change", "approve"):
            assert client not in text_of(logged_in("eve", *approver).get(url(page, change.pk)))
        ann = logged_in("ann", *approver, "view_client")
        assert client in text_of(ann.get(url("change", change.pk)))

    def test_strangers_see_nothing(self, book):
        bob = logged_in("bob", "view_service")
        change = of_set()
        for page in ("change", "rows"):
            assert bob.get(url(page, change.pk)).status_code == 403

    def test_another_person_has_to_approve_where_that_is_asked(self, ann, book, settings):
        settings.APPROVAL_BY_ANOTHER = True
        change = of_set()
        page = ann.get(url("change", change.pk))
        assert "somebody else has to approve it" in text_of(page)
        assert "approve" not in [verb.name for verb in page.context["verbs"]]
        refused = OpenedForm(ann, url("approve", change.pk)).send(when_moved="hold")
        assert "somebody else has to approve it" in messages_of(refused)
        change.refresh_from_db()
        assert change.status == "planned"
        OpenedForm(logged_in("bob"), url("approve", change.pk)).send(when_moved="hold")
        change.refresh_from_db()
        assert (change.status, who(change.approved_by)) == ("scheduled", "person bob")


class TestTheList:
    def test_says_what_each_does_and_how_far_it_is(self, ann, book):
        of_set(title="Five more")
        applied(of_list_price())
        page = text_of(ann.get(url("changelist")))
        assert "Five more" in page
        assert "All subscriptions: plus 5.00 USD" in page
        assert "12 would move" in page
        assert "6 of 6" in page

    def test_filters_and_search(self, ann, book):
        of_set(title="Five more")
        applied(of_list_price())

        def found(**query: str) -> list[str]:
            rows = ann.get(url("changelist"), query).context["cl"].result_list
            return [change.kind for change in rows]

        assert found() == ["list_price", "set"]
        assert found(status__exact="planned") == ["set"]
        assert found(kind__exact="list_price") == ["list_price"]
        assert found(q="five") == found(q="fivve") == ["set"]

    def test_bad_questions_are_answered(self, ann):
        for query in ({"q": NUL}, {"status__exact": NUL}, {"status__exact": "x"}, {"p": "x"}):
            assert ann.get(url("changelist"), query).status_code == 400, query

    def test_queries_do_not_grow_with_the_changes(self, ann, django_assert_num_queries):
        for more in (2, 9):
            for service in a_book(12, services=more).values_list("service", flat=True).distinct():
                approved(planned(kind="list_price", service=service, new_value=5))
                of_set(filter={"service": service})
            repricing.reprice()
            # * the session * its user * the count * the page * names of services
            # * the repricings and * their steps * the brake
            with django_assert_num_queries(8):
                ann.get(url("changelist"))


@pytest.mark.django_db(transaction=True)
class TestTwoClicks:
    @pytest.mark.parametrize(
        ("verb", "state", "says"),
        [
            ("approve", "planned", "is scheduled; to approve"),
            ("revert", "applied", "is being reverted already"),
            ("cancel", "planned", "is cancelled; to cancel"),
        ],
    )
    def test_have_one_effect_and_the_second_is_told(self, verb, state, says):
        a_book(4, services=1, plans=1)
        change = of_set()
        if state == "applied":
            applied(change)
        given = {"fingerprint": change.fingerprint, "when_moved": "hold"}
        # Each in its own browser: messages are stored in a cookie.
        clicks = [
            partial(logged_in("ann").post, url(verb, change.pk), given, follow=True)
            for _ in range(2)
        ]
        with transaction.atomic():
            PriceChange.objects.select_for_update().get(pk=change.pk)
            running = [in_background(click).until_it_waits() for click in clicks]
        told = [html.unescape(text_of(each.result())) for each in running]
        assert sum("Nothing was done." in message for message in told) == 1
        assert any(says in message for message in told)
        changes = PriceChange.objects.filter(reverts=change).count()
        assert changes == (1 if verb == "revert" else 0)


def test_a_change_whose_service_is_gone_is_shown(ann):
    subscription = a_subscription(service=a_service(100))
    service = subscription.service
    change = applied(planned(kind="list_price", service=service.pk, new_value=5))
    subscription.delete()
    service.delete()
    for page in (url("change", change.pk), url("changelist")):
        assert "deleted service" in text_of(ann.get(page))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("door", ["page", "API"])
def test_progress_and_outcome_are_of_one_moment_though_a_chunk_is_committed(monkeypatch, door):
    """Whichever of them is read first."""
    monkeypatch.setattr(chunks, "CHUNK", 5)
    book = a_book(20, services=1, plans=1)
    change = approved(
        planned(kind="list_price", service=book.first().service_id, new_value=150), "current"
    )
    assert starting.start_due()
    assert repricing.plan_due()
    moved = in_background(chunks.take_chunk, "price", set()).result()
    assert moved

    def and_a_chunk_comes(read):
        def reading(*arguments):
            found = read(*arguments)
            in_background(chunks.take_chunk, "price", set()).result()
            return found

        return reading

    monkeypatch.setattr(verbs, "outcome", and_a_chunk_comes(outcomes.outcome))
    for reader in (serializers, admin_pages):
        monkeypatch.setattr(reader, "progress_of", and_a_chunk_comes(progress_of))
    if door == "page":
        shown = logged_in("ann").get(url("change", change.pk)).context
        told = shown["progress"].done, shown["outcome"].applied
    else:
        shown = a_reader().get(f"/api/price-changes/{change.pk}/").json()
        told = shown["progress"]["done"], shown["outcome"]["applied"]
    assert told == (moved, moved)
