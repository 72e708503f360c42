"""The page at the root, and the admin's pages of users and keys."""

import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from keys.tests.asking import accepts
from keys.tests.making import a_member_of_staff
from price_changes.models import PriceChange
from price_changes.planning import definition
from price_changes.running import lifecycle
from price_changes.running.lifecycle import preview
from price_changes.tests.changes import approved, clock, drained, planned, started
from pricebook.kit.scopes import VIEW_CHANGE, VIEW_SUBSCRIPTION
from pricebook.tests.pages import OpenedForm
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
        assert "log in" in page
        assert "1,234" not in page

    @pytest.mark.parametrize("has", [[], [VIEW_SUBSCRIPTION], [VIEW_CHANGE]])
    def test_shows_no_figure_to_staff_who_may_not_see_it(self, has):
        a_subscription(service=a_service("1234.50"))
        browser = Browser()
        browser.force_login(a_member_of_staff("eve", *has))
        page = browser.get("/").content.decode()
        assert "1,234" not in page
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
            # * the session * its user * the total * repricings that nobody has decided * the brake
            # * endpoints that fail * price changes * their repricings * their steps
            # * names of services
            with django_assert_num_queries(11):
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

        assert "Coming: All subscriptions: plus 1.00 USD" in page
        assert "Paused by bob." in page
        assert "0 of 4 rows done" in page
        assert "business yet" not in page
        assert "data-live" not in page

    def test_shows_what_the_last_book_check_has_found(self, admin_client):
        assert "None has been made" in admin_client.get("/").content.decode()
        a_subscription(service=a_service("1234.50"))
        check_book()
        page = admin_client.get("/").content.decode()
        assert "✓ In order" in page
        assert "1 subscriptions, total 1,234.50; 0 prices differ" in page
        with connection.cursor() as cursor:
            cursor.execute("UPDATE services_subtotal SET amount = amount + 1")
        with pytest.raises(SystemExit):
            call_command("check_book", stdout=io.StringIO())
        page = admin_client.get("/").content.decode()
        assert "✗ The book differs" in page
        assert "check_book --repair" in page
        assert "The book differs" not in Browser().get("/").content.decode()

    def test_links_to_flower_where_it_is(self, settings, client):
        assert "Flower" not in client.get("/").content.decode()
        settings.FLOWER_URL = "http://localhost:5555"
        assert 'href="http://localhost:5555"' in client.get("/").content.decode()

    def test_runs_no_script_of_its_own_text(self, client):
        page = client.get("/").content.decode()
        assert page.count("<script") == page.count("<script src=")
        assert "style=" not in page


class TestAccess:
    def test_a_key_is_made_and_shown_once(self, admin_client):
        page = reverse("admin:rest_framework_api_key_apikey_add")
        answer = OpenedForm(admin_client, page).send(name="biller")
        (message, *_) = map(str, answer.context["messages"])
        key = message.split(" is: ")[1].split(". ")[0]
        assert accepts(key)
        again = admin_client.get(reverse("admin:rest_framework_api_key_apikey_changelist"))
        assert key not in again.content.decode()

    def test_a_password_is_set(self, admin_client):
        user = User.objects.create(username="bob")
        page = reverse("admin:auth_user_password_change", args=[user.pk])
        OpenedForm(admin_client, page).send(password1="a long secret", password2="a long secret")
        user.refresh_from_db()
        assert user.check_password("a long secret")

    @pytest.mark.parametrize("model", ["auth_user", "auth_group", "rest_framework_api_key_apikey"])
    def test_nul_is_answered(self, admin_client, model):
        change = reverse(f"admin:{model}_change", args=["\x00"])
        assert admin_client.get(change, follow=True).status_code == 200
        search = reverse(f"admin:{model}_changelist")
        assert admin_client.get(search, {"q": "\x00"}).status_code == 400
