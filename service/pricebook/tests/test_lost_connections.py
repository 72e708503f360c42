"""Nothing that is lost holds the others up: a path, a process with locks, a session, a database."""

import http.client
import json
import socket
import threading
import time
from contextlib import closing, contextmanager

import psycopg
import pytest
from conftest import other_sessions
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.test import Client as Browser
from rest_framework.test import APIClient

from pricebook.database import watched
from pricebook.database.watched import Watched, address_of
from pricebook.kit import session_limits
from pricebook.kit.session_limits import (
    IDLE,
    LONG_PAUSE,
    bound_requests,
    bound_transactions,
    may_pause,
    missing,
)
from pricebook.tests.path_between import PathBetween, to_postgres
from pricebook.tests.servers import until
from pricebook.tests.web import WebServer
from services.models import Service
from services.tests.factories import a_book, a_service
from services.tests.interleaving import a_person

LIST = "/api/subscriptions/"


@contextmanager
def sessions_with(**changes):
    """The sessions of the block with other settings, and new ones after it."""
    with pytest.MonkeyPatch.context() as patch:
        options = dict(connection.settings_dict["OPTIONS"])
        patch.setitem(connection.settings_dict, "OPTIONS", options)
        for name, value in changes.items():
            patch.setitem(connection.settings_dict, name, value)
        connection.close()
        yield connection.settings_dict
        connection.close()


@pytest.fixture
def as_worker(transactional_db, settings, monkeypatch):
    """Sessions as a worker's are, with little time; they watch the database only if a test says."""
    settings.IDLE_TRANSACTION_TIMEOUT = 0.3
    monkeypatch.setattr(watched.pulse, "watching", False)
    with sessions_with() as database:
        bound_transactions(database)
        watched.pulse.watching = False
        yield


