"""`manage price_state`: one subscription's price, and its past."""

import io
import json
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from services import repricing
from services.models import Service, Subscription
from services.tests.factories import a_client, a_plan, a_service, a_subscription

pytestmark = pytest.mark.django_db


@pytest.fixture
def phone():
    return a_service(20, name="Phone")


@pytest.fixture
def subscription(phone):
    return a_subscription(a_client("Acme"), phone, a_plan(10), source="crm", external_id="A-1")


DECIDING = ("lock", "release", "negotiate", "follow")


def run(verb, *words, json=False):
    out = io.StringIO()
    by = ("--author", "ann") if verb in DECIDING else ()
    call_command(
        "price_state", verb, *map(str, words), *by, *(["--json"] if json else []), stdout=out
    )
    return out.getvalue()


def records(verb, *words):
    printed = run(verb, *words, json=True)
    return [json.loads(line, parse_float=Decimal) for line in printed.splitlines()]


def refused(*words):
    with pytest.raises(CommandError) as error:
        run(*words)
    return error.value


class TestDeciding:
    def test_locked_until_released(self, subscription):
        printed = run("lock", subscription.pk, "--reason", "promised")
        assert printed.startswith(
            f"Subscription {subscription.pk}: Its price of 18.00 is locked until it is released"
            " (promised)."
        )
        assert re.search(r"\n  state +locked\n  reason +promised\n", printed)
        assert re.search(r"\n  by +ann \(claimed\)\n", printed)

        assert re.search(r"state +follows\n", run("release", subscription.pk))

    def test_locked_until_an_instant(self, subscription):
        [record] = records(
            "lock", subscription.pk, "--until", "2999-01-01T00:00+01:00", "--reason", "promised"
        )
        assert record["locked_until"] == "2998-12-31T23:00:00Z"
        assert (record["price"], record["price_state"]) == (18, "locked")
        assert "locked until 2998-12-31 23:00:00Z" in run("explain", subscription.pk)

    def test_negotiated_and_following_again(self, subscription):
        words = ("--source", "crm", "--external-id", "A-1")

        [record] = records("negotiate", "15.50", *words, "--reason", "big client")
        assert (record["id"], record["price"]) == (subscription.pk, Decimal("15.5"))
        [record] = records("follow", *words)
        assert (record["price_state"], record["price"]) == ("follows", 18)

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (("release",), "is not locked, so there is nothing to release"),
            (("lock", "--reason", ""), "Give a reason"),
            (("lock", "--reason", "r", "--until", "2020-01-01T00:00Z"), "has to be in the future"),
            (("negotiate", "-1", "--reason", "r"), "price lies from 0 to"),
            (("negotiate", "1.001", "--reason", "r"), "price has at most two decimals"),
            (("negotiate", "4,50", "--reason", "r"), "such as 12.50; '4,50' is not. Its decimals"),
        ],
    )
    def test_that_is_refused_says_why_and_writes_nothing(self, subscription, words, text):
        verb, *rest = words
        error = refused(verb, *([subscription.pk] if verb != "negotiate" else []), *rest, *(
            ["--source", "crm", "--external-id", "A-1"] if verb == "negotiate" else []
        ))  # fmt: skip

        assert text in str(error)
        assert error.returncode == 1
        assert Subscription.objects.get().price_state == "follows"

    def test_of_no_subscription_is_an_error(self, subscription):
        assert "There is no subscription 999999999." in str(refused("follow", 999999999))
        assert "There is no subscription 'B' of source 'crm'." in str(
            refused("follow", "--source", "crm", "--external-id", "B")
        )

    def test_of_none_or_two_is_a_usage_error(self, subscription):
        assert refused("follow").returncode == 2
        assert refused("follow", "--source", "crm").returncode == 2
        assert refused("follow", 1, "--source", "crm", "--external-id", "A-1").returncode == 2

    def test_a_naive_instant_is_refused(self, subscription):
        assert "has no time zone: add Z" in str(
            refused("lock", subscription.pk, "--reason", "r", "--until", "2999-01-01T00:00")
        )


class TestReading:
    def test_explain_says_the_rule_and_who_decided(self, subscription, phone):
        with repricing.catalogue_edit(author="carl"):
            Service.objects.filter(pk=phone.pk).update(full_price=24)
        repricing.reprice()

        printed = run("explain", subscription.pk)

        assert "It follows the catalogue: 24.00 × (100 − 10) / 100 = 21.60." in printed
        assert re.search(r"\n  price +21.60 USD\n", printed)
        assert re.search(r"\n  by +carl\n  price change +\d+\n", printed)
        [why] = records("explain", subscription.pk)
        assert (why["price"], why["rule"]["list_price"], why["author"]) == (
            Decimal("21.6"), 24, "carl",
        )  # fmt: skip
        assert "There was no subscription" in str(
            refused("explain", subscription.pk, "--at", "2000-01-01T00:00Z")
        )

    def test_history_is_every_price_it_ever_had_deleted_or_not(self, subscription):
        run("negotiate", "15", "--source", "crm", "--external-id", "A-1", "--reason", "r")
        pk = subscription.pk
        subscription.delete()

        lines = run("history", pk).splitlines()

        assert [line.split()[3:5] for line in lines[1:3]] == [
            ["18.00", "follows"],
            ["15.00", "negotiated"],
        ]
        assert "deleted" in lines[3]
        entries = records("history", pk)
        assert [entry["price"] for entry in entries] == [18, 15, None]
        later = records("history", pk, "--after", entries[0]["id"])
        assert [entry["price"] for entry in later] == [15, None]
        assert str(refused("history", 999999999)) == "There was never a subscription 999999999."

    def test_as_of_is_what_was_paid_and_the_total(self, subscription, phone):
        other = a_subscription(a_client("Other"), phone, a_plan(0))
        [entry] = records("history", other.pk)
        instant = entry["effective_at"]
        run("negotiate", "1000.5", "--source", "crm", "--external-id", "A-1", "--reason", "r")

        printed = run("as_of", instant)
        assert re.search(rf"\n +{subscription.pk} .* 18.00  follows\n", printed)
        assert "2 subscriptions, 38.00 USD together." in printed
        assert "2 subscriptions, 1,020.50 USD together." in run(
            "as_of", datetime.now(UTC).isoformat()
        )
        assert "… and 1 more (--limit)" in run("as_of", instant, "--limit", "1")
        [row] = records("as_of", instant, "--client", other.client_id)
        assert (row["subscription_id"], row["price"]) == (other.pk, 20)
        assert "Nobody pays anything" in run("as_of", "2000-01-01T00:00Z")
        assert "At 2999-01-01 00:00:00Z: 2 subscriptions" in run("as_of", "2999-01-01T00:00Z")
