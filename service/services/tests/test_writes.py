"""Single objects over the API: created, changed, ended, restarted, moved, deleted."""

import gzip
import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Sum
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from clients.models import Client
from keys.tests.making import a_key
from pricebook.kit.scopes import SCOPES
from services import fields, ledger, price_state
from services.catalogue_subject import CatalogueSubject
from services.catalogue_values import decide
from services.models import (
    CatalogueValue,
    LedgerEntry,
    Plan,
    Service,
    Subscription,
    Subtotal,
    book_clock,
)
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.programs import a_writer
from services.views import shapes_of_writes as shapes
from services.writing import catalogue, clients, subscriptions

pytestmark = pytest.mark.django_db

SUBSCRIPTIONS = "/api/subscriptions/"


@pytest.fixture
def erp():
    return a_writer()


def refused(answer):
    """The status, the code, and the parameter of a refusal."""
    said = answer.json()
    return answer.status_code, said["code"], said.get("parameter")


def in_days(number):
    return timezone.now() + timedelta(days=number)


def body(**given):
    return {name: getattr(value, "pk", value) for name, value in given.items()}


class TestCreatedSubscription:
    def test_has_the_price_of_the_rule_and_its_author(self, erp):
        client, service, plan = a_client(), a_service(80), a_plan(25)
        answer = erp.post(SUBSCRIPTIONS, body(client=client, service=service, plan=plan))
        shown = answer.json()
        assert answer.status_code == 201
        assert (shown["price"], shown["price_state"], shown["comment"]) == (60, "follows", "")
        assert (shown["client_id"], shown["service"]["id"], shown["plan_id"]) == (
            client.pk,
            service.pk,
            plan.pk,
        )
        assert erp.get(f"{SUBSCRIPTIONS}{shown['id']}/").json() == shown
        [entry] = ledger.history(shown["id"])
        assert entry["author"].startswith("erp (key ")
        assert (entry["price"], entry["change_id"]) == (Decimal(60), None)

    def test_takes_every_field(self, erp):
        given = {
            **body(client=a_client(), service=a_service(), plan=a_plan()),
            "comment": "by hand",
            "source": "erp",
            "external_id": "4711",
            "started_at": "2026-01-01T00:00:00+02:00",
            "ended_at": "2026-02-01T00:00:00Z",
        }
        shown = erp.post(SUBSCRIPTIONS, given).json()
        assert (shown["source"], shown["external_id"], shown["comment"]) == (
            "erp",
            "4711",
            "by hand",
        )
        assert shown["started_at"] == "2025-12-31T22:00:00Z"
        assert shown["ended_at"] == "2026-02-01T00:00:00Z"

    def test_begins_at_a_local_time(self, erp):
        given = body(client=a_client(), service=a_service(), plan=a_plan())
        local = {"started_at": "2026-07-01T00:00", "time_zone": "Europe/Berlin"}
        shown = erp.post(SUBSCRIPTIONS, given | local).json()
        assert shown["started_at"] == "2026-06-30T22:00:00Z"
        for wrong, code in (
            ({"started_at": "2026-03-29T02:30", "time_zone": "Europe/Berlin"}, "not_an_instant"),
            ({"started_at": "2026-07-01T00:00Z", "time_zone": "Europe/Berlin"}, "offset_differs"),
            ({"started_at": "2026-07-01T00:00", "time_zone": "Berlin"}, "unknown_time_zone"),
            ({"time_zone": "Europe/Berlin"}, "missing"),
            ({"started_at": "2026-07-01T00:00"}, "time_zone_missing"),
        ):
            assert erp.post(SUBSCRIPTIONS, given | wrong).json()["code"] == code

    def test_is_shown_as_it_is_in_force_while_copies_are_late(self, erp, moved_clock):
        service, plan, at = a_service(100), a_plan(10), book_clock() + timedelta(hours=1)
        for subject, value in ((service, 200), (plan, 50)):
            name = type(subject).__name__.lower()
            decide(CatalogueSubject(name, subject.pk), Decimal(value), at, 0, "ann")
        moved_clock.to(at)
        for started_at in (in_days(-9), in_days(9)):
            given = body(client=a_client(), service=service, plan=plan)
            shown = erp.post(SUBSCRIPTIONS, given | {"started_at": started_at.isoformat()}).json()
            assert (shown["price"], shown["service"]["full_price"]) == (100, 200)
            assert shown["plan"]["discount_percent"] == 50
            assert erp.get(f"{SUBSCRIPTIONS}{shown['id']}/").json() == shown

    def test_is_shown_locked_if_it_began_before_a_change_for_new_ones(self, erp, moved_clock):
        service, at = a_service(100), book_clock() + timedelta(hours=1)
        subject = CatalogueSubject("service", service.pk)
        decide(subject, Decimal(200), at, 0, "ann", for_new_only=True)
        moved_clock.to(at)
        given = body(client=a_client(), service=service, plan=a_plan(0))
        for started_at, price, state in (
            (in_days(-9), 100, "locked"),
            (in_days(9), 200, "follows"),
        ):
            shown = erp.post(SUBSCRIPTIONS, given | {"started_at": started_at.isoformat()}).json()
            assert (shown["price"], shown["price_state"]) == (price, state)
            assert erp.get(f"{SUBSCRIPTIONS}{shown['id']}/").json() == shown

    def test_costs_three_queries(self, erp):
        given = body(client=a_client(), service=a_service(), plan=a_plan())
        with CaptureQueriesContext(connection) as queries:
            assert erp.post(SUBSCRIPTIONS, given).status_code == 201
        # * the key * the insert, with its author and what it names * the answer
        assert len([each for each in queries if "SAVEPOINT" not in each["sql"]]) == 3

    @pytest.mark.parametrize("name", ["client", "service", "plan"])
    def test_needs_what_it_names(self, erp, name):
        given = body(client=a_client(), service=a_service(), plan=a_plan())
        assert refused(erp.post(SUBSCRIPTIONS, given | {name: 2**60})) == (400, "not_found", name)
        assert refused(erp.post(SUBSCRIPTIONS, given | {name: "x"})) == (400, "bad_id", name)
        given.pop(name)
        assert refused(erp.post(SUBSCRIPTIONS, given)) == (400, "missing", name)
        assert not Subscription.objects.exists()

    def test_has_an_external_id_of_its_own(self, erp):
        a_subscription(source="erp", external_id="1")
        given = body(client=a_client(), service=a_service(), plan=a_plan())
        taken = given | {"source": "erp", "external_id": "1"}
        assert refused(erp.post(SUBSCRIPTIONS, taken)) == (409, "external_id_taken", "external_id")
        for half in ({"source": "erp"}, {"external_id": "1"}):
            assert refused(erp.post(SUBSCRIPTIONS, given | half))[:2] == (400, "half_an_id")
        assert Subscription.objects.count() == 1

    def test_ends_after_its_start(self, erp):
        given = body(client=a_client(), service=a_service(), plan=a_plan())
        for times in (
            {"ended_at": "2026-01-01T00:00Z"},
            {"started_at": "2026-01-01T00:00Z", "ended_at": "2026-01-01T00:00Z"},
        ):
            answer = erp.post(SUBSCRIPTIONS, given | times)
            assert refused(answer) == (400, "ends_before_start", "ended_at")

    def test_gives_no_price(self, erp):
        given = body(client=a_client(), service=a_service(), plan=a_plan())
        for name in ("price", "price_state", "id", "stamp", "plan_id"):
            answer = erp.post(SUBSCRIPTIONS, given | {name: 1})
            assert refused(answer) == (400, "unknown_field", name)


