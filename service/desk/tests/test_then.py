"""Then and later: the book as of any instant, the bridge between two, a month's evidence."""

import json
import re
from datetime import timedelta
from decimal import Decimal
from html import unescape
from io import BytesIO, StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from openpyxl import load_workbook

from desk.then import evidence
from desk.then.moments import Month
from price_changes.tests.changes import approved, clock, drained, planned
from pricebook.kit.session_limits import IDLE
from services import ledger, price_state
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.transfer.sheets.table import over_http

pytestmark = pytest.mark.django_db
THEN, BRIDGE, EVIDENCE = "/desk/then/", "/desk/then/bridge/", "/desk/then/evidence/"
DAY = timedelta(days=1)


@pytest.fixture
def ann():
    browser = Client()
    browser.force_login(User.objects.create_superuser("ann"))
    return browser


@pytest.fixture
def story():
    """Two who follow, one who negotiates, and a change to come; since the instant before it all."""
    client, phone = a_client(company_name="Acme <&>"), a_service(20, name="Phone")
    before = clock()
    first = a_subscription(client, phone, started_at=before - 40 * DAY)
    a_subscription(client, phone, a_plan(50))
    deal = a_subscription(client, phone)
    price_state.negotiate(deal.pk, Decimal(11), "deal", "ann")
    change = planned(kind="list_price", service=phone.pk, new_value="24", title="Spring")
    approved(change)
    drained()
    later = planned(
        kind="list_price",
        service=phone.pk,
        new_value="30",
        title="Summer",
        effective_at=clock() + 10 * DAY,
    )
    approved(later)
    planned(kind="list_price", service=phone.pk, new_value="99", title="Never")
    return {"before": before, "first": first, "client": client, "phone": phone, "later": later}


def asked(browser, path, status=200, **given):
    answer = browser.get(path, given)
    assert answer.status_code == status, answer.content.decode()[:2000]
    return answer.content.decode()


def test_shows_the_book_as_of_any_instant(ann, story):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        page = asked(ann, THEN, at=str(clock().isoformat()))
    assert len(queries) <= 22
    assert "47.00 USD" in page
    assert "Acme &lt;&amp;&gt;" in page
    past = asked(ann, THEN, at=(clock() - 20 * DAY).date().isoformat())
    assert "20.00 USD" in past
    one = asked(ann, THEN, subscription=story["first"].pk)
    assert "24.00 USD" in one
    assert "Spring" in one
    assert asked(ann, THEN, client=story["client"].pk, plan=story["first"].plan_id).count("Acme")


def test_people_read_seconds_and_the_form_keeps_the_instant_exact(ann, story):
    at = (clock() - DAY).replace(second=5, microsecond=250_001)
    page = asked(ann, THEN, at=at.isoformat())
    [field] = re.findall(r'id="at" name="at" value="([^"]*)"', page)
    assert field == f"{at:%Y-%m-%d %H:%M:%S}"
    hidden = dict(re.findall(r'type="hidden" name="(at-[a-z]+)" value="([^"]*)"', page))
    text = re.sub(r"<[^>]*>", " ", page)
    assert "250001" not in text
    assert f"{field} UTC" in text
    for typed, found in ((field, at), ("2026-01-05 12:00", None)):
        answer = ann.get(THEN, {"at": typed, **{name: unescape(hidden[name]) for name in hidden}})
        assert found is None or answer.context["at"] == found
    assert answer.context["at"].isoformat() == "2026-01-05T12:00:00+00:00"


def test_the_month_that_is_shown_is_marked_among_the_months(ann, story):
    marked = r'aria-current="page">([^<]*)</a>'
    assert "This month so far" in re.findall(marked, asked(ann, BRIDGE))
    month = Month.of(clock()).previous
    found = re.findall(marked, asked(ann, BRIDGE, **{"from": month.day, "to": month.next.day}))
    assert month.name in found
    assert "This month so far" not in found


def test_says_what_is_scheduled_until_then_and_what_is_not_in_it(ann, story):
    at = clock() + 20 * DAY
    with CaptureQueriesContext(connection) as queries:
        page = asked(ann, THEN, at=at.isoformat())
    assert "56.00 USD" in page  # 30 + 15 + 11
    # A bridge costs what has happened: it is walked where it is asked for.
    assert not [each for each in queries if "walk AS MATERIALIZED" in each["sql"]]
    [to_bridge] = re.findall(rf'href="({BRIDGE}[^"]*from=[^"]*)">The steps until then', page)
    steps = asked(ann, unescape(to_bridge))
    assert "+9.00" in steps
    assert "Summer" in steps
    assert "Not in these figures" in page
    assert "99.00" in page
    assert "not approved" in page


