"""The catalogue, subscriptions and repricings in the admin."""

import html
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from keys.tests.making import a_member_of_staff
from price_changes.planning import definition
from price_changes.running import lifecycle
from price_changes.running.lifecycle import preview
from pricebook.tests.authorship import who
from pricebook.tests.pages import OpenedForm, errors_of
from services.models import Plan, Repricing, Service, Subscription, WholeLedger
from services.repricing import reprice, stamp
from services.tests.factories import a_book, a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import in_background

pytestmark = pytest.mark.django_db

NUL = "\x00"


def url(model: str, page: str, *args: object) -> str:
    return reverse(f"admin:services_{model}_{page}", args=args)


def logged_in(name: str) -> Browser:
    user, _ = User.objects.get_or_create(username=name, is_staff=True, is_superuser=True)
    browser = Browser()
    browser.force_login(user)
    return browser


@pytest.fixture
def ann() -> Browser:
    return logged_in("ann")


@pytest.fixture
def bob() -> Browser:
    return logged_in("bob")


def messages_of(response) -> str:
    return " ".join(str(message) for message in response.context["messages"])


class TestAdding:
    def test_a_service_a_plan_and_a_subscription(self, ann):
        OpenedForm(ann, url("service", "add")).send(name="Fibre", full_price="250.00")
        OpenedForm(ann, url("plan", "add")).send(plan_type="discount", discount_percent=5)
        service, plan, client = Service.objects.get(), Plan.objects.get(), a_client()

        OpenedForm(ann, url("subscription", "add")).send(
            client=client.pk, service=service.pk, plan=plan.pk
        )

        subscription = Subscription.objects.get()
        assert subscription.price == Decimal("237.50")
        assert subscription.source is None  # and not '', of which there could be only one

    def test_leaves_the_price_to_the_rule(self, ann):
        subscription = a_subscription(service=a_service(250))
        form = OpenedForm(ann, url("subscription", "change", subscription.pk))
        assert "price" not in form.fields
        form.send(price="1.00", comment="mine")
        subscription.refresh_from_db()
        assert (subscription.price, subscription.comment) == (Decimal(250), "mine")

    def test_moving_to_another_plan_moves_the_price(self, ann):
        subscription = a_subscription(service=a_service(250))
        form = OpenedForm(ann, url("subscription", "change", subscription.pk))
        form.send(plan=a_plan(20).pk)
        subscription.refresh_from_db()
        assert subscription.price == Decimal(200)


class TestPickers:
    """A picker works, or says which permission it takes."""

    def picks(self, path, *permissions):
        browser = Browser()
        browser.force_login(a_member_of_staff(f"eve {len(permissions)}", *permissions))
        return " ".join(browser.get(path).content.decode().split())

    def test_of_a_subscription(self):
        may = "services.add_subscription"
        path = url("subscription", "add")
        page = self.picks(path, may)
        others = ("services.view_service", "services.view_plan", "clients.view_client")
        for missing in others:
            assert f"There is nothing to pick from here. You lack {missing}" in page
        assert "You lack" not in self.picks(path, may, *others)
        changes = (each.replace("view", "change") for each in others)
        assert "You lack" not in self.picks(path, may, "services.view_subscription", *changes)

    def test_of_a_client(self):
        path = "/admin/clients/client/add/"
        assert "You lack auth.view_user" in self.picks(path, "clients.add_client")
        assert "You lack" not in self.picks(path, "clients.add_client", "auth.view_user")


