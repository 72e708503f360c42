"""Jobs beside other workers and writers, and workers that are killed with -9."""

import io
from collections import Counter
from contextlib import contextmanager

import pytest
from django.db import connection

from celery_app import app
from pricebook.kit import points
from pricebook.tests.servers import until
from services import jobs
from services.audit import book_check
from services.bulk import lines as bulk_lines
from services.bulk import running as bulk_running
from services.bulk.running import Wanted, do
from services.bulk.subscriptions import SubscriptionSteps
from services.jobs import looks, running
from services.jobs.running import Lost
from services.models import Job, JobResult, LedgerEntry, Service, Subscription
from services.tasks import run_jobs, wake
from services.tests.factories import a_client, a_subscription
from services.tests.interleaving import CREATE, Pause, a_person, in_background
from services.tests.test_import_export import as_csv, lines
from services.tests.test_jobs import a_line, ndjson

pytestmark = pytest.mark.django_db(transaction=True)

ERP = "erp (key 1)"


def asked(lines, skip=False):
    return jobs.ask("subscriptions", ndjson(lines), "application/x-ndjson", Wanted(ERP, skip))


@pytest.fixture
def one():
    return a_subscription()


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(bulk_lines, "CHUNK", 2)


def made():
    return Subscription.objects.filter(source="crm").count()


def ended(job):
    job.refresh_from_db()
    return job.status == "done"


def each_line_once(job, lines):
    """Each line has one result, and each subscription that was created one entry."""
    found = [line for result in job.results.order_by("first_line") for line in numbers(result)]
    assert found == list(range(1, lines + 1))
    ids = Subscription.objects.filter(source="crm").values_list("pk", flat=True)
    entries = LedgerEntry.objects.filter(subscription_id__in=ids)
    assert set(Counter(entries.values_list("subscription_id", flat=True)).values()) == {1}


def numbers(result):
    return [int(found[0]) for found in running.RESULT.findall(result.results.encode())]


def nobody_runs_jobs():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory'"
            "   AND classid = 'services_job'::regclass::oid)"
        )
        return cursor.fetchone()[0]


def somebody_waits_for(person):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)))",
            [person.info.backend_pid],
        )
        return cursor.fetchone()[0]


@contextmanager
def killed_while_it_waits(client, *workers):
    """Kill the worker whose job waits for a client that somebody is about to delete.

    The block runs while it waits; it is given the other worker.
    """
    with a_person() as ann:
        ann.execute("SELECT FROM clients_client WHERE id = %s FOR UPDATE", [client.pk])
        before = [worker.says("run_jobs[") for worker in workers]
        wake(run_jobs)
        until(lambda: somebody_waits_for(ann), 60)
        runs = next(
            worker
            for worker, said in zip(workers, before, strict=True)
            if worker.says("run_jobs[") > said
        )
        yield next((worker for worker in workers if worker is not runs), None)
        runs.kill()


def test_killed_workers_leave_each_line_to_the_next_once(start_workers):
    """The first worker in all or nothing, the second one in the second chunk of line by line."""
    one, held, held_later = a_subscription(), a_client(), a_client()
    chunk = bulk_lines.CHUNK
    whole = asked([a_line(f"a{n}", one, client=held.pk) for n in range(1, 11)])
    lines = [a_line(f"b{n}", one) for n in range(1, chunk + 1)]
    lines += [a_line(f"c{n}", one, client=held_later.pk) for n in range(1, 11)]
    parts = asked(lines, skip=True)
    app.control.purge()  # messages of other tests would let a worker begin before it is held up
    first, second = start_workers(2)

    with killed_while_it_waits(held, first, second) as rest:
        pass
    until(nobody_runs_jobs, 60)
    assert (made(), JobResult.objects.count()) == (0, 0)

    with killed_while_it_waits(held_later, rest):
        assert ended(whole)
    until(nobody_runs_jobs, 60)
    each_line_once(whole, 10)
    parts.refresh_from_db()
    assert (parts.status, parts.lines_done, made()) == ("running", chunk, chunk + 10)

    assert jobs.run() == 1
    assert ended(parts)
    each_line_once(parts, chunk + 10)
    assert not book_check.check().differs


