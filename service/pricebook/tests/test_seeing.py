"""Probes, metrics and the log, as an operator meets them."""

import asyncio
import http.client
import io
import json
import logging
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from ipaddress import ip_network

import psycopg
import pytest
from celery import current_app
from django.conf import settings as configured
from django.db import connection
from django.test import Client as Browser
from django.test import RequestFactory
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from events.models import Derived
from events.tests.making import an_endpoint
from price_changes.models import PriceChange
from price_changes.running import brake
from price_changes.tests.api import ALL, a_program, planned
from pricebook.front.bodies import Bodies
from pricebook.front.server import Front
from pricebook.kit.log_filters import RequestIdFilter
from pricebook.kit.log_lines import JSONFormatter
from pricebook.local.paths import CHECKOUT
from pricebook.seeing import PATHS, collector, probes, readiness, statements, task_times
from pricebook.seeing.look import NAME, Look, NoAnswer
from pricebook.seeing.measured import FIRST, exposed
from pricebook.tests.servers import SERVICE, on_this_database, until
from services import sweeps
from services.audit import book_check
from services.audit.book_report import BookCheck
from services.models import Repricing, book_clock
from services.tests.factories import a_book, a_service, a_subscription

PROMETHEUS = CHECKOUT / "deploy/prometheus"
OPERATING = CHECKOUT / "docs/operating.md"
PROMTOOL = shutil.which("promtool")
ONE_SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def asked_anew():
    readiness.forget()
    collector.look.forget()


def asked(path):
    """By the address of a pod, which is no name of the site."""
    return Browser().get(path, headers={"Host": "10.1.2.3:8000"})


