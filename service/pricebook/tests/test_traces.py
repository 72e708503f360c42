"""Traces: a real collector gets a request, its statements and the task that it woke, as one.

    ./pricebook test -m traces

The packages of requirements/traces.txt are installed by that. That nothing needs them where no
collector is named is shown by every other test.
"""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from keys.tests.making import a_key
from pricebook.kit.scopes import SCOPES
from pricebook.tests.servers import SERVICE, Worker, on_this_database, until
from pricebook.tests.web import WebServer
from services.models import Service
from services.tests.factories import a_book

pytestmark = pytest.mark.django_db(transaction=True)

NOWHERE = "http://127.0.0.1:9"


class Collector:
    """A server that takes OTLP by HTTP, and has the spans that came."""

    def __init__(self):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        spans = self.spans = []

        class Taken(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    part = named(resource.resource)["service.name"]
                    for scope in resource.scope_spans:
                        spans.extend((part, span) for span in scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Taken)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def variables(self):
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "LOG_FORMAT": "json",
        }

    def of(self, part, trace=None):
        return [s for name, s in list(self.spans) if name == part and trace in (None, s.trace_id)]


def named(span):
    return {each.key: each.value.string_value for each in span.attributes}


def statements(spans):
    return [each for each in spans if named(each).get("db.system") == "postgresql"]


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


@pytest.fixture
def traced(collector, start_workers, broker, tmp_path):
    """A web server and a worker that are traced, and an asker of the first."""
    more = collector.variables
    web = WebServer(tmp_path / "web.log", CELERY_BROKER_URL=broker.broker_url, **more)
    until(Worker("traced", tmp_path / "traced.log", broker.broker_url, **more).is_ready, 30)
    bearer = {"Authorization": f"Api-Key {a_key('erp', *SCOPES)[1]}"}

    def ask(method, path, body=None):
        given = {"Content-Type": "application/json", "Idempotency-Key": path} if body else {}
        response = web.ask(method, path, json.dumps(body) if body else None, bearer | given)
        response.read()
        return response

    yield ask
    web.stop()


@pytest.mark.traces
def test_a_request_its_statements_and_the_task_that_it_woke_are_one(collector, traced, tmp_path):
    a_book(30, services=1)
    service = Service.objects.get()
    answer = traced("PATCH", f"/api/services/{service.pk}/", {"full_price": "77.00"})
    assert answer.status == 200
    task = "run/services.tasks.set_price"
    until(lambda: [s for s in collector.of("pricebook-worker") if s.name == task])
    until(lambda: [s for s in collector.of("pricebook-web") if s.name.startswith("PATCH")])
    [request] = [s for s in collector.of("pricebook-web") if s.name.startswith("PATCH")]
    assert task in {s.name for s in collector.of("pricebook-worker", request.trace_id)}
    for part in ("pricebook-web", "pricebook-worker"):
        until(lambda part=part: statements(collector.of(part, request.trace_id)))

    assert named(request)["pricebook.request_id"] == answer.headers["X-Request-ID"]
    lines = [line for line in (tmp_path / "web.log").read_text().splitlines() if line[:1] == "{"]
    [line] = [line for line in map(json.loads, lines) if line.get("method") == "PATCH"]
    assert line["trace_id"] == request.trace_id.hex()


@pytest.mark.traces
def test_no_span_has_what_a_person_typed(collector, traced):
    a_book(3, services=1)
    assert traced("GET", "/api/subscriptions/?q=nordwind-confidential").status == 200
    assert traced("GET", "/livez").status == 200
    until(lambda: collector.of("pricebook-web"))
    until(lambda: [s for s in collector.of("pricebook-web") if s.name.startswith("GET")])
    spans = collector.of("pricebook-web")
    assert "nordwind" not in str(spans)
    assert not [s for s in spans if "livez" in str(s)]
    assert "/api/subscriptions/" in str(spans)


@pytest.mark.traces
def test_a_collector_that_is_gone_holds_nobody_up(tmp_path, db):
    web = WebServer(tmp_path / "web.log", OTEL_EXPORTER_OTLP_ENDPOINT=NOWHERE)
    for _ in range(20):
        assert web.get("/livez").status == 200
        assert web.get("/log-in/").status in (200, 301, 302, 404)
    web.stop()


def test_packages_that_are_not_there_are_named_at_the_start(tmp_path):
    """Where they are installed they are hidden."""
    hidden = tmp_path / "opentelemetry"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError(name='opentelemetry')")
    environment = on_this_database() | {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE}
    environment["PYTHONPATH"] = f"{tmp_path}:{SERVICE}"
    done = subprocess.run(
        [sys.executable, "-c", "import pricebook.wsgi"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "there is no opentelemetry: pip install --require-hashes" in done.stderr
