"""A book in a currency without decimals: every price is whole, at every door, and shown so."""

import csv
import io
import json
import re
import subprocess
import sys
from contextlib import nullcontext
from decimal import Decimal

import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from price_changes.models import PriceChange
from price_changes.tests.api import URL, a_program
from price_changes.tests.changes import applied, planned
from pricebook.tests.pages import OpenedForm
from pricebook.tests.servers import SERVICE, on_this_database
from services import book_currency, price_state
from services.models import Service, Subscription
from services.price_state import PriceStateError
from services.pricing import rule_price
from services.tests.factories import a_client, a_plan, a_reader, a_service, a_subscription
from services.tests.test_pricing import by_the_database
from services.transfer.csv_file import BadBook
from services.transfer.importing import import_book

pytestmark = pytest.mark.django_db

LIST = "/api/subscriptions/"


@pytest.fixture
def yen(db, settings):
    """An empty book, as `migrate` makes it with this setting."""
    settings.CURRENCY = "JPY"
    book_currency.settle()


@pytest.fixture
def row(yen) -> Subscription:
    """1234 less 7 %, which is 1147.62."""
    return a_subscription(a_client(), a_service(1234), a_plan(7))


def price_of(row):
    return Subscription.objects.get(pk=row.pk).price


class TestTheRule:
    def test_rounds_half_up_to_whole_amounts(self, yen):
        assert str(rule_price(Decimal(1234), 7)) == "1148"
        assert str(rule_price(Decimal(5), 50)) == "3"
        assert str(rule_price(Decimal(1), 51)) == "0"

    @given(
        catalogue=st.lists(
            st.tuples(st.integers(0, 9_999_999_999).map(Decimal), st.integers(0, 100)),
            min_size=1,
            max_size=200,
        )
    )
    @hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_is_that_of_the_database(self, yen, catalogue):
        found = by_the_database(*map(list, zip(*catalogue, strict=True)))
        assert found == [rule_price(*pair) for pair in catalogue]
        assert all(price == round(price) for price in found)

    def test_prices_those_that_follow(self, row):
        assert price_of(row) == 1148
        Service.objects.filter(pk=row.service_id).update(full_price=1300)
        assert Subscription.objects.in_force().get(pk=row.pk).price == 1209


class TestSets:
    @pytest.mark.parametrize(
        ("values", "price"),
        [
            ({"adjustment": "percent", "operand": "4.5"}, 1200),  # 1199.66
            ({"adjustment": "percent", "operand": "4.5", "rounding_step": 50}, 1200),
            ({"adjustment": "add", "operand": -8}, 1140),
            ({"adjustment": "amount", "operand": 999}, 999),
        ],
    )
    def test_move_to_whole_amounts(self, row, values, price):
        applied(planned(kind="set", **values))
        assert price_of(row) == price

    @pytest.mark.parametrize(
        ("name", "value"),
        [("operand", "1.5"), ("floor", "0.5"), ("ceiling", "10.5"), ("rounding_step", "0.5")],
    )
    def test_take_no_hundredths(self, row, name, value):
        values = {"kind": "set", "filter": {}, "adjustment": "add", "operand": 1, name: value}
        answer = a_program(may_plan=True).post(URL, values)
        assert (answer.status_code, answer.json()["code"]) == (400, "too_exact")
        assert "no decimals in JPY" in answer.json()["detail"]


