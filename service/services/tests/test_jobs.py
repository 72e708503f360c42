"""Bulks that workers write: asked for, run, resumed, refused, cancelled, and taken back."""

import gzip
import io
import json
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from clients.models import Client
from keys.tests.making import a_key, a_member_of_staff
from pricebook.kit.access import author
from services import jobs, ledger, price_state
from services.audit import book_check
from services.bulk import lines as bulk_lines
from services.jobs import running
from services.models import Job, JobPiece, JobResult, Subscription
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.programs import a_writer

pytestmark = pytest.mark.django_db

SUBSCRIPTIONS = "/api/subscriptions/bulk/"
CLIENTS = "/api/clients/bulk/"
LATER = {"Prefer": "respond-async"}


@pytest.fixture
def erp():
    return a_writer()


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(bulk_lines, "CHUNK", 2)
    monkeypatch.setattr("services.bulk.steps.BATCH", 2)


def asked(erp, lines, address=SUBSCRIPTIONS, **headers):
    """The job of a bulk, as it was answered."""
    answer = erp.post(address, {"lines": lines}, format="json", headers=LATER | headers)
    assert answer.status_code == 202, answer.content
    return answer.json()


def done(erp, lines, address=SUBSCRIPTIONS):
    """The job of a bulk, when workers are done with it."""
    job = asked(erp, lines, address)
    jobs.run()
    return seen(erp, job["id"])


def seen(erp, number):
    return erp.get(f"/api/jobs/{number}/").json()


def results(erp, number, **query):
    return erp.get(f"/api/jobs/{number}/lines/", query).json()["result"]


def undone(erp, number, **body):
    """The undo of a job, when workers are done with it, and its lines by their outcomes."""
    answer = erp.post(f"/api/jobs/{number}/undo/", body, format="json")
    assert answer.status_code == 202, answer.content
    jobs.run()
    job = seen(erp, answer.json()["id"])
    assert job["status"] == "done", job
    return job, results(erp, job["id"])


def in_days(number):
    return (timezone.now() + timedelta(days=number)).isoformat()


def a_line(number, one, **given):
    named = {"client": one.client_id, "service": one.service_id, "plan": one.plan_id}
    return {"source": "crm", "external_id": str(number), **named, **given}