class TestEditingTheCatalogue:
    def test_says_what_follows_and_who_did_it(self, ann):
        service = a_service(250)
        for _ in range(2):
            a_subscription(service=service)
        answer = OpenedForm(ann, url("service", "change", service.pk)).send(
            full_price="300", stamp="Prices of 2027"
        )

        repricing = Repricing.objects.get()
        assert (who(repricing.author), repricing.comment) == ("person ann", "Prices of 2027")
        assert "2 subscriptions are being repriced" in messages_of(answer)
        change = reverse("admin:price_changes_pricechange_change", args=[repricing.change_id])
        assert change in messages_of(answer)

        reprice()
        stamp()
        assert (
            list(service.subscriptions.values_list("price", "comment"))
            == [(Decimal(300), "Prices of 2027")] * 2
        )

    def test_a_discount_too(self, ann):
        subscription = a_subscription(service=a_service(250), plan=a_plan(5))
        answer = OpenedForm(ann, url("plan", "change", subscription.plan_id)).send(
            discount_percent=20
        )
        assert "1 subscription is being repriced" in messages_of(answer)
        assert who(Repricing.objects.get().author) == "person ann"

    def test_a_new_name_reprices_nothing(self, ann):
        service = a_service(250)
        OpenedForm(ann, url("service", "change", service.pk)).send(name="Glass")
        assert not Repricing.objects.exists()

    def test_a_comment_without_a_change_is_an_error(self, ann):
        service = a_service(250)
        answer = OpenedForm(ann, url("service", "change", service.pk)).send(stamp="For nothing")
        assert "nothing to stamp" in str(errors_of(answer)["stamp"])


