"""Requests as clients really speak HTTP reach Django whole, through the real web server."""

import asyncio
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import other_sessions

from pricebook.front.bodies import Bodies, BodyError
from pricebook.front.server import Front
from pricebook.front.silence import end_silent_connections
from pricebook.tests.servers import until
from pricebook.tests.web import WebServer
from services.tests.factories import a_book

URL = "/api/subscriptions/"
END = "Connection: close"


@pytest.fixture
def web(transactional_db, tmp_path):
    before = other_sessions()
    server = WebServer(tmp_path / "web.log", OPEN_READS="1")
    yield server
    server.stop()
    until(lambda: other_sessions() <= before)


def answers(web, *lines, body=b""):
    """All that is answered to what is sent as it is, until the connection ends."""
    client = web.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    got = b""
    while piece := client.recv(65_536):
        got += piece
    return got


def result_of(coroutine):
    """In a thread of its own: a browser's test may have left a loop that runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result(20)


def status(got):
    return int(re.match(rb"HTTP/1\.[01] (\d+)", got)[1])


def test_odd_requests_are_no_fault_of_the_server(web):
    odd = [
        ["OPTIONS * HTTP/1.1", "Host: localhost", END],
        ["CONNECT localhost:80 HTTP/1.1", "Host: localhost", END],
        ["GET http://localhost/healthz HTTP/1.1", "Host: localhost", END],
        ["GET /healthz HTTP/1.0"],
        ["GET /healthz HTTP/1.1", END],
        ["GET /healthz HTTP/1.1", "Host: localhost", END, "Upgrade: websocket",
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"],
        ["GET /%00%ff%ed%a0%80/ HTTP/1.1", "Host: localhost", END],
        ["GET //healthz HTTP/1.1", "Host: localhost", END],
        ["GET /healthz?%ff=%00 HTTP/1.1", "Host: localhost", END],
        ["GET /healthz HTTP/1.1", "Host: localhost", "X: \xff\xfe", END],
        ["GET /healthz HTTP/1.1", "Host: localhost", f"X: {'x' * 20_000}", END],
        ["GET /healthz HTTP/1.1", "Host: localhost", "Cookie: a=1", "Cookie: b=2", END],
        ["POST /api/ HTTP/1.1", "Host: localhost", "Content-Length: 1", "Content-Length: 2", END],
        ["POST /api/ HTTP/1.1", "Host: localhost", "Content-Length: -1", END],
        ["POST /api/ HTTP/1.1", "Host: localhost", "Content-Length: 1e3", END],
        ["POST /api/ HTTP/1.1", "Host: localhost", "Transfer-Encoding: gzip", END],
        ["BREW /healthz HTTP/1.1", "Host: localhost", END],
        ["nonsense"],
    ]  # fmt: skip
    seen = {str(lines[:2]): status(answers(web, *lines)) for lines in odd}
    assert not {asked: status for asked, status in seen.items() if status >= 500}
    assert seen["['GET /healthz HTTP/1.0']"] == 200
    assert "Traceback" not in web.log.read_text()


def test_requests_in_one_go_are_answered_in_their_order(web):
    a_book(3)
    one = f"GET {URL}?page_size=%s HTTP/1.1\r\nHost: localhost\r\n"
    got = answers(web, (one % 1) + "\r\n" + (one % 2) + "\r\n" + (one % 3) + END)
    bodies = re.findall(rb'^\{"result".*?\}(?=HTTP|$)', got, re.MULTILINE)
    assert [len(json.loads(body)["result"]) for body in bodies] == [1, 2, 3]


def test_a_client_that_waits_for_100_is_told_to_go_on(web):
    lines = ["POST /api/nothing/ HTTP/1.1", "Host: localhost", "Content-Length: 2"]
    client = web.send("\r\n".join([*lines, "Expect: 100-continue", END, "", ""]).encode())
    assert client.recv(100).startswith(b"HTTP/1.1 100 ")
    client.sendall(b"{}")
    assert client.recv(100).startswith(b"HTTP/1.1 404 ")


def test_a_length_beside_chunks_does_not_count(web):
    lines = ["POST /api/nothing/ HTTP/1.1", "Host: localhost", "Content-Length: 3"]
    got = answers(web, *lines, "Transfer-Encoding: chunked", END, body=b"2\r\n{}\r\n0\r\n\r\n")
    assert status(got) in (400, 404)
    assert got.count(b"HTTP/1.1 ") == 1


def test_head_has_the_headers_of_get_and_no_body(web):
    a_book(3)
    for path in (URL, "/healthz", "/admin/login/", f"{URL}?format=csv"):
        head = answers(web, f"HEAD {path} HTTP/1.1", "Host: localhost", END)
        assert status(head) == 200
        assert head.endswith(b"\r\n\r\n")


def test_a_name_with_an_underscore_passes_for_none_with_a_hyphen(web):
    """Proxies set X-Forwarded-Proto; X_Forwarded_Proto would be the client's."""
    got = answers(web, f"GET {URL} HTTP/1.1", "Host: localhost", "X_Request_ID: crm-00017", END)
    assert b"crm-00017" not in got
    got = answers(web, f"GET {URL} HTTP/1.1", "Host: localhost", "X-Request-ID: crm-00017", END)
    assert b"x-request-id: crm-00017\r\n" in got


