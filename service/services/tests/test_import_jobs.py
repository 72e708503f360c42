"""Files that workers read into the book: asked for, refused, shown, done, and taken back."""

import gzip
import io
import json
import os
import re
import shutil
import subprocess
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.utils import timezone

from clients.models import Client
from keys.tests.making import a_key
from pricebook.kit.scopes import SCOPES
from pricebook.tests.web import WebServer
from services import jobs, price_state, repricing
from services.audit import book_check
from services.models import Correction, Job, JobPiece, Service, Subscription
from services.tests.factories import a_plan
from services.tests.programs import a_writer
from services.tests.test_import_export import LINE, as_csv, lines
from services.tests.test_jobs import results, seen, undone

pytestmark = pytest.mark.django_db

WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FOR_25 = {"full_price": "25"}
IMPORTS = "/api/imports/"


@pytest.fixture
def erp():
    return a_writer()


def asked(erp, content, query="", media_type="text/csv", **headers):
    if isinstance(content, list):
        content = as_csv(content)
    return erp.generic("POST", IMPORTS + query, content, media_type, headers=headers)


def done(erp, content, query="", **sent):
    """The job of a file, when workers are done with it."""
    answer = asked(erp, content, query, **sent)
    assert answer.status_code == 202, answer.content
    assert answer["Location"] == f"/api/jobs/{answer.json()['id']}/"
    jobs.run()
    return seen(erp, answer.json()["id"])