def ndjson(lines):
    """The body of these lines, as a file."""
    return io.BytesIO(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


@pytest.fixture
def one():
    return a_subscription()


class TestAJob:
    def test_writes_nothing_before_a_worker_comes_and_then_what_a_bulk_writes(self, erp, one):
        answer = erp.post(SUBSCRIPTIONS, {"lines": [a_line(n, one) for n in (1, 2)]}, headers=LATER)
        job = answer.json()
        assert answer["Location"] == f"/api/jobs/{job['id']}/"
        assert answer["Preference-Applied"] == "respond-async"
        assert (job["status"], job["lines"], job["error"]) == ("waiting", None, None)
        assert not Subscription.objects.filter(source="crm").exists()
        assert jobs.run() == 1
        job = seen(erp, job["id"])
        assert (job["status"], job["lines"], job["lines_done"]) == ("done", 2, 2)
        assert job["counts"] == {"created": 2}
        made = Subscription.objects.filter(source="crm").order_by("external_id")
        assert results(erp, job["id"]) == [
            {"line": number, "outcome": "created", "id": each.pk}
            for number, each in enumerate(made, 1)
        ]
        assert ledger.history(made[0].pk)[0]["author"] == job["author"]
        assert not JobPiece.objects.exists()
        assert jobs.run() == 0

    def test_names_its_body(self, erp, one):
        body = json.dumps(a_line(1, one)).encode()
        answer = erp.generic(
            "POST", SUBSCRIPTIONS, body, "application/x-ndjson", headers=LATER
        ).json()
        assert (answer["size"], len(answer["sha256"])) == (len(body), 64)
        jobs.run()
        assert seen(erp, answer["id"])["counts"] == {"created": 1}

    def test_of_all_or_nothing_is_refused_whole_and_says_which_lines(self, erp, one):
        job = done(erp, [a_line(1, one), a_line(2, one, plan=2**40)])
        assert (job["status"], job["error"]["code"]) == ("refused", "lines_refused")
        [line] = job["error"]["lines"]
        assert (line["line"], line["code"], line["parameter"]) == (2, "not_found", "plan")
        assert not Subscription.objects.filter(source="crm").exists()
        assert not JobPiece.objects.exists()

    def test_line_by_line_leaves_out_what_is_refused(self, erp, one, small_chunks):
        sent = [a_line(n, one, **({"plan": 2**40} if n == 3 else {})) for n in range(1, 6)]
        job = done(erp, sent, SUBSCRIPTIONS + "?on_error=skip")
        assert (job["status"], job["counts"]) == ("done", {"created": 4, "refused": 1})
        [refused] = results(erp, job["id"], outcome="refused")
        assert (refused["line"], refused["code"]) == (3, "not_found")
        assert JobResult.objects.filter(job=job["id"]).count() == 3

    def test_that_is_no_json_is_refused(self, erp):
        answer = erp.generic(
            "POST", SUBSCRIPTIONS, b'{"lines": [', "application/json", headers=LATER
        )
        jobs.run()
        job = seen(erp, answer.json()["id"])
        assert (job["status"], job["error"]["code"]) == ("refused", "bad_json")

    def test_in_a_dry_run_says_what_would_be(self, erp, one):
        job = done(erp, [a_line(1, one)], SUBSCRIPTIONS + "?dry_run=true")
        assert (job["status"], job["counts"]) == ("done", {"created": 1})
        assert not Subscription.objects.filter(source="crm").exists()

    def test_sent_again_with_its_key_is_the_same(self, erp, one):
        first = asked(erp, [a_line(1, one)], **{"Idempotency-Key": "one"})
        jobs.run()
        answer = erp.post(
            SUBSCRIPTIONS,
            {"lines": [a_line(1, one)]},
            format="json",
            headers=LATER | {"Idempotency-Key": "one"},
        )
        assert (answer.json(), answer["Idempotency-Replayed"]) == (first, "true")
        assert Job.objects.count() == 1
        now = erp.post(
            SUBSCRIPTIONS,
            {"lines": [a_line(1, one)]},
            format="json",
            headers={"Idempotency-Key": "one"},
        )
        assert (now.status_code, now.json()["code"]) == (422, "idempotency_key_reused")

    def test_that_ends_its_workers_is_given_up(self, erp, one):
        job = asked(erp, [a_line(1, one)])
        Job.objects.update(status="running", attempts=running.ATTEMPTS, started_at=timezone.now())
        jobs.run()
        job = seen(erp, job["id"])
        assert (job["status"], job["error"]["code"]) == ("failed", "gave_up")

    def test_that_meets_a_defect_fails_and_the_next_one_is_done(
        self, erp, one, monkeypatch, caplog
    ):
        first, second = asked(erp, [a_line(1, one)]), asked(erp, [a_line(2, one)])

        def broken(*args, keep=running._keep):
            monkeypatch.setattr(running, "_keep", keep)
            raise KeyError("a defect")

        monkeypatch.setattr(running, "_keep", broken)
        jobs.run()
        assert seen(erp, first["id"])["error"]["code"] == "server_error"
        assert "a defect" in caplog.text
        assert seen(erp, second["id"])["status"] == "done"
        known = Subscription.objects.filter(source="crm").values_list("external_id", flat=True)
        assert list(known) == ["2"]


class TestTheLines:
    def test_come_in_pages_both_ways(self, erp, one, small_chunks):
        sent = [a_line(n, one, **({"plan": 2**40} if n % 3 == 0 else {})) for n in range(1, 10)]
        job = done(erp, sent, SUBSCRIPTIONS + "?on_error=skip")
        pages, address = [], f"/api/jobs/{job['id']}/lines/?page_size=2&outcome=created"
        while address:
            page = erp.get(address).json()
            pages.append([line["line"] for line in page["result"]])
            address = page["next"]
        assert pages == [[1, 2], [4, 5], [7, 8]]
        page = erp.get(page["previous"]).json()
        assert [line["line"] for line in page["result"]] == [4, 5]
        assert erp.get(page["previous"]).json()["previous"] is None

    def test_are_forgotten_after_some_months_and_the_job_is_not(self, erp, one):
        job = done(erp, [a_line(1, one)])
        assert jobs.forget_old() == 0
        Job.objects.update(finished_at=timezone.now() - timedelta(days=91))
        assert jobs.forget_old() == 1
        assert (seen(erp, job["id"])["counts"], results(erp, job["id"])) == ({"created": 1}, [])
        answer = erp.post(f"/api/jobs/{job['id']}/undo/")
        assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_undo")


class TestACancel:
    def test_of_one_that_waits_leaves_nothing(self, erp, one):
        job = asked(erp, [a_line(1, one)])
        answer = erp.post(f"/api/jobs/{job['id']}/cancel/")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert jobs.run() == 0
        assert not Subscription.objects.filter(source="crm").exists()
        again = erp.post(f"/api/jobs/{job['id']}/cancel/").json()
        assert (again["code"], again["state"]) == ("wrong_state", "cancelled")


class TestAnUndo:
    def test_gives_back_what_was_there(self, erp, one):
        plan = a_plan(30)
        known = a_subscription(source="crm", external_id="1", comment="before")
        former = (known.client_id, known.plan_id, known.price, known.started_at)
        line = {"comment": "after", "plan": plan.pk, "client": one.client_id}
        job = done(erp, [{"source": "crm", "external_id": "1"} | line])
        undo, [back] = undone(erp, job["id"])
        assert (undo["undoes"], undo["counts"]) == (job["id"], {"changed": 1})
        assert back["changes"]["comment"] == {"before": "after", "after": "before"}
        known.refresh_from_db()
        assert (known.client_id, known.plan_id, known.price, known.started_at) == former
        assert known.comment == "before"
        assert seen(erp, job["id"])["undone_by"] == undo["id"]
        assert ledger.history(known.pk)[-1]["author"] == undo["author"]
        assert not book_check.check().differs

    def test_gives_back_the_price_state_that_a_move_has_ended(self, erp, settings):
        known = a_subscription(source="crm", external_id="1", service=a_service(10), plan=a_plan(0))
        price_state.negotiate(known.pk, price=Decimal("7.77"), reason="won", author="ann")
        job = done(erp, [{"source": "crm", "external_id": "1", "plan": a_plan(30).pk}])
        known.refresh_from_db()
        assert known.price_state == "follows"
        settings.APPROVAL_LIMIT_AMOUNT = Decimal("0.77")  # from 7.00, and not to the rule's 10
        _, [shown] = undone(erp, job["id"], dry_run=True)
        assert shown["outcome"] == "changed", shown
        undone(erp, job["id"])
        known.refresh_from_db()
        assert (known.price_state, known.price, known.price_reason) == (
            "negotiated",
            Decimal("7.77"),
            "won",
        )
        assert not book_check.check().differs

    def test_deletes_what_never_began_and_ends_what_has(self, erp, one):
        job = done(erp, [a_line(1, one), a_line(2, one, started_at=in_days(5))])
        undo, [first, second] = undone(erp, job["id"])
        assert undo["counts"] == {"changed": 1, "deleted": 1}
        assert (first["outcome"], [*first["changes"]]) == ("changed", ["ended_at"])
        assert second["outcome"] == "deleted"
        [left] = Subscription.objects.filter(source="crm")
        assert (left.external_id, left.ended_at <= timezone.now()) == ("1", True)
        assert not book_check.check().differs

    def test_says_in_a_dry_run_which_moves_take_another_person(self, erp, small_chunks, settings):
        rows = [a_subscription(source="crm", external_id=str(number)) for number in range(5)]
        half = a_plan(50).pk
        sent = [{"source": "crm", "external_id": str(n), "plan": half} for n in range(5)]
        job = done(erp, sent, SUBSCRIPTIONS + "?on_error=skip")
        settings.APPROVAL_LIMIT_ROWS = Decimal(4)
        _, shown = undone(erp, job["id"], dry_run=True)
        assert Subscription.objects.filter(plan=half).count() == len(rows)
        _, lines = undone(erp, job["id"])
        told = [(line["line"], line["outcome"], line.get("code")) for line in lines]
        assert [(line["line"], line["outcome"], line.get("code")) for line in shown] == told
        assert told.count((1, "left", "needs_another_person")) == 1

    def test_leaves_what_has_paid_and_ended(self, erp, one):
        job = done(erp, [a_line(1, one, started_at=in_days(-9), ended_at=in_days(-2))])
        _, [line] = undone(erp, job["id"])
        assert (line["outcome"], line["code"]) == ("left", "has_paid")

    def test_opens_again_what_was_ended(self, erp):
        began = timezone.now() - timedelta(days=9)
        known = a_subscription(source="crm", external_id="1", started_at=began)
        job = done(erp, [{"source": "crm", "external_id": "1", "ended_at": in_days(-1)}])
        undone(erp, job["id"])
        known.refresh_from_db()
        assert known.ended_at is None

    def test_leaves_what_somebody_has_touched_and_says_so(self, erp, one):
        for number in (1, 2, 3, 4):
            a_subscription(source="crm", external_id=str(number), comment="before")
        sent = [{"source": "crm", "external_id": str(n), "comment": "after"} for n in (1, 2, 3, 4)]
        sent.append(a_line(5, one, started_at=in_days(5)))
        job = done(erp, sent)
        of = {each.external_id: each for each in Subscription.objects.filter(source="crm")}
        Subscription.objects.filter(pk=of["2"].pk).update(comment="ann's")
        price_state.lock(of["3"].pk, None, "for ann", "ann")
        Subscription.objects.filter(pk=of["5"].pk).delete()
        undo, lines = undone(erp, job["id"])
        told = [(line["line"], line["outcome"], line.get("code")) for line in lines]
        assert told == [
            (1, "changed", None),
            (2, "left", "touched_since"),
            (3, "left", "touched_since"),
            (4, "changed", None),
            (5, "left", "deleted_since"),
        ]
        assert Subscription.objects.get(external_id="2").comment == "ann's"
        assert undo["counts"] == {"changed": 2, "left": 3}

    def test_leaves_a_price_that_moved_with_the_catalogue_to_it(self, erp, one):
        """A list price that moved is nobody's touch of a subscription."""
        job = done(erp, [a_line(1, one, started_at=in_days(5))])
        one.service.full_price = 999
        one.service.save()
        undo, _ = undone(erp, job["id"])
        assert undo["counts"] == {"deleted": 1}

    def test_in_a_dry_run_says_what_would_be(self, erp, one):
        job = done(erp, [a_line(1, one, started_at=in_days(5)), a_line(2, one)])
        _, lines = undone(erp, job["id"], dry_run=True)
        assert [line["outcome"] for line in lines] == ["deleted", "changed"]
        assert Subscription.objects.filter(source="crm", ended_at=None).count() == 2
        assert seen(erp, job["id"])["undone_by"] is None

    def test_comes_to_each_chunk(self, erp, one, small_chunks):
        sent = [a_line(n, one, started_at=in_days(5)) for n in range(5)]
        job = done(erp, sent, SUBSCRIPTIONS + "?on_error=skip")
        undo, lines = undone(erp, job["id"])
        assert (undo["lines"], undo["counts"]) == (5, {"deleted": 5})
        assert [line["line"] for line in lines] == [1, 2, 3, 4, 5]
        again, lines = undone(erp, job["id"])
        assert again["counts"] == {"left": 5}

    def test_of_clients_deletes_those_that_bought_nothing(self, erp):
        known = a_client(source="crm", external_id="0", company_name="Before")
        sent = [{"source": "crm", "external_id": str(n), "company_name": "New"} for n in (1, 2)]
        sent.append({"source": "crm", "external_id": "0", "email": "new@example.com"})
        job = done(erp, sent, CLIENTS)
        a_subscription(Client.objects.get(external_id="2"))
        _, lines = undone(erp, job["id"])
        assert [line["outcome"] for line in lines] == ["deleted", "left", "changed"]
        assert lines[1]["code"] == "in_use"
        known.user.refresh_from_db()
        assert known.user.email != "new@example.com"
        assert not Client.objects.filter(external_id="1").exists()

    @pytest.mark.parametrize("limit", ["ROWS", "PERCENT"])
    def test_moves_no_more_than_one_may_alone(self, erp, settings, limit):
        known = a_subscription(source="crm", external_id="1")
        job = done(erp, [{"source": "crm", "external_id": "1", "plan": a_plan(30).pk}])
        setattr(settings, f"APPROVAL_LIMIT_{limit}", Decimal(0))
        _, [line] = undone(erp, job["id"])
        assert (line["outcome"], line["code"]) == ("left", "needs_another_person")
        before = known.plan_id
        known.refresh_from_db()
        assert known.plan_id != before

    def test_is_asked_once_of_what_has_ended_and_was_written(self, erp, one):
        def refused(number):
            answer = erp.post(f"/api/jobs/{number}/undo/")
            return answer.status_code, answer.json()["code"]

        waiting = asked(erp, [a_line(1, one)])
        assert refused(waiting["id"]) == (409, "wrong_state")
        jobs.run()
        dry = done(erp, [a_line(2, one)], SUBSCRIPTIONS + "?dry_run=true")
        assert refused(dry["id"]) == (409, "nothing_to_undo")
        undo = erp.post(f"/api/jobs/{waiting['id']}/undo/").json()
        assert refused(waiting["id"]) == (409, "is_being_undone")
        jobs.run()
        assert refused(undo["id"]) == (409, "undoes_another")
        assert refused(2**40) == (404, "not_found")


class TestTheCaller:
    def test_sees_the_jobs_of_what_it_may_write_and_its_own(self, erp, one):
        job = asked(erp, [a_line(1, one)])
        _, text = a_key("crm", "clients:write")
        crm = a_writer(text)
        own = asked(crm, [], CLIENTS)
        assert [each["id"] for each in crm.get("/api/jobs/").json()["result"]] == [own["id"]]
        answer = crm.get(f"/api/jobs/{job['id']}/")
        assert (answer.status_code, answer.json()["missing"]) == (403, "services.add_subscription")
        both = [each["id"] for each in erp.get("/api/jobs/").json()["result"]]
        assert both == [own["id"], job["id"]]
        waiting = erp.get("/api/jobs/?status=waiting&kind=clients&page_size=1").json()
        assert [each["id"] for each in waiting["result"]] == [own["id"]]
        assert erp.get("/api/jobs/?status=lost").json()["allowed"] == Job.Status.values

    def test_undoes_its_own_only_while_it_may_write_them(self, erp, one):
        user = a_member_of_staff("ann", "clients.add_client", "services.delete_subscription")
        job = done(erp, [a_line(1, one)])
        Job.objects.update(author=author(user))  # who wrote it as long as that was allowed
        ann = APIClient()
        ann.force_authenticate(user)
        answer = ann.post(f"/api/jobs/{job['id']}/undo/", {}, format="json")
        assert (answer.status_code, answer.json()["missing"]) == (403, "services.add_subscription")


class TestTheCommand:
    def told(self, *words):
        out = io.StringIO()
        call_command("jobs", *words, stdout=out)
        return out.getvalue()

    def test_lists_shows_and_takes_back(self, erp, one):
        job = done(erp, [a_line(1, one, started_at=in_days(5)), a_line(2, one)])
        refused = done(erp, [a_line(3, one, plan=2**40)])
        assert "2 created" in self.told()
        assert "There is no plan" in self.told(str(refused["id"]))
        assert json.loads(self.told(str(job["id"]), "--json"))["counts"] == {"created": 2}
        [line] = self.told(str(job["id"]), "--lines", "created", "--after", "1").splitlines()
        assert json.loads(line)["line"] == 2
        undo = json.loads(self.told(str(job["id"]), "--undo", "--author", "ann", "--json"))
        assert (undo["undoes"], undo["author"]) == (job["id"], "ann (claimed)")
        jobs.run()
        assert seen(erp, undo["id"])["counts"] == {"changed": 1, "deleted": 1}

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--undo"], "Give the number"),
            (["7", "--dry-run"], "goes with --undo"),
            (["7"], "There is no job 7"),
            (["7", "--cancel"], "not_found"),
            (["7", "--lines", "written"], "invalid choice: 'written'"),
        ],
    )
    def test_says_what_is_wrong(self, words, said):
        with pytest.raises(CommandError, match=said):
            self.told(*words)