class TestTwoWorkers:
    def test_never_run_one_job(self, one, monkeypatch):
        job = asked([a_line(1, one)])
        pause = Pause(monkeypatch, SubscriptionSteps, "write")
        first = in_background(jobs.run)
        pause.until_reached()
        assert in_background(jobs.run).result() == 0
        pause.go_on()
        assert first.result() == 1
        each_line_once(job, 1)

    def test_go_on_for_each_other_between_chunks(self, one, small_chunks, monkeypatch):
        """The second one finds the lock free for a moment, and does a chunk; the first one sees
        that, and stops."""
        job = asked([a_line(n, one) for n in range(1, 8)], skip=True)
        committed, begun = [], []
        monkeypatch.setattr(running, "do", lambda *args: (begun.append(args), do(*args)))

        def somebody_comes(name):
            if name != "chunk of a job committed":
                return
            committed.append(name)
            if len(committed) == 1:
                assert in_background(jobs.run).result() == 0
            elif len(committed) == 2:
                raise Lost  # the second one stops, too

        monkeypatch.setattr(points, "POINT", somebody_comes)
        assert jobs.run() == 0
        job.refresh_from_db()
        assert (job.status, job.chunks_done, made()) == ("running", 2, 4)
        assert len(begun) == 2
        assert jobs.run() == 1
        assert ended(job)
        each_line_once(job, 7)


def test_a_job_waits_for_somebody_who_has_taken_its_id_and_is_not_given_up(one, monkeypatch):
    monkeypatch.setattr(bulk_running, "ATTEMPTS", 1)
    job = asked([a_line(1, one)])
    with a_person() as ann:
        ann.execute(
            CREATE.replace("comment)", "comment, source, external_id)")
            + "(%s, %s, %s, '', 'crm', '1')",
            [one.client_id, one.service_id, one.plan_id],
        )
        monkeypatch.setattr(running, "ATTEMPTS", 1)
        assert [jobs.run(), jobs.run()] == [0, 0]
        ann.commit()
    assert jobs.run() == 1
    job.refresh_from_db()
    assert job.counts == {"unchanged": 1}


class TestACancel:
    @pytest.mark.parametrize(("skip", "left"), [(False, 0), (True, 2)])
    def test_rolls_back_what_runs(self, one, small_chunks, monkeypatch, skip, left):
        job = asked([a_line(n, one) for n in range(1, 6)], skip)

        def somebody_cancels(name, seen=[]):  # noqa: B006
            seen.append(name)
            if seen.count("chunk of a job not committed") == (2 if skip else 1):
                in_background(jobs.cancel, job.pk).result()

        monkeypatch.setattr(points, "POINT", somebody_cancels)
        jobs.run()
        job.refresh_from_db()
        assert (job.status, made(), job.lines_done) == ("cancelled", left, left)
        monkeypatch.setattr(points, "POINT", None)
        if left:
            jobs.undo(job.pk, ERP, dry_run=False)
            assert jobs.run() == 1
            assert Job.objects.first().counts == {"changed": 2}