class TestFormThatWasOpenWhileOthersWrote:
    """Each with two sessions: Ann opens, Bob saves, Ann saves."""

    def test_an_untouched_list_price_stays_moved(self, ann, bob):
        service = a_service(100)
        page = url("service", "change", service.pk)
        anns = OpenedForm(ann, page)
        OpenedForm(bob, page).send(full_price="120.00")
        anns.send(name="Renamed")
        service.refresh_from_db()
        assert (service.name, service.full_price) == ("Renamed", Decimal(120))

    def test_a_touched_list_price_is_asked_about(self, ann, bob):
        service = a_service(100)
        page = url("service", "change", service.pk)
        anns = OpenedForm(ann, page)
        OpenedForm(bob, page).send(full_price="120.00")

        answer = anns.send(full_price="110.00")

        assert errors_of(answer)["full_price"] == [
            "The list price moved from 100.00 to 120.00 while this form was open;"
            " look again and save."
        ]
        service.refresh_from_db()
        assert service.full_price == Decimal(120)

    def test_saving_once_more_is_a_decision(self, ann, bob):
        service = a_service(100)
        page = url("service", "change", service.pk)
        anns = OpenedForm(ann, page)
        OpenedForm(bob, page).send(name="Renamed", full_price="120.00")

        again = anns.send(full_price="110.00")
        anns.fields.clear()
        anns.feed(again.content.decode())
        assert anns.fields["name"] == "Renamed"
        anns.send()

        service.refresh_from_db()
        assert (service.name, service.full_price) == ("Renamed", Decimal(110))

    def test_the_same_new_price_is_no_quarrel(self, ann, bob):
        service = a_service(100)
        page = url("service", "change", service.pk)
        anns = OpenedForm(ann, page)
        OpenedForm(bob, page).send(full_price="120.00")
        anns.send(full_price="120,0")
        assert Repricing.objects.count() == 1

    def test_a_list_price_in_another_notation_is_untouched(self, ann, bob):
        service = a_service(100)
        page = url("service", "change", service.pk)
        anns = OpenedForm(ann, page)
        assert anns.fields["full_price"] == anns.fields["initial-full_price"] == "100.00"
        OpenedForm(bob, page).send(full_price="120,00")
        anns.send(name="Renamed", full_price="100,0")
        service.refresh_from_db()
        assert (service.name, service.full_price) == ("Renamed", Decimal(120))

    def test_a_list_price_touched_with_a_comma_is_asked_about(self, ann, bob):
        service = a_service(100)
        page = url("service", "change", service.pk)
        anns = OpenedForm(ann, page)
        OpenedForm(bob, page).send(full_price="4,50")
        answer = anns.send(full_price="1 100,50")
        assert "moved from 100.00 to 4.50 while" in str(errors_of(answer)["full_price"])
        anns.fields.clear()
        anns.feed(answer.content.decode())
        assert anns.fields["full_price"] == "1 100,50"
        anns.send()
        service.refresh_from_db()
        assert service.full_price == Decimal("1100.50")

    def test_an_unclear_list_price_is_asked_about_and_stays_in_its_box(self, ann):
        service = a_service(100)
        page = url("service", "change", service.pk)
        anns = OpenedForm(ann, page)
        answer = anns.send(full_price="1,234")
        assert "can be 1234 or 1.234" in str(errors_of(answer)["full_price"])
        anns.fields.clear()
        anns.feed(answer.content.decode())
        assert anns.fields["full_price"] == "1,234"
        assert anns.fields["initial-full_price"] == "100.00"
        anns.send(full_price="1234")
        service.refresh_from_db()
        assert service.full_price == Decimal(1234)

    def test_an_untouched_discount_stays_moved(self, ann, bob):
        plan = a_plan(5)
        page = url("plan", "change", plan.pk)
        anns = OpenedForm(ann, page)
        OpenedForm(bob, page).send(discount_percent=20)
        anns.send(plan_type="student")
        plan.refresh_from_db()
        assert (plan.plan_type, plan.discount_percent) == ("student", 20)

    def test_a_touched_discount_is_asked_about(self, ann, bob):
        plan = a_plan(5)
        page = url("plan", "change", plan.pk)
        anns = OpenedForm(ann, page)
        OpenedForm(bob, page).send(discount_percent=20)
        answer = anns.send(discount_percent=10)
        assert "moved from 5 to 20" in str(errors_of(answer)["discount_percent"])

    def test_an_untouched_plan_of_a_subscription_stays_moved(self, ann, bob):
        subscription = a_subscription(service=a_service(250))
        page = url("subscription", "change", subscription.pk)
        anns = OpenedForm(ann, page)
        student = a_plan(20, "student")
        OpenedForm(bob, page).send(plan=student.pk, ended_at_0="2099-01-01", ended_at_1="12:00:00")
        before = Subscription.objects.get()

        anns.send(comment="mine")

        after = Subscription.objects.get()
        assert (after.plan, after.price, after.comment) == (student, Decimal(200), "mine")
        assert (after.started_at, after.ended_at) == (before.started_at, before.ended_at)

    def test_a_touched_service_of_a_subscription_is_asked_about(self, ann, bob):
        subscription = a_subscription(service=a_service(250, "Copper"))
        page = url("subscription", "change", subscription.pk)
        anns = OpenedForm(ann, page)
        OpenedForm(bob, page).send(service=a_service(300, "Fibre").pk)
        answer = anns.send(service=a_service(300, "Radio").pk)
        assert "moved from Copper to Fibre" in str(errors_of(answer)["service"])

    def test_a_touched_end_is_asked_about(self, ann, bob):
        page = url("subscription", "change", a_subscription().pk)
        anns = OpenedForm(ann, page)
        OpenedForm(bob, page).send(ended_at_0="2099-01-01", ended_at_1="12:00:00")
        answer = anns.send(ended_at_0="2098-01-01", ended_at_1="12:00:00")
        assert "from nothing to 2099-01-01 12:00:00" in str(errors_of(answer)["ended_at"])

    def test_a_record_that_was_deleted_is_said_to_be(self, ann):
        service = a_service()
        form = OpenedForm(ann, url("service", "change", service.pk))
        service.delete()
        assert "doesn’t exist" in messages_of(form.send(name="Renamed"))