class TestTransaction:
    def test_of_a_process_that_hangs_is_ended_and_others_go_on(self, as_worker):
        service = a_service(full_price=100)
        with a_person() as stopped:
            stopped.execute("UPDATE services_service SET full_price = 200")
            Service.objects.update(full_price=300)  # waits for it
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                stopped.execute("SELECT 1")
        service.refresh_from_db()
        assert service.full_price == 300

    def test_that_was_ended_is_a_lost_session_and_no_defect_of_its_next_statement(self, as_worker):
        def ended():
            with psycopg.connect(**{**connection.get_connection_params(), "options": ""}) as other:
                found = other.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid])
                return found.fetchone() is None

        def hang():
            nonlocal pid
            Service.objects.exists()
            pid = connection.connection.info.backend_pid
            until(ended)
            Service.objects.exists()

        pid = 0
        with pytest.raises(OperationalError), transaction.atomic():
            hang()
        assert not Service.objects.exists()  # in a new one

    @pytest.mark.parametrize(
        ("limit", "then"), [("10s", f"{LONG_PAUSE // 60}min"), ("0", "0")], ids=["", "none"]
    )
    def test_of_a_job_that_reads_its_file_may_pause(self, db, limit, then):
        """Also where the limit is the role's, behind a pooler."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL {IDLE} = '{limit}'")
            may_pause()
            cursor.execute(f"SHOW {IDLE}")
            assert cursor.fetchone() == (then,)


class TestLock:
    """A psql in which somebody has written and gone home."""

    def test_of_others_keeps_no_request_waiting_for_ever(self, browser, settings):
        settings.LOCK_TIMEOUT = 0.1
        service = a_service(full_price=100)
        writer = APIClient()
        writer.cookies = browser.cookies
        with sessions_with() as database, a_person() as stopped:
            bound_requests(database)
            stopped.execute("UPDATE services_service SET name = 'Held'")
            page = f"/api/services/{service.pk}/"
            answer = writer.patch(page, {"name": "New"}, format="json")
            stopped.execute("ROLLBACK")
        assert (answer.status_code, answer.json()["code"]) == (503, "crossed_writes")
        assert answer["Retry-After"] == "2"


class TestLimits:
    def test_are_on_both_sides_of_each_session(self, db):
        with connection.cursor() as cursor:
            cursor.execute("SHOW client_connection_check_interval")
            assert cursor.fetchone() == ("4s",)
        given = connection.get_connection_params()
        assert given["connect_timeout"] == 4
        assert given["tcp_user_timeout"] == 8_000
        for name in (
            "tcp_keepalives_idle=4",
            "tcp_keepalives_interval=1",
            "tcp_user_timeout=8000",
        ):
            assert f"-c {name}" in given["options"]

    def test_that_somebody_has_set_stay_as_they_are(self):
        said = session_limits.of_server("-c tcp_user_timeout=7 -c jit=off", 10)
        assert said.startswith("-c tcp_user_timeout=7 -c jit=off -c tcp_keepalives_idle=5")
        assert said.count("tcp_user_timeout") == 1
        assert session_limits.of_server("", 10) == ""

    def test_that_a_pooler_does_not_pass_on_are_missed(self, as_worker, settings):
        assert missing() == []
        connection.settings_dict["OPTIONS"].pop("options")
        connection.close()
        settings.IDLE_TRANSACTION_TIMEOUT = 10
        [said] = missing()
        assert f"ALTER ROLE {connection.settings_dict['USER']} SET {IDLE} = '10s'" in said


class TestSilence:
    def test_is_not_what_a_long_statement_is(self, as_worker, monkeypatch):
        monkeypatch.setattr(watched.pulse, "look_after", 0.05)
        watched.pulse.watching = True
        connection.close()
        with connection.cursor() as cursor:
            before = watched.pulse.looked_at
            cursor.execute("SELECT 7 FROM pg_sleep(0.3)")
            assert cursor.fetchone() == (7,)
        assert watched.pulse.looked_at > before
        # Nor is a refusal.
        monkeypatch.setitem(watched.pulse.conn_params, "dbname", "no_such_book")
        session = connection.connection
        assert watched.pulse.beats(session)

    def test_of_its_own_server_ends_a_session_though_another_one_answers_or_refuses(
        self, as_worker, monkeypatch
    ):
        """The hosts are two, or one name has two addresses."""
        path, given = PathBetween(to_postgres()), connection.get_connection_params()
        own = {"host": "127.0.0.1", "port": path.port}
        monkeypatch.setattr("psycopg.connection.timeout_from_conninfo", lambda params: 0.4)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            refusing = closed.getsockname()[1]
        try:
            with closing(Watched.connect(**given | own)) as session:
                path.hush()
                for hosts, ports in (
                    ([given.get("host", ""), "127.0.0.1"], [given.get("port", ""), path.port]),
                    (["127.0.0.1"] * 2, [path.port, refusing]),
                ):
                    several = {"host": ",".join(hosts), "port": ",".join(map(str, ports))}
                    monkeypatch.setattr(watched.pulse, "conn_params", given | own | several)
                    assert not watched.pulse.beats(session)
                    assert watched.pulse.answered[address_of(session)] is False  # beside the others
                    assert watched.pulse.silent == (refusing in ports)
        finally:
            watched.pulse.silent = False
            path.close()

    def test_of_a_path_is_answered_in_seconds_and_pages_without_the_database_at_once(
        self, transactional_db, tmp_path
    ):
        a_book(5)
        path, before = PathBetween(to_postgres()), other_sessions()
        server = WebServer(
            tmp_path / "web.log",
            DB_HOST="127.0.0.1",
            PGPORT=str(path.port),
            DB_CONNECT_TIMEOUT="2",
            OPEN_READS="1",
            WEB_THREADS="3",
        )
        try:
            assert server.get(LIST).status == 200
            path.hush()
            answers = []
            asking = [
                threading.Thread(target=lambda: answers.append(server.get(LIST))) for _ in range(9)
            ]
            for each in asking:
                each.start()
            until(lambda: len(answers) == len(asking), 30)
            for answer in answers:
                assert (answer.status, answer.getheader("Retry-After")) == (503, "5")
                assert json.load(answer)["code"] == "database_unavailable"
            # Now it is known, and costs nobody time.
            began = time.monotonic()
            assert server.get("/healthz").status == 503
            assert server.get("/desk/log-in/").status == 200
            assert server.get("/admin/login/").status == 200
            assert "silent" in server.log.read_text()
            assert time.monotonic() - began < 6
            path.go_on()
            until(lambda: server.get(LIST).status == 200)
        finally:
            server.stop()
            path.close()
        until(lambda: other_sessions() <= before)


@pytest.fixture
def browser(transactional_db):
    logged_in = Browser(raise_request_exception=False)
    logged_in.force_login(User.objects.create_superuser("ada"))
    return logged_in


class TestDatabase:
    """An error of the database is none of the request: 503, with a code, and when to retry."""

    def asked(self, browser, code, wait, method="get", page="/", api=LIST, **sent):
        reader = APIClient(raise_request_exception=False)
        reader.cookies = browser.cookies
        answer = getattr(reader, method)(api, sent, format="json")
        assert (answer.status_code, answer.json()["code"]) == (503, code)
        assert answer["Retry-After"] == wait
        shown = getattr(browser, method)(page, sent)
        assert (shown.status_code, shown["Retry-After"]) == (503, wait)
        assert answer.json()["detail"] in shown.content.decode().replace("&#x27;", "'")

    def test_that_refuses_our_password_or_is_not_there(self, browser, caplog):
        with sessions_with(USER="nobody_like_this"):
            self.asked(browser, "database_unavailable", "5")
        assert 'role "nobody_like_this" does not exist' in caplog.text

    def test_whose_tables_are_of_another_release(self, browser):
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE django_session RENAME TO another_release")
            try:
                assert browser.get("/").status_code == 500  # a defect, as nothing is pending
                cursor.execute("DELETE FROM django_migrations WHERE app = 'desk' RETURNING name")
                [(name,)] = cursor.fetchall()
                self.asked(browser, "migrations_pending", "60")
                cursor.execute(
                    "INSERT INTO django_migrations (app, name, applied)"
                    " VALUES ('desk', %s, clock_timestamp())",
                    [name],
                )
            finally:
                cursor.execute("ALTER TABLE another_release RENAME TO django_session")

    def test_whose_disk_is_full(self, browser):
        """PostgreSQL's own error, raised by a trigger; the tier `nights` fills a disk."""
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN RAISE disk_full USING MESSAGE = ''could not extend file''; END'"
            )
            cursor.execute(
                "CREATE TRIGGER no_room BEFORE INSERT OR DELETE ON auth_user"
                " EXECUTE FUNCTION no_room()"
            )
            cursor.execute(
                "CREATE TRIGGER no_room BEFORE INSERT OR DELETE ON django_session"
                " EXECUTE FUNCTION no_room()"
            )
            try:
                self.asked(
                    browser,
                    "database_full",
                    "60",
                    "post",
                    page="/desk/log-out/",
                    api="/api/clients/",
                    company_name="New",
                    email="new@example.com",
                )
            finally:
                cursor.execute("DROP FUNCTION no_room CASCADE")

    def test_that_takes_no_writes(self, browser):
        with sessions_with(), connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = on")
            self.asked(
                browser,
                "database_read_only",
                "10",
                "post",
                page="/desk/log-out/",
                api="/api/clients/",
                company_name="New",
                email="new@example.com",
            )


def test_a_path_hands_on_what_it_is_given():
    """The tool itself: whole answers pass, none passes while it is hushed, all pass after that."""
    with http.client.socket.create_server(("127.0.0.1", 0)) as server:
        path = PathBetween(server.getsockname())
        client = http.client.socket.create_connection(("127.0.0.1", path.port))
        there, _ = server.accept()
        path.hush()
        client.sendall(b"held")
        there.settimeout(0.1)
        with pytest.raises(TimeoutError):
            there.recv(10)
        path.go_on()
        there.settimeout(5)
        assert there.recv(10) == b"held"
        path.close()
        client.close()
        there.close()
