"""Files that are brought in and taken out at the desk."""

from __future__ import annotations

import io
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import openpyxl
import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser
from django.urls import reverse

from services import jobs, price_state
from services.models import ImportMapping, Job, JobPiece, Service, Subscription, book_clock
from services.repricing import reprice
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.test_import_export import LINE, as_csv, lines

pytestmark = pytest.mark.django_db

HEADER = [
    "Client", "E-mail", "service", "full_price", "plan_type", "discount_percent", "started_at",
    "Remark",
]  # fmt: skip


def forty(**wrong: Any) -> bytes:
    """A workbook of forty new subscriptions; `wrong`: cells with something else, as D7=101."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "New"
    sheet.append(HEADER)
    for n in range(40):
        on = date(2026, 3, 1 + n % 28)
        row = [f"Client {n}", f"c{n}@example.com", "Fibre", 30, "full", 0, on, ""]
        sheet.append(row)
    for cell, value in wrong.items():
        sheet[cell] = value
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


@pytest.fixture
def ann() -> Browser:
    """The browser of somebody who may do all."""
    browser = Browser()
    browser.force_login(User.objects.create_superuser("ann"))
    return browser


def uploaded(browser: Browser, content: bytes, name: str = "new.xlsx", **options: Any) -> Any:
    file = SimpleUploadedFile(name, content)
    return browser.post(reverse("desk:upload"), {"file": file, **options})


def looked_at(browser: Browser, content: bytes, name: str = "new.xlsx", **options: Any) -> Job:
    """The job of a file, when a worker has looked at it."""
    answer = uploaded(browser, content, name, **options)
    assert answer.status_code == 302, answer.content.decode()
    return ran(answer)


def ran(answer: Any) -> Job:
    jobs.run()
    return Job.objects.for_api().get(pk=answer["Location"].rstrip("/").rpartition("/")[2])


def page_of(browser: Browser, job: Job, query: str = "") -> Any:
    answer = browser.get(reverse("desk:import", args=[job.pk]) + query)
    assert answer.status_code == 200
    return answer


def told(browser: Browser, job: Job, verb: str, **more: Any) -> Any:
    return browser.post(reverse("desk:do_import", args=[job.pk]), {"do": verb, **more})


class TestFortySubscriptionsWithTwoMistakes:
    def test_are_brought_in_by_their_pages(self, ann):
        job = looked_at(ann, forty(F7=101, G12="31.11.2025"))
        found = page_of(ann, job).context["problems"]
        assert [each.header for each in found.headers] == ["Client", "E-mail", "Remark"]
        assert [each.meant for each in found.headers] == ["company_name", "email", ""]
        assert found.missing == ["company_name", "email"]

        # Somebody leaves all of them out, and is asked again.
        again = ran(told(ann, job, "again", **{each.name: "" for each in found.headers}))
        assert page_of(ann, again).context["problems"].headers == found.headers
        chosen = {each.name: each.meant for each in found.headers}
        job = ran(told(ann, job, "again", **chosen))
        page = page_of(ann, job)
        assert [(each.place, each.value) for each in page.context["problems"].wrong] == [
            ("New!F7", "101"),
            ("New!G12", "31.11.2025"),
        ]
        sheet = ann.get(reverse("desk:import_problems", args=[job.pk]) + "?format=xlsx")
        rows = openpyxl.load_workbook(io.BytesIO(b"".join(sheet.streaming_content))).worksheets[0]
        assert [each.value for each in rows["A"]] == ["Place", "New!F7", "New!G12"]

        misspelt = page_of(ann, looked_at(ann, forty(C7="Fibra"), like=job.pk))
        new = [(each.name, each.like) for each in misspelt.context["new_services"]]
        assert new == [("Fibra", ""), ("Fibre", "")]  # the book has no service yet

        job = looked_at(ann, forty(), like=job.pk)  # corrected, and read as the one before
        page = page_of(ann, job)
        assert page.context["writes"] == 40
        assert "Client 0 · Fibre, 30.00" in page.content.decode()
        assert not Subscription.objects.exists()

        made = ran(told(ann, job, "apply"))
        assert (made.status, made.counts, made.author) == ("done", {"created": 40}, job.author)
        assert Subscription.objects.count() == 40
        later = page_of(
            ann, looked_at(ann, forty(A7="Else", B7="e@example.com", C7="Fibra"), like=job.pk)
        )
        assert [(each.name, each.like) for each in later.context["new_services"]] == [
            ("Fibra", "Fibre")
        ]
        assert not JobPiece.objects.filter(job__in=[job, made]).exists()

    def test_are_written_once_whoever_asks_how_often(self, ann):
        job = looked_at(ann, as_csv(lines({}, {"email": "b@example.com"})))
        first = told(ann, job, "apply")
        assert told(ann, job, "apply")["Location"] == first["Location"]
        made = ran(first)
        assert told(ann, job, "apply")["Location"] == first["Location"]
        assert Job.objects.filter(dry_run=False).get() == made
        assert Subscription.objects.count() == 2
        assert "applied by job" in page_of(ann, job).content.decode()


def forty_lines() -> bytes:
    return as_csv(lines(*({"email": f"{n}@example.com"} for n in range(40))))


def of_service(**values: Any) -> bytes:
    return as_csv(lines(values))


class TestWhatIsApplied:
    def test_is_what_was_shown_or_nothing(self, ann):
        looked_at(ann, of_service())
        fixture = looked_at(ann, of_service())
        ran(told(ann, fixture, "apply"))
        job = looked_at(ann, of_service(full_price="25"), update="on")
        page = page_of(ann, job)
        assert page.context["moved"]["rows"] == 1
        [client] = page.context["clients"]
        assert client["difference"] == page.context["moved"]["difference"] > 0

        # One follower more: the lines are the same, and the prices that move are not.
        service = Service.objects.get()
        a_subscription(service=service, plan=a_plan(0))
        refused = ran(told(ann, job, "apply"))
        assert (refused.status, refused.error["code"]) == ("refused", "differs_from_shown")
        service.refresh_from_db()
        assert service.full_price == Decimal(LINE["full_price"])

        again = ran(told(ann, refused, "again"))
        assert page_of(ann, again).context["moved"]["rows"] == 2
        applied = ran(told(ann, again, "apply"))
        assert (applied.status, applied.counts) == ("done", {"changed": 1})
        reprice()
        assert {*Subscription.objects.values_list("price", flat=True)} == {Decimal(25)}

    def test_is_not_what_somebody_else_has_brought_meanwhile(self, ann):
        content = of_service()
        job = looked_at(ann, content)
        ran(told(ann, looked_at(ann, content), "apply"))
        assert ran(told(ann, job, "apply")).error["code"] == "differs_from_shown"
        assert Subscription.objects.count() == 1

    def test_is_taken_back_after_a_look(self, ann):
        made = ran(told(ann, looked_at(ann, of_service()), "apply"))
        Subscription.objects.update(comment="by hand")
        look = ran(told(ann, made, "look_at_undo"))
        page = page_of(ann, look, "?outcome=left")
        assert "somebody has changed it since" in page.content.decode()
        assert Subscription.objects.filter(ended_at=None).exists()
        undo = ran(told(ann, look, "undo"))
        assert (undo.undoes_id, undo.dry_run, undo.status) == (made.pk, False, "done")
        assert told(ann, look, "undo")["Location"].endswith(f"/{undo.pk}/")


class TestQuestions:
    def test_spell_both_readings_out(self, ann):
        job = looked_at(ann, of_service(full_price="1,234"), "new.csv")
        [question] = page_of(ann, job).context["problems"].questions
        assert question.value == "1,234"
        assert [each.says.partition(" (")[0] for each in question.answers] == [
            "1,234.00 USD",
            "1.234, with 3 decimals: no price",
        ]
        job = ran(told(ann, job, "again", **{question.name: "decimal=."}))
        assert job.status == "done"
        assert "1,234.00 USD" in page_of(ann, job).content.decode()

    def test_a_file_that_differs_is_let_pass_by_a_tick(self, ann):
        ran(told(ann, looked_at(ann, of_service()), "apply"))
        job = looked_at(ann, of_service(comment="vip"))
        assert page_of(ann, job).context["problems"].allowed
        job = ran(told(ann, job, "again", update="1"))
        page = page_of(ann, job)
        [line] = page.context["rows"].lines
        [change] = line.changes
        assert (change.column, change.before, change.after) == ("Comment", "nothing", "vip")

    def test_a_reading_is_kept_and_forgotten(self, ann):
        job = looked_at(ann, of_service(full_price="4,50"), decimal=",")
        told(ann, job, "keep", name="acme")
        other = looked_at(ann, of_service(full_price="4.50"), decimal=".")
        page = ann.get(told(ann, other, "keep", name="acme")["Location"])
        assert "Another reading is kept as “acme”" in page.content.decode()
        assert ImportMapping.objects.get().reading == {"decimal": ","}
        assert looked_at(ann, of_service(full_price="4,50"), mapping="acme").status == "done"
        ann.post(reverse("desk:forget_mapping"), {"name": "acme"})
        assert not ImportMapping.objects.exists()


class TestAFileThatIsKept:
    def test_is_forgotten_after_a_day(self, ann):
        job = looked_at(ann, of_service())
        assert jobs.forget_old() == 0
        assert JobPiece.objects.filter(job=job).exists()
        Job.objects.update(finished_at=book_clock() - timedelta(days=1, seconds=1))
        jobs.forget_old()
        assert not JobPiece.objects.exists()
        page = page_of(ann, job)
        assert not page.context["can_apply"]
        assert "upload it again" in page.content.decode()
        assert told(ann, job, "apply")["Location"].endswith(f"/{job.pk}/")
        assert not Job.objects.filter(dry_run=False).exists()

    def test_is_shown_in_few_queries(self, ann, django_assert_max_num_queries):
        job = looked_at(ann, forty_lines(), update="on")
        with django_assert_max_num_queries(16):
            page_of(ann, job)
        made = ran(told(ann, job, "apply"))
        with django_assert_max_num_queries(16):
            page_of(ann, made)

    def test_waits_for_another_person_where_it_moves_too_much(self, ann, settings):
        ran(told(ann, looked_at(ann, of_service()), "apply"))
        settings.APPROVAL_LIMIT_AMOUNT = Decimal(1)
        job = looked_at(ann, of_service(full_price="25"), update="on")
        assert (job.status, job.error["code"]) == ("refused", "needs_another_person")
        assert "plan the new prices as price changes" in page_of(ann, job).content.decode()


class TestRights:
    def test_to_see_and_to_write_are_those_of_the_api(self, ann):
        job = looked_at(ann, of_service())
        bob = User.objects.create_user("bob", is_staff=True)
        bob.user_permissions.add(
            *Permission.objects.filter(codename__in=["view_subscription", "view_client"])
        )
        reader = Browser()
        reader.force_login(bob)
        assert uploaded(reader, of_service()).status_code == 403
        assert told(reader, job, "apply").status_code == 403
        assert reader.get(reverse("desk:import", args=[job.pk])).status_code == 403
        assert "id_file" not in reader.get(reverse("desk:files")).content.decode()
        shown = reader.get(reverse("desk:exports")).context["exports"]
        assert [each["export"].name for each in shown] == ["subscriptions", "clients", "totals"]
        assert reader.get(reverse("desk:export", args=["ledger"])).status_code == 403


class TestBadAddresses:
    @pytest.mark.parametrize(
        "query", ["?outcome=odd", "?after=x", "?after=9999999999999999999999", "?before=%00"]
    )
    def test_are_not_found(self, ann, query):
        job = looked_at(ann, of_service())
        assert ann.get(reverse("desk:import", args=[job.pk]) + query).status_code == 404

    def test_say_what_they_do_not_find(self, ann):
        answer = ann.get(reverse("desk:import", args=[99999999999999999999]))
        assert answer.status_code == 404
        assert ann.get(reverse("desk:imports") + "?kind=odd").status_code == 404
        assert ann.get(reverse("desk:export", args=["odd"])).status_code == 404

    def test_a_file_that_is_none_and_one_too_long_are_refused(self, ann, settings):
        assert ann.post(reverse("desk:upload"), {}).status_code == 400
        settings.LONGEST_BULK = 10
        answer = uploaded(ann, b"x" * 11)
        assert answer.status_code == 400
        assert "split it" in answer.content.decode()
        assert not Job.objects.exists()


class TestLists:
    def test_jobs_go_by_pages_and_each_can_be_read(self, ann, monkeypatch):
        monkeypatch.setattr("desk.files.looking.PAGE", 2)
        for _ in range(3):
            looked_at(ann, of_service())
        page = ann.get(reverse("desk:imports"))
        numbers = [each["job"].pk for each in page.context["jobs"]]
        older = ann.get(reverse("desk:imports") + f"?{page.context['older']}")
        numbers += [each["job"].pk for each in older.context["jobs"]]
        assert numbers == sorted(numbers, reverse=True)
        assert len(numbers) == 3

    def test_lines_go_by_pages(self, ann, monkeypatch):
        monkeypatch.setattr("desk.files.lines.PAGE", 2)
        content = as_csv(lines(*({"email": f"{n}@example.com"} for n in range(3))))
        job = looked_at(ann, content)
        rows = page_of(ann, job, "?outcome=created").context["rows"]
        assert [each.number for each in rows.lines] == [2, 3]
        rows = page_of(ann, job, rows.next.partition("#")[0]).context["rows"]
        assert rows.lines[0].number == 4
        rows = page_of(ann, job, rows.previous.partition("#")[0]).context["rows"]
        assert [each.number for each in rows.lines] == [2, 3]

    @pytest.mark.parametrize("language", ["en", "ru"])
    def test_are_taken_out_in_each_form(self, ann, language):
        a_subscription(a_client("Nordwind"), a_service(10, "Fibre"), a_plan(0))
        for name in ("subscriptions", "clients", "services", "plans", "totals", "ledger"):
            for form in ("xlsx", "excel-csv"):
                url = reverse("desk:export", args=[name])
                answer = ann.get(
                    f"{url}?format={form}&state=", headers={"accept-language": language}
                )
                assert answer.status_code == 200, answer.content
                content = b"".join(answer.streaming_content)
                assert (
                    b"10,00" in content
                    or form == "xlsx"
                    or language == "en"
                    or name in ("plans", "ledger")
                )
        past = ann.get(reverse("desk:export", args=["history"]))
        assert b"10.00" in b"".join(past.streaming_content)

    @pytest.mark.parametrize("form", ["xlsx", "excel-csv"])
    def test_a_file_in_the_readers_language_can_be_brought_in_again(self, ann, form):
        plan = a_plan(15, "student")
        subscription = a_subscription(a_client("Nordwind"), a_service("10.20", "Fibre"), plan)
        price_state.lock(subscription.pk, None, "a promise", "ann")
        url = reverse("desk:export", args=["subscriptions"]) + f"?format={form}"
        in_russian = {"accept-language": "ru"}
        content = b"".join(ann.get(url, headers=in_russian).streaming_content)
        if form == "xlsx":
            sheet, about = openpyxl.load_workbook(io.BytesIO(content)).worksheets
            header, row = sheet.iter_rows(values_only=True)
            assert (sheet.title, about["A1"].value) == ("Подписки", "Таблица")
            assert {"Клиент", "Цена по каталогу", "Состояние цены"} < set(header)
            assert {"студенческий", "закреплена"} < set(row)
        # A program that asks for it in Russian has the names and codes of the API.
        if form == "excel-csv":
            answer = ann.get("/api/subscriptions/?format=excel-csv&locale=ru", headers=in_russian)
            assert b";price_state;" in b"".join(answer.streaming_content)
        job = looked_at(ann, content, f"book.{form.removeprefix('excel-')}")
        assert job.status == "done", job.error
        assert job.counts == {"unchanged": 1}

    def test_the_problems_of_a_file_are_said_in_the_readers_language(self, ann):
        job = looked_at(ann, as_csv(lines({"full_price": "-1"}, {"ended_at": "1700-01-01"})))
        url = reverse("desk:import", args=[job.pk])
        page = ann.get(url, headers={"accept-language": "ru"})
        found = {each.column: each.reason for each in page.context["problems"].wrong}
        assert found["Цена по каталогу"].startswith("В этом столбце так нельзя")
        assert "lies outside" not in str(found)

    def test_what_the_api_refuses_is_said_on_the_page(self, ann):
        url = reverse("desk:export", args=["subscriptions"])
        answer = ann.get(url + "?format=xlsx&state=odd")
        assert answer.status_code == 400
        assert "state" in str(next(iter(answer.context["messages"])))
        answer = ann.get(reverse("desk:export", args=["changes"]) + "?number=77")
        assert answer.status_code == 404