class TestChangedSubscription:
    def test_shows_the_change_and_no_other(self, erp):
        one = a_subscription(comment="old")
        before = erp.get(f"{SUBSCRIPTIONS}{one.pk}/").json()
        given = {"comment": "new", "source": "erp", "external_id": "1"}
        after = erp.patch(f"{SUBSCRIPTIONS}{one.pk}/", given)
        assert after.status_code == 200
        assert after.json() == before | given
        again = erp.patch(f"{SUBSCRIPTIONS}{one.pk}/", {"source": None, "external_id": None})
        assert again.json() == before | {"comment": "new"}

    def test_may_begin_at_another_instant(self, erp):
        one = a_subscription(started_at=in_days(-1))
        answer = erp.patch(f"{SUBSCRIPTIONS}{one.pk}/", {"started_at": "2026-01-01T00:00Z"})
        assert answer.json()["started_at"] == "2026-01-01T00:00:00Z"
        [_, *later] = ledger.history(one.pk)
        assert {entry["author"].partition(" ")[0] for entry in later} == {"erp"}
        assert all(entry["period_only"] for entry in later)
        Subscription.objects.filter(pk=one.pk).update(ended_at=in_days(1))
        late = erp.patch(f"{SUBSCRIPTIONS}{one.pk}/", {"started_at": in_days(2).isoformat()})
        assert refused(late)[:2] == (400, "ends_before_start")

    @pytest.mark.parametrize("name", ["client", "service", "plan", "ended_at"])
    def test_is_moved_and_ended_by_verbs(self, erp, name):
        one = a_subscription()
        answer = erp.patch(f"{SUBSCRIPTIONS}{one.pk}/", {name: 1})
        assert refused(answer) == (400, "not_by_patch", name)
        assert "POST …/" in answer.json()["detail"]

    def test_says_something(self, erp):
        one = a_subscription()
        assert refused(erp.patch(f"{SUBSCRIPTIONS}{one.pk}/", {}))[:2] == (400, "missing")
        assert refused(erp.patch(f"{SUBSCRIPTIONS}{one.pk}/", {"id": 1}))[1] == "unknown_field"
        assert refused(erp.patch(f"{SUBSCRIPTIONS}{one.pk}/", {"comment": None}))[1] == "missing"
        assert refused(erp.patch(f"{SUBSCRIPTIONS}999999999/", {"comment": ""}))[0] == 404

    def test_as_it_was_leaves_the_book_as_it_was(self, erp):
        one = a_subscription(comment="old")
        changes = Subtotal.objects.aggregate(Sum("changes"))
        assert erp.patch(f"{SUBSCRIPTIONS}{one.pk}/", {"comment": "old"}).status_code == 200
        assert Subtotal.objects.aggregate(Sum("changes")) == changes


