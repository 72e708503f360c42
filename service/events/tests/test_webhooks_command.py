"""`manage webhooks`."""

import io
import json

import pytest
from django.core.management import CommandError, call_command

from events.models import Attempt, Endpoint
from events.tests.making import DAY, LOOPBACK, URL, an_endpoint, some_events
from pricebook.tests.authorship import who

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def loopback(settings):
    settings.WEBHOOKS_TO_PRIVATE = LOOPBACK


def webhooks(*words):
    out, told = io.StringIO(), io.StringIO()
    by = () if words[0] in ("list", "deliveries") else ("--author", "ann")
    call_command("webhooks", *map(str, words), *by, stdout=out, stderr=told)
    return out.getvalue(), told.getvalue()


def records(*words):
    return [json.loads(line) for line in webhooks(*words, "--json")[0].splitlines()]


def test_create_prints_the_secret_alone():
    text, told = webhooks("create", "biller", URL, "--type", "prices.moved")
    endpoint = Endpoint.objects.get()
    assert text.strip() == endpoint.secret
    assert (endpoint.types, who(endpoint.created_by)) == (["prices.moved"], "claimed ann")
    assert "shown this once" in told
    [again] = records("create", "other", URL)
    assert again["secret"].startswith("whsec_")
    for words, code in (
        (("create", "biller", URL), "name_taken"),
        (("create", "x", "https://10.0.0.1/"), "address_not_public"),
        (("create", "x", URL, "--type", "prices.fallen"), "unknown_type"),
    ):
        with pytest.raises(CommandError, match=code):
            webhooks(*words)


def test_one_is_changed_rotated_and_deleted():
    endpoint = an_endpoint(types=["prices.moved"])
    [changed] = records("change", endpoint.pk, "--name", "crm", "--all-types")
    assert (changed["name"], changed["types"]) == ("crm", [])
    with pytest.raises(CommandError, match="Say what to change"):
        webhooks("change", endpoint.pk)
    text, told = webhooks("rotate", endpoint.pk, "--overlap-hours", 1)
    assert text.strip() != endpoint.secret
    assert "The old secret signs too until" in told
    assert records("end_rotation", endpoint.pk)[0]["old_secret_until"] is None
    assert "is deleted" in webhooks("delete", endpoint.pk)[0]
    with pytest.raises(CommandError, match="not_found"):
        webhooks("test", endpoint.pk)


def test_one_is_replayed_and_its_log_is_shown():
    [*_, last] = some_events(1, 4)
    endpoint = an_endpoint(delivered_through=4)
    assert "sent events from 2 on" in webhooks("replay", endpoint.pk, "--from", 2)[0]
    assert records("replay", endpoint.pk, "--since", last.recorded_at.isoformat())[0]["behind"] == 1
    with pytest.raises(CommandError, match="bad_parameter"):
        webhooks("replay", endpoint.pk, "--place", "x")
    Attempt.objects.create(
        endpoint=endpoint, number=4, webhook_id=last.webhook_id, type=last.type,
        status_code=500, error="The receiver answered 500.", duration_ms=7,
    )  # fmt: skip
    printed, _ = webhooks("deliveries", endpoint.pk)
    assert last.webhook_id in printed
    assert "The receiver answered 500." in printed
    assert records("deliveries", endpoint.pk)[0]["number"] == 4


def test_list_says_which_fail():
    some_events(1, 4)
    endpoint = an_endpoint()
    assert "1 endpoint, none of them fails" in webhooks("list", "--check")[0]
    Endpoint.objects.update(failing_since=DAY, attempts=5)
    with pytest.raises(CommandError, match="biller fails since 2027-01-01 00:00 UTC, and is 4 ev"):
        webhooks("list", "--check")
    assert "failing" in webhooks("list")[0]
    webhooks("disable", endpoint.pk, "--reason", "moving")
    with pytest.raises(CommandError, match=r"is disabled \(ann \(claimed\): moving\)"):
        webhooks("list", "--check")
    assert endpoint.secret not in webhooks("list")[0]
    assert [each["state"] for each in records("list")] == ["disabled"]
    assert records("enable", endpoint.pk)[0]["state"] == "delivering"
