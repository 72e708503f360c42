"""Services and plans in bulk."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from price_changes.tests.changes import approved, planned
from services.models import CatalogueValue, Plan, Service
from services.tests.factories import a_plan, a_service, a_subscription
from services.tests.programs import a_writer
from services.tests.test_jobs import done, undone

pytestmark = pytest.mark.django_db

ADDRESS = {Service: "/api/services/bulk/", Plan: "/api/plans/bulk/"}


@pytest.fixture
def erp():
    return a_writer()


def sent(erp, model, *lines, parameters="?on_error=skip"):
    """The outcome of each line, or the code of its refusal."""
    numbered = [{"source": "crm", "external_id": str(n), **line} for n, line in enumerate(lines, 1)]
    answer = erp.post(ADDRESS[model] + parameters, {"lines": numbered}, format="json")
    content = answer.getvalue() if answer.streaming else answer.content
    assert answer.status_code == 200, content
    return [line.get("code", line["outcome"]) for line in json.loads(content)["lines"]]


FIBRE = {"name": "Fibre", "full_price": "12.50"}
STUDENT = {"plan_type": "student", "discount_percent": 30}


class TestServices:
    def test_are_created_changed_and_left(self, erp):
        assert sent(erp, Service, FIBRE, {"name": "TV", "full_price": 5}) == ["created"] * 2
        fibre = Service.objects.get(name="Fibre")
        assert fibre.full_price == Decimal("12.50")
        [value] = CatalogueValue.objects.filter(service_id=fibre.pk)
        assert value.author.startswith("erp (key")
        renamed = {"name": "Fibre 2", "full_price": 12.5}
        assert sent(erp, Service, renamed, {"full_price": "5.00"}) == ["changed", "unchanged"]
        fibre.refresh_from_db()
        assert (fibre.name, fibre.full_price) == ("Fibre 2", Decimal("12.50"))

    def test_refuse_a_list_price_that_would_move(self, erp):
        sent(erp, Service, FIBRE)
        assert sent(erp, Service, FIBRE | {"full_price": 13}) == ["needs_price_change"]
        assert Service.objects.get().full_price == Decimal("12.50")

    def test_compare_with_the_list_price_in_force(self, erp):
        sent(erp, Service, FIBRE)
        values = {"kind": "list_price", "service": Service.objects.get().pk, "new_value": 20}
        approved(planned(**values))
        assert Service.objects.get().full_price == Decimal("12.50")  # no worker has come
        assert sent(erp, Service, FIBRE) == ["needs_price_change"]
        assert sent(erp, Service, FIBRE | {"full_price": 20}) == ["unchanged"]

    def test_have_names_of_their_own(self, erp):
        a_service(5, "TV")
        lines = [FIBRE, FIBRE, {"name": "TV", "full_price": 1}, {"name": "Phone"}]
        assert sent(erp, Service, *lines) == ["created", "name_taken", "name_taken", "missing"]

    def test_are_taken_back_where_nobody_has_bought_them(self, erp):
        old = a_service(5, "TV")
        Service.objects.update(source="crm", external_id="0")
        lines = [
            {"source": "crm", "external_id": "0", "name": "Telly"},
            {"source": "crm", "external_id": "1", **FIBRE},
            {"source": "crm", "external_id": "2", **FIBRE, "name": "Phone"},
        ]
        job = done(erp, lines, ADDRESS[Service])
        a_subscription(service=Service.objects.get(name="Phone"))
        _, lines = undone(erp, job["id"])
        assert [line["outcome"] for line in lines] == ["changed", "deleted", "left"]
        assert lines[2]["code"] == "in_use"
        old.refresh_from_db()
        assert old.name == "TV"


class TestPlans:
    def test_are_created_changed_and_left(self, erp):
        full = {"plan_type": "full", "discount_percent": 0}
        assert sent(erp, Plan, STUDENT, full) == ["created"] * 2
        changed = {"plan_type": "discount"}
        assert sent(erp, Plan, changed, full) == ["changed", "unchanged"]
        assert sent(erp, Plan, {"discount_percent": 31}) == ["needs_price_change"]
        assert {(each.plan_type, each.discount_percent) for each in Plan.objects.all()} == {
            ("discount", 30),
            ("full", 0),
        }

    def test_are_one_of_a_type_and_a_discount(self, erp):
        other = a_plan(30, "student")
        approved(planned(kind="discount", plan=other.pk, new_value=40, effective_at=in_a_day()))
        lines = [STUDENT, STUDENT | {"discount_percent": 40}, {"plan_type": "student"}]
        lines += [{"plan_type": "full", "discount_percent": 7}] * 2
        assert sent(erp, Plan, *lines) == [
            "plan_exists",
            "plan_exists",
            "missing",
            "created",
            "plan_exists",
        ]

    def test_are_taken_back_where_nobody_has_bought_them(self, erp):
        job = done(erp, [{"source": "crm", "external_id": "1", **STUDENT}], ADDRESS[Plan])
        undo, _ = undone(erp, job["id"])
        assert undo["counts"] == {"deleted": 1}
        assert not Plan.objects.exists()


def in_a_day():
    return timezone.now() + timedelta(days=1)