class TestEnd:
    def end(self, erp, one, at, **more):
        at = at if isinstance(at, str) else at.isoformat()
        return erp.post(f"{SUBSCRIPTIONS}{one.pk}/end/", {"ended_at": at, **more})

    def test_lies_in_the_past_or_is_to_come(self, erp):
        one = a_subscription(started_at="2026-01-01T00:00Z")
        for at in (in_days(30), in_days(3), in_days(-3), in_days(-30)):
            shown = self.end(erp, one, at).json()
            one.refresh_from_db()
            assert (one.ended_at, shown["id"]) == (at, one.pk)
        assert ledger.history(one.pk)[-1]["author"].startswith("erp (key ")

    def test_that_has_passed_is_not_postponed(self, erp):
        one = a_subscription(started_at="2026-01-01T00:00Z", ended_at="2026-02-01T00:00Z")
        for at in (in_days(1), "2026-03-01T00:00Z"):
            answer = self.end(erp, one, at)
            assert refused(answer)[:2] == (409, "subscription_ended")
        assert self.end(erp, one, "2026-02-01T00:00Z").status_code == 200
        assert len(ledger.history(one.pk)) == 1

    def test_is_a_local_time(self, erp):
        one = a_subscription(started_at="2026-01-01T00:00Z")
        shown = self.end(erp, one, "2027-01-01", time_zone="Europe/Berlin").json()
        assert shown["ended_at"] == "2026-12-31T23:00:00Z"

    def test_needs_an_instant_after_the_start(self, erp):
        one = a_subscription(started_at="2026-01-01T00:00Z")
        assert refused(self.end(erp, one, "2025-01-01T00:00Z"))[1] == "ends_before_start"
        assert refused(self.end(erp, one, "1800-01-01T00:00Z"))[1] == "out_of_range"
        for nothing in ({}, {"ended_at": None}):
            answer = erp.post(f"{SUBSCRIPTIONS}{one.pk}/end/", nothing)
            assert refused(answer) == (400, "missing", "ended_at")


class TestRestart:
    def test_pays_from_now_on_and_nothing_for_the_gap(self, erp):
        one = a_subscription(started_at="2026-01-01T00:00Z", ended_at="2026-02-01T00:00Z")
        before = timezone.now()
        shown = erp.post(f"{SUBSCRIPTIONS}{one.pk}/restart/").json()
        assert shown["ended_at"] is None
        entry = ledger.history(one.pk)[-1]
        assert entry["unpaid_since"].isoformat() == "2026-02-01T00:00:00+00:00"
        assert entry["effective_at"] >= before
        assert entry["author"].startswith("erp (key ")

    def test_takes_back_an_end_to_come(self, erp):
        one = a_subscription(started_at="2026-01-01T00:00Z", ended_at=in_days(5))
        until = in_days(50)
        answer = erp.post(f"{SUBSCRIPTIONS}{one.pk}/restart/", {"ended_at": until.isoformat()})
        one.refresh_from_db()
        assert (answer.status_code, one.ended_at) == (200, until)
        assert erp.post(f"{SUBSCRIPTIONS}{one.pk}/restart/").json()["ended_at"] is None

    def test_needs_an_end_and_a_future(self, erp):
        one = a_subscription(started_at="2026-01-01T00:00Z")
        assert refused(erp.post(f"{SUBSCRIPTIONS}{one.pk}/restart/"))[:2] == (409, "not_ended")
        ended = a_subscription(started_at="2026-01-01T00:00Z", ended_at="2026-02-01T00:00Z")
        past = {"ended_at": "2026-03-01T00:00Z"}
        answer = erp.post(f"{SUBSCRIPTIONS}{ended.pk}/restart/", past)
        assert refused(answer) == (400, "in_the_past", "ended_at")


