"""Clients in the admin."""

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import reverse

from clients.models import Client
from pricebook.tests.pages import OpenedForm, errors_of
from services.tests.factories import a_book, a_client, a_subscription

LIST = reverse("admin:clients_client_changelist")
ADD = reverse("admin:clients_client_add")


def page_of(client: Client, page: str) -> str:
    return reverse(f"admin:clients_client_{page}", args=[client.pk])


@pytest.fixture
def ann(admin_client: Browser) -> Browser:
    return admin_client


class TestClients:
    def test_one_is_added_for_a_user(self, ann):
        user = User.objects.create(username="nordwind", email="info@nordwind.example")
        OpenedForm(ann, ADD).send(company_name="Nordwind AG", user=user.pk)
        assert Client.objects.get().user == user

    def test_two_of_one_user_are_an_error(self, ann):
        user = a_client().user
        answer = OpenedForm(ann, ADD).send(company_name="Nordwind AG", user=user.pk)
        assert "already exists" in str(errors_of(answer)["user"])

    def test_an_address_that_others_have_written_stays(self, ann):
        client = a_client()
        form = OpenedForm(ann, page_of(client, "change"))
        Client.objects.update(full_address="Hafen 1")
        form.send(company_name="Renamed")
        client.refresh_from_db()
        assert (client.company_name, client.full_address) == ("Renamed", "Hafen 1")

    def test_one_in_use_is_not_deleted(self, ann):
        client = a_subscription().client
        for answer in (
            ann.post(page_of(client, "delete"), {"post": "yes"}),
            ann.post(
                LIST,
                {"action": "delete_selected", "_selected_action": [client.pk], "post": "yes"},
            ),
        ):
            assert f"the subscriptions of {client}" in answer.content.decode()
        assert Client.objects.exists()

    def test_one_that_buys_nothing_is_deleted(self, ann):
        client = a_client()
        ann.post(page_of(client, "delete"), {"post": "yes"})
        assert not Client.objects.exists()

    def test_a_user_who_is_a_client_is_not_deleted(self, ann):
        client = a_client()
        page = reverse("admin:auth_user_delete", args=[client.user_id])
        assert ann.post(page, {"post": "yes"}).status_code == 200
        assert Client.objects.exists()

    def test_search_finds_by_company_and_mail(self, ann):
        wanted = a_client("Nordwind AG", "info@nordwind.example")
        a_client()
        for term in ("nordw", "wind AG", "info@nordwind.example"):
            found = ann.get(LIST, {"q": term}).context["cl"].result_list
            assert list(found) == [wanted], term

    def test_bad_searches_are_answered(self, ann):
        for query in ({"q": "\x00"}, {"company_name": "\x00"}, {"p": "0"}, {"p": "2"}):
            assert ann.get(LIST, query).status_code == 400, query

    def test_queries_do_not_grow_with_the_rows(self, ann, django_assert_num_queries):
        for more in (5, 45):
            a_book(more, clients=more)
            # * the session * its user * the count * the page, with the users joined
            with django_assert_num_queries(4):
                ann.get(LIST)
