"""The desk's pages of a client, a subscription, a service and a plan, and their verbs."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from desk.tests.asking import answer_of, text_of
from price_changes.models import PriceChange
from price_changes.tests.changes import approved, planned
from pricebook.kit.tables import AnsweredRequest
from pricebook.tests.pages import OpenedForm
from services import corrections, ledger, price_state
from services.models import LedgerEntry, Plan, Service, Subscription
from services.tests.factories import a_book, a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import in_background

pytestmark = pytest.mark.django_db

NOW = timezone.now()


@pytest.fixture
def ann(db: None) -> Browser:
    return logged_in(User.objects.create_superuser("ann", "ann@example.com", "x"))


def logged_in(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def price_of(subscription: Subscription) -> Decimal:
    return Subscription.objects.in_force().get(pk=subscription.pk).price


def a_list_price(service: Service, new_value: int, at: datetime, title: str) -> PriceChange:
    """A scheduled change of a list price."""
    values = {"kind": "list_price", "service": service.pk, "new_value": new_value}
    return approved(planned(**values, effective_at=at, title=title))


def verb_of(subscription: Subscription, name: str) -> str:
    return reverse("desk:subscription_verb", args=[subscription.pk, name])


class TestClient:
    def test_says_what_is_paid_why_what_is_coming_and_what_was(self, ann):
        client, phone = a_client("ООО Ромашка"), a_service(20, "Phone")
        one = a_subscription(client, phone, a_plan(10), started_at=NOW - timedelta(days=90))
        two = a_subscription(client, phone, a_plan(0))
        price_state.lock(two.pk, NOW + timedelta(days=40), "promised", "ann")
        ended = a_subscription(client, a_service(7, "Fax"), started_at=NOW - timedelta(days=60))
        Subscription.objects.filter(pk=ended.pk).update(ended_at=NOW - timedelta(days=30))
        a_subscription(client, a_service(99, "TV"), started_at=NOW + timedelta(days=3))
        a_list_price(phone, 30, NOW + timedelta(days=30), "Spring")
        page = ann.get(reverse("desk:client", args=[client.pk]))
        said = text_of(page)
        assert "Pays now 38.00" in said
        assert "List price 20.00 USD less 10 %" in said
        assert "27.00 USD by “Spring”" in said
        assert "its lock ends" in said
        assert "promised" in said
        assert "it begins" in said
        assert "1 has ended" in said
        assert str(one.pk) in page.content.decode()
        to_come = page.content.decode().partition('id="coming"')[2].partition("</table>")[0]
        totals = re.findall(r'class="number">([0-9.]+) USD', to_come)
        assert totals == ["137.00", "146.00", "156.00"]  # TV begins, Spring, the lock ends
        # The course of the total, which ends with what is paid now.
        drawn = re.findall(r'data-value="([0-9.]+)"', page.content.decode())
        assert drawn == ["18.00", "25.00", "18.00", "38.00", "38.00"]

    def test_costs_the_same_however_many_it_has(self, ann, django_assert_max_num_queries):
        a_book(300, services=2, plans=2, clients=1)
        client = Subscription.objects.last().client
        assert client is not None
        with django_assert_max_num_queries(16):
            page = ann.get(reverse("desk:client", args=[client.pk]))
        assert len(page.content) < 60_000
        assert "300 subscriptions" in text_of(page)
        following = re.search(r'href="(\?active=[^"#]*)#active" rel="next"', page.content.decode())
        assert following is not None
        second = ann.get(reverse("desk:client", args=[client.pk]) + following[1])
        numbers = [
            set(re.findall(r"/desk/subscriptions/(\d+)/\"", each.content.decode()))
            for each in (page, second)
        ]
        assert [len(each) for each in numbers] == [20, 20]
        assert not numbers[0] & numbers[1]
        assert "Active subscriptions 300" in text_of(second)

    def test_answers_an_address_of_nothing(self, ann):
        client = a_client()
        for path in (
            reverse("desk:client", args=[2**62]),
            reverse("desk:client", args=[client.pk]) + "?active=x",
            reverse("desk:client", args=[client.pk]) + "?ended=%00",
            reverse("desk:subscription", args=[10**18]),
            reverse("desk:service", args=[10**18]),
            reverse("desk:plan", args=[10**18]),
        ):
            assert ann.get(path).status_code == 404, path

    def test_is_edited_field_by_field(self, ann):
        client = a_client("Acme")
        url = reverse("desk:edit_client", args=[client.pk])
        given = {
            "company_name": "  Acme Ltd\u00a0",
            "email": client.user.email,
            "full_address": "Rome",
        }
        assert ann.post(url, given, follow=True).status_code == 200
        client.refresh_from_db()
        assert (client.company_name, client.full_address) == ("Acme Ltd", "Rome")
        taken = a_client(email="taken@example.com").user.email
        said = text_of(ann.post(url, given | {"email": taken}))
        assert "give another one" in said

    @pytest.mark.parametrize("kind", ["client", "subscription", "service", "plan"])
    def test_an_edit_leaves_what_others_have_edited_meanwhile(self, ann, kind):
        """Untouched values stay theirs; one that both have touched is asked for again."""
        one = a_subscription(a_client("Acme"))
        record: Any = one if kind == "subscription" else getattr(one, kind)
        url = reverse(f"desk:edit_{kind}", args=[record.pk])
        ids = {"source": "erp", "external_id": "7"}
        form, second = OpenedForm(ann, url), OpenedForm(ann, url)
        type(record).objects.filter(pk=record.pk).update(**ids)
        name = {
            "client": "company_name", "subscription": "comment", "service": "name",
            "plan": "plan_type",
        }[kind]  # fmt: skip
        new = "student" if kind == "plan" else "Mine"
        assert "Saved." in text_of(form.send(**{name: new}))
        record.refresh_from_db()
        assert [getattr(record, each) for each in (name, *ids)] == [new, "erp", "7"]
        told = second.send(source="crm", external_id="8")
        assert "it is “erp” now" in text_of(told)
        assert "it is “7” now" in text_of(told)
        record.refresh_from_db()
        assert (record.source, record.external_id) == ("erp", "7")


class TestVerbs:
    @pytest.mark.parametrize(
        ("name", "given", "price", "says"),
        [
            ("negotiate", {"price": "4,50", "reason": "deal"}, "4.50", "100.00 USD → 4.50 USD"),
            ("lock", {"reason": "promised"}, "100.00", "locked until it is released (promised)"),
            ("end", {}, "100.00", "100.00 USD → 0.00 USD"),
            (
                "correct",
                {"since_0": (NOW - timedelta(days=5)).date().isoformat(), "price": "80"}
                | {"reason": "typo"},
                "80.00",
                "Price from now on 100.00 USD → 80.00 USD",
            ),
        ],
    )
    def test_ask_and_are_done_once(self, ann, service, plan, name, given, price, says):
        client = a_client("Acme")
        one = a_subscription(client, service, plan, started_at=NOW - timedelta(days=30))
        asked = ann.post(verb_of(one, name), given)
        assert says in text_of(asked)
        assert price_of(one) == 100
        entries = LedgerEntry.objects.count()
        answer = answer_of(asked)
        assert ann.post(verb_of(one, name), answer).status_code == 302
        assert price_of(one) == Decimal(price)
        written = LedgerEntry.objects.count()
        assert written > entries
        # A second click, a Back, another tab with the same question.
        again = ann.post(verb_of(one, name), answer, follow=True)
        assert "was not done a second time" in text_of(again)
        assert LedgerEntry.objects.count() == written

    def test_ask_again_where_the_book_has_moved(self, ann, service, plan):
        one = a_subscription(service=service, plan=plan)
        first, second = (
            answer_of(ann.post(verb_of(one, "negotiate"), {"price": price, "reason": "deal"}))
            for price in ("50", "40")
        )
        ann.post(verb_of(one, "negotiate"), first)
        stale = ann.post(verb_of(one, "negotiate"), second)
        assert "the book has moved since you were asked" in text_of(stale)
        assert "50.00 USD → 40.00 USD" in text_of(stale)
        assert price_of(one) == 50
        # It comes back to where it was; the question of before is out of date all the same.
        old = answer_of(ann.post(verb_of(one, "negotiate"), {"price": "60", "reason": "deal"}))
        for price in (70, 50):
            price_state.negotiate(one.pk, price, "deal", "bob")
        assert ann.post(verb_of(one, "negotiate"), old).status_code == 200
        assert price_of(one) == 50

    def test_move_names_the_scheduled_changes_that_meet_it(self, ann, plan):
        phone, fax = a_service(20, "Phone"), a_service(30, "Fax")
        one = a_subscription(service=phone, plan=plan)
        for service, title in ((phone, "Phones up"), (fax, "Faxes up")):
            a_list_price(service, 50, NOW + timedelta(days=200), title)
        asked = ann.post(verb_of(one, "move"), {"service": fax.pk, "plan": plan.pk})
        said = text_of(asked)
        assert "20.00 USD → 30.00 USD" in said
        assert re.search(r"Phones up \S+ \S+ UTC 50.00 does not move it", said)
        assert re.search(r"Faxes up \S+ \S+ UTC – 50.00", said)
        ann.post(verb_of(one, "move"), answer_of(asked))
        one.refresh_from_db()
        assert (one.service_id, price_of(one)) == (fax.pk, 30)

    def test_wait_for_another_person_beyond_the_limits(self, ann, service, plan, settings):
        settings.APPROVAL_LIMIT_PERCENT = 10
        one = a_subscription(service=service, plan=plan)
        asked = ann.post(verb_of(one, "negotiate"), {"price": "50", "reason": "deal"})
        assert "You can't do this alone" in text_of(asked)
        for _ in range(2):
            ann.post(verb_of(one, "negotiate"), answer_of(asked))
        assert price_of(one) == 100
        assert PriceChange.objects.count() == 1
        # A move can't be planned: there is nothing to press.
        asked = ann.post(verb_of(one, "move"), {"service": a_service(10).pk, "plan": plan.pk})
        assert "Somebody else may do it" in text_of(asked)
        assert b'name="_confirm"' not in asked.content
        ann.post(verb_of(one, "move"), answer_of(asked))
        assert price_of(one) == 100

    def test_go_back_without_losing_what_was_typed(self, ann, subscription):
        given = {"price": "4,50", "reason": "a <deal>"}
        asked = ann.post(verb_of(subscription, "negotiate"), given)
        back = {**answer_of(asked), "_back": "1"}
        html = ann.post(verb_of(subscription, "negotiate"), back).content.decode()
        assert 'value="4,50"' in html
        assert 'value="a &lt;deal&gt;"' in html

    @pytest.mark.parametrize(
        ("name", "given", "says"),
        [
            ("negotiate", {"price": "1,234", "reason": "x"}, "can be 1234 or 1.234"),
            ("negotiate", {"price": "5", "reason": ""}, "required"),
            ("negotiate", {"price": "9" * 30, "reason": "x"}, "is a number such as"),
            ("negotiate", {"price": "5", "reason": "a\0b"}, "Null characters"),
            ("lock", {"until_0": "2000-01-01", "reason": "x"}, "has to be in the future"),
            ("lock", {"until_1": "10:00", "reason": "x"}, "Give the day, too."),
            ("move", {"service": "9" * 30, "plan": "x"}, "not one of the available choices"),
            ("correct", {"since_0": "2999-01-01", "price": "1", "reason": "x"}, "not passed"),
            ("end", {"ended_at_0": "1800-01-01"}, "Give a day from"),
        ],
    )
    def test_refuse_what_can_not_be(self, ann, subscription, name, given, says):
        answer = ann.post(verb_of(subscription, name), given)
        assert answer.status_code == 200
        assert says in text_of(answer)
        assert not AnsweredRequest.objects.exists()

    def test_a_start_that_is_moved_shows_what_is_paid_then(self, ann, subscription):
        given = {"started_at_0": (NOW + timedelta(days=9)).date().isoformat()}
        asked = ann.post(verb_of(subscription, "start"), given)
        assert "100.00 USD → 0.00 USD" in text_of(asked)
        ann.post(verb_of(subscription, "start"), answer_of(asked))
        subscription.refresh_from_db()
        assert subscription.started_at > NOW + timedelta(days=7)

    def test_end_is_taken_back_and_verbs_follow_the_state(self, ann, subscription):
        def offered() -> set[str]:
            page = ann.get(reverse("desk:subscription", args=[subscription.pk]))
            return set(
                re.findall(
                    rf"/desk/subscriptions/{subscription.pk}/(\w+)/\"", page.content.decode()
                )
            )

        assert offered() == {"move", "lock", "negotiate", "correct", "start", "end", "edit"}
        price_state.lock(subscription.pk, None, "x", "ann")
        assert "release" in offered()
        ann.post(verb_of(subscription, "end"), answer_of(ann.post(verb_of(subscription, "end"))))
        assert offered() == {"correct", "start", "end", "restart", "edit"}
        asked = ann.post(verb_of(subscription, "restart"))
        assert "0.00 USD → 100.00 USD" in text_of(asked)
        ann.post(verb_of(subscription, "restart"), answer_of(asked))
        assert "move" in offered()

    def test_take_the_permissions_of_the_api(self, subscription):
        user = User.objects.create_user("bob", password="x", is_staff=True)
        names = ["view_subscription", "view_client", "view_service", "view_plan"]
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        bob = logged_in(user)
        page = bob.get(reverse("desk:subscription", args=[subscription.pk]))
        assert b"/negotiate/" not in page.content
        sent = bob.post(verb_of(subscription, "negotiate"), {"price": 1, "reason": "x"})
        assert sent.status_code == 302
        add = bob.get(reverse("desk:add_subscription", args=[subscription.client_id]))
        assert add.status_code == 403
        user.user_permissions.remove(Permission.objects.get(codename="view_client"))
        page = bob.get(reverse("desk:subscription", args=[subscription.pk]))
        assert subscription.client.company_name not in page.content.decode()
        Subscription.objects.filter(pk=subscription.pk).update(client=a_client("Secret Ltd"))
        page = bob.get(reverse("desk:subscription", args=[subscription.pk]))
        assert "Moved to another client" in text_of(page)
        assert b"Secret" not in page.content
        assert bob.get(verb_of(subscription, "lock")).status_code == 403


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_two_clicks_add_one_subscription(self):
        user = User.objects.create_superuser("ann", "ann@example.com", "x")
        client, service, plan = a_client(), a_service(20), a_plan(0)
        url = reverse("desk:add_subscription", args=[client.pk])
        asked = logged_in(user).post(url, {"service": service.pk, "plan": plan.pk})
        assert "0.00 USD → 20.00 USD" in text_of(asked)
        answer = answer_of(asked)

        def click() -> int:
            return int(logged_in(user).post(url, answer).status_code)

        both = [in_background(click) for _ in range(2)]
        assert [each.result() for each in both] == [302, 302]
        assert client.subscriptions.count() == 1

    def test_two_tabs_negotiate_one_price(self):
        user = User.objects.create_superuser("ann", "ann@example.com", "x")
        one = a_subscription(service=a_service(20))
        tabs = [
            answer_of(
                logged_in(user).post(verb_of(one, "negotiate"), {"price": price, "reason": "deal"})
            )
            for price in ("11", "12")
        ]

        def click(answer: dict[str, str]) -> int:
            return int(logged_in(user).post(verb_of(one, "negotiate"), answer).status_code)

        both = [in_background(lambda answer=answer: click(answer)) for answer in tabs]
        # The second one is asked again, as the price is not what it was.
        assert sorted(each.result() for each in both) == [200, 302]
        assert price_of(one) in (11, 12)


class TestAdding:
    def test_adds_at_a_negotiated_price_with_a_reason(self, ann):
        client, service, plan = a_client(), a_service(20), a_plan(0)
        url = reverse("desk:add_subscription", args=[client.pk])
        given = {"service": service.pk, "plan": plan.pk, "price": "15"}
        assert "Say why" in text_of(ann.post(url, given))
        asked = ann.post(url, given | {"reason": "deal", "started_at_0": "2031-02-03"})
        assert "from 2031-02-03 00:00 UTC on" in text_of(asked)
        assert not client.subscriptions.exists()
        ann.post(url, answer_of(asked))
        [one] = client.subscriptions.all()
        assert (one.price, one.price_state, one.started_at.year) == (15, "negotiated", 2031)


class TestSubscription:
    def test_tells_its_whole_history_in_words(self, ann, django_assert_max_num_queries):
        plan, phone = a_plan(0), a_service(20, "Phone")
        one = a_subscription(a_client("Acme"), phone, plan, started_at=NOW - timedelta(days=9))
        other = a_service(30, "Fax")
        price_state.lock(one.pk, None, "promised", "ann (person 1)")
        price_state.release(one.pk, "ann (person 1)")
        price_state.negotiate(one.pk, 15, "deal", "ann (person 1)")
        line = corrections.Line(
            one.pk, NOW - timedelta(days=8), Decimal(10), NOW - timedelta(days=7)
        )
        corrections.correct([line], "typo", "ann (person 1)")
        Subscription.objects.filter(pk=one.pk).update(service=other)
        with django_assert_max_num_queries(24):
            page = ann.get(reverse("desk:subscription", args=[one.pk]))
        said = text_of(page)
        for words in (
            "Moved to Fax, full",
            "Corrected typo",
            "Negotiated",
            "Released",
            "Locked",
            "Began to be kept here",
        ):
            assert words in said, words
        drawn = re.findall(r'data-value="([0-9.]+)"', page.content.decode())
        assert drawn[:3] == ["20.00", "10.00", "20.00"]

    def test_pages_its_history_by_keyset(self, ann, subscription):
        for price in range(30):
            price_state.negotiate(subscription.pk, price, "deal", "ann")
        page = ann.get(reverse("desk:subscription", args=[subscription.pk]))
        older = re.search(r"\?before=(\d+)", page.content.decode())
        assert older is not None
        second = ann.get(page.request["PATH_INFO"] + older[0])
        assert "Began to be kept here" in text_of(second)
        assert "Began to be kept here" not in text_of(page)
        assert ann.get(page.request["PATH_INFO"] + "?before=x").status_code == 404

    def test_explains_many_as_it_explains_one(self):
        phone, plan = a_service(20), a_plan(10)
        rows = [a_subscription(service=phone, plan=plan) for _ in range(6)]
        price_state.lock(rows[1].pk, NOW + timedelta(days=9), "promised", "ann")
        price_state.negotiate(rows[2].pk, 3, "deal", "ann")
        Service.objects.filter(pk=phone.pk).update(full_price=30)
        Subscription.objects.filter(pk=rows[3].pk).update(ended_at=timezone.now())
        a_second = a_subscription(service=phone, plan=plan)
        Plan.objects.get(pk=plan.pk)
        price_state.release(rows[1].pk, "bob")
        ids = [row.pk for row in (*rows, a_second)]
        many = ledger.explain_each(ids)
        for id in ids:
            one = ledger.explain(id)
            assert one is not None
            for name in ("price", "price_state", "since", "entry_id", "author", "change", "text"):
                assert getattr(many[id], name) == getattr(one, name), (id, name)


class TestCatalogue:
    def test_says_who_pays_what_and_what_it_was(self, ann, django_assert_max_num_queries):
        phone, full, less = a_service(20, "Phone"), a_plan(0), a_plan(10)
        rows = [a_subscription(service=phone, plan=plan) for plan in (full, full, less)]
        a_subscription(service=phone, plan=less, started_at=NOW + timedelta(days=9))
        price_state.lock(rows[0].pk, None, "promised", "ann")
        price_state.negotiate(rows[1].pk, 7, "deal", "ann")
        Service.objects.filter(pk=phone.pk).update(full_price=30)
        a_list_price(phone, 40, datetime(2031, 1, 1, tzinfo=UTC), "Up")
        with django_assert_max_num_queries(20):
            page = ann.get(reverse("desk:service", args=[phone.pk]))
        said = text_of(page)
        assert "List price 30.00 USD" in said
        assert "Those that follow 1 27.00 USD" in said
        assert "Locked or negotiated 2 27.00 USD" in said
        assert (
            "Locked ones 1 20.00 Negotiated ones 1 7.00 Not begun 1 27.00 Ended ones 0 0.00" in said
        )
        assert "2031-01-01 00:00 UTC to come 40.00 USD" in said
        assert "from the first day 20.00 USD" in said
        plan = text_of(ann.get(reverse("desk:plan", args=[less.pk])))
        assert "Phone 27.00 1 27.00 0 0.00 1" in plan

    def test_moves_a_list_price_by_a_question_once(self, ann):
        phone = a_service(20, "Phone")
        one = a_subscription(a_client("Acme"), phone, a_plan(0))
        url = reverse("desk:change_list_price", args=[phone.pk])
        asked = ann.post(url, {"value": "25,50"})
        said = text_of(asked)
        assert "Prices that move 1" in said
        assert "20.00 USD → 25.50 USD" in said
        assert "Acme 1 20.00 25.50" in said
        assert price_of(one) == 20
        for _ in range(2):
            ann.post(url, answer_of(asked))
        assert price_of(one) == Decimal("25.50")
        assert PriceChange.objects.count() == 1
        stale = ann.post(url, answer_of(asked) | {"_token": "another"})
        assert "the book has moved" in text_of(stale)

    def test_a_question_without_a_button_is_not_answered_by_hand(self, ann):
        phone = a_service(20, "Phone")
        one = a_subscription(service=phone, started_at=NOW - timedelta(days=9))
        since = (NOW + timedelta(days=-1)).date().isoformat()
        for url, given in (
            (reverse("desk:change_list_price", args=[phone.pk]), {"value": "20"}),
            (verb_of(one, "correct"), {"since_0": since, "price": "20", "reason": "as it was"}),
        ):
            asked = ann.post(url, given)
            assert "_confirm" not in asked.content.decode()
            answer = ann.post(url, answer_of(asked))
            assert "Nothing was done." in text_of(answer), url
        assert not PriceChange.objects.exists()

    def test_plans_beyond_the_limits(self, ann, settings):
        settings.APPROVAL_LIMIT_ROWS = 1
        plan = a_plan(10)
        rows = [a_subscription(plan=plan) for _ in range(2)]
        url = reverse("desk:change_discount", args=[plan.pk])
        asked = ann.post(url, {"value": "20"})
        assert "You can't do this alone" in text_of(asked)
        ann.post(url, answer_of(asked))
        assert PriceChange.objects.get().status == "planned"
        assert price_of(rows[0]) == 225

    def test_adds_and_renames(self, ann):
        added = ann.post(
            reverse("desk:add_service"), {"name": "Phone", "full_price": "1 234,50"}, follow=True
        )
        assert "1,234.50 USD" in text_of(added)
        phone = Service.objects.get(name="Phone")
        again = ann.post(reverse("desk:add_service"), {"name": "phone", "full_price": "1"})
        assert "differs in case or blanks alone" in text_of(again)
        ann.post(reverse("desk:edit_service", args=[phone.pk]), {"name": "Telephone"})
        phone.refresh_from_db()
        assert phone.name == "Telephone"
        ann.post(reverse("desk:add_plan"), {"plan_type": "student", "discount_percent": "30"})
        assert Plan.objects.filter(plan_type="student", discount_percent=30).exists()


class TestAdmin:
    def test_an_end_is_asked_for_as_a_price_is(self, ann):
        one = a_subscription(service=a_service(20), started_at=NOW - timedelta(days=9))
        url = reverse("admin:services_subscription_change", args=[one.pk])
        end = {"ended_at_0": (NOW - timedelta(days=2)).date(), "ended_at_1": "00:00:00"}
        asked = OpenedForm(ann, url).ask(**end)
        assert "20.00 USD → 0.00 USD" in " ".join(asked.content.decode().split())
        assert Subscription.objects.get().ended_at is None
        OpenedForm(ann, url).send(**end)
        assert Subscription.objects.get().ended_at is not None

    def test_history_leads_to_the_history_that_there_is(self, ann, subscription):
        for name, record, page in (
            ("services_subscription", subscription, "subscription"),
            ("services_service", subscription.service, "service"),
            ("services_plan", subscription.plan, "plan"),
            ("clients_client", subscription.client, "client"),
        ):
            answer = ann.get(reverse(f"admin:{name}_history", args=[record.pk]))
            assert answer.status_code == 302
            assert answer["Location"].startswith(reverse(f"desk:{page}", args=[record.pk]))
            assert ann.get(answer["Location"]).status_code == 200

    def test_deletion_names_clients_and_money(self, ann):
        one = a_subscription(
            a_client("Acme"), a_service(20, "Phone"), a_plan(0), started_at=NOW + timedelta(days=9)
        )
        action = {"action": "delete_selected", "_selected_action": [one.pk]}
        for answer in (
            ann.post(reverse("admin:services_subscription_changelist"), action),
            ann.get(reverse("admin:services_subscription_delete", args=[one.pk])),
        ):
            said = answer.content.decode()
            assert "Acme" in said
            assert "20.00 USD" in said


def test_no_page_reads_the_book(empty_files, ann):
    """No sequential scan of the subscriptions or the ledger for any of the pages."""
    a_book(8_000, services=60, plans=2, clients=1_600)
    one = Subscription.objects.last()
    assert one is not None
    statements: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().startswith(("SELECT", "WITH")):
            statements.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        for page, pk in (
            ("client", one.client_id),
            ("subscription", one.pk),
            ("service", one.service_id),
        ):
            assert ann.get(reverse(f"desk:{page}", args=[pk])).status_code == 200
    with connection.cursor() as cursor:
        for sql, params in statements:
            cursor.execute(f"EXPLAIN {sql}", params)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            for table in ("services_subscription", "services_ledgerentry"):
                assert f"Seq Scan on {table}" not in plan, f"{sql}\n{plan}"
