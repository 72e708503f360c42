"""A number that doesn't fit is refused, by Django's fields and by the database; never rounded."""

from contextlib import suppress
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Value

from price_changes.models import PriceChange
from services.models import CatalogueValue, LedgerEntry, Plan, Repricing, Service, Subscription
from services.tests.factories import a_plan, a_service, a_subscription

BY_HAND = [
    (Service, "full_price", "9.995", "service_full_price_exact"),
    (Plan, "discount_percent", "60.5", "plan_discount_percent_whole"),
    (Subscription, "price", "9.995", "subscription_price_exact"),
    (CatalogueValue, "value", "9.995", "value_exact"),
    (CatalogueValue, "seen", "9.995", "value_seen_exact"),
    (PriceChange, "old_value", "9.995", "price_change_values_exact"),
    (PriceChange, "new_value", "9.995", "price_change_values_exact"),
    (PriceChange, "operand", "7.00005", "price_change_values_exact"),
    (PriceChange, "floor", "9.995", "price_change_values_exact"),
    (PriceChange, "ceiling", "9.995", "price_change_values_exact"),
    (PriceChange, "rounding_step", "0.005", "price_change_values_exact"),
]
BY_TRIGGERS = [
    (LedgerEntry, "price", "9.995"),
    (Repricing, "old_value", "9.995"),
    (Repricing, "new_value", "9.995"),
]
COLUMNS = [(model, name, value) for model, name, value, _ in BY_HAND] + BY_TRIGGERS


def one_of(model):
    """A row of the model, each of whose numbers may be written."""
    subscription = a_subscription(service=a_service(100), plan=a_plan(10))
    if model is Subscription:
        Subscription.objects.filter(pk=subscription.pk).update(price_state="negotiated")
        return Subscription.objects.get(pk=subscription.pk)
    if model is PriceChange:
        return PriceChange.objects.create(kind="set", planned_by="Ann")
    if model is CatalogueValue:
        return CatalogueValue.objects.get(service_id=subscription.service_id)
    if model is Repricing:
        return Repricing.objects.create(service=subscription.service)
    return model.objects.latest("pk")


def write(instance, column, value):
    """Write it as psql does."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {instance._meta.db_table} SET {column} = {value} WHERE id = %s", [instance.pk]
        )


def stored(instance, column):
    """The text that psql shows of it."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {column}::text FROM {instance._meta.db_table} WHERE id = %s", [instance.pk]
        )
        return cursor.fetchone()[0]


