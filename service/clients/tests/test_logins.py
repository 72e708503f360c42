"""One e-mail is one client and one login, whatever the case of its letters, at every door."""

import io

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from django.urls import reverse

from clients.models import Client
from pricebook.tests.pages import OpenedForm, errors_of
from services.models import Subscription
from services.tests.factories import a_client, a_reader
from services.transfer.csv_file import BadBook
from services.transfer.importing import import_book

pytestmark = pytest.mark.django_db

HEADER = "company_name,email,service,full_price,plan_type,discount_percent,started_at\n"


def bring(*emails):
    lines = [f"Acme,{email},Phone,20,full,0,2026-01-0{n}" for n, email in enumerate(emails, 1)]
    return import_book(io.BytesIO((HEADER + "\n".join(lines)).encode()))


def a_user(username, email="", **fields):
    return User.objects.create_user(username, email, "a long secret", **fields)


class TestImport:
    def test_brings_one_client_of_an_email_in_any_case(self):
        bring("Ann@example.com", "ANN@example.com", "ann@EXAMPLE.com")
        bring("ann@example.com")
        assert Client.objects.get().user.email == "Ann@example.com"
        assert User.objects.count() == 1

    @pytest.mark.parametrize("email", ["boss@example.com", "BOSS@example.com"])
    @pytest.mark.parametrize(
        "boss",
        [
            {"username": "boss@example.com"},
            {"username": "boss@example.com", "email": "boss@example.com"},
            {"username": "boss", "email": "Boss@Example.com"},
        ],
    )
    @pytest.mark.parametrize("rank", ["is_staff", "is_superuser"])
    def test_makes_no_client_of_the_staff(self, boss, email, rank):
        a_user(**boss, **{rank: True})
        with pytest.raises(BadBook, match="who is of the staff, and would become that of a client"):
            bring(email)
        assert not Client.objects.exists()
        assert User.objects.count() == 1

    def test_knows_one_of_the_staff_who_is_a_client(self):
        boss = a_user("boss", "boss@example.com", is_staff=True)
        client = Client.objects.create(user=boss, company_name="Acme")
        bring("BOSS@example.com")
        assert Subscription.objects.get().client == client

    def test_takes_the_login_that_has_the_email_under_another_name(self):
        user = a_user("romashka", "Romashka@example.com")
        bring("romashka@example.com")
        assert Client.objects.get().user == user
        assert User.objects.get() == user

    @pytest.mark.parametrize("email", ["romashka@example.com", "ROMASHKA@example.com"])
    @pytest.mark.parametrize("is_client", [True, False])
    def test_fills_in_an_empty_email_of_that_name(self, email, is_client):
        user = a_user("romashka@example.com")
        if is_client:
            Client.objects.create(user=user, company_name="Acme")
        assert bring(email).clients_new == (not is_client)
        assert Client.objects.get().user == user
        assert User.objects.get().email == email
        assert bring(email).clients_new == 0

    def test_refuses_a_name_with_another_email_in_any_case(self):
        a_user("ann@example.com", "other@example.com")
        with pytest.raises(BadBook, match=r"login name of a user with another e-mail, 'other@"):
            bring("ANN@example.com")

    def test_refuses_an_email_of_several_logins(self):
        a_user("ann", "ann@example.com")
        a_user("annie", "ANN@example.com")
        with pytest.raises(BadBook, match="the login of several users, 'ann', 'annie'"):
            bring("ann@example.com")


class TestLogIn:
    @pytest.mark.parametrize("name", ["Boss@Example.com", "boss@example.com", "BOSS@EXAMPLE.COM"])
    def test_takes_a_name_in_any_case(self, name):
        boss = a_user("Boss@Example.com", is_staff=True)
        browser = Browser()
        page = browser.post(
            reverse("admin:login"), {"username": name, "password": "a long secret"}, follow=True
        )
        assert page.context["user"] == boss
        assert browser.get(reverse("admin:index")).status_code == 200

    @pytest.mark.parametrize(
        ("name", "password"),
        [("BOSS", "another secret"), ("BOSSES", "a long secret"), ("", "a long secret")],
    )
    def test_takes_no_other_name_or_password(self, name, password):
        a_user("boss", is_staff=True)
        browser = Browser()
        browser.post(reverse("admin:login"), {"username": name, "password": password})
        assert browser.get(reverse("admin:index")).status_code == 302

    def test_takes_nobody_who_has_left(self):
        a_user("boss", is_active=False)
        assert not Browser().login(username="BOSS", password="a long secret")

    def test_of_one_of_two_from_before_takes_the_name_as_it_is(self):
        one, two = a_user("boss"), a_user("other")
        User.objects.filter(pk=two.pk).update(username="Boss")
        browser = Browser()
        assert browser.login(username="Boss", password="a long secret")
        assert browser.session["_auth_user_id"] == str(two.pk)
        assert not browser.login(username="BOSS", password="a long secret")
        assert one.pk


class TestUsers:
    def test_get_no_name_that_differs_in_case_alone(self, admin_client):
        a_user("boss@example.com")
        with pytest.raises(ValidationError, match="in another case"):
            a_user("BOSS@example.com")
        with pytest.raises(CommandError, match="in another case"):
            call_command(
                "createsuperuser", interactive=False, username="Boss@example.com", email=""
            )
        page = admin_client.post(
            reverse("admin:auth_user_add"),
            {"username": "BOSS@example.com", "password1": "a long secret", "password2": ""},
        )
        assert "already exists" in str(errors_of(page)["username"])

    def test_are_given_no_name_or_email_of_another(self, admin_client):
        a_user("boss", "boss@example.com")
        a_user("chef@example.com")
        other = a_user("other")
        url = reverse("admin:auth_user_change", args=[other.pk])
        for field, value, says in (
            ("username", "BOSS", "already exists"),
            ("email", "BOSS@example.com", "the e-mail of boss"),
            ("email", "Chef@example.com", "the e-mail of chef@example.com"),
        ):
            page = OpenedForm(admin_client, url).send(**{field: value})
            assert says in str(errors_of(page)[field])
        OpenedForm(admin_client, url).send(username="OTHER", email="other@example.com")
        other.refresh_from_db()
        assert (other.username, other.email) == ("OTHER", "other@example.com")


def test_the_api_finds_an_email_in_any_case():
    client = a_client("Acme", "Ann@example.com")
    found = a_reader().get("/api/clients/", {"email": "ANN@EXAMPLE.COM"}).data["result"]
    assert [each["id"] for each in found] == [client.pk]


class TestThoseThatAreThere:
    def test_in_two_cases_are_named(self, capsys):
        a_user("ann")
        call_command("logins")
        assert "one for each name" in capsys.readouterr().out
        User.objects.bulk_create([User(username="ANN"), User(username="bob")])
        with pytest.raises(CommandError, match=r"different case: '(ANN' and 'ann|ann' and 'ANN)'"):
            call_command("logins")