class TestAnImport:
    HEAD = "company_name,email,service,full_price,plan_type,discount_percent,started_at\n"

    def read(self, path):
        out = io.StringIO()
        call_command("import_book", str(path), stdout=out, stderr=io.StringIO())
        return out.getvalue()

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_is_recorded_and_the_same_file_is_named(self, erp, tmp_path, pack):
        content = pack(f"{self.HEAD}Ann,ann@example.com,Fibre,10.00,full,0,2026-01-01\n".encode())
        path = tmp_path / "book"
        path.write_bytes(content)
        assert "before" not in self.read(path)
        job = seen(erp, Job.objects.get().pk)
        assert (job["kind"], job["status"], job["counts"]) == ("import", "done", {"created": 1})
        assert (job["sha256"], job["size"]) == (sha256(content).hexdigest(), len(content))
        assert f"This file was imported before, as job {job['id']}" in self.read(path)
        assert Job.objects.first().counts == {"unchanged": 1}

    def test_that_only_shows_what_it_would_do_is_not(self, tmp_path):
        path = tmp_path / "book"
        path.write_text(f"{self.HEAD}Ann,ann@example.com,Fibre,10.00,full,0,2026-01-01\n")
        out = io.StringIO()
        call_command("import_book", str(path), "--dry-run", stdout=out, stderr=io.StringIO())
        assert "A dry run: nothing was written." in out.getvalue()
        assert not Subscription.objects.exists()
        assert not Job.objects.exists()


class TestThePages:
    def test_show_all_and_one(self, erp, one, admin_client):
        job = done(erp, [a_line(1, one), a_line(2, one, plan=2**40)])
        waiting = asked(erp, [a_line(1, one)])
        listed = admin_client.get("/admin/services/job/").content.decode()
        assert "not counted yet" in listed
        page = admin_client.get(f"/admin/services/job/{job['id']}/change/").content.decode()
        assert "line 2: There is no plan" in page
        assert 'name="_save"' not in page
        assert admin_client.get(f"/admin/services/job/{waiting['id']}/change/").status_code == 200


def test_two_jobs_are_done_in_their_order(erp, one):
    first = asked(erp, [a_line(1, one)])
    second = asked(erp, [{"source": "crm", "external_id": "1", "comment": "second"}])
    assert jobs.run() == 2
    assert seen(erp, first["id"])["counts"] == {"created": 1}
    assert seen(erp, second["id"])["counts"] == {"changed": 1}
