"""docs/examples/crm.py, the program of docs/api.md, against the server: directly, behind nginx, and
behind a proxy that loses answers."""

import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from clients.models import Client
from keys.tests.making import a_key
from pricebook.local.up import reserve
from pricebook.tests.servers import until
from pricebook.tests.web import WebServer
from services import ledger
from services.models import Subscription
from services.tests.factories import a_plan, a_service

pytestmark = pytest.mark.django_db(transaction=True)

CHECKOUT = Path(settings.BASE_DIR).parent
EXAMPLES = CHECKOUT / "docs" / "examples"
SCOPES = ["clients:write", "clients:read", "subscriptions:write", "subscriptions:read",
          "price_states:set", "services:read", "plans:read"]  # fmt: skip


@pytest.fixture
def key():
    a_service(100, "Fibre")
    a_plan(0, "full")
    a_plan(50, "student")
    return a_key("crm", *SCOPES)[1]


@pytest.fixture
def web(tmp_path):
    server = WebServer(tmp_path / "web", HTTPS="1", ALLOWED_HOSTS="localhost")
    yield server
    server.stop()


def run(url, key, **variables):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "crm.py"],
        env=os.environ
        | {"PRICEBOOK_URL": url, "PRICEBOOK_KEY": key, "FIRST_WAIT": "0.01"}
        | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Romashka pays 150.00 USD\n"
    return done.stderr


def stands():
    rows = Subscription.objects.order_by("external_id").values_list("external_id", "price")
    ends = Subscription.objects.exclude(ended_at=None).values_list("external_id", flat=True)
    entries = [len(ledger.history(pk)) for pk in Subscription.objects.values_list("pk", flat=True)]
    return list(rows), list(ends), Client.objects.count(), sum(entries)


DONE = (
    [("contract-1", 50), ("contract-2", 100), ("contract-3", 100)],
    ["contract-2"],
    1,
    7,  # three starts, a move, an end, and a correction from one day to another
)


def test_it_does_its_work_once_however_often_it_runs(web, key):
    assert run(f"http://localhost:{web.port}", key) == ""
    assert stands() == DONE
    assert run(f"http://localhost:{web.port}", key) == ""
    assert stands() == DONE


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("openssl")), reason="no nginx")
@pytest.mark.parametrize("file", ["docs/examples/nginx.conf", "deploy/nginx/nginx.conf"])
def test_it_does_its_work_behind_nginx(web, key, tmp_path, file):
    names = {"key": tmp_path / "key.pem", "certificate": tmp_path / "certificate.pem"}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", names["key"], "-out", names["certificate"]],
        check=True, capture_output=True,
    )  # fmt: skip
    with reserve(0) as plain, reserve(0) as tls:
        ports = [held.getsockname()[1] for held in (plain, tls)]
    conf = (CHECKOUT / file).read_text()
    own = {
        "/etc/nginx/certificate.pem": str(names["certificate"]),
        "/etc/nginx/key.pem": str(names["key"]),
        "web-app:8000": f"127.0.0.1:{web.port}",
    }
    for theirs, ours in {
        "listen 80;": f"listen 127.0.0.1:{ports[0]};",
        "listen 443 ssl;": f"listen 127.0.0.1:{ports[1]} ssl;",
        "/etc/ssl/prices.example.com.pem": str(names["certificate"]),
        "/etc/ssl/prices.example.com.key": str(names["key"]),
        "server_name prices.example.com;": "server_name localhost;",
        "127.0.0.1:8000": f"127.0.0.1:{web.port}",
        **own,
        "http {": f"http {{ access_log off; client_body_temp_path {tmp_path}/body;"
        f" proxy_temp_path {tmp_path}/proxy; fastcgi_temp_path {tmp_path}/f;"
        f" uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;",
    }.items():
        conf = conf.replace(theirs, ours)
    path = tmp_path / "nginx.conf"
    path.write_text(f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/log;\n{conf}")
    nginx = subprocess.Popen(["nginx", "-p", tmp_path, "-c", path, "-e", tmp_path / "log"])
    try:
        until(lambda: nginx.poll() is not None or answers(ports[1]))
        assert nginx.poll() is None, (tmp_path / "log").read_text()
        trusted = {"SSL_CERT_FILE": str(names["certificate"])}
        assert run(f"https://localhost:{ports[1]}", key, **trusted) == ""
        assert stands() == DONE
        with closing(http.client.HTTPConnection("localhost", ports[0])) as client:
            client.request("GET", "/api/services/")
            redirect = client.getresponse()
            assert redirect.headers["Location"] == "https://localhost/api/services/"
            redirect.read()
        context = ssl.create_default_context(cafile=names["certificate"])
        with closing(http.client.HTTPSConnection("localhost", ports[1], context=context)) as client:
            client.request("GET", "/livez")
            alive = client.getresponse()
            assert (alive.status, bool(alive.read())) == (200, True)
            asked = "/api/plans/?page_size=1"
            client.request("GET", asked, headers={"Authorization": f"Api-Key {key}"})
            page = client.getresponse()
            # The scheme, the name and the port are those by which it was asked.
            assert f"<https://localhost:{ports[1]}/api/plans/" in page.headers["Link"]
            page.read()
            client.request("GET", "/metrics")
            assert client.getresponse().status in (403, 404)
    finally:
        nginx.terminate()
        nginx.wait()


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


class Losing(BaseHTTPRequestHandler):
    """Passes requests on. Each write is answered by 503 first, and then by nothing after it was
    done; and while a subscription is looked at for the first time, somebody else changes it."""

    port = 0
    seen: dict[tuple[str, str | None], int] = {}

    def pass_on(self):
        asked = (self.path, self.headers["Idempotency-Key"])
        number = self.seen[asked] = self.seen.get(asked, 0) + 1
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.command == "POST" and number == 1:
            status = 503 if self.path.endswith("/move/") else 429
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        with closing(http.client.HTTPConnection("localhost", self.port)) as client:
            client.request(self.command, self.path, body, dict(self.headers))
            answer = client.getresponse()
            content = answer.read()
        if self.command == "POST" and number == 2 and answer.status < 300:
            self.close_connection = True
            return None  # nothing at all
        if re.fullmatch(r"/api/subscriptions/[0-9]+/", self.path) and number == 1:
            Subscription.objects.filter(pk=self.path.split("/")[3]).update(comment="a person's")
            connection.close()  # of this thread
        self.send_response(answer.status)
        for name in ("ETag", "Content-Type"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return self.wfile.write(content)

    do_GET = do_POST = pass_on

    def log_message(self, *args):
        pass


def test_it_does_its_work_once_though_answers_are_lost(web, key):
    losing = type("LosingHere", (Losing,), {"port": web.port, "seen": {}})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), losing)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        said = run(f"http://localhost:{proxy.server_port}", key)
    finally:
        proxy.shutdown()
        proxy.server_close()
    for trouble in (": 429;", ": 503;", "closed connection without response"):
        assert trouble in said
    assert stands() == DONE
    assert Subscription.objects.get(external_id="contract-1").comment == "a person's"
    assert max(losing.seen.values()) == 3