@pytest.mark.django_db(transaction=True)
class TestTwoWhoSaveAtOnce:
    """Both forms were right when they were checked, or would have been."""

    def test_the_second_price_is_asked_about(self, ann):
        service = a_service(100)
        form = OpenedForm(ann, url("service", "change", service.pk))
        with transaction.atomic():
            Service.objects.filter(pk=service.pk).update(full_price=120)
            anns = in_background(partial(form.send, full_price="110")).until_it_waits()
        assert "moved from 100.00 to 120.00" in str(errors_of(anns.result()))
        service.refresh_from_db()
        assert service.full_price == Decimal(120)

    def test_the_same_plan_twice_is_said_to_be_there(self, ann):
        form = OpenedForm(ann, url("plan", "add"))
        with transaction.atomic():
            a_plan(5)
            send = partial(form.send, plan_type="discount", discount_percent=5)
            anns = in_background(send).until_it_waits()
        assert "somebody else has just written the same" in messages_of(anns.result())
        assert Plan.objects.count() == 1

    def test_a_service_that_is_just_being_bought_is_not_deleted(self, ann):
        client, service, plan = a_client(), a_service(), a_plan()
        page = url("service", "delete", service.pk)
        with transaction.atomic():
            a_subscription(client, service, plan)
            with connection.cursor() as cursor:  # as the commit does
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            delete = partial(ann.post, page, {"post": "yes"}, follow=True)
            anns = in_background(delete).until_it_waits()
        assert "just been taken into use" in messages_of(anns.result())
        assert Service.objects.exists()


class TestBadInput:
    @pytest.mark.parametrize(
        ("model", "fields", "message"),
        [
            ("plan", {"plan_type": "full", "discount_percent": 101}, "less than or equal to 100"),
            ("plan", {"plan_type": "gold", "discount_percent": 1}, "gold is not one of"),
            ("plan", {"plan_type": "full", "discount_percent": "12,5"}, "is no whole number"),
            ("plan", {"plan_type": "full", "discount_percent": "1,000"}, "can be 1000 or 1.000"),
            ("service", {"name": "Fibre", "full_price": "-1"}, "is less than 0"),
            ("service", {"name": "Fibre", "full_price": "12345678901.00"}, "12 digits"),
            ("service", {"name": "Fibre", "full_price": "1.005"}, "can be 1005 or 1.005"),
            ("service", {"name": "Fibre", "full_price": "0,005"}, "has 3 decimals"),
            ("service", {"name": "Fibre", "full_price": "NaN"}, "has “N” in it"),
            ("service", {"name": "Fibre", "full_price": "1e3"}, "has “e” in it"),
            ("service", {"name": "Fibre", "full_price": "4,50 €"}, "has a currency sign in it"),
            ("service", {"name": f"Fi{NUL}bre", "full_price": "1"}, "Null characters"),
        ],
    )
    def test_of_the_catalogue(self, ann, model, fields, message):
        answer = OpenedForm(ann, url(model, "add")).send(**fields)
        assert message in str(errors_of(answer))

    def test_the_same_plan_twice(self, ann):
        plan = a_plan(5)
        answer = OpenedForm(ann, url("plan", "add")).send(
            plan_type=plan.plan_type, discount_percent=5
        )
        assert "already exists" in str(errors_of(answer))

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"external_id": "A-1"}, "belong together"),
            ({"source": "crm", "external_id": "taken"}, "already exists"),
            ({"ended_at_0": "1999-01-01", "ended_at_1": "00:00"}, "ends after it has started"),
            ({"ended_at_0": "yesterday", "ended_at_1": "00:00"}, "Enter a valid date"),
            ({"service": "9" * 30}, "Select a valid choice"),
            ({"service": NUL}, "Null characters"),
            ({"service": "abc"}, "Select a valid choice"),
            ({"comment": "x" * 51}, "at most 50 characters"),
            ({"comment": "\u202ecba"}, "a character U+202E in it, which turns the direction"),
        ],
    )
    def test_of_a_subscription(self, ann, fields, message):
        taken = a_subscription(source="crm", external_id="taken")
        form = OpenedForm(ann, url("subscription", "add"))
        form.fields |= {
            "client": str(taken.client_id),
            "service": str(taken.service_id),
            "plan": str(taken.plan_id),
        }
        assert message in str(errors_of(form.send(**fields)))
        assert Subscription.objects.count() == 1

    @pytest.mark.parametrize("model", ["service", "plan", "subscription", "repricing"])
    def test_of_a_list_is_named_and_shows_no_row_and_no_total(self, ann, model):
        a_subscription(service=a_service("1234.50"))
        unknown = [
            {"comment": "a\x00b"},
            {"service__id__exact": "9" * 30},
            {"service__id__exact": "abc"},
            {"state": "'"},
            {"p": "9" * 30},
            {"p": "9999"},
            {"p": "-1"},
            {"p": "x", "e": "1"},
        ]
        if model == "subscription":
            unknown += [{"service__id__exact": "999999"}, {"client__id__exact": "999999"}]
            unknown += [{"price_state": "x"}, {"pending": "17"}, {"state": "active", "plan": "x"}]
        for query in unknown:
            answer = ann.get(url(model, "changelist"), query)
            assert answer.status_code == 400, query
            (*_, value) = [each for each in query.values() if each not in ("1", "active")]
            text = answer.content.decode()
            shown = value.replace(NUL, "\N{REPLACEMENT CHARACTER}")
            assert html.escape(shown) in text, query
            assert "1,234.50" not in text, query
        for query in ({"o": "1.2.3.-99"}, {"q": "%_\\'\""}, {"q": "9" * 5000}):
            assert ann.get(url(model, "changelist"), query).status_code == 200

    @pytest.mark.parametrize("term", [NUL, "%", "'"])
    def test_of_a_completion(self, ann, term):
        query = {
            "app_label": "services",
            "model_name": "subscription",
            "field_name": "client",
            "term": term,
        }
        assert ann.get(reverse("admin:autocomplete"), query).status_code == 200

    @pytest.mark.parametrize("model", ["service", "plan", "subscription", "repricing"])
    @pytest.mark.parametrize("pk", [NUL, "9" * 30, "abc", "1.5"])
    def test_of_an_address(self, ann, model, pk):
        assert ann.get(url(model, "change", pk), follow=True).status_code == 200