class TestAnUndo:
    def test_leaves_what_somebody_is_just_changing(self, one):
        known = a_subscription(source="crm", external_id="1", comment="before")
        job = asked([{"source": "crm", "external_id": "1", "comment": "after"}])
        jobs.run()
        with a_person() as ann:
            ann.execute(
                "UPDATE services_subscription SET comment = 'mine' WHERE id = %s", [known.pk]
            )
            undo = jobs.undo(job.pk, ERP, dry_run=False)
            run = in_background(jobs.run).until_it_waits()
            ann.commit()
            run.result()
        undo.refresh_from_db()
        known.refresh_from_db()
        assert (known.comment, undo.counts) == ("mine", {"left": 1})

    def test_of_clients_leaves_one_that_is_just_buying(self, one):
        body = ndjson([{"source": "crm", "external_id": "1", "company_name": "New"}])
        job = jobs.ask("clients", body, "application/x-ndjson", Wanted(ERP))
        jobs.run()
        new = job.results.get().results.partition('"id":')[2].partition("}")[0]
        with a_person() as ann:
            ann.execute("SELECT FROM clients_client WHERE id = %s FOR KEY SHARE", [new])
            ann.execute(CREATE + "(%s, %s, %s, '')", [new, one.service_id, one.plan_id])
            undo = jobs.undo(job.pk, ERP, dry_run=False)
            run = in_background(jobs.run).until_it_waits()
            ann.commit()
            run.result()
        undo.refresh_from_db()
        assert (undo.status, undo.counts) == ("done", {"left": 1})

    @pytest.mark.parametrize(
        ("kind", "fields"),
        [
            ("services", {"name": "New", "full_price": 1}),
            ("plans", {"plan_type": "student", "discount_percent": 9}),
        ],
    )
    def test_of_the_catalogue_leaves_what_somebody_is_just_selling(self, one, kind, fields):
        """Its foreign keys are checked at the commit, when the undo would hold the row already."""
        body = ndjson([{"source": "crm", "external_id": "1", **fields}])
        job = jobs.ask(kind, body, "application/x-ndjson", Wanted(ERP))
        jobs.run()
        new = job.results.get().results.partition('"id":')[2].partition("}")[0]
        named = {"services": one.service_id, "plans": one.plan_id, kind: new}
        undo = jobs.undo(job.pk, ERP, dry_run=False)
        with a_person() as ann:
            ann.execute(CREATE + "(%s, %s, %s, '')", [one.client_id, *named.values()])
            run = in_background(jobs.run).until_it_waits()
            ann.execute("SET lock_timeout = 100")  # the undo lets its foreign keys be checked
            ann.commit()
            run.result()
        undo.refresh_from_db()
        assert (undo.status, undo.counts) == ("done", {"left": 1})
        assert Subscription.objects.count() == 2


def test_10_000_lines_are_a_few_statements_each(one, django_assert_max_num_queries):
    """The statements of a job are those of its chunks, whatever their lines."""
    lines = 10_000
    job = asked([a_line(n, one) for n in range(1, lines + 1)], skip=True)
    chunks = lines // bulk_lines.CHUNK
    with django_assert_max_num_queries(20 + 50 * chunks):
        assert jobs.run() == 1
    job.refresh_from_db()
    assert (job.counts, job.results.count(), made()) == ({"created": lines}, chunks, lines)
    with connection.cursor() as cursor:
        # Else the planner takes the next write of them for one of a few rows.
        cursor.execute("SELECT reltuples FROM pg_class WHERE relname = 'services_subscription'")
        assert cursor.fetchone()[0] == lines + 1


def test_a_killed_worker_leaves_nothing_of_a_file_and_the_next_one_reads_it(start_workers):
    held = a_client()
    new = {"company_name": "Another name", "email": held.user.email, "service": "New"}
    file = io.BytesIO(as_csv(lines(new, {"service": "New"})))
    job = jobs.ask("import", file, "text/csv", Wanted(ERP), {"update": True})
    app.control.purge()
    [worker] = start_workers(1)
    with killed_while_it_waits(held, worker):
        pass
    until(nobody_runs_jobs, 60)
    job.refresh_from_db()
    assert (job.status, job.attempts, JobResult.objects.count()) == ("running", 1, 0)
    assert not Service.objects.exists()
    assert jobs.run() == 1
    assert ended(job)
    assert (job.counts, made()) == ({"created": 2}, 2)
    held.refresh_from_db()
    assert held.company_name == "Another name"
    assert not book_check.check().differs


class TestALookAtAFile:
    def test_is_applied_once_by_two_tabs_at_once(self, monkeypatch):
        file = io.BytesIO(as_csv(lines({})))
        shown = jobs.look("import", file, "text/csv", "new.csv", ERP, {})
        jobs.run()
        pause = Pause(monkeypatch, looks, "_of_same_file")
        first = in_background(jobs.apply, shown.pk, ERP)
        pause.until_reached()
        second = in_background(jobs.apply, shown.pk, ERP).until_it_waits_or_ends()
        pause.go_on()
        made = first.result()
        with pytest.raises(jobs.JobRefused) as refused:
            second.result()
        assert (refused.value.code, refused.value.about["job"]) == ("applied_already", made.pk)
        jobs.run()
        assert Subscription.objects.count() == 1