class TestMove:
    def move(self, erp, one, **to):
        return erp.post(f"{SUBSCRIPTIONS}{one.pk}/move/", body(**to))

    def test_to_another_plan_or_service_gives_the_price_of_the_rule(self, erp):
        one = a_subscription(service=a_service(100), plan=a_plan(0))
        price_state.negotiate(one.pk, Decimal(5), "a friend", "ada")
        shown = self.move(erp, one, plan=a_plan(25)).json()
        assert (shown["price"], shown["price_state"]) == (75, "follows")
        shown = self.move(erp, one, service=a_service(200), client=a_client("Acme")).json()
        assert (shown["price"], shown["client_name"]) == (150, "Acme")
        assert ledger.history(one.pk)[-1]["author"].startswith("erp (key ")

    def test_to_another_client_keeps_the_price(self, erp):
        one = a_subscription(service=a_service(100))
        price_state.negotiate(one.pk, Decimal(5), "a friend", "ada")
        shown = self.move(erp, one, client=a_client()).json()
        assert (shown["price"], shown["price_state"]) == (5, "negotiated")

    def test_needs_somewhere_that_there_is(self, erp):
        one = a_subscription()
        assert refused(self.move(erp, one)) == (400, "missing", "client")
        for name in ("client", "service", "plan"):
            assert refused(self.move(erp, one, **{name: 2**60})) == (400, "not_found", name)
            assert refused(self.move(erp, one, **{name: None})) == (400, "missing", name)

    def test_of_one_that_has_ended_is_refused(self, erp):
        one = a_subscription(started_at="2026-01-01T00:00Z", ended_at="2026-02-01T00:00Z")
        assert refused(self.move(erp, one, plan=a_plan(3)))[:2] == (409, "subscription_ended")


class TestDeletedSubscription:
    def test_has_never_paid(self, erp):
        one = a_subscription(started_at=in_days(5))
        price_state.negotiate(one.pk, Decimal(5), "a friend", "ada")
        answer = erp.delete(f"{SUBSCRIPTIONS}{one.pk}/")
        assert (answer.status_code, answer.content) == (204, b"")
        assert erp.get(f"{SUBSCRIPTIONS}{one.pk}/").status_code == 404
        assert ledger.history(one.pk)[-1]["price"] is None
        assert ledger.history(one.pk)[-1]["author"].startswith("erp (key ")
        assert erp.delete(f"{SUBSCRIPTIONS}{one.pk}/").status_code == 404

    def test_would_be_history_if_it_has_paid(self, erp):
        begun = a_subscription(started_at=in_days(-1))
        now = a_subscription()
        ended = a_subscription(started_at=in_days(-2), ended_at=in_days(-1))
        put_off = a_subscription(started_at=in_days(-1))
        Subscription.objects.filter(pk=put_off.pk).update(started_at=in_days(3))
        for one in (begun, now, ended, put_off):
            answer = erp.delete(f"{SUBSCRIPTIONS}{one.pk}/")
            assert refused(answer)[:2] == (409, "has_paid")
            assert "/end/" in answer.json()["detail"]
        assert Subscription.objects.count() == 4

    def test_may_have_been_put_off_before_it_began(self, erp):
        one = a_subscription(started_at=in_days(1))
        Subscription.objects.filter(pk=one.pk).update(started_at=in_days(3))
        assert erp.delete(f"{SUBSCRIPTIONS}{one.pk}/").status_code == 204