class TestAFile:
    def test_is_read_by_a_worker_and_each_line_has_a_result(self, erp):
        job = done(erp, lines({}, {"email": "b@example.com", "plan_type": "student"}))
        assert (job["kind"], job["status"], job["on_error"]) == ("import", "done", "stop")
        assert (job["lines"], job["lines_done"], job["counts"]) == (2, 2, {"created": 2})
        [first, second, *others] = results(erp, job["id"])
        made = Subscription.objects.order_by("pk")
        assert (first, second) == tuple(
            {"line": number, "outcome": "created", "id": each.pk}
            for number, each in enumerate(made, 2)
        )
        assert [(each["line"], each["kind"], each["outcome"]) for each in others] == [
            (4, "client", "created"), (5, "client", "created"), (6, "service", "created"),
            (7, "plan", "created"), (8, "plan", "created"),
        ]  # fmt: skip
        assert others[2]["id"] == Service.objects.get().pk
        assert not JobPiece.objects.exists()
        again = done(erp, lines({}, {"email": "b@example.com", "plan_type": "student"}))
        assert again["counts"] == {"unchanged": 2}
        assert erp.post(f"/api/jobs/{again['id']}/undo/").json()["code"] == "nothing_to_undo"

    def test_in_a_dry_run_shows_each_difference_and_writes_nothing(self, erp):
        done(erp, lines({}))
        wanted = lines({"full_price": "25", "comment": "vip"}, {"full_price": "25"})
        job = done(erp, wanted, "?dry_run=true&update=true")
        assert (job["status"], job["counts"]) == ("done", {"changed": 1, "created": 1})
        [changed, created, service] = results(erp, job["id"])
        assert changed["changes"] == {
            "full_price": {"before": "20.00", "after": "25.00"},
            "comment": {"before": "", "after": "vip"},
        }
        assert created == {"line": 3, "outcome": "created"}
        assert (service["kind"], service["changes"]["full_price"]["after"]) == ("service", "25.00")
        [still] = Subscription.objects.all()
        assert (still.comment, Service.objects.get().full_price) == ("", 20)
        assert erp.post(f"/api/jobs/{job['id']}/undo/").json()["code"] == "nothing_to_undo"

    def test_may_be_a_workbook_whose_problems_name_the_cell(self, erp):
        for price, code in ((20, None), ("=1/0", "not_calculated")):
            book = openpyxl.Workbook()
            book.active.append(list(LINE))
            book.active.append([*LINE.values()])
            book.active["E2"], book.active["G2"] = price, 0
            file = io.BytesIO()
            book.save(file)
            job = done(erp, file.getvalue(), media_type=WORKBOOK)
            if code is None:
                assert job["counts"] == {"created": 1}, job["error"]
            else:
                [problem] = job["error"]["problems"]
                assert (problem["cell"], problem["code"]) == ("Sheet!E2", code)

    def test_comes_compressed_or_as_a_part_of_a_form(self, erp):
        job = done(erp, gzip.compress(as_csv(lines({}))), media_type="application/gzip")
        assert job["counts"] == {"created": 1}
        file = SimpleUploadedFile("book.csv", as_csv(lines({}, {})), content_type="text/csv")
        answer = erp.post(IMPORTS, {"file": file, "dry_run": "true"}, format="multipart")
        assert answer.status_code == 202, answer.content
        jobs.run()
        job = seen(erp, answer.json()["id"])
        assert (job["dry_run"], job["counts"]) == (True, {"created": 1, "unchanged": 1})

    def test_sent_again_with_its_key_is_the_same_job_in_a_form_too(self, erp):
        def sent(boundary):
            body = (
                f"--{boundary}\r\nContent-Disposition: form-data; name=file; filename=b.csv\r\n\r\n"
            ).encode() + as_csv(lines({}))
            body += f"\r\n--{boundary}--\r\n".encode()
            media_type = f"multipart/form-data; boundary={boundary}"
            return asked(erp, body, media_type=media_type, **{"Idempotency-Key": "k"})

        first, again = sent("one"), sent("two")
        assert (first.json(), again["Idempotency-Replayed"]) == (again.json(), "true")
        assert Job.objects.count() == 1
        other = asked(erp, lines({}, {}), **{"Idempotency-Key": "k"})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

    def test_that_is_wrong_is_refused_whole_with_the_places(self, erp):
        job = done(erp, lines({}, {"discount_percent": "101"}))
        error = job["error"]
        assert (job["status"], error["code"], error["refused"]) == ("refused", "file_refused", 1)
        [place] = error["problems"]
        assert (place["line"], place["column"], place["value"]) == (3, "discount_percent", "101")
        assert "0 to 100" in place["reason"]
        assert not Client.objects.exists()
        done(erp, lines({}))
        job = done(erp, lines({"comment": "vip"}))  # without update=true
        [place] = job["error"]["problems"]
        assert (place["column"], place["answers"]) == ("comment", ["update=true"])

    def test_that_is_damaged_is_refused(self, erp):
        packed = gzip.compress(as_csv(lines({})))
        job = done(erp, packed[:-9], media_type="application/gzip")
        [problem] = job["error"]["problems"]
        assert (problem["line"], problem["code"]) == (0, "damaged")
        assert not Client.objects.exists()

    def test_is_refused_in_words_that_can_be_stored(self, erp):
        """A character that no database takes may stand in a header, too."""
        header, line, *_ = as_csv(lines({})).split(b"\n")
        job = done(erp, b"%b,a\0b\n%b,\n" % (header, line), "?encoding=utf-8")
        assert (job["status"], job["error"]["problems"][0]["value"]) == ("refused", "a?b")
        job = done(erp, b"\0")
        assert "The file is no text and no workbook" in job["error"]["detail"]
        assert "save it as .xlsx or as CSV UTF-8" in job["error"]["detail"]

    def test_that_has_two_readings_is_a_question_which_a_parameter_answers(self, erp):
        file = as_csv(lines({"started_at": "03/04/2026"})).replace(b",", b";")
        [problem] = done(erp, file)["error"]["problems"]
        assert (problem["column"], problem["code"]) == ("started_at", "date_unclear")
        assert problem["answers"] == ["dates=day_first", "dates=month_first"]
        job = done(erp, file, "?dates=day_first")
        assert job["counts"] == {"created": 1}
        assert Subscription.objects.get().started_at.month == 4

    def test_may_name_its_columns_in_another_way(self, erp):
        file = as_csv(lines({})).replace(b"company_name", b"Kunde")
        assert done(erp, file, "?column=Kunde:company_name")["counts"] == {"created": 1}

    def test_beyond_the_limits_is_refused(self, erp, settings):
        done(erp, lines({}))
        settings.APPROVAL_LIMIT_AMOUNT = Decimal(1)
        job = done(erp, lines({"full_price": "25"}), "?update=true")
        assert job["error"]["code"] == "needs_another_person"
        assert Service.objects.get().full_price == 20