def test_cookies_in_two_headers_are_one(web):
    cookies = ["Cookie: a=1", f"Cookie: csrftoken={'a' * 32}"]
    form = f"csrfmiddlewaretoken={'a' * 32}&username=x&password=y".encode()
    head = ["POST /admin/login/ HTTP/1.1", "Host: localhost", *cookies, END]
    head += [f"Content-Length: {len(form)}", "Content-Type: application/x-www-form-urlencoded"]
    got = answers(web, *head, body=form)
    assert status(got) == 200  # the form again, and no 403 of CSRF


class TestBodiesTogether:
    """A process holds so many bytes of bodies, whoever sends them."""

    @pytest.fixture
    def bodies(self):
        return Bodies(timeout=5, together=150)

    def read(self, bodies, *pieces):
        messages = [
            {"type": "http.request", "body": piece, "more_body": more}
            for piece, more in zip(pieces, [True] * (len(pieces) - 1) + [False], strict=True)
        ]

        async def receive():
            return messages.pop(0)

        return result_of(bodies.read(receive, None, longest=100))

    def test_are_refused_beyond_that_until_others_are_answered(self, bodies):
        _, length = self.read(bodies, b"x" * 60, b"x" * 40)
        with pytest.raises(BodyError) as refused:
            self.read(bodies, b"x" * 40, b"x" * 40)
        assert (refused.value.status, refused.value.code) == (503, "too_many_bodies")
        assert bodies.held == length == 100
        bodies.release(length)
        assert self.read(bodies, b"x" * 40, b"x" * 40)[1] == 80

    def test_do_not_count_what_was_refused(self, bodies):
        with pytest.raises(BodyError) as refused:
            self.read(bodies, b"x" * 60, b"x" * 60)
        assert refused.value.code == "body_too_long"
        assert bodies.held == 0


def test_a_stream_whose_reader_takes_nothing_is_left():
    """Also where the kernel does not end the connection, as on a Unix socket."""
    closed, sent = [], []

    class Stream:
        def __iter__(self):
            return iter([b"x"] * 3)

        def close(self):
            closed.append(True)

    def application(environ, start_response):
        start_response("200 OK", [])
        return Stream()

    async def send(message):
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive():
        await asyncio.Event().wait()

    front = Front(
        application,
        threads=1,
        bodies=Bodies(timeout=1, together=1),
        longest_of=lambda path: 1,
        reader_timeout=0.1,
        refuse=lambda *_: ([], b""),
    )
    scope = {
        "type": "http",
        "method": "GET",
        "http_version": "1.1",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
    }
    result_of(asyncio.wait_for(front(scope, receive, send), 10))
    assert sent == ["http.response.start", "http.response.body"]
    assert closed == [True]


def test_looking_for_the_sockets_that_listen_leaves_no_descriptor_open():
    """A copy of somebody's pipe would keep its reader waiting for the end."""
    reads, writes = os.pipe()
    before = os.listdir("/proc/self/fd")
    end_silent_connections(1)
    assert os.listdir("/proc/self/fd") == before
    os.close(writes)
    assert os.read(reads, 1) == b""
    os.close(reads)
