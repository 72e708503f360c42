"""Models: what the database refuses, what it fills in, and what a save does not write."""

import copy
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from django.db import IntegrityError, connection, models, transaction
from django.db.models import F, ProtectedError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from services.models import Plan, Repricing, Service, Subscription, Subtotal
from services.repricing import reprice
from services.tests.factories import a_book, a_client, a_plan, a_service, a_subscription

YESTERDAY, TOMORROW = (timezone.now() + timedelta(days=days) for days in (-1, 1))


def price_of(subscription):
    return Subscription.objects.values_list("price", flat=True).get(pk=subscription.pk)


def totals():
    """Count and amount by the triggers, and by the rows."""
    counted = Subtotal.objects.aggregate(
        subscriptions=models.Sum("subscriptions", default=0),
        amount=models.Sum("amount", default=Decimal(0)),
    )
    rows = Subscription.objects.aggregate(
        subscriptions=models.Count("pk"), amount=models.Sum("price", default=Decimal(0))
    )
    return counted, rows


def write_sql(instance, column, value):
    """Write as psql would, with values that Django's fields don't accept."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {instance._meta.db_table} SET {column} = %s WHERE id = %s",
            [value, instance.pk],
        )


@pytest.mark.django_db
class TestConstraints:
    @pytest.mark.parametrize(
        ("name", "write"),
        [
            ("service_full_price_not_negative", lambda: a_service(full_price="-0.01")),
            (
                "service_full_price_not_negative",
                lambda: write_sql(a_service(), "full_price", "NaN"),
            ),
            ("plan_discount_percent_0_to_100", lambda: a_plan(101)),
            ("plan_type_known", lambda: a_plan(5, "friend")),
            (
                "plan_unique_type_and_percent",
                lambda: [Plan.objects.create(plan_type="full") for _ in range(2)],
            ),
            (
                "subscription_ends_after_start",
                lambda: a_subscription(started_at=TOMORROW, ended_at=YESTERDAY),
            ),
            (
                "subscription_dates_1900_to_9999",
                lambda: write_sql(a_subscription(), "ended_at", "infinity"),
            ),
            (
                "subscription_dates_1900_to_9999",
                lambda: write_sql(a_subscription(), "started_at", "-infinity"),
            ),
            ("subscription_external_id_has_source", lambda: a_subscription(external_id="7")),
            ("subscription_external_id_has_source", lambda: a_subscription(source="crm")),
            (
                "subscription_unique_external_id",
                lambda: [a_subscription(source="crm", external_id="7") for _ in range(2)],
            ),
        ],
    )
    def test_is_kept_by_the_database_under_its_name(self, name, write):
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            write()

    def test_names_of_services_are_unique(self):
        a_service(name="Backup")
        with pytest.raises(IntegrityError, match="service_unique_name"), transaction.atomic():
            a_service(name="Backup")

    @pytest.mark.parametrize("price", ["-1", "NaN"])
    def test_no_price_is_refused_even_where_no_trigger_puts_it_right(self, price):
        ended = a_subscription(started_at=YESTERDAY - timedelta(days=1), ended_at=YESTERDAY)
        with pytest.raises(IntegrityError, match="subscription_price_not_negative"):
            write_sql(ended, "price", price)

    def test_what_is_still_used_is_not_deleted(self):
        subscription = a_subscription()
        for used in (subscription.client, subscription.service, subscription.plan):
            with pytest.raises(ProtectedError):
                used.delete()


@pytest.mark.django_db(transaction=True)
class TestSave:
    """`SavesChanges`: commits are real here, because what is remembered is what was committed."""

    @pytest.mark.parametrize("model", [Service, Plan, Subscription])
    def test_a_stale_instance_writes_back_nothing_that_it_did_not_change(self, model):
        subscription = a_subscription()
        field, moved, other, value = {
            Service: ("full_price", Decimal("99.00"), "name", "Renamed"),
            Plan: ("discount_percent", 30, "plan_type", "student"),
            Subscription: ("plan_id", a_plan(40).pk, "comment", "typed"),
        }[model]
        pk = getattr(subscription, model.__name__.lower(), subscription).pk
        stale = model.objects.get(pk=pk)
        model.objects.filter(pk=pk).update(**{field: moved})

        setattr(stale, other, value)
        stale.save()

        saved = model.objects.get(pk=pk)
        assert (getattr(saved, field), getattr(saved, other)) == (moved, value)

    def test_without_it_the_old_price_would_come_back(self, monkeypatch):
        monkeypatch.setattr(Service, "save", models.Model.save)
        stale = Service.objects.get(pk=a_service(full_price=10).pk)
        Service.objects.filter(pk=stale.pk).update(full_price=20)
        stale.name = "Renamed"
        stale.save()
        assert Service.objects.get(pk=stale.pk).full_price == 10

    def test_writes_only_what_changed(self):
        service = Service.objects.get(pk=a_service().pk)
        service.full_price = 300
        with CaptureQueriesContext(connection) as queries:
            service.save()
            service.save()
        assert len(queries) == 1
        assert '"name"' not in queries[0]["sql"]

    def test_there_and_back_leaves_a_repricing_each_time(self):
        service = a_service(full_price=100)
        for full_price in (200, 100, 200):
            service.full_price = full_price
            service.save()
        assert list(Repricing.objects.values_list("old_value", "new_value").order_by("id")) == [
            (100, 200),
            (200, 100),
            (100, 200),
        ]

    def test_after_a_rollback_the_change_is_still_to_be_saved(self):
        service = a_service(full_price=100)
        service.full_price = 200
        with suppress(InterruptedError), transaction.atomic():
            service.save()
            raise InterruptedError
        assert Service.objects.get(pk=service.pk).full_price == 100
        service.save()
        assert Service.objects.get(pk=service.pk).full_price == 200

    def test_after_a_rollback_to_a_savepoint_too(self):
        service = a_service(full_price=100)
        with transaction.atomic():
            service.full_price = 150
            service.save()
            service.full_price = 200
            with suppress(InterruptedError), transaction.atomic():
                service.save()
                raise InterruptedError
        service.save()
        assert Service.objects.get(pk=service.pk).full_price == 200

    def test_update_fields_writes_those_and_remembers_the_rest(self):
        service = Service.objects.get(pk=a_service(full_price=100).pk)
        service.full_price, service.name = 200, "Renamed"
        service.save(update_fields=["name"])
        assert Service.objects.get(pk=service.pk).full_price == 100
        service.save(update_fields=[])
        service.save()
        assert Service.objects.get(pk=service.pk).full_price == 200

    def test_update_fields_may_name_a_relation(self):
        subscription = Subscription.objects.get(pk=a_subscription().pk)
        subscription.plan = a_plan(5)
        subscription.save(update_fields=["plan"])
        elsewhere = a_plan(10)
        Subscription.objects.filter(pk=subscription.pk).update(plan=elsewhere)
        subscription.comment = "typed"
        subscription.save()
        assert Subscription.objects.get(pk=subscription.pk).plan == elsewhere

    def test_refreshing_a_relation_is_no_change(self):
        subscription = Subscription.objects.get(pk=a_subscription().pk)
        Subscription.objects.filter(pk=subscription.pk).update(plan=a_plan(5))
        subscription.refresh_from_db(fields=["plan"])
        assert subscription.changed_fields() == []

    def test_a_copy_has_changes_of_its_own(self):
        service = Service.objects.get(pk=a_service(full_price=100).pk)
        other = copy.copy(service)
        other.full_price = 200
        other.save()
        service.name = "Renamed"
        service.save()
        assert Service.objects.get(pk=service.pk).full_price == 200

    def test_what_bulk_create_and_bulk_update_wrote_is_saved(self):
        [service] = Service.objects.bulk_create([Service(name="Backup", full_price=100)])
        service.full_price = 200
        Service.objects.bulk_update([service], ["full_price"])
        Service.objects.filter(pk=service.pk).update(full_price=300)
        service.name = "Renamed"
        service.save()
        assert Service.objects.get(pk=service.pk).full_price == 300

    def test_an_instance_that_was_just_created_is_as_one_that_was_loaded(self):
        service = a_service(full_price=100)
        Service.objects.filter(pk=service.pk).update(full_price=200)
        service.name = "Renamed"
        service.save()
        assert Service.objects.get(pk=service.pk).full_price == 200

    def test_an_expression_is_applied_once(self):
        service = a_service(full_price=100)
        service.full_price = F("full_price") * 2
        service.save()
        service.save()
        assert Service.objects.get(pk=service.pk).full_price == 200

    def test_a_deferred_field_is_neither_read_nor_written(self):
        pk = a_service(full_price=100).pk
        with CaptureQueriesContext(connection) as queries:
            service = Service.objects.only("name").get(pk=pk)
            service.name = "Renamed"
            service.save()
        assert len(queries) == 2  # * the load * the save
        assert "full_price" not in queries[1]["sql"]

    def test_a_deferred_field_that_was_assigned_is_written(self):
        service = Service.objects.only("name").get(pk=a_service(full_price=100).pk)
        service.full_price = 200
        service.save()
        assert Service.objects.get(pk=service.pk).full_price == 200

    def test_many_deferred_rows_are_one_query(self):
        a_book(subscriptions=50)
        with CaptureQueriesContext(connection) as queries:
            assert len(Subscription.objects.only("comment")) == 50
            assert len(Service.objects.only("name")) == 3
        assert len(queries) == 2  # * the subscriptions * the services

    def test_an_instance_made_by_hand_with_a_primary_key_is_saved_whole(self):
        pk = a_service(full_price=100, name="Backup").pk
        Service(pk=pk, name="Renamed", full_price=200).save()
        assert Service.objects.values_list("name", "full_price").get(pk=pk) == ("Renamed", 200)

    def test_a_copy_without_a_primary_key_is_a_new_row(self):
        service = Service.objects.get(pk=a_service(full_price=100).pk)
        service.pk, service.name, service._state.adding = None, "Second", True
        service.save()
        assert Service.objects.filter(full_price=100).count() == 2


@pytest.mark.django_db
class TestSubscriptionPrice:
    """The price is right when a row becomes visible, whoever writes (the triggers of
    0002_price_rule).
    """

    @pytest.fixture
    def client(self):
        return a_client()

    @pytest.fixture
    def service(self):
        return a_service(full_price=250)

    def test_is_the_rules_when_left_out(self, client, service):
        with CaptureQueriesContext(connection) as queries:
            subscription = Subscription.objects.create(
                client=client, service=service, plan=a_plan(5)
            )
        assert price_of(subscription) == subscription.price == Decimal("237.50")
        assert len([query for query in queries if "SELECT" in query["sql"]]) <= 1  # of the plan

    @pytest.mark.parametrize("given", [None, 1, "1.00", Decimal("1000000")])
    def test_is_the_rules_when_another_is_given(self, client, service, given):
        subscription = Subscription.objects.create(
            client=client, service=service, plan=a_plan(5), price=given
        )
        assert price_of(subscription) == subscription.price == Decimal("237.50")

    def test_comes_back_from_bulk_create(self, client, service):
        plans = [a_plan(5), a_plan(20)]
        made = Subscription.objects.bulk_create(
            Subscription(client=client, service=service, plan=plan) for plan in plans
        )
        assert [subscription.price for subscription in made] == [Decimal("237.50"), 200]
        assert [price_of(subscription) for subscription in made] == [Decimal("237.50"), 200]

    def test_is_put_right_after_bulk_create(self, client, service):
        [made] = Subscription.objects.bulk_create(
            [Subscription(client=client, service=service, plan=a_plan(5), price=7)]
        )
        assert price_of(made) == Decimal("237.50")

    def test_is_right_on_both_ways_of_an_upsert(self, client, service):
        for percent, price in ((5, Decimal("237.50")), (20, 200)):
            Subscription.objects.bulk_create(
                [
                    Subscription(
                        client=client, service=service, plan=a_plan(percent),
                        source="crm", external_id="7",
                    )
                ],
                update_conflicts=True,
                unique_fields=["source", "external_id"],
                update_fields=["plan"],
            )  # fmt: skip
            assert Subscription.objects.get(source="crm").price == price

    def test_is_right_after_get_or_create_and_update_or_create(self, client, service):
        key = {"source": "crm", "external_id": "7"}
        values = {"client": client, "service": service, "plan": a_plan(5)}
        made, _ = Subscription.objects.get_or_create(**key, defaults=values)
        assert made.price == price_of(made) == Decimal("237.50")
        moved, _ = Subscription.objects.update_or_create(**key, defaults={"plan": a_plan(20)})
        assert moved.price == price_of(moved) == 200

    def test_is_right_after_copy(self, client, service):
        values = (client.pk, service.pk, a_plan(5).pk, "")
        with connection.cursor() as cursor:
            columns = "client_id, service_id, plan_id, comment, price"
            with cursor.copy(f"COPY services_subscription ({columns}) FROM STDIN") as rows:
                for price in (None, 1):
                    rows.write_row((*values, price))
        assert set(Subscription.objects.values_list("price", flat=True)) == {Decimal("237.50")}

    def test_follows_a_move_to_another_plan_or_service(self, service):
        subscription = a_subscription(service=service, plan=a_plan(5))
        subscription.plan = a_plan(20)
        subscription.save()
        assert price_of(subscription) == subscription.price == 200

        Subscription.objects.filter(pk=subscription.pk).update(service=a_service(full_price=500))
        assert price_of(subscription) == 400

        subscription.refresh_from_db()
        subscription.plan = a_plan(50)
        Subscription.objects.bulk_update([subscription], ["plan"])
        assert price_of(subscription) == 250

    @pytest.mark.parametrize("price", [0, 1, None])
    def test_written_by_hand_is_put_right(self, service, price):
        subscription = a_subscription(service=service, plan=a_plan(5))
        with connection.cursor() as cursor:
            cursor.execute("UPDATE services_subscription SET price = %s", [price])
        assert price_of(subscription) == Decimal("237.50")

        subscription.price = price
        subscription.save()
        assert price_of(subscription) == subscription.price == Decimal("237.50")

    def test_stays_when_it_ends_and_is_right_again_when_it_is_reactivated(self, service):
        subscription = a_subscription(
            service=service, plan=a_plan(5), started_at=YESTERDAY - timedelta(days=1)
        )
        subscription.ended_at = YESTERDAY
        subscription.save()
        Service.objects.filter(pk=service.pk).update(full_price=500)
        subscription.comment = "left"
        subscription.save()
        assert price_of(subscription) == Decimal("237.50")

        subscription.ended_at = None
        subscription.save()
        assert price_of(subscription) == subscription.price == 475

    def test_of_one_that_ends_tomorrow_is_the_rules(self, service):
        subscription = a_subscription(service=service, plan=a_plan(5), ended_at=TOMORROW)
        Subscription.objects.update(price=1)
        assert price_of(subscription) == Decimal("237.50")

    def test_of_an_unknown_service_is_the_foreign_keys_to_refuse(self, client):
        subscription = Subscription.objects.create(client=client, service_id=0, plan=a_plan())
        with pytest.raises(IntegrityError, match="foreign key"), transaction.atomic():
            connection.check_constraints()
        subscription.delete()
        Repricing.objects.all().delete()  # to be looked at again, had the service come

    @pytest.mark.parametrize("trigger", ["subscription_written_update"])
    def test_without_its_trigger_would_stay_as_written(self, service, trigger):
        subscription = a_subscription(service=service)
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(f"ALTER TABLE services_subscription DISABLE TRIGGER {trigger}")
        Subscription.objects.update(price=1)
        assert price_of(subscription) == 1


REPLACED = {
    "deleted and inserted": """
        CREATE TEMP TABLE old ON COMMIT DROP AS SELECT * FROM {table} WHERE id = {id};
        DELETE FROM {table} WHERE id = {id};
        UPDATE old SET {column} = 40;
        INSERT INTO {table} SELECT * FROM old;
    """,
    "by ids that move": """
        UPDATE {table} SET id = -id WHERE id = {id};
        UPDATE {table} SET id = {id} WHERE id = {other};
    """,
}


@pytest.mark.django_db(transaction=True)
class TestReplacedBehindItsSubscriptions:
    """Foreign keys wait for the commit, so another service or plan can take the place of one."""

    @pytest.mark.parametrize("how", REPLACED)
    @pytest.mark.parametrize(
        ("table", "column", "of"),
        [
            ("services_service", "full_price", "service"),
            ("services_plan", "discount_percent", "plan"),
        ],
    )
    def test_leaves_work(self, how, table, column, of):
        subscription = a_subscription(service=a_service(250), plan=a_plan(0))
        other = {"service": a_service, "plan": a_plan}[of](40).pk
        id = getattr(subscription, of).pk
        statements = REPLACED[how].format(table=table, column=column, id=id, other=other)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statements)
        assert reprice() == 1
        assert price_of(subscription) == {"service": 40, "plan": 150}[of]

    def test_a_service_that_comes_after_its_subscription_does_too(self):
        with transaction.atomic():
            subscription = a_subscription(service=Service(pk=7_000_001))
            Service.objects.create(pk=7_000_001, name="Late", full_price=99)
        assert reprice() == 1
        assert price_of(subscription) == 99

    def test_one_that_comes_from_elsewhere_does_too(self):
        """The service is committed by somebody else while the subscription waits for it."""
        with transaction.atomic():
            subscription = a_subscription(service=Service(pk=7_000_002))
            with psycopg.connect(**connection.get_connection_params()) as psql:
                psql.execute("INSERT INTO services_service VALUES (7000002, 'Elsewhere', 99)")
        assert reprice() == 1
        assert price_of(subscription) == 99

    def test_a_new_one_leaves_none(self):
        a_subscription(service=a_service(), plan=a_plan(15))
        assert not Repricing.objects.exists()


@pytest.mark.django_db
class TestTotal:
    def test_follows_every_kind_of_write(self):
        book = a_book(subscriptions=30)
        assert totals()[0] == totals()[1]
        book.filter(external_id__lte="15").update(plan=a_plan(50))
        assert totals()[0] == totals()[1]
        book.update(price=1)
        assert totals()[0] == totals()[1]
        book.filter(external_id__gt="2").delete()
        assert totals()[0] == totals()[1]
        assert totals()[1]["subscriptions"] > 0

    def test_of_an_emptied_table_is_nothing(self):
        book = a_book(subscriptions=30)
        version = Subtotal.objects.aggregate(version=models.Sum("changes"))["version"]
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("TRUNCATE services_subscription CASCADE")
        assert totals()[0] == totals()[1] == {"subscriptions": 0, "amount": 0}
        # Never a version that the book had before.
        assert Subtotal.objects.aggregate(version=models.Sum("changes"))["version"] > version
        assert not book.exists()

    def test_deleting_is_one_statement_and_reads_no_row(self):
        a_book(subscriptions=30)
        with CaptureQueriesContext(connection) as queries:
            Subscription.objects.all().delete()
        assert len(queries) == 1
        assert queries[0]["sql"].startswith("DELETE")
