"""The admin's pages of users and keys."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from keys.tests.asking import accepts
from pricebook.tests.pages import OpenedForm

pytestmark = pytest.mark.django_db


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
