"""Names that look alike are one: composed, without outer blanks, and refused in another case."""

import json
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from psycopg.errors import UniqueViolation

from services.models import Service, Subscription
from services.tests.factories import a_client, a_plan, a_reader, a_service, a_subscription
from services.tests.interleaving import Background, a_person
from services.tests.test_import_export import lines, problems, read, the_problem
from services.tests.test_import_outcomes import outcomes_of

pytestmark = pytest.mark.django_db

CAFE = "Café"
SAME = ["Cafe\u0301", f"{CAFE} ", f"\u00a0{CAFE}", f"{CAFE}\u200b"]
ALIKE = ["café", "CAFE\u0301", "Ca fé", "Ca\u00a0fé"]


@pytest.fixture
def api(db):
    return a_reader()


def sent(api, path, /, **body):
    answer = api.post(path, json.dumps(body), content_type="application/json")
    return answer.status_code, answer.json()


@pytest.mark.parametrize("name", SAME)
def test_what_looks_the_same_is_the_same(name):
    service = a_service(20, name=name)
    assert (service.name, Service.objects.get(name=name)) == (CAFE, service)
    content = lines({"service": CAFE}, {"service": name, "source": "crm ", "company_name": "Acme "})
    assert read(content).services_new == 0
    assert set(Subscription.objects.values_list("source", flat=True)) == {"crm"}


@pytest.mark.parametrize("name", ALIKE)
def test_a_service_that_looks_like_another_is_refused_at_each_door(name, api):
    a_service(20, name=CAFE)
    problem = the_problem(lines({"service": name}))
    assert (problem.line, problem.column) == (2, "service")
    assert CAFE in problem.reason

    status, told = sent(api, "/api/services/", name=name, full_price=5)
    assert (status, told["code"]) == (409, "name_alike")
    assert CAFE in told["detail"]
    line = {"source": "crm", "external_id": "1", "name": name, "full_price": 5}
    status, told = sent(api, "/api/services/bulk/", lines=[line])
    assert (status, told["code"], told["lines"][0]["code"]) == (400, "lines_refused", "name_alike")

    with pytest.raises(ValidationError, match=CAFE):
        Service(name=name, full_price=5).full_clean()
    with pytest.raises(IntegrityError, match=CAFE), transaction.atomic():
        Service.objects.create(name=name, full_price=5)
    other = a_service(name="Tea")
    with pytest.raises(IntegrityError, match=CAFE), transaction.atomic():
        Service.objects.filter(pk=other.pk).update(name=name)


def test_two_of_one_file_are_refused():
    found = problems(lines({"service": CAFE}, {"service": "café"}, {"service": "CAFÉ"}))
    assert [(each.line, each.value) for each in found] == [(3, "café"), (4, "CAFÉ")]


def test_a_book_that_has_both_keeps_them():
    """It was made before this was refused."""
    a_service(20, name=CAFE)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE services_service DISABLE TRIGGER service_name_alike_insert")
        cursor.execute("INSERT INTO services_service (name, full_price) VALUES ('café', 21)")
        cursor.execute("ALTER TABLE services_service ENABLE TRIGGER service_name_alike_insert")
    content = lines({"service": CAFE}, {"service": "café", "full_price": "21"})
    assert read(content).subscriptions_new == 2
    out = StringIO()
    call_command("check_book", stdout=out, stderr=out)
    assert f"services that look alike: {CAFE!r}, 'café'\n" in out.getvalue()
    service = Service.objects.get(name="café")
    service.full_price = 22
    service.full_clean()
    service.save()


@pytest.mark.parametrize("source", ["CRM", "c rm"])
def test_a_source_that_looks_like_another_is_refused_at_each_door(source, api):
    row = a_subscription(source="crm", external_id="1")
    assert "'crm'" in the_problem(lines({"source": source, "external_id": "2"})).reason
    named = {"source": source, "external_id": "2"}
    of = {"client": row.client_id, "service": row.service_id, "plan": row.plan_id}
    status, told = sent(api, "/api/subscriptions/", **of, **named)
    assert (status, told["code"]) == (409, "source_alike")
    assert "'crm'" in told["detail"]
    status, told = sent(api, "/api/subscriptions/bulk/", lines=[named | of])
    assert told["lines"][0]["code"] == "source_alike"
    with pytest.raises(ValidationError, match="crm"):
        Subscription(client=row.client, service=row.service, plan=row.plan, **named).full_clean()
    bare = a_subscription()
    answer = api.patch(
        f"/api/subscriptions/{bare.pk}/", json.dumps(named), content_type="application/json"
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "source_alike")
    Subscription.objects.filter(pk=row.pk).update(source=source)  # all of them


@pytest.mark.parametrize(
    ("path", "make", "body"),
    [
        ("clients", a_client, {"company_name": "New"}),
        ("services", a_service, {"name": "New", "full_price": 1}),
        ("plans", a_plan, {"plan_type": "student", "discount_percent": 7}),
    ],
)
def test_so_it_is_of_clients_services_and_plans(path, make, body, api):
    record = make()
    named = {"source": "CRM", "external_id": "2"}
    type(record).objects.filter(pk=record.pk).update(source="crm", external_id="1")
    status, told = sent(api, f"/api/{path}/", **body, **named)
    assert (status, told["code"]) == (409, "source_alike")
    other = make() if make is not a_plan else a_plan(5)
    answer = api.patch(
        f"/api/{path}/{other.pk}/", json.dumps(named), content_type="application/json"
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "source_alike")


def test_external_ids_that_look_alike_are_told_in_a_file():
    content = lines({"external_id": "a-1"}, {"external_id": "A-1"})
    problem = the_problem(content)
    assert (problem.line, problem.column, problem.value) == (3, "external_id", "A-1")
    read(content[:1])
    assert "subscription" in the_problem(content[1:]).reason
    assert [each.outcome for each in outcomes_of(content, add=True)] == ["unchanged", "created"]


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_is_refused():
    with a_person() as first, a_person() as second:
        insert = "INSERT INTO services_service (name, full_price) VALUES (%s, 1)"
        first.execute(insert, [CAFE])
        late = Background(second.execute, insert, ["café"], pid=second.info.backend_pid)
        late.until_it_waits()
        first.commit()
        with pytest.raises(UniqueViolation, match="alone from the service"):
            late.result()
