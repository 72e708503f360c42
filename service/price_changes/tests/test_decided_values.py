"""The migration to facts: the values that it makes of a book equal those that the book wrote."""

from importlib import import_module

import pytest
from django.db import DatabaseError, connection

from price_changes.running import lifecycle
from price_changes.tests.changes import SECOND, applied, approved, clock, planned, reverted
from services.models import Plan, Service
from services.tests.factories import a_plan, a_service, a_subscription

pytestmark = pytest.mark.django_db


def values_at(instants) -> list[object]:
    """Each list price and each discount at each instant."""
    found: list[object] = []
    with connection.cursor() as cursor:
        for instant in instants:
            for name, table in (("list_price_at", "service"), ("discount_at", "plan")):
                cursor.execute(
                    f"SELECT id, {name}(id, %s) FROM services_{table} ORDER BY id", [instant]
                )
                found += cursor.fetchall()
    return found


def test_finds_edits_changes_reverts_and_what_is_scheduled():
    phone, plan = a_service(100), a_plan(10)
    a_subscription(service=phone, plan=plan)
    instants = [clock()]

    def to(value, **more):
        return planned(kind="list_price", service=phone.pk, new_value=value, **more)

    Service.objects.filter(pk=phone.pk).update(full_price=110)
    instants.append(clock())
    first = applied(to("120"))
    instants.append(clock())
    second = applied(to("130"))
    instants.append(clock())
    back = reverted(second)
    instants.append(clock())
    again = reverted(back)  # the second counts again
    instants.append(clock())
    reverted(first)
    instants.append(clock())
    last = reverted(again)
    instants.append(clock())
    Plan.objects.filter(pk=plan.pk).update(discount_percent=25)
    later = clock() + 3600 * SECOND
    approved(to("140", effective_at=later))
    lifecycle.cancel(approved(to("150", effective_at=later + SECOND)).pk, "bob")
    instants += [clock(), later, later + 2 * SECOND]
    before = values_at(instants)
    assert len({str(each) for each in before}) > 5

    of_services = import_module("services.migrations.0020_catalogue_values")
    of_changes = import_module("price_changes.migrations.0009_decided_values")
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("TRUNCATE services_cataloguevalue")
        for sql in (of_services.FILL, of_changes.DECIDED, of_changes.TAKEN_BACK):
            cursor.execute(sql)

    assert values_at(instants) == before
    reverted(last)  # a revert is no value, or it would hide what it had taken back
    assert Service.objects.get(pk=phone.pk).full_price == 130


def test_refuses_while_prices_are_being_moved():
    migration = import_module("services.migrations.0020_catalogue_values")
    phone = a_service(100)
    a_subscription(service=phone)
    with connection.cursor() as cursor:
        cursor.execute(migration.REFUSE)
        Service.objects.filter(pk=phone.pk).update(full_price=150)
        with pytest.raises(DatabaseError, match="Prices are being moved"):
            cursor.execute(migration.REFUSE)
