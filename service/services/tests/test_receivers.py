"""Receivers: a save of the catalogue wakes workers, after its commit, and nothing else does."""

import pytest
from django.db import transaction
from django.db.models.signals import post_delete, pre_delete

from services import receivers
from services.models import Plan, Service, Subscription
from services.tasks import set_comment, set_price
from services.tests.factories import a_plan, a_service, a_subscription

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def woken(monkeypatch):
    """The tasks of each wake-up, and whether a transaction was open then."""
    calls = []

    def wake(*tasks):
        calls.append((tasks, transaction.get_connection().in_atomic_block))

    monkeypatch.setattr(receivers, "wake", wake)
    return calls


def test_a_moved_list_price_or_discount_wakes_after_the_commit(woken):
    service, plan = a_service(), a_plan(5)
    with transaction.atomic():
        service.full_price += 1
        service.save()
        assert woken == []
    plan.discount_percent += 1
    plan.save()
    assert woken == [((set_price, set_comment), False)] * 2


def test_one_that_is_rolled_back_wakes_nobody(woken):
    service = a_service()
    with transaction.atomic():
        service.full_price += 1
        service.save()
        transaction.set_rollback(True)
    assert woken == []


def test_other_saves_wake_nobody(woken):
    service, plan, subscription = a_service(), a_plan(5), a_subscription()
    service.name, plan.plan_type, subscription.comment = "Renamed", "student", "typed"
    for each in (service, plan, subscription):
        each.save()
        each.save()
    subscription.delete()
    assert woken == []


def test_a_receiver_that_fails_stops_neither_the_save_nor_those_behind_it(monkeypatch, caplog):
    def wake(*tasks):
        raise RuntimeError("broken")

    monkeypatch.setattr(receivers, "wake", wake)
    behind = []
    service = a_service()
    with transaction.atomic():
        service.full_price = 777
        service.save()
        transaction.on_commit(lambda: behind.append(True))
    assert behind
    assert Service.objects.get(pk=service.pk).full_price == 777
    assert "broken" in caplog.text


@pytest.mark.parametrize("model", [Service, Plan, Subscription])
def test_deletions_have_no_receiver_and_stay_fast(model):
    assert not post_delete.has_listeners(model)
    assert not pre_delete.has_listeners(model)