class TestClients:
    URL = "/api/clients/"

    def test_have_a_log_in_that_cannot_be_used(self, erp):
        answer = erp.post(self.URL, {"company_name": "Acme", "email": "a@acme.example"})
        shown = answer.json()
        assert answer.status_code == 201
        assert shown == {
            "id": shown["id"],
            "company_name": "Acme",
            "email": "a@acme.example",
            "full_address": "",
            "source": None,
            "external_id": None,
            "count": 0,
            "total_amount": 0,
            "currency": "USD",
        }
        login = Client.objects.get(pk=shown["id"]).user
        assert not login.has_usable_password()
        assert login.username != login.email
        assert (login.is_staff, login.is_superuser) == (False, False)

    def test_may_lack_an_e_mail(self, erp):
        for number, none in enumerate(({}, {"email": None}, {"email": ""})):
            shown = erp.post(self.URL, {"company_name": f"Acme {number}", **none}).json()
            assert shown["email"] == ""
        assert len({user.username for user in User.objects.all()}) == User.objects.count()

    def test_without_an_e_mail_have_their_place_in_the_list(self, erp):
        made = [a_client(email="m@example.com").pk]
        made += [erp.post(self.URL, {"company_name": "Acme"}).json()["id"] for _ in range(3)]
        for order, expected in (
            ("email", [*made[1:], made[0]]),
            ("-email", [made[0], *reversed(made[1:])]),
        ):
            url, seen = f"{self.URL}?ordering={order}&page_size=1", []
            while url:
                page = erp.get(url).json()
                seen += [row["id"] for row in page["result"]]
                url = page["next"]
            assert seen == expected
        one = a_subscription(client=Client.objects.get(pk=made[1]))
        assert erp.get(f"{SUBSCRIPTIONS}{one.pk}/").json()["email"] == ""
        assert [row["id"] for row in erp.get(f"{self.URL}?email=").json()["result"]] == made[1:]

    def test_have_an_e_mail_of_their_own(self, erp):
        other = a_client(email="a@acme.example")
        for given in ("A@acme.example", "a@acme.example"):
            answer = erp.post(self.URL, {"company_name": "Acme", "email": given})
            assert refused(answer) == (409, "email_taken", "email")
        made = erp.post(self.URL, {"company_name": "Acme"}).json()
        answer = erp.patch(f"{self.URL}{made['id']}/", {"email": "a@ACME.example"})
        assert refused(answer) == (409, "email_taken", "email")
        own = erp.patch(f"{self.URL}{other.pk}/", {"email": "A@acme.example"})
        assert own.json()["email"] == "A@acme.example"

    @pytest.mark.parametrize(
        ("field", "value", "code"),
        [
            ("company_name", "", "too_short"),
            ("company_name", "x" * 101, "bad_text"),
            ("company_name", 5, "bad_text"),
            ("email", "nobody", "bad_email"),
            ("email", "x" * 140 + "@example.com", "bad_text"),
            ("full_address", "x" * 201, "bad_text"),
            ("full_address", None, "missing"),
            ("source", "", "too_short"),
            ("external_id", "x" * 51, "bad_text"),
            ("user", 1, "unknown_field"),
        ],
    )
    def test_take_what_a_file_would_take(self, erp, field, value, code):
        given = {"company_name": "Acme", "source": "erp", "external_id": "1"}
        assert refused(erp.post(self.URL, given | {field: value})) == (400, code, field)
        one = a_client()
        assert refused(erp.patch(f"{self.URL}{one.pk}/", {field: value})) == (400, code, field)

    def test_change(self, erp):
        one = a_client("Acme", "a@acme.example")
        before = erp.get(f"{self.URL}{one.pk}/").json()
        given = {"company_name": "Acme Ltd", "full_address": "1 High St", "email": ""}
        assert erp.patch(f"{self.URL}{one.pk}/", given).json() == before | given
        taken = {"source": "erp", "external_id": "1"}
        assert erp.patch(f"{self.URL}{one.pk}/", taken).json() == before | given | taken
        other = erp.patch(f"{self.URL}{a_client().pk}/", taken)
        assert refused(other) == (409, "external_id_taken", "external_id")

    def test_keep_the_e_mail_of_a_log_in_of_the_staff(self, erp):
        one = a_client(email="ann@example.com")
        User.objects.filter(pk=one.user_id).update(is_staff=True)
        answer = erp.patch(f"{self.URL}{one.pk}/", {"email": "eve@example.com"})
        assert refused(answer) == (409, "email_of_staff", "email")

    def test_that_never_bought_are_deleted_with_their_log_in(self, erp):
        made = erp.post(self.URL, {"company_name": "Acme"}).json()
        user = Client.objects.get(pk=made["id"]).user_id
        assert erp.delete(f"{self.URL}{made['id']}/").status_code == 204
        assert not User.objects.filter(pk=user).exists()
        of_staff = a_client()
        User.objects.filter(pk=of_staff.user_id).update(is_staff=True)
        assert erp.delete(f"{self.URL}{of_staff.pk}/").status_code == 204
        assert User.objects.filter(pk=of_staff.user_id).exists()

    def test_that_bought_stay(self, erp):
        one = a_subscription(started_at=in_days(5))
        answer = erp.delete(f"{self.URL}{one.client_id}/")
        assert refused(answer)[:2] == (409, "in_use")
        assert erp.delete(f"{SUBSCRIPTIONS}{one.pk}/").status_code == 204
        assert refused(erp.delete(f"{self.URL}{one.client_id}/"))[:2] == (409, "in_use")


CATALOGUE = {
    "services": {"name": "Fibre", "full_price": "12.50"},
    "plans": {"plan_type": "discount", "discount_percent": 17},
}
MODELS = {"services": Service, "plans": Plan}
# The field that moves prices, a new value of it, and what 100 becomes.
VALUES = {"services": ("full_price", 80, 80), "plans": ("discount_percent", 20, 80)}


