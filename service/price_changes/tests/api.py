"""Clients of the API of price changes, and a request that plans a change."""

from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from keys.tests.making import a_key
from pricebook.kit.scopes import READ_SCOPES

URL = "/api/price-changes/"
PLAN = {"may_plan": True}
APPROVE = {"may_approve": True}
SCOPE_OF = {
    "may_plan": "price_changes:plan",
    "may_approve": "price_changes:approve",
    "may_set_price_states": "price_states:set",
}
ALL = {"may_plan": True, "may_approve": True, "may_set_price_states": True}


def a_program(name="erp", **rights):
    """A client with an API key that reads, and has these rights."""
    _, key = a_key(name, *READ_SCOPES, *(SCOPE_OF[right] for right in rights))
    program = APIClient()
    program.credentials(HTTP_AUTHORIZATION=f"Api-Key {key}")
    return program


def a_person(username="ann", *permissions):
    """A client with the session of somebody with these permissions."""
    user = User.objects.create_user(username, is_staff=True)
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
