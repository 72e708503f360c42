"""APPROVAL_BY_ANOTHER: another person is one that is known to be another, and not another name."""

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from keys import verbs as keys
from keys.tests.asking import with_key
from keys.tests.making import a_key
from keys.verbs import Maker
from price_changes import verbs
from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.planning import definition
from price_changes.tests.api import URL, approve, planned
from pricebook.kit import authors
from services.tests.factories import a_book

pytestmark = pytest.mark.django_db

A_SET = {"kind": "set", "filter": {}, "adjustment": "percent", "operand": 10}


@pytest.fixture(autouse=True)
def demanded(settings):
    settings.APPROVAL_BY_ANOTHER = True
    a_book(6)


def a_user(name):
    user = User.objects.create_superuser(name)
    session = APIClient()
    session.force_login(user)
    return user, session


def key_of(user, name="erp"):
    _, text = keys.make(name, ["price_changes:plan", "price_changes:approve"], Maker.of(user))
    return with_key(text)


def outcome(caller, change):
    """The code of the refusal; empty if it was approved."""
    answer = approve(caller, change)
    return "" if answer.status_code == 200 else answer.json()["code"]


class TestWhoIsAnother:
    def test_another_person_is(self):
        (_, ann), (_, bob) = a_user("ann"), a_user("bob")
        change = planned(ann, **A_SET)
        assert outcome(ann, change) == "needs_another_person"
        assert outcome(bob, change) == ""

    def test_a_key_is_the_person_who_made_it(self):
        (ann, as_ann), (bob, as_bob) = a_user("ann"), a_user("bob")
        of_ann, of_bob = key_of(ann, "of ann"), key_of(bob, "of bob")
        for planner in (as_ann, of_ann):
            change = planned(planner, **A_SET)
            for same in (as_ann, of_ann, key_of(ann, "another of ann")):
                assert outcome(same, change) == "needs_another_person"
            assert outcome(of_bob, change) == ""
        assert outcome(as_bob, planned(of_ann, **A_SET)) == ""

    def test_a_key_with_the_name_of_the_planner_is_another_s(self):
        (_, as_ann), (bob, _) = a_user("ann"), a_user("bob")
        change = planned(as_ann, **A_SET)
        assert outcome(key_of(bob, "ann"), change) == ""

    def test_a_new_name_makes_no_other_person(self):
        user, session = a_user("ann")
        change = planned(session, **A_SET)
        User.objects.filter(pk=user.pk).update(username="bob")
        assert outcome(session, change) == "needs_another_person"

    def test_a_key_of_nobody_known_is_not(self):
        _, ann = a_user("ann")
        _, text = a_key("erp", "price_changes:plan", "price_changes:approve")
        change = planned(ann, **A_SET)
        assert outcome(with_key(text), change) == "needs_another_person"
        assert (
            "Nobody knows which person erp (key" in approve(with_key(text), change).json()["detail"]
        )
        assert outcome(ann, planned(with_key(text), **A_SET)) == ""  # a person has looked at it

    def test_a_key_whose_maker_is_deleted_is_not(self):
        (_, ann), (bob, _) = a_user("ann"), a_user("bob")
        of_bob = key_of(bob)
        change = planned(ann, **A_SET)
        bob.delete()
        assert outcome(of_bob, change) == "permission_denied"

    def test_a_key_in_the_operator_s_hands_is_not(self):
        (_, ann), (bob, _) = a_user("ann"), a_user("bob")
        made, _ = keys.make("erp", ["price_changes:approve"], Maker.of(bob))
        _, text = keys.rotate(made.number, Maker.operator("ann"))
        assert outcome(with_key(text), planned(ann, **A_SET)) == "needs_another_person"

    @pytest.mark.parametrize("author", ["ann", "Ann"])
    def test_a_planner_of_an_earlier_release_is_known_by_the_name(self, author):
        (ann, as_ann), (_, bob) = a_user("ann"), a_user("bob")
        change = verbs.preview(definition.plan(A_SET, author).pk)
        for same in (as_ann, key_of(ann)):
            assert outcome(same, {"id": change.pk, "fingerprint": change.fingerprint}) == (
                "needs_another_person"
            )
        assert outcome(bob, {"id": change.pk, "fingerprint": change.fingerprint}) == ""

    def test_a_claim_is_not(self):
        change = verbs.preview(definition.plan(A_SET, authors.person(1, "ann")).pk)
        for name in ("bob", "bob (person 2)"):
            with pytest.raises(CommandError, match="needs_another_person"):
                call_command(
                    *("price_change", "approve", str(change.pk), change.fingerprint),
                    *("--author", name),
                )
        change.refresh_from_db()
        assert change.status == "planned"

    def test_a_text_in_python_is_not(self):
        change = verbs.preview(definition.plan(A_SET, "ann").pk)
        with pytest.raises(ChangeError) as refused:
            verbs.approve(change.pk, change.fingerprint, "bob")
        assert refused.value.code == "needs_another_person"


def test_without_the_setting_everybody_may(settings):
    settings.APPROVAL_BY_ANOTHER = False
    _, text = a_key("erp", "price_changes:plan", "price_changes:approve")
    assert outcome(with_key(text), planned(with_key(text), **A_SET)) == ""


class TestWhatIsStored:
    def test_tells_a_person_from_a_key_of_the_same_name_and_number(self):
        user, session = a_user("ann")
        made, text = keys.make("ann", ["price_changes:plan"], Maker.of(user))
        by_person = planned(session, **A_SET)["planned_by"]
        by_key = planned(with_key(text), **A_SET)["planned_by"]
        assert by_person == f"ann (person {user.pk})"
        assert by_key == f"ann (key {made.number})"

    def test_names_a_key_that_is_called_like_a_person_by_its_number(self):
        user, _ = a_user("root")
        made, text = keys.make("root (person 1)", ["price_changes:plan"], Maker.of(user))
        stored = planned(with_key(text), **A_SET)["planned_by"]
        assert stored == f"root [person 1] (key {made.number})"
        assert authors.parse(PriceChange.objects.get().planned_by).number == made.number

    def test_is_the_author_of_the_ledger_too(self, settings):
        settings.APPROVAL_BY_ANOTHER = False
        user, session = a_user("ann")
        book = a_book(1)
        [subscription] = book
        path = f"/api/subscriptions/{subscription.pk}/"
        assert session.post(f"{path}negotiate/", {"price": 5, "reason": "x"}).status_code == 200
        entries = session.get(f"{path}ledger/").json()["result"]
        assert entries[-1]["author"] == f"ann (person {user.pk})"
        assert session.get(f"{path}explain/").json()["author"] == f"ann (person {user.pk})"
        listed = session.get(URL).json()["result"]
        assert listed == []
