"""Clients, services, plans and totals by them: exact, and at a cost that does not grow."""

import json
from dataclasses import replace
from decimal import Decimal
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, DecimalField, F, Sum
from django.db.models.functions import Coalesce, Upper
from django.test.utils import CaptureQueriesContext

from clients.models import Client
from services.models import Plan, Service, Subscription
from services.reading import access_paths, breakdown, breakdown_sql, total, totals_by
from services.reading.access_paths import access_path
from services.reading.filters import BookFilter
from services.tests.factories import (
    a_book,
    a_client,
    a_plan,
    a_reader,
    a_service,
    a_subscription,
)
from services.tests.plans import rows_by_relation

pytestmark = pytest.mark.django_db

KINDS = ["client", "service", "plan"]
ORDERS = [(kind, order) for kind in KINDS for order in breakdown.ORDERINGS[kind]]


def expected_of(kind):
    rows = Subscription.objects.order_by().values_list(kind).annotate(Count("pk"), Sum("price"))
    return {pk: (count, amount) for pk, count, amount in rows}


def all_of(url):
    """The pages of a list, from the first to the last."""
    pages = []
    while url:
        pages.append(a_reader().get(url).json())
        url = pages[-1]["next"]
    return pages


def ids_of(pages):
    return [row["id"] for page in pages for row in page["result"]]


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
            one = a_reader().get(f"/api/{kind}s/{row['id']}/").json()
            assert one == {**row, "currency": "USD"}

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

    @pytest.mark.parametrize("kind", KINDS)
    def test_leads_back_to_the_first(self, kind):
        a_book(60, services=5, plans=5, clients=5)
        url, pages = f"/api/{kind}s/?page_size=2", []
        while url:
            page = a_reader().get(url).json()
            pages.append([row["id"] for row in page["result"]])
            url, back = page["next"], page["previous"]
        for expected in reversed(pages[:-1]):
            page = a_reader().get(back).json()
            assert [row["id"] for row in page["result"]] == expected
            assert page["next"]
            back = page["previous"]
        assert back is None

    def test_that_is_beyond_an_end_leads_back(self):
        a_book(20, clients=3)
        last = a_client()
        after = a_reader().get("/api/clients/?page_size=3").json()["next"]
        last.delete()
        beyond = a_reader().get(after).json()
        assert (beyond["result"], beyond["next"]) == ([], None)
        back = a_reader().get(beyond["previous"]).json()
        assert len(back["result"]) == 3

    def test_is_found_by_a_name_with_a_typo_and_by_its_email(self):
        wanted = a_client("ООО Ромашка", "Olga@Example.com")
        a_client("ООО Лютик")
        fibre, _ = a_service(name="Fibre 300"), a_service(name="Copper")
        a_plan(10, "student")
        for path, expected in (
            ("clients/?q=ромашко", [wanted.pk]),
            ("clients/?q=ООО Ромашка", [wanted.pk]),
            ("clients/?email=olga@example.com", [wanted.pk]),
            ("clients/?email=olga@example.com&q=Ромашка", [wanted.pk]),
            ("clients/?email=olga@example.com&q=Лютик", []),
            ("clients/?email=nobody@example.com", []),
            ("services/?q=Fiber", [fibre.pk]),
        ):
            with CaptureQueriesContext(connection) as queries:
                page = a_reader().get(f"/api/{path}").json()
            assert [row["id"] for row in page["result"]] == expected, path
            assert len(queries) == 1
        types = {row["plan_type"] for row in
                 a_reader().get("/api/plans/?plan_type=student").json()["result"]}  # fmt: skip
        assert types == {"student"}

    def test_leads_on_in_what_was_found_and_nowhere_else(self):
        for number in range(5):
            a_client(f"Ромашка {number}")
            a_client(f"Other {number}")
        url, found = "/api/clients/?q=Ромашка&page_size=2", []
        while url:
            page = a_reader().get(url).json()
            found += [row["company_name"] for row in page["result"]]
            url, last = page["next"], url
        assert found == [f"Ромашка {number}" for number in range(5)]
        elsewhere = last.replace("q=%D0%A0", "x=").split("&cursor")[0].split("?")[0]
        cursor = last.partition("cursor=")[2].partition("&")[0]
        refused = a_reader().get(f"{elsewhere}?cursor={cursor}").json()
        assert refused["code"] == "cursor_of_another_list"

    def test_by_a_word_that_is_like_too_many_is_refused(self, monkeypatch):
        for number in range(4):
            a_client(f"Ромашка {number}")
        monkeypatch.setattr(access_paths, "SEARCH_NAMES", 3)
        refused = a_reader().get("/api/clients/?q=Ромашка")
        assert (refused.status_code, refused.json()["code"]) == (400, "not_served_at_size")
        assert a_reader().get("/api/clients/?q=Ромашка&page_size=1000").status_code == 400
        assert a_reader().get("/api/clients/").status_code == 200

    @pytest.mark.parametrize(
        "query", ["clients/?q=ab", "clients/?plan_type=full", "plans/?q=abc", "plans/?plan_type=x"]
    )
    def test_by_what_it_does_not_take_is_refused(self, query):
        assert a_reader().get(f"/api/{query}").status_code == 400

    def test_by_a_name_reads_the_trigrams_and_no_other_client(self):
        a_book(8_000, clients=8_000)
        a_client("Ромашка")
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE clients_client, auth_user")
            for given in ({"q": "Ромашка"}, {"email": "nobody@example.com"}):
                sql, params = breakdown_sql.statement("client", given, None, 100)
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                (plan,) = cursor.fetchone()
                text = plan if isinstance(plan, str) else json.dumps(plan)
                for relation in ("clients_client", "services_subscription", "auth_user"):
                    assert f'"Seq Scan", "Parallel Aware": false, "Async Capable": false,' \
                        f' "Relation Name": "{relation}"' not in text  # fmt: skip

    def test_cursor_of_another_list_is_refused(self):
        a_book(20, services=3, clients=3)
        following = a_reader().get("/api/clients/?page_size=1").json()["next"]
        cursor = following.rpartition("cursor=")[2].partition("&")[0]
        body = a_reader().get(f"/api/services/?cursor={cursor}").json()
        assert body["code"] == "cursor_of_another_list"