def metrics():
    """The values by name, and by name and labels, as Prometheus reads them."""
    found = {}
    for family in text_string_to_metric_families(exposed(collector.BookCollector()).decode()):
        for sample in family.samples:
            labels = ",".join(value for _, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@pytest.fixture
def silent_database(db):
    """A server that takes connections and says nothing, in the place of the database."""
    settings = connection.settings_dict
    before = settings["HOST"], settings["PORT"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings["HOST"], settings["PORT"] = server.getsockname()
        yield
        settings["HOST"], settings["PORT"] = before


class TestLivez:
    def test_answers_any_host_without_the_database(self, silent_database):
        response = asked("/livez")
        assert (response.status_code, response.content) == (200, b"ok")
        assert not response.cookies
        assert response.headers["X-Request-ID"]

    def test_is_answered_while_every_thread_waits(self):
        """As /readyz and /metrics are: they have threads of their own."""
        go_on, begun = threading.Event(), threading.Event()

        def application(environ, start_response):
            if environ["PATH_INFO"] != "/livez":
                begun.set()
                assert go_on.wait(20)
            start_response("200 OK", [])
            return Whole([environ["PATH_INFO"].encode()])

        class Whole(list):
            streaming = False

        front = Front(
            application, threads=1, bodies=Bodies(5, 100), longest_of=lambda path: 100,
            reader_timeout=5, refuse=lambda *said: ([], b""), probes=PATHS,
        )  # fmt: skip

        async def answer(path):
            sent = []

            async def send(message):
                sent.append(message)

            scope = {
                "type": "http", "http_version": "1.1", "method": "GET", "headers": [],
                "path": path, "raw_path": path.encode(), "query_string": b"",
            }  # fmt: skip
            await front(scope, None, send)
            return sent[-1]["body"]

        async def both():
            slow = asyncio.create_task(answer("/api/totals/"))
            await asyncio.to_thread(begun.wait, 20)
            fast = await asyncio.wait_for(answer("/livez"), 20)
            go_on.set()
            return fast, await slow

        found = []
        thread = threading.Thread(target=lambda: found.append(asyncio.run(both())))
        thread.start()
        thread.join(30)
        go_on.set()
        assert found == [(b"/livez", b"/api/totals/")]


class TestReadyz:
    def test_says_what_a_probe_has_to_know_and_no_figure_of_the_book(self, transactional_db):
        book_check.remember(BookCheck(subscriptions=471_147_114_711))
        sweeps.note()
        response = asked("/readyz")
        said = response.json()
        assert response.status_code == 200
        assert (said["status"], said["failing"], said["late"]) == ("ready", [], [])
        assert said["database"]["timeline"] == 1
        assert len(said["database"]["system_identifier"]) == 19
        assert said["due_work"]["oldest_seconds"] == 0
        assert 0 <= said["last_sweep"]["seconds_ago"] < 60
        assert said["book_check"]["differs"] is False
        assert said["seals"]["is_ahead"] is False
        assert "471147114711" not in response.content.decode()

    def test_is_answered_within_a_second_on_a_silent_path_and_costs_one_session(
        self, silent_database, caplog
    ):
        began = time.monotonic()
        first, second = asked("/readyz"), asked("/readyz")
        assert [each.status_code for each in (first, second)] == [503, 503]
        assert first.json()["failing"] == ["database"]
        # Both wait for one look, which has ended for them after 0.8 s.
        assert time.monotonic() - began < 1.6
        assert sum(thread.name == "probe" for thread in threading.enumerate()) == 1
        told = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        assert told == ["Not ready: database: no answer within 0.8 s"]

    def test_ends_a_session_that_hangs(self, db):
        look = Look(lambda session: session.connection.execute("SELECT pg_sleep(60)"), seconds=0.3)
        before = {*threading.enumerate()}
        with pytest.raises(NoAnswer, match="no answer within"):
            look()
        until(lambda: {*threading.enumerate()} <= before, 10)
        with connection.cursor() as cursor:  # it has a limit in every statement but this one
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = %s",
                [NAME],
            )

    def test_is_not_ready_with_a_migration_to_come(self, db, monkeypatch):
        known = readiness._of_the_code()
        assert ("services", "0001_initial") in known
        monkeypatch.setattr(readiness, "_of_the_code", lambda: known | {("services", "9999_new")})
        response = asked("/readyz")
        assert response.status_code == 503
        assert response.json()["failing"] == ["migrations"]
        assert response.json()["migrations"] == {"pending": 1}

    def test_takes_nothing_away_for_work_that_is_late(self, transactional_db):
        asked_at = book_clock() - 2 * readiness.WORK_IS_LATE * ONE_SECOND
        Repricing.objects.create(service=a_service(), requested_at=asked_at)
        book_check.remember(BookCheck(differing=1))
        response = asked("/readyz")
        assert response.status_code == 200
        assert response.json()["late"] == ["due_work", "book_check"]

    def test_is_ready_while_a_table_is_locked_and_whatever_a_part_does(
        self, transactional_db, monkeypatch
    ):
        monkeypatch.setattr(sweeps, "last", lambda: {}["a defect"])
        with another("psql") as session:
            session.execute("LOCK TABLE services_job, services_keptbookcheck")
            response = asked("/readyz")
            said = response.json()
        assert (response.status_code, said["failing"], said["late"]) == (200, [], [])
        assert said["due_work"] == {"oldest_seconds": None}
        assert said["last_sweep"] == {"seconds_ago": None}
        assert said["book_check"] == {"seconds_ago": None, "differs": None}


class TestMetrics:
    def test_tell_what_is_due_held_back_and_waiting(self, transactional_db):
        program = a_program(**ALL)
        a_subscription()
        book_check.remember(BookCheck(differing=1))
        ago = book_clock() - 100 * ONE_SECOND
        work = Repricing.objects.create(
            service=a_service(), requested_at=ago, planned_at=ago, subscriptions=1000, change_id=7
        )
        work.steps.create(
            kind="price", service_id=1, plan_id=1, subscriptions=1000, checked=400, last_id=9
        )
        planned(program, kind="list_price", service=a_service().pk, new_value=2)
        scheduled = {"kind": "set", "status": "scheduled", "approved_at": ago, "planned_by": "ann"}
        PriceChange.objects.create(**scheduled, effective_at=ago)
        Derived.objects.update_or_create(defaults={"number": 5})
        an_endpoint("biller", delivered_through=2, failing_since=ago)
        stuck = metrics()
        brake.pull("ann", "wrong figures")
        PriceChange.objects.create(**scheduled, effective_at=book_clock())  # held, and so not due
        with another("import of prices") as session:
            session.execute("SELECT pg_current_xact_id()")
            a_subscription()
            found = metrics()

        assert found["pricebook_due{repricings}"] == 1
        assert 100 <= found["pricebook_oldest_due_seconds{repricings}"] < 200
        assert found["pricebook_change_rows{7}"] == 1000
        assert found["pricebook_change_rows_done{7}"] == 400
        assert 2 < found["pricebook_change_rows_per_second{7}"] <= 4
        assert found["pricebook_changes{planned}"] == 1
        assert found["pricebook_due{changes}"] == 1
        assert found["pricebook_changes_braked"] == 2
        assert (stuck["pricebook_changes_stuck"], stuck["pricebook_brake_on"]) == (1, 0)
        assert found["pricebook_brake_on"] == 1
        held_up = [name for name in found if name.startswith("pricebook_feed_lag_seconds")]
        assert len(held_up) == 1
        assert held_up[0].startswith("pricebook_feed_lag_seconds{import of prices,")
        assert found["pricebook_feed_rows_waiting"] >= 1
        assert found["pricebook_webhook_endpoints{failing}"] == 1
        assert found["pricebook_webhook_events_waiting{biller}"] == 3
        assert found["pricebook_book_check_differs"] == 1
        assert found["pricebook_unsealed_rows"] >= 1
        assert (found["pricebook_sealed_block"], found["pricebook_sealed_ahead"]) == (0, 0)
        assert found["pricebook_restored_unattended"] == 0
        assert {value for name, value in found.items() if "part_ok" in name} == {1}

    def test_tell_their_own_failure(self, silent_database, monkeypatch):
        monkeypatch.setattr(collector.look, "seconds", 0.3)
        found = metrics()
        assert found["pricebook_database_up"] == 0
        assert not [name for name in found if "_due" in name]

    def test_of_a_part_that_fails_are_left_out_and_the_others_are_there(self, db, monkeypatch):
        broken = "SELECT 1 / 0", collector.due
        monkeypatch.setitem(collector.PARTS, "due", broken)
        found = metrics()
        assert found["pricebook_part_ok{due}"] == 0
        assert found["pricebook_part_ok{sessions}"] == 1
        assert "pricebook_due{jobs}" not in found
        assert found["pricebook_database_sessions"] >= 1

    @pytest.mark.parametrize(
        ("settings_", "request_", "status"),
        [
            ({}, {}, 403),
            ({"METRICS_TOKEN": "s3cret"}, {}, 401),
            ({"METRICS_TOKEN": "s3cret"}, {"HTTP_AUTHORIZATION": "Bearer s3cre"}, 401),
            ({"METRICS_TOKEN": "s3cret"}, {"HTTP_AUTHORIZATION": "Bearer s3cret"}, None),
            ({}, {"HTTP_AUTHORIZATION": "Bearer "}, 403),
            ({"METRICS_NETWORKS": "127.0.0.0/8"}, {}, None),
            ({"METRICS_NETWORKS": "10.0.0.0/8"}, {}, 403),
            # Behind a proxy its own address is nobody's, and what a client says is not believed.
            ({"METRICS_NETWORKS": "127.0.0.0/8", "PROXIES": 1},
             {"HTTP_X_FORWARDED_FOR": "127.0.0.1, 192.0.2.7"}, 403),
            ({"METRICS_NETWORKS": "2001:db8::/32", "PROXIES": 1},
             {"HTTP_X_FORWARDED_FOR": "2001:db8::1"}, None),
        ],
    )  # fmt: skip
    def test_are_for_the_token_and_for_networks(self, settings, settings_, request_, status):
        for name, value in settings_.items():
            networks = [ip_network(value)] if name == "METRICS_NETWORKS" else value
            setattr(settings, name, networks)
        refused = probes.refusal(RequestFactory().get("/metrics", **request_))
        assert (refused and refused.status_code) == status
        if refused:
            assert json.loads(refused.content)["code"] == "metrics_closed"

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_of_a_worker_are_told_where_it_is_to_listen(self, settings, host):
        settings.METRICS_LISTEN = None
        assert task_times.listen() is None
        settings.METRICS_LISTEN = (host, 0)
        server = task_times.listen()
        client = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
        client.request("GET", "/metrics")
        assert b"# TYPE pricebook_task_seconds histogram" in client.getresponse().read()
        client.close()
        server.shutdown()
        server.server_close()

    def test_of_processes_are_added_up_those_of_killed_ones_too(self, tmp_path):
        """And no process takes over the counts of the one that it was forked from."""
        program = (
            "import os; from pricebook.seeing.measured import TASKS, exposed\n"
            "TASKS.labels('t', 'success').observe(1)\n"
            "for _ in range(2):\n"
            "    if not (pid := os.fork()):\n"
            "        TASKS.labels('t', 'success').observe(1); os.kill(os.getpid(), 9)\n"
            "    os.waitpid(pid, 0)\n"
            "print(exposed().decode())"
        )
        found = subprocess.run(
            [sys.executable, "-c", program], cwd=SERVICE, capture_output=True, text=True,
            env=on_this_database() | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "times")},
        )  # fmt: skip
        assert 'task_seconds_count{outcome="success",task="t"} 3.0' in found.stdout, found.stderr

    def test_have_their_room_on_the_disk_before_it_is_written(self, tmp_path):
        """Writing into a hole of a file ends a process, when the disk is full."""
        counts = values.MmapedDict(str(tmp_path / "counts"))
        for number in range(2_000):
            counts.write_value(f"a series with a long name {number}", 1.0, 0.0)
            file = (tmp_path / "counts").stat()
            assert file.st_blocks * 512 >= file.st_size
        assert file.st_size > FIRST
        counts.close()


