"""The API of price changes: from the plan to the outcome, and its refusals."""

import json
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from price_changes.models import PriceChange
from price_changes.running import starting
from price_changes.tests.api import ALL, URL, a_program, approve, planned
from pricebook.tests.authorship import who
from services import repricing
from services.models import Service, Subscription
from services.repricing import chunks
from services.tests.factories import a_book, a_reader, a_service, a_subscription

pytestmark = pytest.mark.django_db


@pytest.fixture
def book():
    return a_book(subscriptions=30, services=3, plans=2)


@pytest.fixture
def erp():
    return a_program(**ALL)


def tomorrow():
    return (timezone.now() + timedelta(days=1)).isoformat()


def exact(response):
    """The body with its numbers as they are written."""
    return json.loads(response.content, parse_float=Decimal)


class TestPlanning:
    def test_previews_at_once(self, erp, book):
        service = Service.objects.first()
        response = erp.post(URL, {"kind": "list_price", "service": service.pk, "new_value": "150"})
        change = exact(response)
        assert response.status_code == 201
        assert (change["status"], who(change["planned_by"])) == ("planned", "key erp")
        assert change["allowed"] == ["preview", "approve", "reject", "cancel"]
        assert change["preview"]["rows"] == book.filter(service=service).count()
        assert isinstance(change["preview"]["total_after"], Decimal)
        assert len(change["fingerprint"]) == 32
        assert exact(erp.get(f"{URL}{change['id']}/")) == change

    def test_leaves_nothing_where_the_preview_refuses(self, erp, book):
        response = erp.post(
            URL, {"kind": "set", "filter": {}, "adjustment": "add", "operand": -9999}
        )
        assert (response.status_code, response.json()["code"]) == (409, "price_out_of_range")
        assert not PriceChange.objects.exists()

    def test_takes_numbers_exactly(self, erp, book):
        body = (
            '{"kind": "set", "filter": {}, "adjustment": "percent", "operand": 0.1,'
            ' "rounding_step": 0.05}'
        )
        response = erp.generic("POST", URL, body, content_type="application/json")
        change = PriceChange.objects.get(pk=response.json()["id"])
        assert change.operand == Decimal("0.1")
        assert change.rounding_step == Decimal("0.05")
        # A float of it would be 150.10499999999998977, and this is refused for its length.
        body = '{"kind": "set", "filter": {}, "adjustment": "amount", "operand": 150.105}'
        response = erp.generic("POST", URL, body, content_type="application/json")
        assert (response.status_code, response.json()["code"]) == (400, "too_exact")
        assert response.json()["value"] == "150.105"