class TestThePast:
    def test_is_brought_by_a_worker_and_stays(self, erp):
        done(erp, lines({}))
        [one] = Subscription.objects.all()
        named = {"source": "crm", "external_id": "1"}
        past = [
            named | {"effective_at": "2026-02-01", "price": "15"},
            named | {"effective_at": "2026-03-01", "price": "20"},
        ]
        shown = done(erp, past, "?kind=history&dry_run=true")
        assert (shown["kind"], shown["counts"]) == ("history", {"changed": 1, "unchanged": 1})
        assert not Correction.objects.exists()
        job = done(erp, past, "?kind=history")
        assert results(erp, job["id"]) == results(erp, shown["id"]) == [
            {"line": 2, "outcome": "changed", "id": one.pk,
             "changes": {"price": {"before": "20.00", "after": "15.00"}}},
            {"line": 3, "outcome": "unchanged", "id": one.pk},
        ]  # fmt: skip
        assert (Correction.objects.get().author, Correction.objects.get().price) == (
            job["author"], 15,
        )  # fmt: skip
        assert erp.post(f"/api/jobs/{job['id']}/undo/").json()["code"] == "history_stays"

    def test_takes_the_right_to_correct(self, erp, settings):
        done(erp, lines({}))
        _, key = a_key("no corrections", *(set(SCOPES) - {"price_states:set"}))
        answer = asked(a_writer(key), b"x", "?kind=history")
        assert (answer.status_code, answer.json()["missing"]) == (403, "services.set_price_state")
        settings.APPROVAL_LIMIT_AMOUNT = Decimal(1)
        named = {"source": "crm", "external_id": "1", "until": "2026-03-01"}
        job = done(erp, [named | {"effective_at": "2026-02-01", "price": "15"}], "?kind=history")
        assert (job["status"], job["error"]["code"]) == ("refused", "needs_another_person")
        assert not Correction.objects.exists()

    def test_goes_out_and_in_by_commands_too(self, tmp_path):
        call_book(tmp_path, lines({}, {"ended_at": "2026-04-01"}))
        past = str(tmp_path / "past.csv.gz")
        for command in (["export_history", past], ["import_history", past, "--author", "ann"]):
            out = io.StringIO()
            call_command(*command, stdout=out, stderr=out)
        assert out.getvalue().startswith("2 lines, of which 0 say another price")
        assert Job.objects.latest("id").counts == {"unchanged": 2}


HOSTILE = [
    ("?dry_run=maybe", b"", "text/csv", "bad_parameter"),
    ("?on_error=skip", b"", "text/csv", "unknown_parameter"),
    ("?update=true&update=true", b"", "text/csv", "repeated_parameter"),
    ("?column=x", b"", "text/csv", "bad_reading"),
    ("?column=x:y", b"", "text/csv", "bad_reading"),
    ("?kind=history&column=x:company_name", b"", "text/csv", "bad_reading"),
    ("?column=a%00b:", b"", "text/csv", "bad_reading"),
    ("?sheet=%00", b"", "text/csv", "bad_parameter"),
    ("?encoding=ebcdic", b"", "text/csv", "bad_reading"),
    ("?mapping=none", b"", "text/csv", "bad_reading"),
    ("", b"{}", "application/json", "unsupported_media_type"),
    ("", b"x", "multipart/form-data", "bad_form"),
    ("", b"x", "multipart/form-data; boundary=b", "missing"),
    ("", b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n',
     "multipart/form-data; boundary=b", "missing"),
    ("", b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1\r\n'
     b'--b\r\nContent-Disposition: form-data; name="file"; filename="b"\r\n\r\n1\r\n--b--\r\n',
     "multipart/form-data; boundary=b", "missing"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "body", "media_type", "code"), HOSTILE)
def test_a_request_that_makes_no_sense_is_refused(erp, query, body, media_type, code):
    answer = asked(erp, body, query, media_type)
    assert 400 <= answer.status_code < 500, answer.content
    assert (answer.json()["code"], Job.objects.count()) == (code, 0)
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe\x00", b"\0" * 999, b'"', b"PK\x03\x04x", b"\x1f\x8b"]
)
def test_a_body_that_is_no_file_of_a_book_is_refused_by_the_worker(erp, body):
    job = done(erp, body)
    assert (job["status"], job["counts"]) == ("refused", {})
    assert job["error"]["detail"]