@pytest.mark.parametrize("kind", CATALOGUE)
class TestCatalogue:
    def test_is_created_and_changed(self, erp, kind):
        given = CATALOGUE[kind] | {"source": "erp", "external_id": "1"}
        answer = erp.post(f"/api/{kind}/", given)
        shown = answer.json()
        assert answer.status_code == 201
        numbers = {"full_price": Decimal("12.5")} if kind == "services" else {}
        exact = json.loads(answer.content, parse_float=Decimal)
        assert {name: exact[name] for name in given} == given | numbers
        assert erp.get(f"/api/{kind}/{shown['id']}/").json() == shown
        changes = {"name": "Fibre 2"} if kind == "services" else {"plan_type": "student"}
        after = erp.patch(f"/api/{kind}/{shown['id']}/", changes | {"external_id": "2"})
        assert after.json() == shown | changes | {"external_id": "2"}

    def test_names_its_author_in_its_history(self, erp, kind):
        made = erp.post(f"/api/{kind}/", CATALOGUE[kind]).json()
        [value] = CatalogueValue.objects.filter(**{f"{kind[:-1]}_id": made["id"]})
        assert value.author.startswith("erp (key ")

    def test_has_no_two_of_a_kind(self, erp, kind):
        assert erp.post(f"/api/{kind}/", CATALOGUE[kind]).status_code == 201
        code = {"services": "name_taken", "plans": "plan_exists"}[kind]
        assert refused(erp.post(f"/api/{kind}/", CATALOGUE[kind]))[:2] == (409, code)
        assert MODELS[kind].objects.count() == 1

    def test_has_a_new_value_at_once_under_its_author(self, erp, kind):
        one = a_subscription(service=a_service(100), plan=a_plan(0))
        address = f"/api/{kind}/{getattr(one, kind[:-1] + '_id')}/"
        name, new, price = VALUES[kind]
        answer = erp.patch(address, {name: new})
        assert (answer.status_code, answer.json()[name]) == (200, new)
        assert answer.json() == erp.get(address).json()
        assert answer.json()["total_amount"] == price
        [_, value] = CatalogueValue.objects.filter(**{f"{kind[:-1]}_id": answer.json()["id"]})
        assert value.author.startswith("erp (key ")
        values = CatalogueValue.objects.count()
        assert erp.patch(address, {name: new}).json() == answer.json()
        assert CatalogueValue.objects.count() == values, "nothing differed"

    def test_takes_back_a_value_in_force_that_is_not_copied(self, erp, kind, moved_clock):
        one = a_subscription(service=a_service(50), plan=a_plan(10))
        record, at = getattr(one, kind[:-1]), book_clock() + timedelta(hours=1)
        name = VALUES[kind][0]
        copied = getattr(record, name)
        decide(CatalogueSubject(kind[:-1], record.pk), Decimal(20), at, 0, "ann")
        moved_clock.to(at)
        answer = erp.patch(f"/api/{kind}/{record.pk}/", {name: copied})
        assert (answer.status_code, answer.json()[name]) == (200, copied)

    def test_is_only_shown_in_a_dry_run(self, erp, kind):
        one = a_subscription(service=a_service(100), plan=a_plan(0))
        address = f"/api/{kind}/{getattr(one, kind[:-1] + '_id')}/"
        name, new, price = VALUES[kind]
        before, key = erp.get(address).json(), {"Idempotency-Key": "k"}
        given = {name: new, "dry_run": True}
        shown = erp.patch(address, given, headers=key).json()
        assert (shown["moves"], shown["total_before"], shown["total_after"]) == (1, 100, price)
        [row] = shown["rows"]
        assert (row["subscription"], row["old_price"], row["new_price"]) == (one.pk, 100, price)
        assert erp.patch(address, {"external_id": "1", "dry_run": True}).status_code == 400
        assert erp.patch(address, {"dry_run": True}).json()["code"] == "missing"
        assert erp.get(address).json() == before
        done = erp.patch(address, {name: new}, headers=key)
        assert (done.status_code, done.json()[name]) == (200, new), "the key was free"

    def test_that_was_never_used_is_deleted(self, erp, kind):
        made = erp.post(f"/api/{kind}/", CATALOGUE[kind]).json()
        assert erp.delete(f"/api/{kind}/{made['id']}/").status_code == 204
        assert not MODELS[kind].objects.exists()
        assert erp.delete(f"/api/{kind}/{made['id']}/").status_code == 404

    def test_that_was_used_stays(self, erp, kind):
        one = a_subscription(started_at=in_days(5))
        address = f"/api/{kind}/{getattr(one, kind[:-1] + '_id')}/"
        assert refused(erp.delete(address))[:2] == (409, "in_use")
        Subscription.objects.all().delete()
        assert refused(erp.delete(address))[:2] == (409, "in_use")

    def test_whose_value_was_moved_stays(self, erp, kind):
        made = erp.post(f"/api/{kind}/", CATALOGUE[kind]).json()
        field = {"services": "full_price", "plans": "discount_percent"}[kind]
        MODELS[kind].objects.filter(pk=made["id"]).update(**{field: 3})
        assert refused(erp.delete(f"/api/{kind}/{made['id']}/"))[:2] == (409, "in_use")


class TestIdempotencyKey:
    def test_goes_with_every_write(self, erp):
        client, service, plan = a_client(), a_service(), a_plan()
        given = body(client=client, service=service, plan=plan, started_at=in_days(9).isoformat())
        writes = [
            ("post", SUBSCRIPTIONS, given),
            ("patch", SUBSCRIPTIONS + "{id}/", {"comment": "new"}),
            ("post", SUBSCRIPTIONS + "{id}/end/", {"ended_at": in_days(90).isoformat()}),
            ("post", SUBSCRIPTIONS + "{id}/restart/", {}),
            ("post", SUBSCRIPTIONS + "{id}/move/", {"client": a_client().pk}),
            ("delete", SUBSCRIPTIONS + "{id}/", None),
        ]
        id = None
        for number, (method, path, sent) in enumerate(writes):
            path = path.format(id=id)
            header = {"Idempotency-Key": f"k{number}"}
            first = getattr(erp, method)(path, sent, headers=header)
            second = getattr(erp, method)(path, sent, headers=header)
            assert first.status_code in (200, 201, 204), first.content
            assert (second.status_code, second.content) == (first.status_code, first.content)
            assert second["Idempotency-Replayed"] == "true"
            assert second.get("ETag") == first.get("ETag")
            id = id or first.json()["id"]
            other = getattr(erp, method)(path, {"x": 1}, headers=header)
            assert refused(other)[:2] == (422, "idempotency_key_reused")
        entries = LedgerEntry.objects.filter(subscription_id=id)
        assert entries.count() == 5  # * created * ended * restarted * moved * deleted


