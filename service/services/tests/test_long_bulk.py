"""Long bulks through the web server: many lines with a bad one, and bodies of 64 MB."""

import json
from pathlib import Path

import pytest
from django.conf import settings

from keys.tests.making import a_key
from pricebook.tests.web import WebServer
from services.models import LedgerEntry, Subscription
from services.tests.factories import a_subscription

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long, pytest.mark.timeout(300)]

LINES, BAD = 100_000, 54_321
SUBSCRIPTIONS = "/api/subscriptions/bulk/"


@pytest.fixture
def web(tmp_path):
    server = WebServer(tmp_path / "log")
    yield server
    server.stop()


def sent(web, path, body, announced=None):
    """The status of the answer, and its body; of a body that is only announced, too."""
    _, key = a_key("erp", "subscriptions:write")
    headers = {"Authorization": f"Api-Key {key}", "Content-Type": "application/x-ndjson"}
    client = web.connect()
    client.settimeout(200)
    head = [f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    head += [f"Content-Length: {announced or len(body)}", "", ""]
    client.sendall("\r\n".join(head).encode() + body)
    with client.makefile("rb") as answer:
        status = int(answer.readline().split()[1])
        chunked = False
        while (line := answer.readline().strip().lower()) != b"":
            chunked = chunked or line == b"transfer-encoding: chunked"
        if not chunked:
            return status, answer.read()
        pieces = []
        while size := int(answer.readline(), 16):
            pieces.append(answer.read(size))
            answer.readline()
        return status, b"".join(pieces)


def memory(web):
    """The most memory that a process of the server has had, in MB."""
    most = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, group = path.parent.name, int(path.read_text().rpartition(")")[2].split()[2])
            if group == web.process.pid:
                status = (Path("/proc") / pid / "status").read_text()
                most = max(most, int(status.partition("VmHWM:")[2].split()[0]) // 1024)
        except OSError:
            continue
    return most


def lines_with_one_bad():
    one = a_subscription()
    named = {"client": one.client_id, "service": one.service_id, "plan": one.plan_id}
    for number in range(1, LINES + 1):
        given = named | ({"plan": 0} if number == BAD else {})
        line = {"source": "crm", "external_id": str(number), **given}
        yield json.dumps(line).encode() + b"\n"


@pytest.mark.thorough
def test_one_bad_line_of_100_000_is_named(web):
    body = b"".join(lines_with_one_bad())
    before = LedgerEntry.objects.count()
    status, answer = sent(web, SUBSCRIPTIONS, body)
    said = json.loads(answer)
    assert (status, said["code"], said["refused"]) == (400, "lines_refused", 1)
    [line] = said["lines"]
    assert (line["line"], line["code"], line["parameter"]) == (BAD, "bad_id", "plan")
    assert not Subscription.objects.filter(source="crm").exists()
    assert LedgerEntry.objects.count() == before

    status, answer = sent(web, f"{SUBSCRIPTIONS}?on_error=skip", body)
    *results, end = [json.loads(line) for line in answer.splitlines()]
    assert (status, len(results), end["end"]["created"], end["end"]["refused"]) == (
        200,
        LINES,
        LINES - 1,
        1,
    )
    [refused] = [line for line in results if line["outcome"] == "refused"]
    assert refused == line | {"outcome": "refused"}
    assert Subscription.objects.filter(source="crm").count() == LINES - 1


def test_a_body_of_64_mb_takes_no_memory(web):
    blanks = b" " * 60_000
    line = b'{"source": "crm", "external_id": "%d",' + blanks + b'"comment": 5}\n'
    lines = settings.LONGEST_BULK // (len(line) + 10)
    body = b"".join(line % number for number in range(lines))
    body += b" " * (settings.LONGEST_BULK - len(body))
    sent(web, SUBSCRIPTIONS, body[: len(line)])
    before = memory(web)
    status, answer = sent(web, SUBSCRIPTIONS, body)
    assert (status, json.loads(answer)["refused"]) == (400, lines)
    assert memory(web) - before < 32


@pytest.mark.parametrize(
    ("path", "longest"),
    [
        (SUBSCRIPTIONS, settings.LONGEST_BULK),
        ("/api/clients/bulk", settings.LONGEST_BULK),
        ("/api/subscriptions/", settings.LONGEST_BODY),
        ("/admin/bulk/", settings.LONGEST_BODY),
    ],
)
def test_a_longer_body_is_refused_before_it_comes(web, path, longest):
    status, answer = sent(web, path, b"", announced=longest + 1)
    assert status == 413
    if not path.startswith("/api/"):
        assert b"too large, so it was not read" in answer
        return
    assert json.loads(answer)["code"] == "body_too_long"
    assert f"up to {longest:,} bytes" in json.loads(answer)["detail"]