class TestAll:
    """How many match, and what they pay together."""

    @pytest.mark.parametrize(
        ("kind", "given"),
        [
            *[(kind, {}) for kind in KINDS],
            ("client", {"q": "company"}),
            ("client", {"email": "Company@example.com"}),
            ("client", {"q": "nobody"}),
            ("service", {"q": "service"}),
            ("plan", {"plan_type": "discount"}),
        ],
        ids=str,
    )
    def test_are_the_rows_of_all_pages(self, kind, given):
        a_book(60, services=5, plans=4, clients=7)
        a_subscription(a_client("Company", "company@example.com"))
        idle = [a_client(), a_service(), a_plan(99)]
        pages = all_of(f"/api/{kind}s/?{urlencode({**given, 'page_size': 2})}")
        rows = [row for page in pages for row in page["result"]]
        assert {(page["count"], page["subscriptions"], page["total_amount"]) for page in pages} == {
            (
                len(rows),
                sum(row["count"] for row in rows),
                sum(row["total_amount"] for row in rows),
            )
        }
        if not given:
            assert idle[KINDS.index(kind)].pk in ids_of(pages)
            assert pages[0]["subscriptions"] == Subscription.objects.count()

    def test_of_the_catalogue_read_no_subscription(self):
        for kind, given in (("service", {}), ("service", {"q": "x"}), ("plan", {})):
            sql, _ = breakdown_sql.statement(kind, given, None, 100)
            assert "services_subscription" not in sql

    def test_of_more_services_than_a_search_may_find_are_shown(self, monkeypatch):
        a_book(12, services=4)
        monkeypatch.setattr(access_paths, "SEARCH_NAMES", 3)
        assert a_reader().get("/api/services/").json()["count"] == 4


