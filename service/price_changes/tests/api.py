"""Clients of the API of price changes, and a request that plans a change."""

from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient
from rest_framework_api_key.models import APIKey

from pricebook.kit.tables import ApiKeyRights

URL = "/api/price-changes/"
PLAN = {"may_plan": True}
APPROVE = {"may_approve": True}
ALL = {"may_plan": True, "may_approve": True, "may_set_price_states": True}


def a_program(name="erp", **rights):
    """A client with an API key of these rights."""
    api_key, key = APIKey.objects.create_key(name=name)
    if rights:
        ApiKeyRights.objects.create(api_key=api_key, **rights)
    program = APIClient()
    program.credentials(HTTP_AUTHORIZATION=f"Api-Key {key}")
    return program


def a_person(username="ann", *permissions):
    """A client with the session of somebody with these permissions."""
    user = User.objects.create_user(username)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    person = APIClient(enforce_csrf_checks=False)
    person.force_login(user)
    return person


def planned(program, **values):
    """Plan a change; returns the answer. A set is the whole book unless it is given a filter."""
    if values.get("kind") == "set":
        values.setdefault("filter", {})
    response = program.post(URL, values)
    assert response.status_code == 201, response.content
    return response.json()


def approve(program, change, **more):
    return program.post(
        f"{URL}{change['id']}/approve/", {"fingerprint": change["fingerprint"], **more}
    )