def test_the_bridge_leads_from_one_total_to_the_other_and_to_the_rows(ann, story):
    given = {"from": story["before"].isoformat()}
    with CaptureQueriesContext(connection) as queries:
        page = asked(ann, BRIDGE, **given, by="client")
    assert len(queries) <= 20
    for figure in ("20.00", "+6.00", "+30.00", "−9.00", "47.00", "Spring", "Acme &lt;&amp;&gt;"):
        assert figure in page
    assert ">135\u00a0%<" in page  # of the earlier total
    assert len(asked(ann, BRIDGE)) < 150_000
    rows = asked(ann, f"{BRIDGE}rows/", **given, kind="negotiated")
    assert "−9.00" in rows
    assert "Acme" in rows
    told = StringIO()
    call_command("bridge", "--from", given["from"], "--json", stdout=told)
    answer = json.loads(told.getvalue())
    assert answer["total_from"] + sum(step["amount"] for step in answer["steps"]) == 47
    assert answer["total_to"] == ledger.total_as_of(clock()).amount
    shown = StringIO()
    call_command("bridge", "--from", given["from"], "--by", "service", stdout=shown)
    assert "List price of Phone" in shown.getvalue()


def test_a_bad_address_names_the_value(ann):
    for path, given, status, said in [
        (THEN, {"at": "31.31.2026"}, 400, "31.31.2026"),
        (THEN, {"at": "2026-1\0"}, 400, "2026-1"),
        (THEN, {"client": "99999"}, 404, "99999"),
        (THEN, {"subscription": "9" * 30}, 404, "9" * 30),
        (THEN, {"cursor": "abc"}, 404, "abc"),
        (BRIDGE, {"from": "2026-05-01", "to": "2026-04-01"}, 400, "2026-04-01"),
        (BRIDGE, {"by": "colour"}, 400, "colour"),
        (f"{BRIDGE}rows/", {"kind": "odd"}, 404, "odd"),
        (EVIDENCE, {"month": "2026-13"}, 400, "2026-13"),
        (EVIDENCE, {"month": "9998-01"}, 400, "9998"),
    ]:
        assert said in asked(ann, path, status, **given)


def test_the_evidence_of_a_month_is_one_workbook(ann, story, tmp_path):
    month = Month.of(clock())
    page = asked(ann, EVIDENCE, month=str(month))
    assert "Spring" in page
    assert story["later"].fingerprint in page
    answer = ann.get(f"{EVIDENCE}file/", {"month": str(month)})
    book = load_workbook(BytesIO(b"".join(answer.streaming_content)))
    amounts = [row[6] for row in book["Bridge"].iter_rows(min_row=2, values_only=True)]
    assert amounts[0] + sum(amounts[1:-1]) == amounts[-1] == 47
    by_id = {row[0]: row for row in book["Price changes"].iter_rows(min_row=2, values_only=True)}
    assert str(story["later"].pk) in by_id
    decisions = list(book["Single decisions"].iter_rows(min_row=2, values_only=True))
    assert {row[5] for row in decisions} >= {11}
    path = tmp_path / "evidence.xlsx"
    call_command("evidence", "--month", str(month), str(path), stdout=StringIO())
    assert load_workbook(path).sheetnames == book.sheetnames
    answer = ann.get(f"{EVIDENCE}file/", {"month": str(month)}, headers={"accept-language": "ru"})
    book = load_workbook(BytesIO(b"".join(answer.streaming_content)))
    assert book.sheetnames[:3] == ["Сводка", "Мост", "Мост по сервисам"]
    texts = {row[2] for row in book["Мост"].iter_rows(values_only=True)}
    assert {"Шаг", "Итог до", "Изменения цен"} < texts
    assert {"Словами", "Статус"} < {cell.value for cell in book["Изменения цен"][1]}
    with pytest.raises(CommandError, match="there already"):
        call_command("evidence", "--month", str(month), str(path))


def test_a_workbook_may_be_put_together_for_longer_than_others_may_be_idle(monkeypatch):
    def shown(*_):
        with connection.cursor() as cursor:
            cursor.execute(f"SHOW {IDLE}")
            return cursor.fetchone()

    monkeypatch.setattr(evidence.workbook, "write_all", shown)
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL {IDLE} = '10s'")
    found = evidence.evidence_of(Month.of(clock()).previous)
    assert found.write(BytesIO(), over_http()) == ("5min",)


def test_shows_only_what_the_reader_may_see(story):
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_subscription"))
    browser = Client()
    browser.force_login(reader)
    page = asked(browser, BRIDGE, **{"from": story["before"].isoformat()})
    assert "Spring" not in page
    assert "+6.00" in page
    asked(browser, EVIDENCE, 403)
    assert "Never" not in asked(browser, THEN, at=(clock() + 20 * DAY).isoformat())