@pytest.mark.django_db(transaction=True)
class TestNumberOfClients:
    """Kept in the cache with the version of the names: exact after every commit."""

    def count(self):
        return a_reader().get("/api/clients/?page_size=1").json()["count"]

    def counted(self):
        """Whether the next page counts clients."""
        sql = breakdown_sql.statement("client", {}, None, 1, counted=breakdown._cached())
        (row, *_), names = breakdown.rows_and_columns(*sql)
        return row[names.index("items")] is not None

    def test_is_that_of_now_whoever_wrote_them(self):
        for number in range(1, 4):
            newest = a_client()
            assert self.count() == number
        Client.objects.bulk_create(
            Client(user=User.objects.create(username=name), company_name=name) for name in "ab"
        )
        assert self.count() == 5
        newest.delete()
        assert self.count() == 4
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE clients_client CASCADE")
        assert self.count() == 0

    def test_is_counted_once_until_a_client_is_written(self):
        subscription = a_book(12).first()
        assert self.counted()
        self.count()
        assert not self.counted()
        Subscription.objects.filter(pk=subscription.pk).update(comment="new")
        a_subscription(subscription.client, subscription.service, subscription.plan)
        Subscription.objects.filter(pk=subscription.pk).delete()
        total.fold()
        assert not self.counted()
        a_client()
        assert self.counted()

    def test_known_a_page_reads_its_clients_and_their_subscriptions_alone(self):
        a_book(20_000, clients=20_000)
        self.count()
        counted = breakdown._cached()
        for order, ordering in breakdown.ORDERINGS["client"].items():
            middle = breakdown.page("client", {}, None, 1000, ordering).next
            for cursor in (None, middle, replace(middle, backward=True)):
                read = rows_by_relation(
                    *breakdown_sql.statement("client", {}, cursor, 100, ordering, counted=counted)
                )
                index = {
                    "id": "clients_client_pkey",
                    "company_name": "client_company_name",
                    "email": "auth_user_email_upper",
                }[ordering.name]
                assert read.pop("services_subtotal") < 100
                assert 101 <= read[index] <= 103, order
                assert read["clients_client"] == 0  # none is counted
                assert max(read.values()) <= 103, order

    def test_of_a_transaction_that_is_open_is_nobody_else_s(self):
        client = a_client()
        assert self.count() == 1
        with transaction.atomic():
            a_client()
            assert self.count() == 2
            transaction.set_rollback(True)
        # Its version is given out again, for another book.
        Client.objects.filter(pk=client.pk).update(company_name="renamed")
        assert self.count() == 1
        with transaction.atomic():
            a_client()
            (row, *_), names = breakdown.rows_and_columns(
                *breakdown_sql.statement("client", {}, None, 1)
            )
            version = row[names.index("version_of_names")]
            breakdown._remember(breakdown.Counted(version, 99))
            assert self.count() == 2
            transaction.set_rollback(True)


class TestOrder:
    def in_order(self, kind, order):
        """The expected rows, computed by Django."""
        name = order.removeprefix("-")
        model = {"client": Client, "service": Service, "plan": Plan}[kind]
        each = model.objects.annotate(
            count=Count("subscriptions"), total_amount=Coalesce(Sum("subscriptions__price"), 0,
                                                                output_field=DecimalField()),
        )  # fmt: skip
        by = Upper("user__email") if name == "email" else F(name)
        if order.startswith("-"):
            return list(each.order_by(by.desc(), "-id").values_list("id", flat=True))
        return list(each.order_by(by.asc(), "id").values_list("id", flat=True))

    @pytest.mark.parametrize(("kind", "order"), ORDERS)
    def test_holds_through_all_pages_and_back(self, kind, order):
        a_book(61, services=5, plans=5, clients=5)
        for number in range(3):  # ties, in pages of two
            a_client("Same", "Same@example.com"), a_service(), a_plan(7 + number, "student")
        expected = self.in_order(kind, order)

        pages = all_of(f"/api/{kind}s/?ordering={order}&page_size=2")

        assert ids_of(pages) == expected
        back, url = [], pages[-1]["previous"]
        while url:
            with CaptureQueriesContext(connection) as queries:
                page = a_reader().get(url).json()
            # 1 query: * the page, and what all come to
            assert len(queries) == 1
            back.insert(0, page)
            url = page["previous"]
        assert ids_of(back) == ids_of(pages[:-1])

    @pytest.mark.parametrize("kind", KINDS)
    def test_holds_in_what_a_filter_finds(self, kind):
        given = {"client": "q=company", "service": "q=service", "plan": "plan_type=discount"}[kind]
        a_book(30, services=4, plans=4, clients=4)
        found = ids_of(all_of(f"/api/{kind}s/?{given}"))
        for order in breakdown.ORDERINGS[kind]:
            pages = all_of(f"/api/{kind}s/?{given}&ordering={order}&page_size=3")
            expected = [pk for pk in self.in_order(kind, order) if pk in found]
            assert ids_of(pages) == expected

    def test_that_no_index_serves_is_refused(self):
        for kind, order in (
            ("client", "count"), ("client", "total_amount"), ("client", "full_address"),
            ("service", "company_name"), ("plan", "--id"), ("plan", ""),
        ):  # fmt: skip
            refused = a_reader().get(f"/api/{kind}s/?ordering={order}")
            body = refused.json()
            assert (refused.status_code, body["code"]) == (400, "bad_parameter")
            assert (body["parameter"], body["value"]) == ("ordering", order)
            assert body["allowed"] == list(breakdown.ORDERINGS[kind])

    def test_of_a_cursor_is_that_of_its_list(self):
        a_book(20, services=3)
        cursor = parse_qs(urlsplit(
            a_reader().get("/api/services/?page_size=1&ordering=name").json()["next"]
        ).query)["cursor"][0]  # fmt: skip
        for order in ("id", "-name", "full_price"):
            refused = a_reader().get(f"/api/services/?ordering={order}&cursor={cursor}").json()
            assert refused["code"] == "cursor_of_another_list"


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
        matching = BookFilter(**given).subscriptions().order_by()
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
            sql, _ = totals_by.totals_statement(
                access_path(BookFilter(**given)), ["service", "plan"]
            )
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

    def test_of_too_many_names_are_refused_before_a_subscription_is_read(self, monkeypatch):
        a_book(30, clients=8)
        monkeypatch.setattr(access_paths, "SEARCH_NAMES", 5)
        for by in ("", "&by=service", "&client=1"):
            refused = a_reader().get(f"/api/totals/?q=company{by}")
            assert (refused.status_code, refused.json()["code"]) == (400, "not_served_at_size")
            assert (refused.json()["parameter"], refused.json()["value"]) == ("q", "company")
        read = rows_by_relation(
            *totals_by.totals_statement(access_path(BookFilter(q="company")), [])
        )
        assert not any("subscription" in name for name in read if read[name])
        monkeypatch.setattr(access_paths, "SEARCH_NAMES", 8)
        assert a_reader().get("/api/totals/?q=company").json()["count"] == 30

    def test_of_more_rows_than_a_list_may_read_are_refused(self, monkeypatch):
        one = a_book(30, services=2).first()
        monkeypatch.setitem(access_paths.SCAN_ROWS, "id", 29)
        refused = a_reader().get("/api/totals/?state=active&by=plan")
        assert (refused.status_code, refused.json()["code"]) == (400, "not_served_at_size")
        assert (refused.json()["parameter"], refused.json()["value"]) == ("state", "active")
        read = rows_by_relation(
            *totals_by.totals_statement(access_path(BookFilter(state="active")), [])
        )
        assert not any("subscription" in name for name in read if read[name])
        for served in (f"state=active&service={one.service_id}", f"source={one.source}", ""):
            assert a_reader().get(f"/api/totals/?{served}").status_code == 200

    def test_of_too_many_groups_are_refused(self, monkeypatch):
        a_book(12, services=4)
        monkeypatch.setattr(totals_by, "MOST_GROUPS", 3)
        assert a_reader().get("/api/totals/?by=service").json()["code"] == "too_many_groups"
        service = Service.objects.first().pk
        assert a_reader().get(f"/api/totals/?by=service&service={service}").status_code == 200