@pytest.mark.django_db
class TestTheDatabase:
    @pytest.mark.parametrize(("model", "column", "value", "rule"), BY_HAND)
    def test_refuses_what_does_not_fit_under_the_name_of_the_rule(self, model, column, value, rule):
        row = one_of(model)
        before = stored(row, column)
        with pytest.raises(IntegrityError, match=rule), transaction.atomic():
            write(row, column, value)
        assert stored(row, column) == before

    @pytest.mark.parametrize(
        "insert",
        [
            "INSERT INTO services_plan (plan_type, discount_percent) VALUES ('student', 12.5)",
            "INSERT INTO services_service (name, full_price) VALUES ('Line', 9.995)",
            "INSERT INTO services_subscription (client_id, service_id, plan_id, comment,"
            " price_state, price)"
            " SELECT client_id, service_id, plan_id, '', 'negotiated', 9.995"
            "   FROM services_subscription",
        ],
    )
    def test_refuses_it_in_a_new_row(self, insert):
        a_subscription()
        with (
            pytest.raises(IntegrityError, match=r"_exact|_whole"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(insert)

    def test_refuses_what_an_expression_makes(self):
        service, plan = a_service("9.99"), a_plan(25)
        with pytest.raises(IntegrityError, match="service_full_price_exact"), transaction.atomic():
            Service.objects.filter(pk=service.pk).update(full_price=F("full_price") * Value(1.005))
        with (
            pytest.raises(IntegrityError, match="plan_discount_percent_whole"),
            transaction.atomic(),
        ):
            Plan.objects.filter(pk=plan.pk).update(discount_percent=F("discount_percent") / 2)

    @pytest.mark.parametrize("value", ["'NaN'", "'Infinity'", "1e50"])
    @pytest.mark.parametrize(("model", "column", "_", "rule"), BY_HAND)
    def test_refuses_what_is_no_number_or_too_much(self, model, column, _, rule, value):
        row = one_of(model)
        with pytest.raises(IntegrityError), transaction.atomic():
            write(row, column, value)

    @pytest.mark.parametrize(
        ("model", "column", "value", "shown"),
        [
            (Service, "full_price", "9.9", "9.90"),
            (Service, "full_price", "9.9000", "9.90"),
            (Plan, "discount_percent", "12.0", "12"),
            (Subscription, "price", "7", "7.00"),
            (CatalogueValue, "value", "5", "5.00"),
            (PriceChange, "operand", "7.5", "7.5000"),
            (PriceChange, "floor", "7.5", "7.50"),
        ],
    )
    def test_shows_what_fits_with_the_decimals_of_its_kind(self, model, column, value, shown):
        row = one_of(model)
        write(row, column, value)
        assert stored(row, column) == shown

    def test_gives_followers_their_price_in_hundredths(self):
        subscription = a_subscription(service=a_service("9.99"), plan=a_plan(10))
        write(subscription.service, "full_price", "5")
        assert stored(subscription, "price") == "8.99"
        write(subscription, "comment", "'x'")
        assert stored(a_subscription(service=subscription.service), "price") == "5.00"


@pytest.mark.django_db
class TestDjango:
    @pytest.mark.parametrize(("model", "name", "value"), COLUMNS)
    @pytest.mark.parametrize("kind", [Decimal, float, str])
    def test_refuses_what_does_not_fit_in_an_update(self, model, name, value, kind):
        row = one_of(model)
        with pytest.raises(ValidationError, match=f"{name} is .*{value}.* not rounded"):
            model.objects.filter(pk=row.pk).update(**{name: kind(value)})

    @pytest.mark.parametrize(
        ("made", "name", "value"),
        [
            (lambda: Plan(plan_type="student"), "discount_percent", Decimal("12.5")),
            (lambda: Plan(plan_type="student"), "discount_percent", 57.5),
            (lambda: Service(name="Line"), "full_price", Decimal("9.995")),
            (lambda: Service(name="Line"), "full_price", 9.995),
            (lambda: Service(name="Line"), "full_price", "9.995"),
        ],
    )
    def test_refuses_it_however_it_is_written(self, made, name, value):
        def new():
            instance = made()
            setattr(instance, name, value)
            return instance

        model = type(new())
        old = a_plan(20) if model is Plan else a_service(20)
        for write_it in (
            lambda: new().save(),
            lambda: new().full_clean(),
            lambda: model.objects.bulk_create([new()]),
            lambda: (setattr(old, name, value), old.save()),
            lambda: model.objects.bulk_update([old], [name]),
            lambda: model.objects.filter(pk=old.pk).update(**{name: value}),
        ):
            with pytest.raises(ValidationError), transaction.atomic():
                write_it()
        assert list(model.objects.values_list(name, flat=True)) == [20]

    def test_takes_what_fits_in_any_type(self):
        for full_price in (5, 5.1, "5.20", Decimal("5.3000")):
            service = a_service()
            service.full_price = full_price
            service.save()
            service.refresh_from_db()
            assert str(service.full_price) == f"{Decimal(str(full_price)):.2f}"
        for percent in (12, 13.0, "14", Decimal("15.0")):
            plan = Plan.objects.create(plan_type="student", discount_percent=percent)
            plan.refresh_from_db()
            assert (type(plan.discount_percent), plan.discount_percent) == (int, int(percent))

    def test_keeps_the_types_of_values(self):
        plan, service = a_plan(15), a_service(20)
        for plans in (Plan.objects.all(), Plan.objects.in_force()):
            [found] = plans.filter(pk=plan.pk).values_list("discount_percent", flat=True)
            assert type(found) is int
            assert type(plans.get(pk=plan.pk).discount_percent) is int
        assert type(Service.objects.get(pk=service.pk).full_price) is Decimal

    def test_filters_by_the_number_itself(self):
        plan = a_plan(12)
        of_type = Plan.objects.filter(plan_type=plan.plan_type)
        for value in (12.5, Decimal("12.5")):
            assert not of_type.filter(discount_percent=value)
            assert not of_type.filter(discount_percent__in=[value])
            assert not of_type.filter(discount_percent__gte=value)
            assert not of_type.filter(discount_percent__gt=value)
            assert of_type.get(discount_percent__lt=value) == plan
            assert of_type.get(discount_percent__lte=value) == plan
            with suppress(Plan.DoesNotExist):
                pytest.fail(str(of_type.in_force().get(discount_percent=value)))
        assert of_type.get(discount_percent=12.0) == plan
        service = a_service("9.99")
        assert not Service.objects.filter(full_price=Decimal("9.995"))
        assert Service.objects.get(full_price__lt=Decimal("9.995")) == service