class TestDoors:
    def test_of_the_database_and_of_django_refuse_hundredths(self, row):
        Subscription.objects.filter(pk=row.pk).update(price_state="negotiated")
        for table, column, value in (
            ("services_service", "full_price", "9.90"),
            ("services_subscription", "price", "1147.62"),
            ("services_cataloguevalue", "value", "9.5"),
        ):
            with (
                pytest.raises(IntegrityError, match="_exact"),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(f"UPDATE {table} SET {column} = {value}")
        with pytest.raises(ValidationError, match="whole number"), transaction.atomic():
            Service.objects.create(name="Line", full_price=Decimal("9.90"))

    def test_of_verbs_api_and_command_refuse_them(self, row):
        with pytest.raises(PriceStateError, match="no decimals in JPY"):
            price_state.negotiate(row.pk, "1147.62", "a friend", "Ann")
        program = a_program(may_set_price_states=True)
        answer = program.post(f"{LIST}{row.pk}/negotiate/", {"price": 9.5, "reason": "a friend"})
        assert answer.status_code == 400
        with pytest.raises(CommandError, match="no decimals in JPY"):
            call_command("price_state", "negotiate", "9.5", str(row.pk), "--reason", "a friend")
        assert "no decimals in JPY" in a_reader().get(LIST, {"price_from": "1.5"}).data["detail"]
        price_state.negotiate(row.pk, "1147.00", "a friend", "Ann")
        assert price_of(row) == 1147

    def test_of_a_file_refuses_them(self, yen):
        line = (
            "company_name,email,service,full_price,plan_type,discount_percent,started_at\n"
            "Acme,acme@example.com,Phone,{},full,0,2026-01-01\n"
        )
        with pytest.raises(BadBook, match=r"not a price in JPY; .* no decimals"):
            import_book(io.BytesIO(line.format("1234.50").encode()))
        import_book(io.BytesIO(line.format("1234").encode()))
        assert Subscription.objects.get().price == 1234

    def test_of_the_browser_refuse_them(self, row, admin_client):
        url = f"/admin/services/service/{row.service_id}/change/"
        form = OpenedForm(admin_client, url)
        assert form.fields["full_price"] == "1234"
        refused = form.send(full_price="9,90")
        assert "is no whole number" in refused.content.decode()
        OpenedForm(admin_client, url).send(full_price="1300")
        assert Service.objects.get().full_price == 1300


class TestAnswers:
    def test_have_no_decimals(self, row):
        for url in (
            LIST,
            f"{LIST}{row.pk}/",
            f"{LIST}{row.pk}/explain/",
            f"{LIST}{row.pk}/ledger/",
            "/api/services/",
            "/api/totals/?by=service",
            f"{LIST}?as_of=2999-01-01T00:00:00Z",
            f"{LIST}?format=ndjson",
            f"{LIST}?format=csv",
        ):
            answer = a_reader().get(url)
            body = answer.getvalue().decode()
            assert answer.status_code == 200, body
            assert "1148" in body or "1234" in body
            assert not re.search(r"\.00(?!\d)", body), url  # (instants have six digits)

    def test_of_a_stream_are_those_of_the_list(self, row):
        listed = json.loads(a_reader().get(LIST).content)["result"]
        lines = a_reader().get(f"{LIST}?format=ndjson").getvalue().decode().splitlines()
        assert [json.loads(line) for line in lines[:-1]] == listed
        text = a_reader().get(f"{LIST}?format=csv").getvalue().decode()
        [cells] = csv.DictReader(line for line in text.splitlines() if line[0] != "#")
        assert (cells["price"], cells["full_price"]) == ("1148", "1234")

    def test_of_a_change_and_its_pages_have_none(self, row, admin_client, capsys):
        change = planned(kind="set", adjustment="percent", operand="4.5")
        body = a_reader().get(f"{URL}{change.pk}/").content.decode()
        assert '"total_after":1200' in body
        page = admin_client.get(f"/admin/price_changes/pricechange/{change.pk}/change/")
        assert "1,200" in page.content.decode()
        assert "1,200.00" not in page.content.decode()
        call_command("price_change", "show", str(change.pk))
        assert not re.search(r"\.00(?!\d)", capsys.readouterr().out)
        assert PriceChange.objects.get().preview["rows"] == 1

    def test_of_the_book_check_have_none(self, row, capsys):
        call_command("check_book")
        assert "total 1,148;" in capsys.readouterr().out


class TestAnotherSetting:
    def test_is_taken_by_an_empty_book_alone(self, settings):
        settings.CURRENCY = "JPY"
        book_currency.settle()
        book_currency.refuse_another()
        settings.CURRENCY = "EUR"
        book_currency.settle()
        a_service("9.99")
        settings.CURRENCY = "USD"
        book_currency.settle()
        settings.CURRENCY = "JPY"
        for start in (book_currency.settle, book_currency.refuse_another):
            with pytest.raises(
                ImproperlyConfigured, match=r"CURRENCY=JPY has no decimals, .* with 2 decimals"
            ):
                start()
        assert str(rule_price(Decimal(1), 0)) == "1"

    def test_is_what_a_field_goes_by_whatever_it_was_asked_first(self, settings):
        price = Service._meta.get_field("full_price")
        for currency, allowed in [("JPY", False), ("USD", True), ("JPY", False)]:
            settings.CURRENCY = currency
            with nullcontext() if allowed else pytest.raises(ValidationError, match="0 decimal"):
                price.run_validators(Decimal("9.99"))

    def test_stops_a_migration_with_the_reason(self, settings):
        a_service("9.99")
        settings.CURRENCY = "KRW"  # another one without decimals
        with pytest.raises(CommandError, match="begin another book"):
            call_command("migrate", verbosity=0)

    @pytest.mark.django_db(transaction=True)
    def test_ends_a_web_server_and_a_worker_with_the_reason(self):
        a_service("9.99")
        both = [
            subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=SERVICE,
                env=on_this_database() | {"CURRENCY": "JPY"},
                stderr=subprocess.PIPE,
            )
            for words in (
                ["granian", "pricebook.asgi:application", "--interface", "asginl", "--port", "0"],
                ["celery", "-A", "celery_app.app", "worker", "--concurrency=1"],
            )
        ]
        try:
            for process in both:
                _, said = process.communicate(timeout=60)
                assert process.returncode == 1
                assert b"pricebook: CURRENCY=JPY has no decimals" in said
        finally:
            for process in both:
                process.terminate()

    def test_of_the_other_way_is_refused_too(self, row, settings):
        settings.CURRENCY = "USD"
        with pytest.raises(ImproperlyConfigured, match="CURRENCY=USD has 2 decimals"):
            book_currency.settle()