class TestAnUndo:
    def test_gives_back_values_prices_names_and_price_states(self, erp):
        done(erp, lines({}, {"email": "b@example.com"}))
        half = a_plan(50)
        kept, moved = Subscription.objects.order_by("pk")
        price_state.negotiate(moved.pk, price=Decimal("7.77"), reason="won", author="ann")
        wanted = lines(
            {"company_name": "Acme Ltd", "full_price": "25", "comment": "vip",
             "ended_at": "2026-02-01"},
            {"email": "b@example.com", "full_price": "25", "plan_type": half.plan_type,
             "discount_percent": "50"},
        )  # fmt: skip
        job = done(erp, wanted, "?update=true")
        assert job["status"] == "done", job
        undo, taken = undone(erp, job["id"])
        assert undo["counts"] == {"changed": 4}
        assert {each.get("kind", "line") for each in taken} == {"line", "client", "service"}
        assert taken[0]["changes"].keys() == {"comment", "ended_at"}
        kept.refresh_from_db()
        moved.refresh_from_db()
        assert (kept.comment, kept.ended_at, kept.client.company_name) == ("", None, "Acme")
        assert (moved.price_state, moved.price, moved.price_reason) == (
            "negotiated", Decimal("7.77"), "won",
        )  # fmt: skip
        assert moved.plan_id != half.pk
        assert Service.objects.get().full_price == 20
        repricing.reprice()
        assert not book_check.check().differs

    def test_gives_back_the_price_states_that_a_file_has_written(self, erp, settings):
        done(erp, lines({}, {}))
        _, won = Subscription.objects.order_by("pk")
        price_state.negotiate(won.pk, price=Decimal("7.77"), reason="won", author="ann")
        wanted = lines(
            {
                "price_state": "negotiated",
                "price": "9.00",
                "price_reason": "asked",
                "locked_until": "",
            },
            {"price_state": "follows", "price": "", "price_reason": "", "locked_until": ""},
        )
        job = done(erp, wanted, "?update=true")
        assert job["counts"] == {"changed": 2}, job["error"]["problems"]
        settings.APPROVAL_LIMIT_AMOUNT = Decimal("23.23")  # 9 to 20, and 20 to 7.77
        undo, taken = undone(erp, job["id"], dry_run=True)
        assert undo["counts"] == {"changed": 2}, taken
        undo, taken = undone(erp, job["id"])
        assert undo["counts"] == {"changed": 2}, taken
        rows = Subscription.objects.order_by("pk")
        assert list(rows.values_list("price_state", "price", "price_reason")) == [
            ("follows", 20, ""),
            ("negotiated", Decimal("7.77"), "won"),
        ]
        assert not book_check.check().differs

    def test_says_what_of_a_state_is_as_it_was_and_a_lock_that_has_ended_is_none(
        self, erp, moved_clock
    ):
        done(erp, lines({}, {}))
        state = {"price_state": "negotiated", "price": "9.00", "price_reason": "asked"}
        one, two = Subscription.objects.order_by("pk")
        until = moved_clock.now() + timedelta(days=1)
        price_state.negotiate(one.pk, price=Decimal(7), reason="won", author="ann")
        price_state.lock(two.pk, until, "promised", "ann")
        job = done(erp, lines(*[state | {"locked_until": ""}] * 2), "?update=true")
        assert job["counts"] == {"changed": 2}, job["error"]
        moved_clock.passes(timedelta(days=2))
        undo, taken = undone(erp, job["id"])
        assert undo["counts"] == {"changed": 2}, taken
        assert [each["changes"] for each in taken] == [
            {
                "price": {"before": "9.00", "after": "7.00"},
                "price_reason": {"before": "asked", "after": "won"},
            },
            {
                "price_state": {"before": "negotiated", "after": "follows"},
                "price_reason": {"before": "asked", "after": ""},
            },
        ]
        rows = Subscription.objects.order_by("pk")
        assert list(rows.values_list("price_state", "price", "price_reason", "locked_until")) == [
            ("negotiated", 7, "won", None),
            ("follows", 20, "", None),
        ]
        assert not book_check.check().differs

    def test_leaves_what_somebody_has_touched_since(self, erp):
        done(erp, lines({}, {}))
        job = done(
            erp,
            lines({"comment": "a", "full_price": "25"}, {"comment": "b", "full_price": "25"}),
            "?update=true",
        )
        touched, other = Subscription.objects.order_by("pk")
        erp.patch(f"/api/subscriptions/{touched.pk}/", {"comment": "mine"}, format="json")
        service = Service.objects.get()
        erp.patch(f"/api/services/{service.pk}/", {"full_price": "30.00"}, format="json")
        undo, taken = undone(erp, job["id"])
        assert undo["counts"] == {"left": 2, "changed": 1}
        assert {each["code"] for each in taken if each["outcome"] == "left"} == {"touched_since"}
        other.refresh_from_db()
        service.refresh_from_db()
        assert (other.comment, service.full_price) == ("", 30)

    def test_deletes_what_the_command_has_made_and_ends_what_pays(self, erp, tmp_path):
        soon = (timezone.now() + timedelta(days=5)).isoformat()
        call_book(tmp_path, lines({"started_at": soon, "source": "", "external_id": ""}))
        [job] = Job.objects.all()
        undo, taken = undone(erp, job.pk)
        assert undo["counts"]["deleted"] >= 1, taken
        assert not Subscription.objects.exists()
        call_book(tmp_path, lines({}))
        undo, [ended, *left] = undone(erp, Job.objects.latest("id").pk)
        assert (ended["outcome"], [*ended["changes"]]) == ("changed", ["ended_at"])
        assert {(each["outcome"], each.get("code")) for each in left} <= {("left", "in_use")}

    def test_counts_for_the_limits_and_a_dry_run_says_so(self, erp, settings):
        done(erp, lines({}, {"service": "DSL", "full_price": "10"}))
        job = done(erp, lines({"full_price": "25"}, {"service": "DSL", "full_price": "10",
                                                     "comment": "x"}), "?update=true")  # fmt: skip
        settings.APPROVAL_LIMIT_AMOUNT = Decimal(1)
        for dry_run in (True, False):
            undo, taken = undone(erp, job["id"], dry_run=dry_run)
            assert undo["counts"] == {"left": 1, "changed": 1}, taken
            [left] = [each for each in taken if each["outcome"] == "left"]
            assert left["code"] == "needs_another_person"
        assert Service.objects.get(name="Phone").full_price == 25


