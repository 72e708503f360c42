"""Slow clients take no thread of the web server: others are answered meanwhile, in time.

A real server with two threads is driven over real connections. Deadlines are generous; what counts
is that answers come at all while the slow ones are held.
"""

import contextlib
import json
import signal
import time

import pytest
from conftest import other_sessions
from django.contrib.auth.models import User

from pricebook.tests.servers import until
from pricebook.tests.web import WebServer
from services.tests.factories import a_book

SLOW = 50  # of each sort
KEPT_LONG = {"BODY_TIMEOUT": "300", "READER_TIMEOUT": "300"}
SWAGGER = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
STREAM = "/api/subscriptions/?format=ndjson"
LIST = "/api/subscriptions/?page_size=10"
FORM = "Content-Type: application/x-www-form-urlencoded"


def begun(method: str, path: str, *headers: str, body: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", body]
    return "\r\n".join(lines).encode()


SLOW_BODIES = [
    begun("POST", "/admin/login/", f"Cookie: csrftoken={'a' * 32}", FORM, "Content-Length: 5000")
    + b"x",
    begun("POST", "/api/price-changes/", "Content-Type: application/json", "Content-Length: 50")
    + b"{",
    begun("POST", "/admin/login/", FORM, "Transfer-Encoding: chunked") + b"5\r\nabc",
    begun("PUT", "/", "Content-Length: 10"),
    begun("GET", "/healthz", "Content-Length: 10"),
]


@pytest.fixture
def server(transactional_db, tmp_path):
    """Starts servers with other settings."""
    started, before = [], other_sessions()

    def start(workers=1, **variables):
        chosen = {"OPEN_READS": "1", "WEB_THREADS": "2", **variables}
        started.append(WebServer(tmp_path / "web.log", workers=workers, **chosen))
        return started[-1]

    yield start
    for each in started:
        each.stop()
    until(lambda: other_sessions() <= before)


def answered_in_time(server):
    """Health, list and log-in answer; the seconds that all of them took."""
    began = time.monotonic()
    assert server.get("/healthz").read() == b"ok"
    assert json.loads(server.get(LIST).read())["count"] > 0
    page = server.get("/admin/login/")
    assert page.status == 200
    token = page.getheader("Set-Cookie").split("csrftoken=")[1].split(";")[0]
    form = f"csrfmiddlewaretoken={token}&username=anna&password=right+horse"
    headers = {"Cookie": f"csrftoken={token}", "Content-Type": "application/x-www-form-urlencoded"}
    entered = server.ask("POST", "/admin/login/?next=/", form, headers)
    assert (entered.status, entered.getheader("Location")) == (302, "/")
    return time.monotonic() - began


def rest_of(client):
    """Everything that comes until the server closes the connection."""
    got = b""
    while piece := client.recv(65_536):
        got += piece
    return got


def without_chunks(answer):
    """The body of an answer in chunks, whose sizes would part its lines."""
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            return body
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


@pytest.mark.long
class TestSlowClients:
    def test_hold_up_nobody(self, server):
        User.objects.create_superuser("anna", password="right horse")
        a_book(30_000)
        web = server(STREAMS_AT_ONCE="60", STREAMS_OF_ONE_CALLER="60", **KEPT_LONG)
        held = [web.send(SLOW_BODIES[i % len(SLOW_BODIES)]) for i in range(SLOW)]
        readers = [web.send(begun("GET", (STREAM, SWAGGER)[i % 2]), 4096) for i in range(SLOW)]
        for reader in readers:
            assert reader.recv(12) == b"HTTP/1.1 200"
        held += readers
        for _ in range(3):
            assert answered_in_time(web) < 15
        # None of them was ended meanwhile: the answers came beside them, not after them.
        for each in held:
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                assert each.recv(1) != b""

    def test_with_a_body_that_does_not_come_are_told_so_and_closed(self, server):
        web = server(BODY_TIMEOUT="1")
        for client, sent in [(web.send(body), body) for body in SLOW_BODIES]:
            got = rest_of(client)
            assert got.startswith(b"HTTP/1.1 408 ")
            program = sent.split()[1].startswith(b"/api/")
            assert (b"body_too_slow" if program else b"It did not come to its end") in got

    def test_may_take_longer_for_a_body_that_keeps_coming(self, server):
        web = server(BODY_TIMEOUT="1")
        text = b" " * 50_000
        client = web.send(
            begun("POST", "/api/", "Connection: close", f"Content-Length: {len(text)}")
        )
        for start in range(0, len(text), 10_000):
            client.sendall(text[start : start + 10_000])
            time.sleep(0.4)
        assert rest_of(client).startswith(b"HTTP/1.1 404 ")

    @pytest.mark.parametrize("path", [STREAM, pytest.param(SWAGGER, marks=pytest.mark.thorough)])
    def test_that_read_nothing_are_left(self, server, path):
        """The place of a stream is free again, and the connection is ended."""
        a_book(30_000)
        web = server(READER_TIMEOUT="1", STREAMS_AT_ONCE="1", STREAMS_OF_ONE_CALLER="1")
        reader = web.send(begun("GET", path), 4096)
        assert reader.recv(12) == b"HTTP/1.1 200"
        until(lambda: web.get(f"{STREAM}&price_to=0").status == 200)
        time.sleep(4)  # the kernel sends what it has to, without an answer, before it gives up
        with pytest.raises(ConnectionError):
            rest_of(reader)

    def test_that_read_slowly_get_all_of_a_stream(self, server):
        a_book(10_000)
        web = server(READER_TIMEOUT="2")
        reader = web.send(begun("GET", STREAM, "Connection: close"), 65_536)
        began, got = time.monotonic(), b""
        while piece := reader.recv(65_536):
            got += piece
            if time.monotonic() - began < 4:
                time.sleep(0.1)
        text = without_chunks(got)
        assert (b"\n" + text).count(b'\n{"id":') == 10_000
        assert b'\n{"end":' in text

    def test_do_not_keep_the_server_from_stopping(self, server):
        web = server(**KEPT_LONG)
        web.send(SLOW_BODIES[0])
        web.send(begun("GET", SWAGGER), 4096)
        began = time.monotonic()
        web.process.send_signal(signal.SIGTERM)
        web.process.wait(20)
        assert time.monotonic() - began < 15


class TestStop:
    def test_lets_a_request_that_runs_have_its_answer(self, server):
        """The whole body comes after the signal, and the answer after that."""
        web = server()
        client = web.send(begun("POST", "/api/nothing/", "Content-Length: 2"))
        time.sleep(0.5)
        web.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        client.sendall(b"{}")
        assert rest_of(client).startswith(b"HTTP/1.1 404 ")
        assert web.process.wait(15) == 0


class TestBodies:
    def test_that_are_too_long_are_refused_before_they_come(self, server):
        web = server()
        got = rest_of(web.send(begun("POST", "/api/", "Content-Length: 99999999")))
        assert got.startswith(b"HTTP/1.1 413 ")
        assert json.loads(got.split(b"\r\n\r\n")[1])["code"] == "body_too_long"

    def test_with_malformed_chunks_are_no_fault_of_the_server(self, server):
        web = server(BODY_TIMEOUT="1")
        for chunks in (b"zz\r\nabc\r\n", b"5\r\nabc", b"-1\r\nabc\r\n0\r\n\r\n"):
            got = rest_of(web.send(begun("POST", "/api/", "Transfer-Encoding: chunked") + chunks))
            assert got.startswith(b"HTTP/1.1 4"), chunks

    def test_that_break_off_leave_nothing_behind(self, server):
        web = server()
        for _ in range(20):
            web.send(begun("POST", "/api/", "Content-Length: 1000000") + b" " * 500_000)
        web.hang_up()
        assert web.get("/healthz").status == 200
        assert "Traceback" not in web.log.read_text()