class TestVerbs:
    def test_from_the_plan_to_the_revert(self, erp, book):
        before = dict(book.values_list("pk", "price"))
        change = planned(erp, kind="set", adjustment="percent", operand=10, title="2027")
        response = approve(erp, change, when_moved="frozen")
        assert (response.status_code, response.json()["status"]) == (200, "scheduled")
        assert who(response.json()["approved_by"]) == "key erp"
        repricing.reprice()
        after = exact(erp.get(f"{URL}{change['id']}/"))
        assert (after["status"], after["allowed"]) == ("applied", ["revert"])
        outcome = after["outcome"]
        assert (outcome["rows"], outcome["applied"], outcome["failed"]) == (30, 30, 0)
        assert sum(book.values_list("price", flat=True)) == after["preview"]["total_after"]

        response = erp.post(f"{URL}{change['id']}/revert/", {"approve": True})
        assert (response.status_code, response.json()["status"]) == (200, "scheduled")
        assert response.json()["reverts"] == change["id"]
        repricing.reprice()
        assert dict(book.values_list("pk", "price")) == before
        assert erp.get(f"{URL}{change['id']}/").json()["status"] == "reverted"

    @pytest.mark.usefixtures("by_chunks")
    def test_pause_resume_and_cancel(self, erp, book, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        change = planned(erp, kind="set", adjustment="percent", operand=10)
        approve(erp, change)
        starting.start_due()
        assert PriceChange.objects.get().status == "applying"
        paused = erp.post(f"{URL}{change['id']}/pause/").json()
        assert (paused["status"], paused["allowed"]) == ("paused", ["resume", "cancel"])
        assert paused["progress"]["total"] == 30
        assert (who(paused["paused_by"]), paused["resumed_by"], paused["resumed_at"]) == (
            "key erp",
            "",
            None,
        )
        assert paused["paused_at"] > paused["started_at"]
        assert repricing.reprice() == 0
        assert erp.post(f"{URL}{change['id']}/resume/").json()["status"] == "applying"
        response = erp.post(f"{URL}{change['id']}/cancel/")
        assert (response.status_code, response.json()["status"]) == (200, "cancelled")
        outcome = response.json()["outcome"]
        assert (outcome["applied"], outcome["skipped"]) == (30, {})  # it was in force for all
        assert outcome["taken_back_by"] == PriceChange.objects.get(reverts=change["id"]).pk

    def test_wake_the_workers_after_the_commit(
        self, erp, book, monkeypatch, django_capture_on_commit_callbacks
    ):
        woken = []
        monkeypatch.setattr("price_changes.views.wake", lambda *tasks: woken.append(tasks))
        change = planned(erp, kind="set", adjustment="percent", operand=10)
        with django_capture_on_commit_callbacks(execute=True):
            approve(erp, change)
            assert not woken
        assert len(woken) == 1

    def test_that_the_state_does_not_allow(self, erp, book):
        change = planned(erp, kind="set", adjustment="percent", operand=10)
        for verb, states in (
            ("pause", ["applying"]),
            ("resume", ["paused"]),
            ("revert", ["applied"]),
        ):
            response = erp.post(f"{URL}{change['id']}/{verb}/")
            body = response.json()
            assert (response.status_code, body["code"]) == (409, "wrong_state")
            assert (body["state"], body["allowed"]) == ("planned", states)

    def test_a_double_click_on_approve(self, erp, book):
        change = planned(erp, kind="set", adjustment="percent", operand=10)
        assert approve(erp, change).status_code == 200
        response = approve(erp, change)
        assert (response.status_code, response.json()["code"]) == (409, "wrong_state")
        assert response.json()["state"] == "scheduled"
        assert response.json()["allowed"] == ["planned", "held"]

    def test_a_fingerprint_that_is_not_the_latest(self, erp, book):
        change = planned(erp, kind="set", adjustment="percent", operand=10)
        response = approve(erp, change | {"fingerprint": "0" * 32})
        assert (response.status_code, response.json()["code"]) == (409, "stale_fingerprint")

    @pytest.mark.parametrize(
        "verb", ["preview", "approve", "pause", "resume", "cancel", "revert", "nothing"]
    )
    @pytest.mark.parametrize("id", ["999999", "9" * 19, "1" * 4000, "0"])
    def test_of_no_change(self, erp, verb, id):
        response = erp.post(f"{URL}{id}/{verb}/", {"fingerprint": "x"} if verb == "approve" else {})
        assert response.status_code == 404
        assert response.json()["code"] in ("not_found", "unknown_path")


class TestList:
    def changes(self, count, **fields):
        return PriceChange.objects.bulk_create(
            [PriceChange(kind="set", planned_by="ann", **fields) for _ in range(count)]
        )

    def test_is_newest_first_in_pages(self):
        ids = sorted((change.pk for change in self.changes(7)), reverse=True)
        reader, seen, url = a_reader(), [], f"{URL}?page_size=3"
        while url:
            page = reader.get(url).json()
            seen.append([change["id"] for change in page["result"]])
            url = page["next"]
        assert seen == [ids[:3], ids[3:6], ids[6:]]
        assert page["previous"]
        back = reader.get(page["previous"]).json()
        assert [change["id"] for change in back["result"]] == ids[3:6]
        first = reader.get(back["previous"]).json()
        assert [change["id"] for change in first["result"]] == ids[:3]
        assert first["previous"] is None

    def test_filters(self):
        service = a_service()
        PriceChange.objects.all().delete()
        self.changes(2, status="planned")
        [one] = self.changes(1, status="cancelled", service=service)
        for query in ("status=cancelled", f"service={service.pk}", "kind=set&status=cancelled"):
            result = a_reader().get(f"{URL}?{query}").json()["result"]
            assert [change["id"] for change in result] == [one.pk]
        assert a_reader().get(f"{URL}?plan=1").json()["result"] == []

    def test_costs_one_query_however_long(self):
        for count in (1, 20):
            self.changes(count)
            with CaptureQueriesContext(connection) as queries:
                a_reader().get(URL)
            assert len(queries) == 1

    @pytest.mark.parametrize(
        "query",
        [
            "status=done",
            "service=x",
            "service=%D9%A3",
            "plan=9" * 30,
            "cursor=x",
            "page_size=0",
            "status=planned&status=held",
            "x=1",
            "kind=%00",
        ],
    )
    def test_refuses_what_it_does_not_know(self, query):
        response = a_reader().get(f"{URL}?{query}")
        assert response.status_code == 400
        assert {"code", "detail", "parameter", "value"} <= response.json().keys()


class TestRows:
    def test_are_paged_and_filtered(self, erp, book):
        locked = book.first()
        erp.post(f"/api/subscriptions/{locked.pk}/lock/", {"reason": "promised"})
        change = planned(erp, kind="set", adjustment="percent", operand=10)
        url, seen = f"{URL}{change['id']}/rows/?page_size=20", []
        while url:
            page = exact(erp.get(url))
            seen += page["result"]
            url = page["next"]
        assert [row["subscription"] for row in seen] == sorted(book.values_list("pk", flat=True))
        moving = exact(erp.get(f"{URL}{change['id']}/rows/?reason=moves"))["result"]
        assert len(moving) == 29
        assert all(row["new_price"] == row["old_price"] * Decimal("1.1") for row in moving)
        [stays] = erp.get(f"{URL}{change['id']}/rows/?reason=locked").json()["result"]
        assert stays["subscription"] == locked.pk

    @pytest.mark.usefixtures("by_chunks")
    def test_of_one_that_has_begun_are_what_is_known(
        self, erp, book, monkeypatch, django_assert_num_queries, moved_clock
    ):
        monkeypatch.setattr(chunks, "CHUNK", 4)
        at = timezone.now() + timedelta(days=1)
        change = planned(erp, kind="set", adjustment="add", operand=10, effective_at=at.isoformat())
        approve(erp, change, when_moved="frozen")
        prices = dict(book.values_list("pk", "price"))
        gone, touched = book.first(), book.last()
        book.filter(pk=gone.pk).delete()
        book.filter(pk=touched.pk).update(price_state="negotiated", price=9)
        moved_clock.to(at)
        starting.start_due()
        # 4 queries: * the change * its list * rows that it moved * rows that it skipped, none yet
        with django_assert_num_queries(4):
            a_reader().get(f"{URL}{change['id']}/rows/")
        begun = self.all_of(erp, change)
        moved = [row["subscription"] for row in begun if row["moved"]]
        assert [row["subscription"] for row in begun] == sorted(prices)
        assert moved == sorted(prices.keys() - {gone.pk, touched.pk})
        chunks.take_chunk("price", set())
        begun = self.all_of(erp, change)
        assert moved == [row["subscription"] for row in begun if row["moved"]]
        assert all(
            (row["old_price"], row["new_price"])
            == (prices[row["subscription"]], prices[row["subscription"]] + 10)
            for row in begun
            if not row["reason"]
        )

        repricing.reprice()
        ended = {row["subscription"]: row for row in self.all_of(erp, change)}
        assert sorted(ended) == sorted(prices)
        assert (ended[gone.pk]["reason"], ended[gone.pk]["old_price"]) == ("deleted", None)
        assert (ended[touched.pk]["reason"], ended[touched.pk]["moved"]) == ("moved_since", False)
        assert sum(row["moved"] for row in ended.values()) == 28
        assert len(self.all_of(erp, change, reason="moves")) == 28
        [skipped] = self.all_of(erp, change, reason="moved_since")
        assert skipped["subscription"] == touched.pk

    def test_of_one_of_the_catalogue_that_has_begun_are_what_it_moved(self, erp, book):
        service = book.first().service
        change = planned(erp, kind="list_price", service=service.pk, new_value=150)
        approve(erp, change)
        repricing.reprice()
        rows = self.all_of(erp, change)
        assert len(rows) == book.filter(service=service).count()
        assert all(row["moved"] and row["new_state"] == "follows" for row in rows)

    def test_of_one_that_was_cancelled_before_its_instant_are_none(self, erp, book):
        change = planned(erp, kind="set", adjustment="percent", operand=10)
        erp.post(f"{URL}{change['id']}/cancel/")
        assert self.all_of(erp, change) == []

    def all_of(self, erp, change, page_size=7, **query):
        """Every row, a page at a time."""
        words = "".join(f"&{name}={value}" for name, value in query.items())
        url, seen = f"{URL}{change['id']}/rows/?page_size={page_size}{words}", []
        while url:
            page = exact(erp.get(url))
            assert len(page["result"]) == page_size or page["next"] is None
            seen += page["result"]
            url = page["next"]
        return seen


class TestSkips:
    def test_say_why(self, erp, book, moved_clock):
        at = timezone.now() + timedelta(days=1)
        values = {"adjustment": "amount", "operand": 5, "effective_at": at.isoformat()}
        change = planned(erp, kind="set", **values)
        approve(erp, change, when_moved="frozen")
        touched = book.first()
        Subscription.objects.filter(pk=touched.pk).update(price_state="negotiated", price=9)
        moved_clock.to(at)
        repricing.reprice()
        url = f"{URL}{change['id']}/skips/"
        [skip] = erp.get(url).json()["result"]
        assert (skip["reason"], skip["subscription"]) == ("moved_since", touched.pk)
        assert erp.get(f"{url}?reason=failed").json()["result"] == []
        assert erp.get(f"{url}?reason=x").status_code == 400


class TestPriceState:
    def test_is_set_by_the_verbs_of_the_book(self, erp):
        subscription = a_subscription()
        url = f"/api/subscriptions/{subscription.pk}/"
        until = tomorrow()
        locked = erp.post(f"{url}lock/", {"until": until, "reason": "promised"}).json()
        assert (locked["price_state"], locked["price_reason"]) == ("locked", "promised")
        assert erp.post(f"{url}release/").json()["price_state"] == "follows"
        response = erp.generic(
            "POST",
            f"{url}negotiate/",
            '{"price": 99.10, "reason": "deal"}',
            content_type="application/json",
        )
        assert b'"price":99.10' in response.content
        assert response.json()["price_state"] == "negotiated"
        followed = erp.post(f"{url}follow/")
        assert followed.json()["price_state"] == "follows"
        assert followed.json() == erp.get(url).json()
        entries = erp.get(f"{url}ledger/").json()["result"]
        assert [who(entry["author"]) for entry in entries[1:]] == ["key erp"] * 4

    @pytest.mark.parametrize(
        ("verb", "body", "code"),
        [
            ("release", {}, "not_locked"),
            ("lock", {}, "bad_reason"),
            ("lock", {"reason": ["x"]}, "bad_reason"),
            ("lock", {"reason": "x", "until": "2020-01-01T00:00:00Z"}, "bad_until"),
            ("lock", {"reason": "x", "until": "2050-01-01T00:00:00"}, "time_zone_missing"),
            ("lock", {"reason": "x", "until": 5}, "not_an_instant"),
            ("negotiate", {"reason": "x"}, "missing"),
            ("negotiate", {"reason": "x", "price": "٣"}, "not_a_number"),
            ("negotiate", {"reason": "x", "price": "1e400"}, "not_a_number"),
            ("negotiate", {"reason": "x", "price": "4,50"}, "not_a_number"),
            ("negotiate", {"reason": "x", "price": True}, "not_a_number"),
            ("negotiate", {"reason": "x", "price": -1}, "out_of_range"),
            ("negotiate", {"reason": "x", "price": "1.005"}, "too_exact"),
            ("negotiate", {"price": 5}, "bad_reason"),
            ("follow", {"now": True}, "unknown_field"),
        ],
    )
    def test_is_refused_with_a_reason(self, erp, verb, body, code):
        subscription = a_subscription()
        response = erp.post(f"/api/subscriptions/{subscription.pk}/{verb}/", body)
        assert response.json()["code"] == code
        assert response.status_code in (400, 409)
        subscription.refresh_from_db()
        assert subscription.price_state == "follows"

    def test_of_a_subscription_that_is_not_there(self, erp):
        for id in ("999999", "9" * 30):
            response = erp.post(f"/api/subscriptions/{id}/follow/")
            assert response.status_code == 404


class TestASubscription:
    def test_shows_what_is_scheduled_for_it(self, erp, book):
        one, other = book.order_by("service_id")[0], book.order_by("-service_id")[0]
        change = planned(
            erp,
            kind="list_price",
            service=one.service_id,
            new_value=500,
            effective_at=tomorrow(),
            title="2027",
        )
        approve(erp, change)
        [pending] = exact(erp.get(f"/api/subscriptions/{one.pk}/"))["pending_changes"]
        assert (pending["id"], pending["title"]) == (change["id"], "2027")
        discount = one.plan.discount_percent
        assert pending["new_price"] == Decimal(500) * (100 - discount) / 100
        assert erp.get(f"/api/subscriptions/{other.pk}/").json()["pending_changes"] == []

    def test_is_explained_by_the_change_and_the_person(self, erp, book):
        change = planned(
            erp, kind="set", adjustment="percent", operand=10, title="2027", reason="inflation"
        )
        approve(a_program("boss", **ALL), change)
        repricing.reprice()
        explained = erp.get(f"/api/subscriptions/{book.first().pk}/explain/").json()
        by = explained["change"]["author"]
        assert who(by) == "key boss"
        assert explained["change"] == {
            "id": change["id"],
            "author": by,
            "title": "2027",
            "reason": "inflation",
        }
        assert f"price change {change['id']} “2027”, decided by {by}" in explained["text"]


# To be continued with the operand and a brace.
A_SET = '{"kind": "set", "filter": {}, "adjustment": "add", "operand": '

HOSTILE = {
    "nested": "[" * 5000 + "]" * 5000,
    "nested object": '{"filter":' * 5000 + "1" + "}" * 5000,
    "nested within bounds": '{"kind": "set", "filter": ' + "[" * 18 + "]" * 18 + "}",
    "empty": "",
    "blank": " ",
    "cut off": '{"kind": "set"',
    "not UTF-8": b'{"kind": "\xff"}',
    "array": '[{"kind": "set"}]',
    "string": '"set"',
    "null": "null",
    "number": "1e400",
    "NaN": A_SET + "NaN}",
    "infinity": A_SET + "-Infinity}",
    "1e400": A_SET + "1e400}",
    "1e-400": A_SET + "1e-400}",
    "1e99999999999999999999": A_SET + "1e9999999999999999}",
    "digits": A_SET + "9" * 5000 + "}",
    "digits in text": A_SET + '"' + "9" * 5000 + '"}',
    "Arabic digits": A_SET + '"٣"}',
    "NUL": A_SET + '1, "title": "\\u0000"}',
    "NUL in a name": '{"kind": "set", "\\u0000": 1}',
    "half a surrogate": A_SET + '1, "title": "\\ud800"}',
    "half a surrogate in a name": '{"\\udfff": 1}',
    "half a surrogate in a filter": '{"kind": "set", "filter": {"\\udfff": "\\ud800"}}',
    "a name twice": '{"kind": "set", "kind": "list_price"}',
    "a name twice that is none": '{"\\ud800": 1, "\\ud800": 2}',
    "unknown field": A_SET + '1, "price": 1}',
    "no kind": "{}",
    "kind of another type": '{"kind": {"set": 1}}',
    "revert": '{"kind": "revert"}',
    "everything an array": json.dumps(
        {name: [] for name in ("kind", "filter", "adjustment", "operand", "title")}
    ),
    "types": '{"kind": "set", "adjustment": ["add"], "operand": {"a": 1}, "filter": 5}',
    "operand is true": A_SET + "true}",
    "operand is an object": A_SET + "{}}",
    "title is a number": A_SET + '1, "title": 1}',
    "service is 1.5": '{"kind": "list_price", "service": 1.5, "new_value": 1}',
    "service is 1e400": '{"kind": "list_price", "service": 1e400, "new_value": 1}',
    "service is nobody": '{"kind": "list_price", "service": 9223372036854775807, "new_value": 1}',
    "filter is unknown": A_SET + '1, "filter": {"x": 1}}',
    "filter is long": json.dumps(
        {
            "kind": "set",
            "adjustment": "add",
            "operand": 1,
            "filter": {f"subscription{n}": n for n in range(20_000)},
        }
    ),
    "filter is a long list": json.dumps(
        {
            "kind": "set",
            "adjustment": "add",
            "operand": 1,
            "filter": {"subscription": list(range(20_000))},
        }
    ),
    "past": A_SET + '1, "effective_at": "2020-01-01T00:00Z"}',
    "no zone": A_SET + '1, "effective_at": "2090-01-01"}',
    "long": '{"title": "' + "x" * 1_000_001 + '"}',
}


class TestHostileBodies:
    @pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
    def test_are_refused_with_a_code(self, body, erp):
        change = PriceChange.objects.create(kind="set", planned_by="ann")
        subscription = a_subscription()
        paths = [
            URL,
            f"{URL}{change.pk}/approve/",
            f"{URL}{change.pk}/revert/",
            f"/api/subscriptions/{subscription.pk}/negotiate/",
            f"/api/subscriptions/{subscription.pk}/lock/",
        ]
        for path in paths:
            for headers in ({}, {"Idempotency-Key": "k"}):
                response = erp.generic(
                    "POST", path, body, content_type="application/json", headers=headers
                )
                answer = msgspec.json.decode(response.content)
                assert 400 <= response.status_code < 500, (path, answer)
                assert answer["code"]
                assert answer["detail"]
        assert not PriceChange.objects.exclude(pk=change.pk).exclude(kind="list_price").exists()

    def test_of_another_type_are_refused(self, erp):
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
            response = erp.generic("POST", URL, "kind=set", content_type=content_type)
            assert (response.status_code, response.json()["code"]) == (
                415,
                "unsupported_media_type",
            )

    @pytest.mark.parametrize(
        "body",
        [
            {"fingerprint": 5},
            {"fingerprint": ["x"]},
            {"fingerprint": None},
            {"fingerprint": "x", "when_moved": {"hold": 1}},
            {"fingerprint": "x", "effective_at": 5},
            {"fingerprint": "٣" * 32},
            {"approve": True},
        ],
    )
    def test_of_an_approval(self, body, erp, book):
        change = planned(erp, kind="set", adjustment="add", operand=1)
        response = erp.post(f"{URL}{change['id']}/approve/", body)
        assert response.status_code in (400, 409), response.content
        assert response.json()["code"]
        for value in ("yes", 1, [], {}):
            response = erp.post(f"{URL}{change['id']}/revert/", {"approve": value})
            assert (response.status_code, response.json()["code"]) == (400, "not_a_flag")

    @pytest.mark.parametrize("body", ["", "{}", '{"kind": null}'])
    def test_of_a_plan_that_say_nothing_are_told_what_is_missing(self, body, erp):
        response = erp.generic("POST", URL, body, content_type="application/json")
        answer = response.json()
        assert (response.status_code, answer["code"]) == (400, "missing")
        assert answer["detail"] == "kind is missing; it may be list_price, discount, set."
        assert answer["parameter"] == "kind"

    @pytest.mark.parametrize("given", [{}, {"filter": None}])
    def test_of_a_set_that_name_no_filter_do_not_mean_the_whole_book(self, given, erp, book):
        body = {"kind": "set", "adjustment": "add", "operand": 1, **given}
        response = erp.post(URL, body)
        answer = response.json()
        assert (response.status_code, answer["code"]) == (400, "missing")
        assert answer["parameter"] == "filter"
        assert "{} means the whole book" in answer["detail"]
        assert not PriceChange.objects.exists()
        assert erp.post(URL, body | {"filter": {}}).json()["preview"]["rows"] == book.count()

    @pytest.mark.parametrize(
        ("verb", "missing"),
        [("lock", "reason"), ("negotiate", "price"), ("approve", "fingerprint")],
    )
    def test_of_a_verb_that_are_empty_are_told_what_is_missing(self, verb, missing, erp, book):
        of = f"/api/subscriptions/{book.first().pk}/"
        if verb == "approve":
            of = f"{URL}{planned(erp, kind='set', adjustment='add', operand=1)['id']}/"
        for body in ("", "{}"):
            response = erp.generic("POST", f"{of}{verb}/", body, content_type="application/json")
            answer = response.json()
            assert (response.status_code, answer["parameter"]) == (400, missing)
            assert answer["code"] in ("missing", "bad_reason")

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("new_value", {"kind": "list_price", "service": 1, "new_value": "22,50"}),
            ("operand", {"operand": "1,234"}),
            ("floor", {"operand": 1, "floor": "4,50"}),
            ("price_from", {"operand": 1, "filter": {"price_from": "1.234,50"}}),
        ],
    )
    def test_of_an_amount_with_a_comma_are_not_guessed_at(self, name, values, erp, book):
        a_set = {"kind": "set", "filter": {}, "adjustment": "add"}
        service = {"service": Service.objects.first().pk} if "service" in values else {}
        response = erp.post(URL, (values if service else a_set | values) | service)
        answer = response.json()
        assert (response.status_code, answer["code"]) == (400, "not_a_number")
        assert answer["parameter"] == name
        assert "such as 12.50" in answer["detail"]
        assert "Its decimals follow a point; nothing separates thousands." in answer["detail"]
        assert not PriceChange.objects.exists()

    def test_that_name_a_field_twice_are_not_guessed_at(self, erp, book):
        body = '{"kind": "set", "filter": {}, "adjustment": "add", "operand": 1, "operand": 2}'
        response = erp.generic("POST", URL, body, content_type="application/json")
        assert (response.status_code, response.json()["code"]) == (400, "repeated_field")
        assert response.json()["parameter"] == "operand"


class TestInABrowser:
    def test_is_a_page(self, erp, book):
        change = planned(erp, kind="set", adjustment="percent", operand=10)
        for path in ("", f"{change['id']}/", f"{change['id']}/rows/", f"{change['id']}/skips/"):
            response = erp.get(f"{URL}{path}", headers={"Accept": "text/html"})
            assert response.status_code == 200
            assert response.headers["Content-Type"].startswith("text/html")

    def test_is_never_written_to_otherwise(self, erp, book):
        change = planned(erp, kind="set", adjustment="percent", operand=10)
        for method in (erp.put, erp.patch, erp.delete):
            response = method(f"{URL}{change['id']}/", {})
            assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