class TestIfMatch:
    def test_lets_the_first_through_and_not_the_second(self, erp):
        one = a_subscription()
        url = f"{SUBSCRIPTIONS}{one.pk}/"
        seen = erp.get(url)["ETag"]
        assert seen.startswith('"')
        first = erp.patch(url, {"comment": "first"}, headers={"If-Match": seen})
        second = erp.patch(url, {"comment": "second"}, headers={"If-Match": seen})
        assert first.status_code == 200
        assert refused(second)[:2] == (412, "changed_since")
        assert erp.get(url)["ETag"] == first["ETag"] != seen
        third = erp.patch(url, {"comment": "third"}, headers={"If-Match": first["ETag"]})
        assert third.status_code == 200

    def test_is_of_every_write_of_one(self, erp):
        one = a_subscription(started_at=in_days(5))
        of_one = f"{SUBSCRIPTIONS}{one.pk}/"
        writes = [
            ("patch", of_one, {"comment": "x"}),
            ("post", f"{of_one}end/", {"ended_at": in_days(50).isoformat()}),
            ("post", f"{of_one}restart/", {}),
            ("post", f"{of_one}move/", {"client": a_client().pk}),
            ("post", f"{of_one}lock/", {"reason": "x"}),
            ("post", f"{of_one}release/", {}),
            ("post", f"{of_one}negotiate/", {"reason": "x", "price": 1}),
            ("post", f"{of_one}follow/", {}),
            ("delete", of_one, None),
            ("patch", f"/api/clients/{a_client().pk}/", {"company_name": "x"}),
            ("patch", f"/api/services/{a_service().pk}/", {"name": "x"}),
            ("patch", f"/api/plans/{a_plan(7).pk}/", {"plan_type": "student"}),
            ("delete", f"/api/clients/{a_client().pk}/", None),
            ("delete", f"/api/services/{a_service().pk}/", None),
            ("delete", f"/api/plans/{a_plan(8).pk}/", None),
        ]
        old = '"' + "0" * 32 + '"'
        for method, path, sent in writes:
            stale = getattr(erp, method)(path, sent, headers={"If-Match": old})
            assert refused(stale)[:2] == (412, "changed_since"), path
        for method, path, sent in writes:
            address = of_one if path.startswith(of_one) else path
            etag = erp.get(address)["ETag"]
            fresh = getattr(erp, method)(path, sent, headers={"If-Match": f"{old}, {etag}"})
            assert fresh.status_code in (200, 204), (path, fresh.content)

    def test_takes_an_etag_that_compression_made_weak(self, erp):
        one = a_subscription(client=a_client("Acme " * 20), comment="x" * 50)
        url = f"{SUBSCRIPTIONS}{one.pk}/"
        packed = erp.get(url, headers={"Accept-Encoding": "gzip"})
        assert gzip.decompress(packed.content) == erp.get(url).content
        assert packed["ETag"] == "W/" + erp.get(url)["ETag"]
        answer = erp.patch(url, {"comment": "new"}, headers={"If-Match": packed["ETag"]})
        assert answer.status_code == 200

    def test_of_anything_means_that_it_is_there(self, erp):
        url = f"{SUBSCRIPTIONS}{a_subscription().pk}/"
        assert erp.patch(url, {"comment": "1"}, headers={"If-Match": "*"}).status_code == 200
        gone = erp.patch(f"{SUBSCRIPTIONS}{2**60}/", {"comment": "1"}, headers={"If-Match": "*"})
        assert gone.status_code == 404

    @pytest.mark.parametrize("header", ["", "x", '"', "W/", '"x"', '"*"', "é", "\x00", '""' * 900])
    def test_that_is_no_etag_of_ours_matches_nothing(self, erp, header):
        url = f"{SUBSCRIPTIONS}{a_subscription().pk}/"
        answer = erp.patch(url, {"comment": "1"}, headers={"If-Match": header})
        assert refused(answer)[:2] == (412, "changed_since")

    def test_does_not_hinder_the_answer_of_before(self, erp):
        """A request that had its effect and lost its answer is sent again as it was."""
        url = f"{SUBSCRIPTIONS}{a_subscription().pk}/"
        headers = {"If-Match": erp.get(url)["ETag"], "Idempotency-Key": "k"}
        first = erp.patch(url, {"comment": "1"}, headers=headers)
        again = erp.patch(url, {"comment": "1"}, headers=headers)
        assert (first.status_code, again.status_code) == (200, 200)
        assert again["Idempotency-Replayed"] == "true"


