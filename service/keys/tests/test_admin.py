"""Keys in the admin."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import reverse

from keys.models import ApiKey
from keys.tests.asking import accepts, code_of
from keys.tests.making import a_key, a_member_of_staff
from pricebook.kit.scopes import CHANGE_KEY, MAKE_KEY, VIEW_CLIENT, VIEW_KEY
from pricebook.tests.authorship import who
from pricebook.tests.pages import OpenedForm

pytestmark = pytest.mark.django_db

LIST = "/admin/rest_framework_api_key/apikey/"


@pytest.fixture
def ann():
    browser = Browser()
    browser.force_login(a_member_of_staff("ann", VIEW_KEY, MAKE_KEY, CHANGE_KEY, VIEW_CLIENT))
    return browser


def told(answer):
    return " ".join(map(str, answer.context["messages"]))


def shown_in(text):
    return re.findall(r"[A-Za-z0-9]{8}\.[A-Za-z0-9]{32}", text)


def page_of(key):
    return reverse("admin:rest_framework_api_key_apikey_change", args=[key.pk])


def acted(browser, action, *keys):
    ids = [key.pk for key in keys]
    return browser.post(LIST, {"action": action, "_selected_action": ids}, follow=True)


class TestMaking:
    def test_shows_the_key_once(self, ann):
        answer = ann.post(f"{LIST}add/", {"name": "erp", "scopes": ["clients:read"]}, follow=True)
        [text] = shown_in(told(answer))
        assert accepts(text)
        key = ApiKey.objects.get()
        assert (who(key.made_by), key.scopes) == ("person ann", ["clients:read"])
        for path in (LIST, page_of(key)):
            assert text not in ann.get(path).content.decode()

    def test_refuses_more_than_the_person_may(self, ann):
        given = {"name": "erp", "scopes": ["clients:read", "price_changes:approve"]}
        answer = ann.post(f"{LIST}add/", given)
        assert "no key grants what its maker lacks" in answer.content.decode()
        assert not ApiKey.objects.exists()

    def test_refuses_an_end_that_has_passed(self, ann):
        given = {"name": "erp", "expiry_date_0": "2020-01-01", "expiry_date_1": "00:00"}
        answer = ann.post(f"{LIST}add/", given)
        assert "has to end in the future" in answer.content.decode()
        assert not ApiKey.objects.exists()


class TestEditing:
    def test_adds_no_scope_that_the_person_lacks(self, ann):
        key, _ = a_key("erp", "clients:read", "plans:read")
        form = OpenedForm(ann, page_of(key))
        answer = form.send(scopes=["clients:read", "plans:read", "price_changes:approve"])
        assert "no key grants what its maker lacks" in answer.content.decode()
        key.refresh_from_db()
        assert key.scopes == ["clients:read", "plans:read"]

    def test_takes_scopes_away_and_keeps_those_that_others_gave(self, ann):
        key, _ = a_key("erp", "clients:read", "plans:read", "price_changes:approve")
        OpenedForm(ann, page_of(key)).send(scopes=["clients:read", "price_changes:approve"])
        key.refresh_from_db()
        assert key.scopes == ["clients:read", "price_changes:approve"]

    def test_lets_no_key_that_a_key_made_make_keys(self, ann):
        parent, _ = a_key("parent", "keys:manage")
        child, _ = a_key("child", "clients:read", made_with_id=parent.number)
        answer = OpenedForm(ann, page_of(child)).send(scopes=["clients:read", "keys:manage"])
        assert "Another key made this one" in answer.content.decode()
        child.refresh_from_db()
        assert child.scopes == ["clients:read"]

    def test_of_a_revoked_key_is_not_offered(self, ann):
        key, _ = a_key("erp", revoked=True)
        page = ann.get(page_of(key)).content.decode()
        assert 'name="scopes"' not in page
        assert 'name="name"' not in page

    def test_deletes_no_key(self):
        root = Browser()
        root.force_login(User.objects.create_superuser("root"))
        key, _ = a_key("erp")
        answer = root.post(f"{page_of(key).removesuffix('change/')}delete/", {"post": "yes"})
        assert answer.status_code == 403
        assert ApiKey.objects.exists()


class TestActions:
    def test_rotate_shows_the_new_secret_once(self, ann):
        key, old = a_key("erp", "clients:read")
        [new] = shown_in(told(acted(ann, "rotate", key)))
        assert (code_of(old), code_of(new)) == ("", "")
        assert new not in ann.get(LIST).content.decode()

    def test_rotate_says_why_it_can_not(self, ann):
        key, _ = a_key("erp", "price_changes:approve")
        assert "no key grants what its maker lacks" in told(acted(ann, "rotate", key))

    def test_revoke_ends_keys(self, ann):
        keys = [a_key(f"key {n}") for n in range(2)]
        acted(ann, "revoke", *(key for key, _ in keys))
        assert [code_of(text) for _, text in keys] == ["revoked_key"] * 2

    def test_are_for_those_who_may_change_keys(self):
        eve = Browser()
        eve.force_login(a_member_of_staff("eve", VIEW_KEY))
        key, text = a_key("erp")
        for action in ("rotate", "revoke"):
            acted(eve, action, key)
        assert code_of(text) == ""
        assert ApiKey.objects.get().rotated_by == ""
        assert eve.get(f"{LIST}add/").status_code == 403


def test_the_list_says_who_is_not_there_any_more(ann):
    bob = User.objects.create_superuser("bob")
    ApiKey.objects.filter(pk=a_key("erp")[0].pk).update(made_by=f"bob (person {bob.pk})")
    assert "who is not there any more" in ann.get(LIST).content.decode()
