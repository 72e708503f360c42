"""Many records by one request: `POST …/bulk/`."""

import gzip
import json
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from clients.models import Client
from keys.tests.making import a_key
from price_changes.models import MovedAlone
from services import jobs, ledger, price_state
from services.bulk import lines as bulk_lines
from services.bulk import running
from services.models import LedgerEntry, Subscription
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.programs import a_writer

pytestmark = pytest.mark.django_db

SUBSCRIPTIONS = "/api/subscriptions/bulk/"
CLIENTS = "/api/clients/bulk/"
NDJSON = "application/x-ndjson"


@pytest.fixture
def erp():
    return a_writer()


def sent(erp, lines, address=SUBSCRIPTIONS, **headers):
    """The answer to lines of JSON."""
    return erp.post(address, {"lines": lines}, format="json", headers=headers or None)


def content(answer):
    return answer.getvalue() if answer.streaming else answer.content


def told(answer):
    """The results of lines, and the counts; or the refusal."""
    found = json.loads(content(answer), parse_float=Decimal)
    return (found["lines"], found["end"]) if answer.status_code == 200 else found


def ndjson(erp, *lines, address=SUBSCRIPTIONS, **headers):
    """The answer to lines of NDJSON, and its results, the last one of them the counts."""
    body = b"".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines
    )
    answer = erp.generic("POST", address, body, content_type=NDJSON, headers=headers or None)
    if answer.status_code != 200:
        return answer, json.loads(answer.content)
    return answer, [json.loads(line) for line in content(answer).splitlines()]


def outcomes(lines):
    return [line["outcome"] for line in lines]