class TestIdsElsewhere:
    """`source` and `external_id`, as subscriptions have them."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_are_shown_and_found(self, kind):
        model = {"client": Client, "service": Service, "plan": Plan}[kind]
        a_book(12)
        one, other = model.objects.order_by("pk")[:2]
        model.objects.filter(pk=one.pk).update(source="crm", external_id="17")
        model.objects.filter(pk=other.pk).update(source="crm", external_id="18")
        reader = a_reader()

        [row] = reader.get(f"/api/{kind}s/?source=crm&external_id=17").json()["result"]
        assert (row["id"], row["source"], row["external_id"]) == (one.pk, "crm", "17")
        assert reader.get(f"/api/{kind}s/{one.pk}/").json() == {**row, "currency": "USD"}
        assert ids_of(all_of(f"/api/{kind}s/?source=crm&page_size=1")) == [one.pk, other.pk]
        assert reader.get(f"/api/{kind}s/?source=erp").json()["result"] == []

    @pytest.mark.parametrize("kind", KINDS)
    def test_need_their_source(self, kind):
        answer = a_reader().get(f"/api/{kind}s/?external_id=17")
        assert (answer.status_code, answer.json()["code"]) == (400, "source_missing")

    @pytest.mark.parametrize("model", [Client, Service, Plan])
    def test_are_unique_and_whole(self, model):
        a_book(12)
        one, other = model.objects.order_by("pk")[:2]
        model.objects.filter(pk=one.pk).update(source="crm", external_id="17")
        for half in ({"source": "crm"}, {"external_id": "17"}):
            with (
                pytest.raises(IntegrityError, match="external_id_has_source"),
                transaction.atomic(),
            ):
                model.objects.filter(pk=other.pk).update(**half)
        with pytest.raises(IntegrityError, match="unique_external_id"), transaction.atomic():
            model.objects.filter(pk=other.pk).update(source="crm", external_id="17")

    def test_of_more_than_a_search_may_find_are_refused(self, monkeypatch):
        a_book(12)
        monkeypatch.setattr(access_paths, "SEARCH_NAMES", 1)
        for number, client in enumerate(Client.objects.all()):
            Client.objects.filter(pk=client.pk).update(source="crm", external_id=number)
        answer = a_reader().get("/api/clients/?source=crm")
        assert (answer.status_code, answer.json()["code"]) == (400, "not_served_at_size")
        assert "external_id" in answer.json()["detail"]