class TestETagOfOne:
    def paths(self, one):
        return {
            "subscription": f"{SUBSCRIPTIONS}{one.pk}/",
            "client": f"/api/clients/{one.client_id}/",
            "service": f"/api/services/{one.service_id}/",
            "plan": f"/api/plans/{one.plan_id}/",
        }

    def test_changes_when_its_answer_does_and_only_then(self, erp):
        one, other = a_subscription(plan=a_plan(1)), a_subscription(plan=a_plan(2))
        paths = self.paths(one)

        def etags():
            return {kind: erp.get(path)["ETag"] for kind, path in paths.items()}

        def moved(write):
            before = etags()
            write()
            after = etags()
            for kind, path in paths.items():
                again = erp.get(path, headers={"If-None-Match": before[kind]})
                assert again.status_code == (304 if before[kind] == after[kind] else 200)
            return {kind for kind in paths if before[kind] != after[kind]}

        mine = {"comment": "x"}
        assert moved(lambda: erp.patch(paths["subscription"], mine)) == {"subscription"}
        assert moved(lambda: erp.patch(f"{SUBSCRIPTIONS}{other.pk}/", mine)) == set()
        renamed = {"company_name": "Acme"}
        assert moved(lambda: erp.patch(paths["client"], renamed)) == {"client", "subscription"}
        assert moved(lambda: erp.patch(f"/api/clients/{other.client_id}/", renamed)) == set()
        assert moved(lambda: a_subscription(service=one.service, plan=a_plan(3))) == {"service"}
        Service.objects.filter(pk=other.service_id).update(full_price=7)
        assert moved(lambda: None) == set()
        assert moved(lambda: price_state.negotiate(one.pk, Decimal(5), "a friend", "ada")) == set(
            paths
        )

    def test_is_given_with_the_answer_to_a_write(self, erp):
        one = a_subscription()
        for kind, path in self.paths(one).items():
            changes = {
                "subscription": {"comment": "x"},
                "client": {"company_name": "x"},
                "service": {"name": "x"},
                "plan": {"plan_type": "student"},
            }
            answer = erp.patch(path, changes[kind])
            assert answer["ETag"] == erp.get(path)["ETag"]

    def test_is_not_given_to_a_browser(self, erp):
        path = self.paths(a_subscription())["client"]
        assert "ETag" not in erp.get(path, headers={"Accept": "text/html"})


def test_pages_of_a_browser_are_there():
    """Beside the answer they have a form for what may be sent."""
    ann = Browser()
    ann.force_login(User.objects.create_superuser("ann"))
    one = a_subscription()
    for path in (
        SUBSCRIPTIONS,
        f"{SUBSCRIPTIONS}{one.pk}/",
        "/api/clients/",
        f"/api/services/{one.service_id}/",
    ):
        page = ann.get(path, headers={"Accept": "text/html"})
        assert page.status_code == 200
        assert "_content" in page.content.decode() or "DELETE" in page.content.decode()


def test_a_program_without_the_scope_writes_nothing():
    _, text = a_key("reader", *[scope for scope in SCOPES if scope.endswith(":read")])
    reader = a_writer(text)
    one = a_subscription()
    for method, path in (
        ("post", SUBSCRIPTIONS),
        ("patch", f"{SUBSCRIPTIONS}{one.pk}/"),
        ("delete", f"/api/clients/{one.client_id}/"),
    ):
        answer = getattr(reader, method)(path, {})
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        assert ":write" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("table", "changing", "body"),
    [
        (clients.FIELDS, False, shapes.NewClientSerializer),
        (clients.FIELDS, True, shapes.ClientChangesSerializer),
        (catalogue.FIELDS["service"], False, shapes.NewServiceSerializer),
        (catalogue.CHANGES["service"], True, shapes.ServiceChangesSerializer),
        (catalogue.FIELDS["plan"], False, shapes.NewPlanSerializer),
        (catalogue.CHANGES["plan"], True, shapes.PlanChangesSerializer),
        (subscriptions.FIELDS, False, shapes.NewSubscriptionSerializer),
        (subscriptions.FIELDS, True, shapes.SubscriptionChangesSerializer),
        (subscriptions.END, False, shapes.EndSerializer),
        (subscriptions.RESTART, False, shapes.RestartSerializer),
        (subscriptions.MOVE, False, shapes.MoveSerializer),
    ],
)
def test_the_schema_has_the_fields_that_are_taken(table, changing, body):
    taken = {name: each for name, each in table.items() if not (changing and each.fixed)}
    described = {name: each for name, each in body().fields.items() if name != "time_zone"}
    assert described.keys() == taken.keys()
    zoned = any(each.instant for each in taken.values())
    assert ("time_zone" in body().fields) == zoned
    for name, each in described.items():
        assert each.allow_null == (taken[name].null is not ...), name
        if not changing:
            assert each.required == taken[name].required, name
        longest = getattr(each, "max_length", None)
        if longest and name != "email":
            rule = {"name": fields.SERVICE_NAME}.get(name) or getattr(fields, name.upper())
            assert rule("x" * longest)
            with pytest.raises(fields.FieldRefused):
                rule("x" * (longest + 1))
