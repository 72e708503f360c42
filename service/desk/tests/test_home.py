"""The home page: what is paid, what is coming, and what needs somebody."""

import io
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django.test import Client as Browser
from django.utils import timezone

from desk.home import coming, inbox
from keys.tests.making import a_member_of_staff
from price_changes.models import PriceChange
from price_changes.planning import definition
from price_changes.running import lifecycle
from price_changes.running.lifecycle import preview
from price_changes.tests.changes import approved, clock, drained, planned, started
from pricebook.kit.access import author
from pricebook.kit.scopes import APPROVE, VIEW_CHANGE, VIEW_SUBSCRIPTION
from services import price_state
from services.ledger.total_then import total_as_of
from services.models import Service, Subscription
from services.repricing import reprice
from services.repricing.drain import start_due
from services.tasks import check_book
from services.tests.factories import a_book, a_plan, a_service, a_subscription

pytestmark = pytest.mark.django_db


class TestHome:
    def test_shows_total_and_count_to_staff(self, admin_client):
        for price in ("1000.10", "234.40"):
            a_subscription(service=a_service(price))
        page = admin_client.get("/").content.decode()
        assert "1,234.50 USD" in page
        assert "<dd>2</dd>" in page

    @pytest.mark.parametrize("known", [True, False])
    def test_shows_others_where_to_log_in(self, known):
        a_subscription(service=a_service("1234.50"))
        browser = Browser()
        if known:  # a client's login
            browser.force_login(User.objects.create(username="client"))
        page = browser.get("/").content.decode()
        assert ("Log in" in page) == (not known)
        assert "1,234" not in page

    @pytest.mark.parametrize("has", [[], [VIEW_SUBSCRIPTION], [VIEW_CHANGE]])
    def test_shows_staff_no_part_that_they_may_not_see(self, has):
        subscription = a_subscription(service=a_service("1234.50", "Fibre"))
        later = {"effective_at": clock() + timedelta(days=1)}
        approved(planned(kind="list_price", service=subscription.service_id, new_value=7, **later))
        browser = Browser()
        browser.force_login(a_member_of_staff("eve", *has))
        page = browser.get("/").content.decode()
        assert ("1,234.50 USD" in page) == (VIEW_SUBSCRIPTION in has)
        assert ("Needs somebody" in page) == (VIEW_CHANGE in has)
        assert "List price of Fibre" not in page
        for permission in {VIEW_SUBSCRIPTION, VIEW_CHANGE} - {*has}:
            assert permission in page
        browser.force_login(a_member_of_staff("ann", VIEW_SUBSCRIPTION, VIEW_CHANGE))
        assert "1,234.50 USD" in browser.get("/").content.decode()

    def test_an_empty_book_is_zero(self, admin_client):
        assert "0.00 USD" in admin_client.get("/").content.decode()

    @pytest.mark.usefixtures("by_chunks")
    @pytest.mark.parametrize("stuck", ["paused", "held", "not started"])
    def test_does_not_say_that_all_is_done_while_a_change_is_stuck(
        self, admin_client, stuck, moved_clock
    ):
        service = a_service(100)
        rows = [a_subscription(service=service) for _ in range(3)]
        at = clock() + timedelta(days=1)
        change = planned(kind="set", adjustment="add", operand="1", effective_at=at)
        approved(change, "hold")
        if stuck == "held":
            Subscription.objects.filter(pk=rows[0].pk).update(plan=a_plan(50))
        moved_clock.to(at)
        if stuck == "paused":
            started()
            lifecycle.pause(change.pk, "ann")
        if stuck == "held":
            drained()
        change.refresh_from_db()
        assert change.status == {"not started": "scheduled"}.get(stuck, stuck)
        page = admin_client.get("/").content.decode()
        assert "Nothing is being repriced" not in page
        assert "Not every change whose time has come has been applied" in page

    def test_says_it_of_a_change_that_is_still_to_come(self, admin_client):
        subscription = a_subscription(service=a_service(100))
        later = {"effective_at": clock() + timedelta(days=1)}
        approved(planned(kind="list_price", service=subscription.service_id, new_value=7, **later))
        assert "Nothing is being repriced" in admin_client.get("/").content.decode()

    def test_shows_what_is_being_repriced_until_it_is_done(self, admin_client):
        a_subscription(service=a_service(100, "Fibre"))
        Service.objects.update(full_price=Decimal(120))
        before = admin_client.get("/").content.decode()
        assert "List price of Fibre: 100.00 → 120.00 USD" in before
        assert "data-live" in before
        reprice()
        after = admin_client.get("/").content.decode()
        assert "Nothing is being repriced" in after
        assert "data-live" not in after

    def test_queries_do_not_grow_with_the_book(self, admin_client, django_assert_num_queries):
        for more in (5, 45):
            a_book(more, services=more, plans=more)
            Service.objects.update(full_price=more)
            # * the session * its user * the clock * the course, and what it is computed from
            # * names * the total * ends of locks * starts and ends * scheduled changes
            # * repricings that nobody has decided * changes that run * their repricings
            # * their steps * names of services * the brake
            # * the clock * rows that failed * changes that need somebody * endpoints that fail
            # * the life of the database
            with django_assert_num_queries(22):
                admin_client.get("/")

    @pytest.mark.usefixtures("by_chunks")
    def test_shows_changes_that_are_scheduled_paused_or_held(self, admin_client):
        a_book(4, services=1, plans=1)

        def planned(title: str, **values: Any) -> PriceChange:
            values |= {
                "kind": "set",
                "filter": {},
                "adjustment": "add",
                "operand": 1,
                "title": title,
            }
            return preview(definition.plan(values, "ann").pk)

        coming = planned("Coming", effective_at=timezone.now() + timedelta(days=3))
        lifecycle.approve(coming.pk, coming.fingerprint, "ann")
        paused = planned("Paused one")
        lifecycle.approve(paused.pk, paused.fingerprint, "ann")
        start_due()
        lifecycle.pause(paused.pk, "bob")
        planned("Nobody's business yet")

        page = admin_client.get("/").content.decode()

        assert re.search("Coming</a></th><td [^>]*>40.00 USD", page) is None
        assert "Paused by bob." in page
        assert "0 of 4 rows done" in page
        assert page.index("bob has paused it") < page.index("s business yet")
        assert "data-live" not in page

    def test_shows_what_the_last_book_check_has_found(self, admin_client):
        assert "None is kept" in admin_client.get("/").content.decode()
        a_subscription(service=a_service("1234.50"))
        check_book()
        cache.clear()
        page = admin_client.get("/").content.decode()
        assert "✓ in order" in page
        assert "1 subscriptions, total 1,234.50; 0 prices differ" in page
        with connection.cursor() as cursor:
            cursor.execute("UPDATE services_subtotal SET amount = amount + 1")
        with pytest.raises(SystemExit):
            call_command("check_book", author="ann", stdout=io.StringIO())
        page = admin_client.get("/").content.decode()
        assert "✗ The book differs" in page
        assert "check_book --repair" in page
        page = admin_client.get("/", headers={"accept-language": "ru"}).content.decode()
        assert re.search("Подписок: 1, итог 1\\s234,50", page)
        assert "The book differs" not in Browser().get("/").content.decode()

    def test_links_to_flower_where_it_is(self, settings, admin_client):
        assert "Flower" not in admin_client.get("/").content.decode()
        settings.FLOWER_URL = "http://localhost:5555"
        assert 'href="http://localhost:5555"' in admin_client.get("/").content.decode()

    def test_runs_no_script_of_its_own_text(self, admin_client):
        page = admin_client.get("/").content.decode()
        assert page.count("<script") == page.count("<script src=")
        assert "style=" not in page


