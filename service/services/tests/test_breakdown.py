"""Clients, services, plans and totals by them: exact, and at a cost that does not grow."""

import json
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import Count, Sum
from django.test.utils import CaptureQueriesContext

from services import breakdown
from services.filters import BookFilter
from services.models import Service, Subscription
from services.tests.factories import a_book, a_client, a_plan, a_reader, a_service

pytestmark = pytest.mark.django_db

KINDS = ["client", "service", "plan"]


def expected_of(kind):
    rows = Subscription.objects.order_by().values_list(kind).annotate(Count("pk"), Sum("price"))
    return {pk: (count, amount) for pk, count, amount in rows}


class TestEach:
    @pytest.mark.parametrize("kind", KINDS)
    def test_has_its_number_and_its_total(self, kind):
        a_book(60, services=3, plans=2, clients=7)
        idle = [a_client().pk, a_service().pk, a_plan(99).pk]
        expected = expected_of(kind)

        rows = a_reader().get(f"/api/{kind}s/?page_size=1000").json()["result"]

        shown = {row["id"]: (row["count"], Decimal(str(row["total_amount"]))) for row in rows}
        assert shown.pop(idle[KINDS.index(kind)]) == (0, 0)
        assert {pk: pays for pk, pays in shown.items() if pays[0]} == expected
        for row in rows:
            assert a_reader().get(f"/api/{kind}s/{row['id']}/").json() == row

    @pytest.mark.parametrize("kind", KINDS)
    def test_costs_one_query_and_leads_on_to_the_last(self, kind):
        a_book(60, services=5, plans=5, clients=5)
        url, seen = f"/api/{kind}s/?page_size=2", []
        while url:
            with CaptureQueriesContext(connection) as queries:
                page = a_reader().get(url).json()
            # 1 query: * the page, the number and the total of each
            assert len(queries) == 1
            seen += [row["id"] for row in page["result"]]
            url = page["next"]
        assert seen == sorted(expected_of(kind))

    @pytest.mark.parametrize("kind", KINDS)
    def test_that_is_not_there_is_a_404(self, kind):
        for pk in (0, 1, 2**63 - 1, 10**40):
            response = a_reader().get(f"/api/{kind}s/{pk}/")
            assert response.status_code == 404
            assert response.json()["code"] == "not_found"

    def test_of_the_clients_reads_their_subscriptions_and_no_others(self, empty_files):
        a_book(20_000, clients=4_000)
        sql = breakdown.statement("client", "client.id > %s")
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", (0, 101))
            (plan,) = cursor.fetchone()
        text = plan if isinstance(plan, str) else json.dumps(plan)
        assert "services_subscription_client_id" in text
        for relation in ("services_subscription", "clients_client"):
            assert f'"Seq Scan", "Relation Name": "{relation}"' not in text

    def test_cursor_of_another_list_is_refused(self):
        a_book(20, services=3, clients=3)
        following = a_reader().get("/api/clients/?page_size=1").json()["next"]
        cursor = following.rpartition("cursor=")[2].partition("&")[0]
        body = a_reader().get(f"/api/services/?cursor={cursor}").json()
        assert body["code"] == "cursor_of_another_list"


class TestTotals:
    NAMES = {"service": "service_id", "plan": "plan_id", "plan_type": "plan__plan_type"}

    @pytest.mark.parametrize(
        "by", ["service", "plan", "plan_type", "service,plan", "plan_type,service"]
    )
    @pytest.mark.parametrize("name", ["", "service", "plan_type", "client", "comment_prefix"])
    def test_are_those_of_the_rows(self, by, name):
        subscription = a_book(60, plans=4).first()
        given = {
            "service": subscription.service_id,
            "plan_type": "discount",
            "client": subscription.client_id,
            "comment_prefix": "row 1",
        }
        given = {name: given[name]} if name else {}
        matching = Subscription.objects.matching(BookFilter(**given)).order_by()
        expected = {
            tuple(row[:-2]): tuple(row[-2:])
            for row in matching.values_list(*(self.NAMES[each] for each in by.split(","))).annotate(
                Count("pk"), Sum("price")
            )
        }

        with CaptureQueriesContext(connection) as queries:
            body = a_reader().get("/api/totals/", {"by": by, **given}).data

        # 1 query: * the groups, whose sum is the whole
        assert len(queries) == 1
        names = [{"plan_type": "plan_type"}.get(each, f"{each}_id") for each in by.split(",")]
        assert {
            tuple(row[key] for key in names): (row["count"], row["total_amount"])
            for row in body["result"]
        } == expected
        assert body["count"] == matching.count()
        assert body["total_amount"] == sum(row["total_amount"] for row in body["result"])

    def test_by_the_catalogue_read_no_subscription(self):
        a_book(10)
        for given in ({}, {"service": 1, "plan": 2}, {"plan_type": "full"}):
            sql, _ = breakdown.totals_statement(BookFilter(**given), ["service", "plan"])
            assert "services_subscription" not in sql

    def test_of_nothing_are_0(self):
        a_service()
        for query in ("", "?by=service", "?by=plan&client=1"):
            body = a_reader().get(f"/api/totals/{query}").json()
            assert (body["result"], body["count"], body["total_amount"]) == ([], 0, 0)

    @pytest.mark.parametrize("by", ["", "client", "service,service", "service,", "SERVICE"])
    def test_by_anything_else_are_refused(self, by):
        response = a_reader().get("/api/totals/", {"by": by})
        assert response.status_code == 400
        assert response.json()["allowed"] == ["service", "plan", "plan_type"]

    def test_of_too_many_groups_are_refused(self, monkeypatch):
        a_book(12, services=4)
        monkeypatch.setattr(breakdown, "MOST_GROUPS", 3)
        assert a_reader().get("/api/totals/?by=service").json()["code"] == "too_many_groups"
        service = Service.objects.first().pk
        assert a_reader().get(f"/api/totals/?by=service&service={service}").status_code == 200