class TestDeleting:
    def test_a_service_in_use_is_refused_with_the_number_of_its_subscriptions(self, ann):
        a_book(30, services=1, plans=1)
        service = Service.objects.get()
        page = url("service", "delete", service.pk)
        for answer in (ann.get(page), ann.post(page, {"post": "yes"})):
            assert f"30 subscriptions of {service}" in answer.content.decode()
            assert "subscription 1" not in answer.content.decode()
        assert Service.objects.exists()

    @pytest.mark.parametrize("model", ["service", "plan"])
    def test_together_with_others_too(self, ann, model):
        subscription = a_subscription()
        record = getattr(subscription, model)
        answer = ann.post(
            url(model, "changelist"),
            {"action": "delete_selected", "_selected_action": [record.pk], "post": "yes"},
            follow=True,
        )
        assert answer.status_code == 200
        assert f"1 subscriptions of {record}" in answer.content.decode()
        assert type(record).objects.exists()

    def test_a_service_that_nobody_buys_goes_with_its_repricings(self):
        service = a_service(100)
        service.full_price = Decimal(120)
        service.save()
        keeper = User.objects.create(username="keeper", is_staff=True, is_superuser=True)
        browser = Browser()
        browser.force_login(keeper)
        browser.post(url("service", "delete", service.pk), {"post": "yes"})
        assert not Service.objects.exists()
        assert not Repricing.objects.exists()

    def test_a_subscription(self, ann):
        subscription = a_subscription()
        ann.post(url("subscription", "delete", subscription.pk), {"post": "yes"})
        assert not Subscription.objects.exists()