class TestInbox:
    """The inbox: all that needs somebody, and whether the reader is one who can do it."""

    def needs(self, user: Any) -> list[tuple[str, bool]]:
        return [(item.needs, item.mine) for item in inbox.items(user)]

    def test_a_plan_beyond_a_limit_is_for_another_approver(self, settings):
        settings.APPROVAL_BY_ANOTHER = True
        rights = (VIEW_CHANGE, APPROVE)
        ann, bob = (a_member_of_staff(name, *rights) for name in ("ann", "bob"))
        reader = a_member_of_staff("eve", VIEW_CHANGE)
        a_subscription(service=a_service(100))
        values = {"kind": "set", "filter": {}, "adjustment": "add", "operand": "1"}
        preview(definition.plan(values, author(ann)).pk)
        assert self.needs(ann) == [("Waits for approval", False)]
        assert self.needs(bob) == [("Waits for approval", True)]
        assert self.needs(reader) == [("Waits for approval", False)]

    @pytest.mark.usefixtures("by_chunks")
    def test_held_and_paused_come_before_plans(self, admin_user, moved_clock):
        rows = [a_subscription(service=a_service(100)) for _ in range(2)]
        later = clock() + timedelta(days=1)
        values = {"kind": "set", "adjustment": "add", "operand": "1"}
        held = planned(**values, filter={"service": rows[0].service_id}, effective_at=later)
        approved(held, "hold")
        planned(**values, filter={"service": rows[1].service_id})
        Subscription.objects.filter(pk=rows[0].pk).update(plan=a_plan(50))
        moved_clock.to(later)
        drained()
        assert [needs for needs, _ in self.needs(admin_user)] == ["Held", "Waits for approval"]

    def test_what_is_done_needs_nobody(self, admin_user):
        a_subscription(service=a_service(100))
        approved(planned(kind="set", adjustment="add", operand="1"))
        drained()
        assert self.needs(admin_user) == []


class TestComing:
    def test_has_the_total_after_each_event(self, moved_clock):
        day = timedelta(days=1)
        now = moved_clock.now()
        service = a_service(100)
        rows = [a_subscription(service=service) for _ in range(3)]
        price_state.lock(rows[0].pk, now + 3 * day, "promised", "ann")
        Subscription.objects.filter(pk=rows[1].pk).update(ended_at=now + 4 * day)
        change = planned(
            kind="list_price", service=service.pk, new_value=150, effective_at=now + day
        )
        approved(change)
        a_set = planned(
            kind="set",
            filter={"service": service.pk},
            adjustment="add",
            operand="1",
            effective_at=now + 5 * day,
        )
        approved(a_set, "current")
        moved_clock.passes(timedelta(seconds=1))
        events = coming.timeline(clock(), shows_changes=True, names_clients=True)
        told = [
            (event.change and event.change.pk, event.total, event.by_preview) for event in events
        ]
        difference = Decimal(a_set.preview["total_after"]) - Decimal(a_set.preview["total_before"])
        assert told == [
            (change.pk, 400, False),
            (None, 450, False),
            (None, 300, False),
            (a_set.pk, 300 + difference, True),
        ]
        for event in events[:-1]:
            assert event.total == total_as_of(event.at).amount
        hidden = coming.timeline(clock(), shows_changes=False, names_clients=True)
        assert [event.says for event in hidden] == ["1 lock ends", "1 subscription ends"]
