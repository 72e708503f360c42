"""No page of the admin has a number input.

Where the browser's language has another decimal sign it drops the comma of 4,50; and of a text that
it can't read it sends nothing, as if the box were empty.
"""

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client as Browser
from django.urls import URLPattern, reverse

from events.tests.making import an_endpoint
from keys.tests.making import a_key
from price_changes.approval_form import ApproveForm
from price_changes.forms import PlanForm
from price_changes.kinds import TO_PLAN
from price_changes.tests.changes import planned
from pricebook.kit.amount_field import AmountField
from services.admin.price_state import VERBS
from services.models import Job, Repricing, Service
from services.tests.factories import a_subscription

pytestmark = pytest.mark.django_db

AMOUNTS = {
    "full_price",
    "discount_percent",
    "price",
    "new_value",
    "operand",
    "rounding_step",
    "floor",
    "ceiling",
    "where_price_from",
    "where_price_to",
}


class Inputs(HTMLParser):
    """The type of each input of a page, by its name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.types: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "input" and (name := attributes.get("name")):
            self.types[name] = attributes.get("type") or "text"


def known_records() -> dict[type, Any]:
    """One of each that the admin has a page for."""
    subscription = a_subscription()
    Service.objects.update(full_price=123)  # which leaves a repricing
    change = planned(kind="set", adjustment="add", operand=5)
    key, _ = a_key("erp")
    records = [
        subscription,
        *(subscription.client, subscription.service, subscription.plan),
        *(Repricing.objects.get(), change, key),
        Job.objects.create(kind="import", author="ann", skip=False, dry_run=False, counts={}),
        *(Group.objects.create(name="sales"), User.objects.create(username="bob")),
        an_endpoint(),
    ]
    return {type(record): record for record in records}


def addresses(url: URLPattern, record: Any) -> Iterator[str]:
    """Where this page of the admin is, of each kind that it has."""
    names = url.pattern.converters or dict.fromkeys(url.pattern.regex.groupindex)
    ids = {name: record.pk for name in names if name in ("object_id", "id", "pk")}
    kinds = {"kind": [*TO_PLAN], "name": [*VERBS], "verb": ["test"]}
    unknown = names.keys() - ids.keys() - kinds.keys()
    assert not unknown, f"{url}: say here which values {unknown} may have"
    choices = [{name: word} for name in names if name in kinds for word in kinds[name]]
    for choice in choices or [{}]:
        yield reverse(f"admin:{url.name}", kwargs=ids | choice)


def pages() -> Iterator[tuple[str, dict[str, str]]]:
    """Each page of the admin of each model: its address, and the types of its inputs."""
    records = known_records()
    user = User.objects.create(username="ann", is_staff=True, is_superuser=True)
    browser = Browser()
    browser.force_login(user)
    for model, model_admin in admin.site._registry.items():
        for url in filter(lambda url: url.name, model_admin.get_urls()):
            for address in addresses(url, records[model]):
                answer = browser.get(address)
                assert answer.status_code < 500
                yield address, Inputs(answer.content.decode()).types


def test_no_page_has_a_number_input():
    seen = dict(pages())
    numbers = {
        (address, name)
        for address, types in seen.items()
        for name, type in types.items()
        if type == "number"
    }
    assert not numbers, "use an AmountField, or a text box for an id"
    assert {name for types in seen.values() for name in types} >= AMOUNTS


OURS = ("clients", "desk", "events", "keys", "price_changes", "pricebook", "services")


def own_forms(parent: type[forms.BaseForm] = forms.BaseForm) -> Iterator[type[forms.BaseForm]]:
    for form in parent.__subclasses__():
        if form.__module__.split(".")[0] in OURS:
            yield form
        yield from own_forms(form)


def test_every_decimal_of_a_form_is_an_amount():
    fields = [(form, getattr(form, "base_fields", {})) for form in own_forms()]
    fields += [(PlanForm, PlanForm(kind).fields) for kind in TO_PLAN.values()]
    assert {form for form, _ in fields} >= {PlanForm, ApproveForm}
    others = [
        (form, name)
        for form, of_form in fields
        for name, field in of_form.items()
        if isinstance(field, forms.DecimalField | forms.FloatField)
        and not isinstance(field, AmountField)
    ]
    assert not others
