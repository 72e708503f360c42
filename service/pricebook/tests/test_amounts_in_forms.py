"""Each decimal of a form is an AmountField. Here are the pages of the admin, for tests of all."""

from collections.abc import Iterator
from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import Group, User
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