def stored():
    """The places of all rows, which any write moves, and the number of entries."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, ctid::text, xmax::text FROM services_subscription ORDER BY id")
        return cursor.fetchall(), LedgerEntry.objects.count()


def in_days(number):
    return (timezone.now() + timedelta(days=number)).isoformat()


def a_line(number=1, **given):
    """A line for a new subscription."""
    named = {"client": a_client, "service": a_service, "plan": a_plan}
    for name, make in named.items():
        if name not in given:
            given[name] = make().pk
    return {"source": "crm", "external_id": str(number), **given}


class TestSubscriptions:
    def test_are_created_at_the_price_of_the_rule_by_their_author(self, erp):
        service, plan = a_service(80), a_plan(25)
        lines, counts = told(
            sent(erp, [a_line(n, service=service.pk, plan=plan.pk) for n in (1, 2)])
        )
        assert counts == {
            "lines": 2,
            "created": 2,
            "changed": 0,
            "unchanged": 0,
            "refused": 0,
            "dry_run": False,
        }
        made = list(Subscription.objects.order_by("external_id"))
        assert lines == [
            {"line": number, "outcome": "created", "id": one.pk}
            for number, one in enumerate(made, 1)
        ]
        assert {one.price for one in made} == {Decimal(60)}
        [entry] = ledger.history(made[0].pk)
        assert entry["author"].startswith("erp (key ")

    def test_that_are_there_are_changed_where_they_differ(self, erp):
        first, second = [a_subscription(source="crm", external_id=n) for n in "12"]
        client, end = a_client(), timezone.now().replace(microsecond=0) + timedelta(days=9)
        lines, counts = told(
            sent(
                erp,
                [
                    {
                        "source": "crm",
                        "external_id": "1",
                        "comment": "new",
                        "client": client.pk,
                        "ended_at": end.isoformat(),
                    },
                    {"source": "crm", "external_id": "2", "comment": "", "plan": second.plan_id},
                ],
            )
        )
        shown = end.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert lines == [
            {
                "line": 1,
                "outcome": "changed",
                "id": first.pk,
                "changes": {
                    "client": {"before": first.client_id, "after": client.pk},
                    "comment": {"before": "", "after": "new"},
                    "ended_at": {"before": None, "after": shown},
                },
            },
            {"line": 2, "outcome": "unchanged", "id": second.pk},
        ]
        assert (counts["changed"], counts["unchanged"]) == (1, 1)
        first.refresh_from_db()
        assert (first.comment, first.client, first.ended_at) == ("new", client, end)

    def test_sent_again_are_unchanged_and_so_is_the_book(self, erp):
        lines = [a_line(n, started_at="2026-01-01", time_zone="Europe/Berlin") for n in range(5)]
        sent(erp, lines)
        before = stored()
        again, _ = told(sent(erp, lines))
        assert outcomes(again) == ["unchanged"] * 5
        assert stored() == before

    def test_moved_to_another_service_have_the_rule_s_price(self, erp):
        one = a_subscription(source="crm", external_id="1")
        price_state.negotiate(one.pk, price=Decimal(3), reason="won", author="ann")
        sent(erp, [{"source": "crm", "external_id": "1", "service": a_service(70).pk}])
        one.refresh_from_db()
        assert (one.price, one.price_state) == (70, "follows")

    def test_that_have_ended_are_opened_again_by_an_end_of_null(self, erp):
        one = a_subscription(
            source="crm", external_id="1", started_at=in_days(-9), ended_at=in_days(-2)
        )
        service = a_service(70)
        [line], _ = told(
            sent(
                erp,
                [{"source": "crm", "external_id": "1", "ended_at": None, "service": service.pk}],
            )
        )
        assert line["outcome"] == "changed"
        one.refresh_from_db()
        assert (one.ended_at, one.service, one.price) == (None, service, 70)


class TestRefusedLine:
    """By its number, its code and its parameter."""

    @pytest.fixture
    def ended(self):
        return a_subscription(
            source="crm", external_id="1", started_at=in_days(-9), ended_at=in_days(-2)
        )

    @pytest.mark.parametrize(
        ("given", "code", "parameter"),
        [
            ({"comment": 5}, "bad_text", "comment"),
            ({"comment": "x" * 51}, "bad_text", "comment"),
            ({"comment": "a\0b"}, "bad_text", None),
            ({"comment": "a\u202eb"}, "bad_text", "comment"),
            ({"comment": None}, "missing", "comment"),
            ({"source": None}, "missing", "source"),
            ({"external_id": ""}, "too_short", "external_id"),
            ({"client": "x"}, "bad_id", "client"),
            ({"client": True}, "bad_id", "client"),
            ({"client": 2**62}, "not_found", "client"),
            ({"service": 2**62}, "not_found", "service"),
            ({"plan": 2**62}, "not_found", "plan"),
            ({"client": None}, "missing", "client"),
            ({"price": 5}, "unknown_field", "price"),
            ({"started_at": "2026-01-01"}, "not_an_instant", "started_at"),
            ({"started_at": "1800-01-01T00:00:00Z"}, "out_of_range", "started_at"),
            ({"ended_at": "2026-01-01T00:00:00Z"}, "ends_before_start", "ended_at"),
            ({"time_zone": "Mars"}, "unknown_time_zone", "time_zone"),
        ],
    )
    def test_has_a_value_that_no_subscription_takes(self, erp, given, code, parameter):
        line = a_line(7) | given
        said = told(sent(erp, [a_line(8), line]))
        assert (said["code"], said.get("refused")) == ("lines_refused", 1), said
        [refused] = said["lines"]
        assert (refused["line"], refused["code"]) == (2, code)
        assert refused.get("parameter") == parameter
        assert not Subscription.objects.exists()
        lines, _ = told(erp.post(f"{SUBSCRIPTIONS}?on_error=skip", {"lines": [a_line(8), line]}))
        assert outcomes(lines) == ["created", "refused"]
        assert lines[1] == refused | {"outcome": "refused"}

    @pytest.mark.parametrize("name", ["client", "service", "plan"])
    def test_lacks_what_a_new_subscription_has(self, erp, name):
        line = a_line()
        del line[name]
        [refused] = told(sent(erp, [line]))["lines"]
        assert (refused["code"], refused["parameter"]) == ("missing", name)

    @pytest.mark.parametrize(
        "given",
        [{"ended_at": in_days(-1)}, {"service": 0}, {"client": 0}],
    )
    def test_would_change_what_has_ended(self, erp, ended, given):
        named = {"service": a_service, "client": a_client}
        given = {name: value or named[name]().pk for name, value in given.items()}
        [refused] = told(sent(erp, [{"source": "crm", "external_id": "1", **given}]))["lines"]
        assert (refused["code"], refused["line"]) == ("subscription_ended", 1)

    def test_ends_before_the_start_that_the_book_has(self, erp):
        a_subscription(source="crm", external_id="1", started_at=in_days(5))
        line = {"source": "crm", "external_id": "1", "ended_at": in_days(4)}
        [refused] = told(sent(erp, [line]))["lines"]
        assert refused["code"] == "ends_before_start"

    def test_has_the_external_id_of_another_line(self, erp):
        line = a_line()
        lines, _ = told(
            erp.post(f"{SUBSCRIPTIONS}?on_error=skip", {"lines": [line, a_line(2), line]})
        )
        assert outcomes(lines) == ["created", "created", "refused"]
        assert (lines[2]["code"], lines[2]["parameter"]) == ("twice_in_one", "external_id")
        assert "Line 1 has" in lines[2]["detail"]

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            (b'{"source": "crm", "source": "erp"}\n', "repeated_field"),
            (b'{"source": NaN}\n', "bad_json"),
            (b'{"source": "\xff"}\n', "bad_json"),
            (b'{"source": \n', "bad_json"),
            (b"[1]\n", "not_an_object"),
            (b"null\n", "not_an_object"),
            (b'{"source": "\\ud800"}\n', "bad_text"),
            (b"[" * 30 + b"]" * 30 + b"\n", "too_deep"),
            (b'{"client": ' + b"1" * 41 + b"}\n", "bad_number"),
            (b'{"comment": "' + b"x" * 70_000 + b'"}\n', "line_too_long"),
            (b'{"comment": "' + b"x" * 200_000 + b'"}\n', "line_too_long"),
        ],
    )
    def test_of_ndjson_can_not_be_read(self, erp, line, code):
        address = f"{SUBSCRIPTIONS}?on_error=skip"
        _, found = ndjson(erp, a_line(1), line, b"\n", a_line(2), address=address)
        assert outcomes(found[:-1]) == ["created", "refused", "created"]
        assert [each["line"] for each in found[:-1]] == [1, 2, 4]
        assert found[1]["code"] == code
        assert found[-1]["end"]["refused"] == 1


class TestBody:
    def test_of_ndjson_has_an_answer_of_ndjson(self, erp):
        answer, found = ndjson(erp, a_line(1), a_line(2))
        assert answer["Content-Type"] == NDJSON
        assert outcomes(found[:-1]) == ["created", "created"]
        assert found[-1] == {
            "end": {"lines": 2, "created": 2, "changed": 0, "unchanged": 0, "refused": 0}
            | {"dry_run": False}
        }

    @pytest.mark.parametrize("body", [b'{"lines": []}', b' {\n"lines" :[ ] } '])
    def test_may_have_no_lines(self, erp, body):
        answer = erp.generic("POST", SUBSCRIPTIONS, body, content_type="application/json")
        lines, counts = told(answer)
        assert (lines, counts["lines"]) == ([], 0)

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", "missing"),
            (b"[]", "missing"),
            (b'{"rows": []}', "missing"),
            (b'{"lines": [{}', "bad_json"),
            (b'{"lines": [{},]}', "bad_json"),
            (b'{"lines": [{} {}]}', "bad_json"),
            (b'{"lines": [{}], "more": 1}', "bad_json"),
            (b'{"lines": []} x', "bad_json"),
            (b'{"lines": [{"source": tru}]}', "bad_json"),
            (b'{"lines": ["\xff"]}', "bad_json"),
            (b'{"lines": [' + b"[" * 100_000, "bad_json"),
        ],
    )
    @pytest.mark.parametrize("mode", ["", "?on_error=skip", "?dry_run=true"])
    def test_of_json_that_can_not_be_told_apart_is_refused(self, erp, body, code, mode):
        answer = erp.generic("POST", SUBSCRIPTIONS + mode, body, content_type="application/json")
        assert (answer.status_code, told(answer)["code"]) == (400, code)

    @pytest.mark.parametrize(
        "content_type",
        ["text/csv", "application/json; charset=latin-1", "multipart/form-data; boundary=x", ""],
    )
    def test_of_another_type_is_refused(self, erp, content_type):
        answer = erp.generic("POST", SUBSCRIPTIONS, b'{"lines": []}', content_type=content_type)
        assert (answer.status_code, told(answer)["code"]) == (415, "unsupported_media_type")

    def test_that_is_compressed_is_refused(self, erp):
        answer = erp.generic(
            "POST",
            SUBSCRIPTIONS,
            gzip.compress(b'{"lines": []}'),
            content_type="application/json",
            headers={"Content-Encoding": "gzip"},
        )
        assert (answer.status_code, told(answer)["code"]) == (415, "unsupported_media_type")

    def test_too_long_is_refused(self, erp, settings):
        settings.LONGEST_BULK = 1_000
        answer = erp.generic("POST", SUBSCRIPTIONS, b" " * 1_001, content_type=NDJSON)
        assert (answer.status_code, told(answer)["code"]) == (413, "body_too_long")

    @pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
    def test_is_the_same_in_pieces_of_any_length(self, erp, monkeypatch, piece):
        monkeypatch.setattr("services.bulk.bodies.PIECE", piece)
        lines = [a_line(n, comment='é☃𝄞\\" ]}, {[') for n in range(3)]
        body = json.dumps({"lines": lines}, ensure_ascii=piece % 2 == 0, indent=piece % 3).encode()
        answer = erp.generic("POST", SUBSCRIPTIONS, body, content_type="application/json")
        assert outcomes(told(answer)[0]) == ["created"] * 3

    @pytest.mark.parametrize(
        "query", ["on_error=ignore", "dry_run=1", "dryrun=true", "on_error=skip&on_error=stop"]
    )
    def test_with_other_parameters_is_refused(self, erp, query):
        answer = erp.post(f"{SUBSCRIPTIONS}?{query}", {"lines": []})
        assert answer.status_code == 400


def queries_of(erp, lines, address=SUBSCRIPTIONS):
    with CaptureQueriesContext(connection) as queries:
        assert "refused" not in outcomes(told(sent(erp, lines, address))[0])
    return len(queries)


class TestQueries:
    """Their number does not grow with the lines."""

    def test_of_subscriptions(self, erp):
        # Some are created, some ended, some moved; and the claim of a key is none of them.
        known = a_line(0)
        few, many = (
            [known | {"source": f"book {size}", "external_id": str(n)} for n in range(size)]
            for size in (2, 60)
        )
        other = {"plan": a_plan(30).pk, "ended_at": "9000-01-01T00:00:00Z"}
        for change in ({}, other):
            few, many = ([line | change for line in lines] for lines in (few, many))
            assert queries_of(erp, few) == queries_of(erp, many) < 40

    def test_of_the_planner_who_takes_a_table_that_was_filled_for_a_small_one(
        self, erp, monkeypatch
    ):
        monkeypatch.setattr(running, "CHUNK", 10)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE services_subscription")
            line = a_line(0)
            sent(erp, [line | {"external_id": str(n)} for n in range(10)])
            cursor.execute("SELECT reltuples FROM pg_class WHERE relname = 'services_subscription'")
            assert cursor.fetchone() == (10,)
            sent(erp, [line | {"source": "other", "external_id": str(n)} for n in range(9)])
            cursor.execute("SELECT reltuples FROM pg_class WHERE relname = 'services_subscription'")
            assert cursor.fetchone() == (10,)

    def test_of_clients(self, erp):
        few, many = (
            [
                {
                    "source": f"book {size}",
                    "external_id": str(n),
                    "company_name": "Ann",
                    "email": f"ann-{n}@{size}.example.com",
                }
                for n in range(size)
            ]
            for size in (2, 60)
        )
        assert queries_of(erp, few, CLIENTS) == queries_of(erp, many, CLIENTS) < 40


class TestDryRun:
    def test_says_the_differences_and_writes_nothing(self, erp):
        one = a_subscription(source="crm", external_id="1")
        other = a_subscription(source="crm", external_id="2")
        before = stored()
        lines, counts = told(
            erp.post(
                f"{SUBSCRIPTIONS}?dry_run=true",
                {
                    "lines": [
                        {"source": "crm", "external_id": "1", "comment": "new"},
                        {"source": "crm", "external_id": "2"},
                        a_line(3),
                        a_line(4, client=2**62),
                    ]
                },
                headers={"Idempotency-Key": "dry"},
            )
        )
        assert lines[:3] == [
            {
                "line": 1,
                "outcome": "changed",
                "id": one.pk,
                "changes": {"comment": {"before": "", "after": "new"}},
            },
            {"line": 2, "outcome": "unchanged", "id": other.pk},
            {"line": 3, "outcome": "created"},
        ]
        assert (lines[3]["outcome"], lines[3]["code"]) == ("refused", "not_found")
        assert counts["dry_run"] is True
        assert stored() == before

    @pytest.mark.parametrize("on_error", ["stop", "skip"])
    def test_says_what_the_policy_would_say(self, erp, settings, monkeypatch, on_error):
        """Each line is a chunk of its own: three move a price, and two may."""
        monkeypatch.setattr(bulk_lines, "CHUNK", 1)
        service, half = a_service(100), a_plan(50)
        rows = [
            a_subscription(service=service, source="crm", external_id=str(number))
            for number in range(4)
        ]
        price_state.negotiate(rows[1].pk, Decimal(60), "a friend", "setup")
        lines = [{"source": "crm", "external_id": str(n), "plan": half.pk} for n in range(4)]
        lines[2] = {"source": "crm", "external_id": "2", "client": a_client().pk}
        settings.APPROVAL_LIMIT_ROWS = Decimal(2)
        before, mode = stored(), f"{SUBSCRIPTIONS}?on_error={on_error}"
        shown, end = told(sent(erp, lines, f"{mode}&dry_run=true"))
        assert stored() == before
        assert (end["moves"], end["total_before"], end["total_after"]) == (3, 260, 150)
        assert "alone one may move up to 2 in 24 hours" in end["needs_another"]
        job = sent(erp, lines, f"{mode}&dry_run=true", Prefer="respond-async").json()["id"]
        jobs.run()
        assert erp.get(f"/api/jobs/{job}/lines/").json()["result"] == shown
        answer = sent(erp, lines, mode)
        if on_error == "stop":
            assert outcomes(shown) == ["refused", "refused", "refused", "refused"]
            assert told(answer)["code"] == shown[0]["code"] == "needs_another_person"
        else:
            assert outcomes(shown) == ["changed", "changed", "changed", "refused"]
            assert [each | {"detail": ""} for each in told(answer)[0]] == [
                each | {"detail": ""} for each in shown
            ]
            assert sum(MovedAlone.objects.values_list("rows", flat=True)) == 2

    def test_is_not_kept_under_its_key(self, erp):
        line = a_line()
        for _ in range(2):
            answer = erp.post(
                f"{SUBSCRIPTIONS}?dry_run=true",
                {"lines": [line]},
                headers={"Idempotency-Key": "one"},
            )
            assert outcomes(told(answer)[0]) == ["created"]
            assert "Idempotency-Replayed" not in answer
        lines, _ = told(sent(erp, [line], **{"Idempotency-Key": "one"}))
        assert outcomes(lines) == ["created"]


class TestKey:
    def test_gives_the_same_results_once_more(self, erp):
        lines = [a_line(1), a_line(2)]
        first = told(sent(erp, lines, **{"Idempotency-Key": "one"}))
        again = sent(erp, lines, **{"Idempotency-Key": "one"})
        assert told(again) == first
        assert again["Idempotency-Replayed"] == "true"
        assert outcomes(first[0]) == ["created", "created"]

    def test_is_for_one_request(self, erp):
        sent(erp, [a_line(1)], **{"Idempotency-Key": "one"})
        other = sent(erp, [a_line(2)], **{"Idempotency-Key": "one"})
        assert (other.status_code, told(other)["code"]) == (422, "idempotency_key_reused")
        single = erp.post("/api/subscriptions/", a_line(3), headers={"Idempotency-Key": "one"})
        assert single.status_code == 422

    def test_is_for_one_way_of_taking_errors(self, erp):
        body = {"lines": [a_line(1)]}
        told(erp.post(SUBSCRIPTIONS, body, headers={"Idempotency-Key": "one"}))
        other = erp.post(f"{SUBSCRIPTIONS}?on_error=skip", body, headers={"Idempotency-Key": "one"})
        assert other.status_code == 422

    def test_keeps_nothing_of_a_refusal_of_all(self, erp):
        line = a_line(1)
        client = line.pop("client")
        assert sent(erp, [line], **{"Idempotency-Key": "one"}).status_code == 400
        lines, _ = told(sent(erp, [line | {"client": client}], **{"Idempotency-Key": "one"}))
        assert outcomes(lines) == ["created"]

    def test_keeps_refused_lines_that_were_skipped(self, erp):
        address = f"{SUBSCRIPTIONS}?on_error=skip"
        line = a_line(1, client=2**40)
        for _ in range(2):
            [found], _ = told(
                erp.post(address, {"lines": [line]}, headers={"Idempotency-Key": "one"})
            )
            assert found["code"] == "not_found"


class TestClients:
    def line(self, number=1, **given):
        return {"source": "crm", "external_id": str(number), **given}

    def test_are_created_with_log_ins_that_can_not_be_used(self, erp):
        lines, _ = told(
            sent(
                erp,
                [
                    self.line(1, company_name="Ann", email="ann@example.com", full_address="Here"),
                    self.line(2, company_name="Bob", email=None),
                ],
                CLIENTS,
            )
        )
        made = list(Client.objects.select_related("user").order_by("external_id"))
        assert lines == [
            {"line": n, "outcome": "created", "id": one.pk} for n, one in enumerate(made, 1)
        ]
        assert [(one.company_name, one.user.email, one.full_address) for one in made] == [
            ("Ann", "ann@example.com", "Here"),
            ("Bob", "", ""),
        ]
        for one in made:
            assert not one.user.has_usable_password()
            assert one.user.username.startswith("client-")

    def test_are_changed_where_they_differ(self, erp):
        one = a_client("Ann", "ann@example.com", source="crm", external_id="1")
        other = a_client("Bob", "bob@example.com", source="crm", external_id="2")
        lines, _ = told(
            sent(
                erp,
                [
                    self.line(1, email="Ann@example.com", full_address="Here"),
                    self.line(2, company_name="Bob"),
                ],
                CLIENTS,
            )
        )
        assert lines == [
            {
                "line": 1,
                "outcome": "changed",
                "id": one.pk,
                "changes": {
                    "email": {"before": "ann@example.com", "after": "Ann@example.com"},
                    "full_address": {"before": "", "after": "Here"},
                },
            },
            {"line": 2, "outcome": "unchanged", "id": other.pk},
        ]
        one.refresh_from_db()
        assert (one.user.email, one.full_address) == ("Ann@example.com", "Here")

    def test_are_refused_as_single_ones_are(self, erp):
        a_client(email="taken@example.com")
        of_staff = a_client(source="crm", external_id="staff")
        User.objects.filter(pk=of_staff.user_id).update(is_staff=True)
        lines, _ = told(
            erp.post(
                f"{CLIENTS}?on_error=skip",
                {
                    "lines": [
                        self.line(1),
                        self.line(2, company_name="A", email="TAKEN@example.com"),
                        self.line("staff", email="other@example.com"),
                        self.line(3, company_name="B", email="new@example.com"),
                        self.line(4, company_name="C", email="New@example.com"),
                        self.line(5, company_name="D", email="no"),
                    ]
                },
            )
        )
        assert [line.get("code") for line in lines] == [
            "missing",
            "email_taken",
            "email_of_staff",
            None,
            "email_taken",
            "bad_email",
        ]


class TestRights:
    def test_are_to_create_and_to_change(self):
        _, reader = a_key("reader", "subscriptions:read", "clients:write")
        answer = sent(a_writer(reader), [])
        assert (answer.status_code, told(answer)["code"]) == (403, "permission_denied")
        _, writer = a_key("writer", "subscriptions:write")
        assert sent(a_writer(writer), []).status_code == 200
        assert sent(a_writer(writer), [], CLIENTS).status_code == 403


def test_instants_are_shown_as_elsewhere(erp):
    one = a_subscription(source="crm", external_id="1", started_at=in_days(-3))
    at = "2026-01-02T03:04:05.000006Z"
    [line], _ = told(sent(erp, [{"source": "crm", "external_id": "1", "started_at": at}]))
    assert line["changes"]["started_at"]["after"] == at
    shown = erp.get(f"/api/subscriptions/{one.pk}/").json()
    assert shown["started_at"] == at
    assert datetime.fromisoformat(line["changes"]["started_at"]["before"])