def call_book(tmp_path, rows):
    file = tmp_path / "book.csv"
    file.write_bytes(as_csv(rows))
    call_command("import_book", str(file), stdout=io.StringIO(), stderr=io.StringIO())


def curl_lines(heading):
    """The requests of a section of docs/api.md."""
    guide = (Path(settings.BASE_DIR).parent / "docs" / "api.md").read_text()
    section = guide.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^    (curl .+)$", section, re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.django_db(transaction=True)
def test_the_guide_s_requests_show_import_and_take_back(tmp_path):
    _, key = a_key("finance", *SCOPES)
    (tmp_path / "book.csv").write_bytes(as_csv(lines({})))
    web = WebServer(tmp_path / "web", ALLOWED_HOSTS="localhost")
    given = {"API": f"http://localhost:{web.port}", "AUTH": f"Authorization: Api-Key {key}"}
    numbers, statuses, answers = {}, [], []
    try:
        for line in curl_lines("Import a file"):
            command = re.sub(r"(?<=/jobs/)\d+", lambda found: str(numbers[found[0]]), line)
            done = subprocess.run(
                command, shell=True, cwd=tmp_path, env=os.environ | given, capture_output=True
            )
            answers.append(json.loads(done.stdout))
            if "id" in answers[-1]:
                numbers[str(17 + len(numbers))] = answers[-1]["id"]
                jobs.run()
                statuses.append(Job.objects.get(pk=answers[-1]["id"]).counts)
    finally:
        web.stop()
    assert statuses == [{"created": 1}, {"created": 1}, {"changed": 1, "left": 3}], answers
    assert answers[1] == {"result": [], "next": None, "previous": None}