def another(name):
    """Another session of the test's database, which has begun a transaction."""
    params = connection.get_connection_params()
    for unknown in ("context", "cursor_factory", "prepare_threshold"):
        params.pop(unknown)
    return psycopg.connect(**params, application_name=name)


@pytest.fixture
def lines():
    """The lines of a logger, as programs read them where LOG_FORMAT is json."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JSONFormatter())
    handler.addFilter(RequestIdFilter())
    logging.getLogger().addHandler(handler)

    def read(logger="pricebook.access"):
        found = [json.loads(line) for line in written.getvalue().splitlines()]
        return [line for line in found if line["logger"] == logger]

    yield read
    logging.getLogger().removeHandler(handler)


class TestLog:
    def test_has_a_line_for_each_request_without_what_was_asked_for(self, db, lines):
        a_book(3)
        program = a_program("crm", **ALL)
        change = planned(program, kind="list_price", service=a_service().pk, new_value=2)
        path = f"/api/price-changes/{change['id']}/approve/"
        refused = program.post(
            path, {"fingerprint": "0" * 32}, headers={"X-Request-ID": "from-a-proxy"}
        )
        program.get("/api/subscriptions/?q=ann@example.com")
        *_, approval, listed = lines()
        assert refused.status_code == approval["status"] == 409
        assert approval["code"] == refused.json()["code"]
        assert approval["request_id"] == "from-a-proxy"
        assert approval["change_id"] == change["id"]
        assert approval["caller"] == listed["caller"]
        assert re.fullmatch(r"key \d+", listed["caller"])
        assert (listed["method"], listed["status"]) == ("GET", 200)
        assert listed["path"] == "/api/subscriptions/"
        assert listed["queries"] >= 1
        assert listed["ms"] > 0
        assert "ann@" not in json.dumps(listed)
        assert listed["message"].startswith("GET /api/subscriptions/ 200 in ")

    def test_of_a_path_that_somebody_makes_up_is_one_line_and_one_route(self, db, lines):
        Browser().generic("BREW", "/no%0Athing" + "x" * 1000)
        (line,) = lines()
        assert line["status"] == 404
        assert len(line["path"]) <= 300
        assert "\n" not in line["message"]
        assert 'method="other",route="",status="404"' in exposed().decode()

    def test_has_the_task_and_what_went_wrong(self, db, lines):
        @current_app.task(name="tests.fails", ignore_result=True)
        def fails():
            logging.getLogger("tests").warning("look")
            try:
                raise ValueError("no such thing")
            except ValueError:
                logging.getLogger("tests").exception("it failed")

        done = fails.apply()
        looked, failed = lines("tests")
        assert looked["task"] == failed["task"] == "tests.fails"
        assert looked["task_id"] == done.id
        assert "ValueError: no such thing" in failed["exception"]
        assert looked["time"].endswith("Z")
        assert 'pricebook_task_seconds_count{outcome="success",task="tests.fails"}' in (
            exposed().decode()
        )
        logging.getLogger("tests").warning("after it")
        assert "task" not in lines("tests")[-1]

    def test_names_the_change_that_begins_or_is_held(self, db, lines):
        assert configured.LOGGING["handlers"]["console"]["formatter"] == "text"
        from price_changes.running import starting

        change = PriceChange.objects.create(
            kind="list_price", service=a_service(), new_value=2, status="scheduled",
            effective_at=book_clock(), approved_at=book_clock(), planned_by="ann", approval=1,
        )  # fmt: skip
        starting.start_due()
        (line,) = lines("price_changes.running.starting")
        assert line["change_id"] == change.pk
        change.refresh_from_db()
        assert f"is {change.status} now" in line["message"]


def test_every_statement_of_a_part_is_named():
    named = {each.sql for each in statements.named_statements()}
    assert {sql for sql, _ in collector.PARTS.values()} <= named


class TestPrometheusFiles:
    """deploy/prometheus: alert rules, and a board for Grafana."""

    def metrics_named(self, text):
        """Without what a histogram adds to its name, and without names of alerts."""
        names = set(re.findall(r"\bpricebook_[a-z_]+", text))
        return {re.sub(r"(seconds)_(bucket|count|sum)$", r"\1", name) for name in names}

    def exposed(self):
        """Each metric that there is, whether it has values now or not."""
        text = exposed(collector.BookCollector()).decode()
        return {re.sub("_total$", "", name) for name in re.findall(r"^# TYPE (\w+)", text, re.M)}

    def test_name_metrics_that_there_are_and_the_docs_name_all_of_them(self, transactional_db):
        book_check.remember(BookCheck())
        sweeps.note()
        there_are = self.exposed()
        for name in ("alerts.yml", "alerts_test.yml", "dashboard.json"):
            named = self.metrics_named((PROMETHEUS / name).read_text())
            assert {re.sub("_total$", "", each) for each in named} <= there_are, name
        table = re.findall(r"^\| `(pricebook_\w+)", OPERATING.read_text(), re.M)
        assert sorted(re.sub("_total$", "", each) for each in table) == sorted(there_are)

    @pytest.mark.skipif(not PROMTOOL, reason="promtool is missing: apt-get install prometheus")
    def test_of_alerts_pass_their_own_tests(self):
        tested = [PROMTOOL, "test", "rules", "alerts_test.yml"]
        done = subprocess.run(tested, cwd=PROMETHEUS, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