class TestLists:
    @pytest.mark.parametrize(
        ("model", "queries"),
        [
            # Each: * the session * its user * the page
            ("service", 4),  # * the count; subscriptions and totals are subqueries of the page
            ("plan", 4),
            ("subscription", 6),  # * the total * the services and * the plans to filter by
            ("repricing", 5),  # * the count * the steps of all on the page
        ],
    )
    def test_queries_do_not_grow_with_the_rows(
        self, ann, model, queries, django_assert_num_queries
    ):
        for more in (5, 40):
            a_book(more, services=more, plans=more)
            Service.objects.update(full_price=more)
            with django_assert_num_queries(queries):
                ann.get(url(model, "changelist"))

    def test_the_total_stands_above_the_list(self, ann):
        small, big = a_service(100), a_service(1000)
        for service in (small, big, big):
            a_subscription(service=service)
        page = url("subscription", "changelist")

        def total(**query: object) -> tuple[int, Decimal]:
            shown = ann.get(page, query).context["cl"].paginator.figures.total
            return shown.subscriptions, shown.amount

        assert total() == (3, Decimal(2100))
        assert total(service__id__exact=big.pk) == (2, Decimal(2000))
        assert total(q="Client") == (3, Decimal(2100))
        assert total(state="ended") == (0, Decimal(0))

    def test_the_total_of_the_catalogues_filters_reads_no_subscriptions(
        self, ann, django_assert_num_queries
    ):
        subscription = a_subscription()
        with django_assert_num_queries(6) as queries:
            ann.get(
                url("subscription", "changelist"),
                {"service__id__exact": subscription.service_id},
            )
        statements = [query["sql"] for query in queries]
        assert sum("services_subscription" in sql for sql in statements) == 1  # the page

    def test_a_far_page_is_found_without_its_joins(self, ann, django_assert_num_queries):
        a_book(60)
        with django_assert_num_queries(7) as queries:  # and * the ids of the page
            found = ann.get(url("subscription", "changelist"), {"p": 2}).context["cl"]
        assert len(found.result_list) == 10
        (skips,) = (query["sql"] for query in queries if "OFFSET 50" in query["sql"])
        assert "JOIN" not in skips

    def test_search_finds_by_client_mail_and_external_id(self, ann):
        wanted = a_subscription(
            client=a_client("Nordwind AG", "info@nordwind.example"),
            source="crm",
            external_id="KX-QV",  # no digits: another's name may hold any
        )
        a_subscription()
        for term in ("Nordwind", "wind AG", "info@nordwind.example", "KX-QV"):
            found = ann.get(url("subscription", "changelist"), {"q": term}).context["cl"]
            assert [row.pk for row in found.result_list] == [wanted.pk], term

    def test_offers_to_show_all_where_something_is_left_out(self, ann):
        a_book(60)
        page = url("subscription", "changelist")
        everything = '(<a href="?">Show all</a>)'
        assert everything not in ann.get(page).content.decode()
        assert everything in ann.get(page, {"state": "active"}).content.decode()

    def test_the_state_filter(self, ann):
        active = a_subscription()
        ended = a_subscription(started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z")
        for state, row in (("active", active), ("ended", ended)):
            found = ann.get(url("subscription", "changelist"), {"state": state}).context["cl"]
            assert [row.pk for row in found.result_list] == [row.pk]


class TestThePriceOfASubscription:
    """Its page says why it pays what it pays, what it paid, and takes decisions about it."""

    def page(self, ann: Browser, subscription: Subscription, **query: str) -> str:
        answer = ann.get(url("subscription", "change", subscription.pk), query)
        return html.unescape(" ".join(answer.content.decode().split()))

    def decide(self, ann: Browser, subscription: Subscription, name: str, **given: object):
        form = OpenedForm(ann, url("subscription", "price", subscription.pk, name))
        answer = form.send(**given)
        subscription.refresh_from_db()
        return answer

    def test_says_why(self, ann):
        page = self.page(ann, a_subscription(service=a_service(250), plan=a_plan(5)))
        assert "237.50 USD" in page
        assert "250.00 × (100 − 5) / 100 = 237.50" in page

    def test_is_locked_and_released(self, ann):
        subscription = a_subscription(service=a_service(250))
        answer = self.decide(
            ann,
            subscription,
            "lock",
            until_0="2099-01-01",
            until_1="00:00:00",
            reason="Contract of 2024",
        )
        assert "Locked at its price." in messages_of(answer)
        assert (subscription.price_state, subscription.locked_until.year) == ("locked", 2099)
        assert "(Contract of 2024)" in self.page(ann, subscription)
        self.decide(ann, subscription, "release")
        assert subscription.price_state == "follows"

    def test_is_negotiated_and_follows_again(self, ann):
        subscription = a_subscription(service=a_service(250))
        self.decide(ann, subscription, "negotiate", price="99,50", reason="Asked for it")
        assert (subscription.price_state, subscription.price) == ("negotiated", Decimal("99.50"))
        self.decide(ann, subscription, "follow")
        assert (subscription.price_state, subscription.price) == ("follows", Decimal(250))
        assert [who(entry.author) for entry in WholeLedger.objects.all()].count("person ann") == 2

    @pytest.mark.parametrize(
        ("name", "given", "field"),
        [
            ("lock", {}, "reason"),
            (
                "lock",
                {"until_0": "2001-01-01", "until_1": "00:00", "reason": "x"},
                "until",
            ),
            ("negotiate", {"price": "1.005", "reason": "x"}, "price"),
            ("negotiate", {"price": "-1", "reason": "x"}, "price"),
            ("negotiate", {"price": "NaN", "reason": "x"}, "price"),
            ("negotiate", {"price": "1e400", "reason": "x"}, "price"),
            ("negotiate", {"price": "1e3", "reason": "x"}, "price"),
            ("negotiate", {"price": "1,234", "reason": "x"}, "price"),
            ("negotiate", {"price": "1", "reason": NUL}, "reason"),
            ("negotiate", {"price": "1", "reason": "x" * 201}, "reason"),
        ],
    )
    def test_what_is_wrong_is_said_at_its_field(self, ann, name, given, field):
        subscription = a_subscription(service=a_service(250))
        answer = self.decide(ann, subscription, name, **given)
        assert answer.context["form"].errors[field]
        assert subscription.price_state == "follows"

    def test_what_its_state_does_not_allow_is_said(self, ann):
        subscription = a_subscription()
        answer = self.decide(ann, subscription, "release")
        assert "is not locked" in messages_of(answer)

    def test_is_only_decided_by_those_who_may(self, ann):
        subscription = a_subscription()
        page = url("subscription", "price", subscription.pk, "lock")
        eve = User.objects.create(username="eve", is_staff=True)
        # To write a subscription is not to decide its price.
        eve.user_permissions.set(
            Permission.objects.filter(codename__in=["view_subscription", "change_subscription"])
        )
        browser = Browser()
        browser.force_login(eve)
        assert browser.get(page).status_code == browser.post(page).status_code == 403
        assert "Negotiate" not in self.page(browser, subscription)
        assert ann.get(url("subscription", "price", 999, "lock")).status_code == 404
        assert ann.get(url("subscription", "price", subscription.pk, "gild")).status_code == 404

    def test_an_ended_one_has_nothing_to_decide(self, ann):
        ended = a_subscription(started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z")
        assert "Negotiate" not in self.page(ann, ended)

    def test_its_history_has_pages_newest_first(self, ann, django_assert_num_queries):
        subscription = a_subscription(service=a_service(100))
        for price in range(101, 113):
            Service.objects.update(full_price=price)
            reprice()
        answer = ann.get(url("subscription", "change", subscription.pk))
        prices = [entry.price for entry in answer.context["history"]]
        assert prices == list(range(112, 102, -1))
        assert "price change" in answer.content.decode()
        older = answer.context["older"]
        answer = ann.get(url("subscription", "change", subscription.pk), {"before": older})
        assert [entry.price for entry in answer.context["history"]] == [102, 101, 100]
        assert answer.context["older"] is None

    @pytest.mark.parametrize("before", [NUL, "9" * 30, "x", "-1"])
    def test_any_place_in_the_history_is_answered(self, ann, before):
        assert self.page(ann, a_subscription(), before=before)

    def test_what_is_coming_is_named(self, ann):
        subscription = a_subscription(service=a_service(100))
        values = {
            "kind": "list_price",
            "service": subscription.service_id,
            "new_value": 120,
            "effective_at": timezone.now() + timedelta(days=2),
            "title": "Prices of 2027",
        }
        change = preview(definition.plan(values, "ann").pk)
        lifecycle.approve(change.pk, change.fingerprint, "ann")
        page = self.page(ann, subscription)
        assert "120.00 USD from" in page
        assert "Prices of 2027</a>" in page

    def test_queries_of_its_page(self, ann, django_assert_num_queries):
        subscription = a_subscription()
        ContentType.objects.get_for_model(Subscription)  # Django asks once, and keeps it
        # * the session * its user * the subscription * client, * service and * plan in its form
        # * its entry with the rule, * the edits of list price and * of discount, * what moved its
        # price last: why * changes that are scheduled * a page of its history
        with django_assert_num_queries(12):
            ann.get(url("subscription", "change", subscription.pk))


class TestFromTheCatalogueAndTheListToAPlan:
    @pytest.mark.parametrize(("model", "kind"), [("service", "list_price"), ("plan", "discount")])
    def test_a_change_of_this_price_is_planned(self, ann, model, kind):
        record = getattr(a_subscription(), model)
        page = ann.get(url(model, "change", record.pk)).content.decode()
        form = reverse("admin:price_changes_pricechange_plan", args=[kind])
        assert f"{form}?{model}={record.pk}" in page

    def test_the_lists_filters_go_with_it(self, ann):
        subscription = a_subscription()
        form = reverse("admin:price_changes_pricechange_plan", args=["set"])

        def page(**query: Any) -> str:
            answer = ann.get(url("subscription", "changelist"), query)
            return html.unescape(answer.content.decode())

        assert f'href="{form}"' in page()
        found = page(service__id__exact=subscription.service_id, price_state="locked", p=1)
        assert f"{form}?where_service={subscription.service_id}&where_price_state=locked" in found
        # A search is no filter of a change: it would be one for more than was found.
        assert form not in page(q="Client")

    def test_the_price_state_filter(self, ann):
        locked, other = a_subscription(), a_subscription()
        Subscription.objects.filter(pk=locked.pk).update(price_state="locked")
        found = ann.get(url("subscription", "changelist"), {"price_state": "locked"})
        assert [row.pk for row in found.context["cl"].result_list] == [locked.pk]
        assert "locked" in found.content.decode().lower()
        assert other.price_state == "follows"


class TestRepricingPage:
    def test_shows_how_far_it_is_and_is_not_to_be_written(self, ann):
        a_book(30, services=1, plans=1)
        service = Service.objects.get()
        service.full_price += 1
        service.save()
        repricing = Repricing.objects.get()
        page = url("repricing", "change", repricing.pk)

        before = ann.get(page).content.decode()
        assert "Due" in before
        assert "data-live" in before

        reprice()
        after = ann.get(page).content.decode()
        assert "Finished" in after
        assert "30 of 30 looked at" in after
        assert "data-live" not in after
        assert ann.post(page, {"author": "me"}).status_code == 403
        assert (
            ann.post(url("repricing", "delete", repricing.pk), {"post": "yes"}).status_code == 403
        )
