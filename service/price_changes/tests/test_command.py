"""`manage price_change`, as people and programs use it."""

import io
import json
import re
import shlex
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from threading import Thread

import pytest
from django.core.management import (
    CommandError,
    call_command,
    get_commands,
    load_command_class,
)

from price_changes.models import PriceChange
from price_changes.running import starting
from price_changes.tests.changes import clock, scheduled
from pricebook.tests.servers import on_this_database, until
from services import price_state, repricing
from services.models import Repricing, Service, Skip, Subscription
from services.repricing import chunks
from services.tests.factories import a_book, a_client, a_plan, a_service, a_subscription
from services.tests.test_tasks import own_broker, waiting

__all__ = ["own_broker"]  # a fixture

pytestmark = pytest.mark.django_db

SERVICE = Path(__file__).parents[2]
GUIDE = SERVICE.parent / "docs" / "price-changes.md"


@pytest.fixture
def phone():
    """A service of three followers, one locked, one negotiated; clients and plan by name."""
    service = a_service(20, name="Phone")
    for name in ("Alpha", "Beta", "Gamma", "Delta", "Epsilon"):
        a_subscription(a_client(name), service, a_plan(0))
    delta, epsilon = (pk_of("Delta"), pk_of("Epsilon"))
    price_state.lock(delta, None, "promised", "ann")
    price_state.negotiate(epsilon, "15.00", "big client", "ann")
    return service


def pk_of(company_name):
    return Subscription.objects.get(client__company_name=company_name).pk


def price_change(*words, author="ann"):
    """Run the command; returns what it prints."""
    out, err = io.StringIO(), io.StringIO()
    by = ("--author", author) if words[0] in WRITING else ()
    call_command("price_change", *words, *by, stdout=out, stderr=err)
    return out.getvalue()


WRITING = ("plan", "approve", "pause", "resume", "cancel", "revert")


def as_json(*words, author="ann"):
    [record] = records(*words, author=author)
    return record


def records(*words, author="ann"):
    printed = price_change(*words, "--json", author=author)
    return [json.loads(line, parse_float=Decimal) for line in printed.splitlines()]


def planned(*words):
    change = as_json("plan", *words)
    return str(change["id"]), change["fingerprint"]


def applied(*words):
    number, fingerprint = planned(*words)
    price_change("approve", number, fingerprint, "--wait")
    return number


def refused(*words, author="ann"):
    with pytest.raises(CommandError) as error:
        price_change(*words, author=author)
    return error.value


def prices():
    return dict(Subscription.objects.values_list("client__company_name", "price"))


class TestPlan:
    def test_prints_what_would_happen_and_what_to_type_next(self, phone):
        printed = price_change("plan", "--service", "Phone", "--to", "22", "--title", "Phone 2027")

        change = PriceChange.objects.get()
        assert printed.startswith(f"Price change {change.pk}: Phone 2027\n")
        assert "List price of Phone: 20.00 → 22.00 USD\n" in printed
        assert re.search(r"would move +3\n", printed)
        assert re.search(r"stays: locked +1\n", printed)
        assert re.search(r"stays: negotiated +1\n", printed)
        assert "total 95.00 → 101.00  (+6.00, +6.32 %)\n" in printed
        assert re.search(r"\n  Phone +full 0 % +3 +95.00 +101.00 +\+6.00\n", printed)
        assert re.search(r"\n  Alpha +1 +20.00 +22.00 +\+2.00\n", printed)
        assert re.search(r"\n +\+1 +\+10 +3\n", printed)
        assert f"fingerprint {change.fingerprint}\n" in printed
        assert printed.endswith(
            f"  next: ./pricebook manage price_change approve {change.pk} {change.fingerprint}"
            " --wait\n"
        )

    def test_is_one_exact_object_for_programs(self, phone):
        change = as_json("plan", "--service", str(phone.pk), "--to", "22.10", "--reason", "costs")

        assert (change["kind"], change["status"]) == ("list_price", "planned")
        assert change["new_value"] == Decimal("22.10")
        assert change["preview"]["total_after"] == Decimal("101.30")
        assert change["preview"]["by_service_and_plan"][0]["before"] == 95
        assert change["allowed"] == ["preview", "approve", "reject", "cancel"]
        assert change["planned_by"] == "ann (claimed)"

    def test_of_a_set_takes_all_that_a_set_has(self, phone):
        change = as_json(
            "plan", "--service", "Phone", "--plan", "full 0", "--filter", "price_from=16",
            "--percent", "-12.5", "--step", "0.05", "--floor", "1", "--ceiling", "100",
            "--at", "2999-01-01T00:00:00+01:00", "--title", "t", "--comment", "c",
        )  # fmt: skip

        assert change["filter"] == {
            "service": phone.pk,
            "plan": a_plan(0).pk,
            "price_from": "16.00",
        }
        assert (change["adjustment"], change["operand"]) == ("percent", Decimal("-12.5"))
        assert (change["rounding_step"], change["floor"], change["ceiling"]) == (
            Decimal("0.05"), 1, 100,
        )  # fmt: skip
        assert change["effective_at"] == "2998-12-31T23:00:00Z"
        printed = price_change("preview", str(change["id"]))
        fingerprint = PriceChange.objects.get().fingerprint
        assert printed.endswith(f" {fingerprint}\n"), "nobody waits for so long"

    @pytest.mark.parametrize(
        ("words", "adjustment"),
        [
            (("--amount", "9"), "amount"),
            (("--add", "-5"), "add"),
            (("--lock", "--until", "2999-01-01T00:00Z"), "lock"),
            (("--release",), "release"),
            (("--follow",), "follow"),
        ],
    )
    def test_does_with_a_set_what_its_option_says(self, phone, words, adjustment):
        assert as_json("plan", "--all", *words)["adjustment"] == adjustment

    def test_of_a_discount_and_for_new_subscriptions_only(self, phone):
        change = as_json(
            "plan", "--plan", "full", "--to", "10", "--new-only", "--until", "2999-01-01T00:00Z"
        )

        assert (change["kind"], change["for_new_only"]) == ("discount", True)
        assert change["preview"]["stop_following"] == 3
        says = "for new subscriptions only; those that are there keep their price until 2999-01-01"
        assert says in price_change("show", str(change["id"]))

    def test_names_what_is_scheduled_before_it(self, phone):
        first, fingerprint = planned(
            "--service", "Phone", "--to", "22", "--at", "2998-01-01T00:00Z"
        )
        price_change("approve", first, fingerprint)

        printed = price_change(
            "plan", "--service", "Phone", "--to", "23", "--at", "2999-01-01T00:00Z"
        )

        assert f"not in these figures: price change {first}.\n" in printed

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (("--service", "Phone", "--to", "-1"), "--to lies from 0 to"),
            (("--service", "Phone", "--to", "1.001"), "--to has at most two decimals"),
            (
                ("--service", "Phone", "--to", "22,50"),
                "'22,50' is not. Its decimals follow a point",
            ),
            (("--plan", "full 0", "--to", "12,5"), "'12,5' is not. Its decimals follow a point"),
            (("--all", "--percent", "1,234"), "nothing separates thousands"),
            (("--all", "--add", "1", "--floor", "4,50"), "--floor is a number such as 12.50"),
            (("--filter", "price_from=4,50", "--add", "1"), "Its decimals follow a point"),
            (("--service", "Fone", "--to", "1"), "There is no service 'Fone'; there are Phone."),
            (("--plan", "full 7", "--to", "1"), """there are "full 0"."""),
            (
                ("--service", "Phone", "--to", "22", "--at", "2999-01-01T00:00"),
                "--at has no time",
            ),
            (("--service", "Phone", "--to", "22", "--at", "2020-01-01T00:00Z"), "has passed"),
            (("--service", "Phone", "--to", "22", "--step", "5"), "--step does not belong to"),
            (("--all", "--add", "-18"), "would move from 15.00 to -3.00"),
            (("--all", "--lock", "--floor", "1"), "--floor belongs to amount"),
            (("--filter", "client=999999999", "--add", "1"), "No subscription matches"),
            (("--filter", "colour=red", "--add", "1"), "there are service, plan, plan_type,"),
            (("--filter", "price_state=free", "--add", "1"), "may be follows, locked, negotiated"),
            (("--all", "--percent", "nan"), "is a number such as 12.50"),
        ],
    )
    def test_that_is_refused_says_why_and_leaves_nothing(self, phone, words, text):
        error = refused("plan", *words)

        assert text in str(error)
        assert error.returncode == 1
        assert not PriceChange.objects.exists()

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            ((), "Give --service or --plan with --to"),
            (("--service", "Phone"), "Give --service or --plan with --to"),
            (("--service", "Phone", "--plan", "full 0", "--to", "1"), "Give --service or --plan"),
            (("--add", "1"), "Which subscriptions?"),
            (("--all", "--service", "Phone", "--add", "1"), "contradict"),
            (("--all",), "How should the set change?"),
            (("--all", "--add", "1", "--to", "2"), "a set takes --amount"),
            (("--all", "--add", "1", "--new-only"), "a set takes --lock"),
            (("--filter", "client", "--add", "1"), "is not NAME=VALUE"),
            (("--filter", "client=1", "--filter", "client=2", "--add", "1"), "given twice"),
        ],
    )
    def test_of_options_that_do_not_go_together_is_a_usage_error(self, phone, words, text):
        error = refused("plan", *words)

        assert text in str(error)
        assert error.returncode == 2

    def test_takes_the_login_name_as_its_author(self, phone, monkeypatch):
        monkeypatch.setenv("LOGNAME", "carla")
        call_command("price_change", "plan", "--all", "--add", "1", stdout=io.StringIO())

        assert PriceChange.objects.get().planned_by == "carla (claimed)"
        assert "--author is a text of up to 150" in str(
            refused("plan", "--all", "--add", "1", author="a" * 151)
        )
        assert "--author is empty" in str(refused("plan", "--all", "--add", "1", author=" "))


class TestApprove:
    def test_applies_it_here_with_wait_and_prints_the_outcome(self, phone):
        number, fingerprint = planned("--service", "Phone", "--to", "22", "--comment", "2027")

        printed = price_change("approve", number, fingerprint, "--wait", author="bob")

        assert prices() == {"Alpha": 22, "Beta": 22, "Gamma": 22, "Delta": 20, "Epsilon": 15}
        assert re.search(r"state +applied\b", printed)
        assert re.search(r"approved by +bob \(claimed\), ", printed)
        assert re.search(r"moved +3\n", printed)
        assert re.search(r"skipped: locked +1\n", printed)
        assert re.search(r"\n  rows +5\n", printed)
        assert re.search(r"comments stamped +\d", printed)
        assert printed.endswith(f"next: ./pricebook manage price_change revert {number}\n")

    def test_wakes_the_workers_without_wait(self, phone, own_broker):
        number, fingerprint = planned("--service", "Phone", "--to", "22")

        printed = price_change("approve", number, fingerprint)

        assert re.search(r"state +scheduled\n", printed)
        assert printed.endswith(f"next: ./pricebook manage price_change watch {number}\n")
        assert waiting(own_broker.broker_url) == 2

    def test_of_a_stale_fingerprint_is_refused(self, phone):
        number, _ = planned("--service", "Phone", "--to", "22")

        error = refused("approve", number, "0" * 32, "--wait")

        assert "is not the fingerprint of the latest preview" in str(error)
        assert "(stale_fingerprint)" in str(error)
        assert error.returncode == 1
        assert PriceChange.objects.get().status == "planned"

    def test_is_refused_where_another_person_has_to(self, phone, settings):
        settings.APPROVAL_BY_ANOTHER = True
        number, fingerprint = planned("--service", "Phone", "--to", "22")

        for claimed in ("ann", "bob"):  # a name that anybody can give is nobody's approval
            error = refused("approve", number, fingerprint, "--wait", author=claimed)
            assert f"Nobody knows which person {claimed} (claimed) is" in str(error)
            assert "(needs_another_person)" in str(error)
            assert error.returncode == 1
        assert prices()["Alpha"] == 20

    def test_twice_says_in_which_state_it_is(self, phone):
        number, fingerprint = planned("--service", "Phone", "--to", "22")
        price_change("approve", number, fingerprint)

        assert "is scheduled; to approve, it has to be planned or held. (wrong_state)" in str(
            refused("approve", number, fingerprint)
        )

    def test_that_is_held_fails_and_says_what_to_do(self, phone, moved_clock):
        at = "2999-01-01T00:00+01:00"
        number, fingerprint = planned("--service", "Phone", "--add", "1", "--at", at)
        price_change("approve", number, fingerprint)
        price_state.negotiate(pk_of("Beta"), "19.00", "asked", "carl")
        moved_clock.to(PriceChange.objects.get().effective_at)
        repricing.reprice()

        error = refused("watch", number)

        assert "is held. Rows have moved since the approval" in str(error)
        assert error.returncode == 1
        assert prices()["Alpha"] == 20
        printed = price_change("preview", number)
        assert "total 94.00 → 98.00" in printed
        fingerprint = PriceChange.objects.get().fingerprint
        assert printed.endswith(f"approve {number} {fingerprint} --wait\n")
        price_change("approve", number, fingerprint, "--wait")
        assert prices()["Alpha"] == 21


class TestShow:
    def test_of_a_scheduled_one_says_its_instant(self, phone):
        number, fingerprint = planned(
            "--service", "Phone", "--to", "22", "--at", "2999-01-01T00:00+01:00"
        )
        printed = price_change("approve", number, fingerprint)

        assert re.search(r"state +scheduled\n", printed)
        assert re.search(r"in force from +2998-12-31 23:00:00Z\n", printed)
        assert printed.endswith(f"price_change cancel {number}\n")

    def test_of_two_at_one_instant_says_which_holds_the_rows(self, phone):
        at = clock()
        earlier, later = (
            str(scheduled(at, kind="list_price", service=phone.pk, new_value=value).pk)
            for value in (22, 23)
        )
        repricing.reprice()

        assert prices()["Beta"] == 23
        printed = price_change("show", earlier)
        assert re.search(rf"skipped: superseded by {later} +3\n", printed)
        assert f"Which, and why: price_change skips {earlier}" in printed
        assert re.search(r"earlier changes held by this one +3\n", price_change("show", later))

    def test_of_a_row_that_another_one_holds_names_it(self, phone):
        earlier = applied("--all", "--amount", "5")
        later = applied("--filter", f"subscription={pk_of('Beta')}", "--amount", "7")
        # As left by changes of sets that were listed while others were moving the rows.
        Skip.objects.create(
            repricing=Repricing.objects.get(change_id=earlier),
            reason=Skip.Reason.SUPERSEDED,
            subscription_id=pk_of("Beta"),
            by_change_id=later,
        )

        assert re.search(
            rf" {pk_of('Beta')}  superseded by {later}\n", price_change("skips", earlier)
        )
        skip = next(skip for skip in records("skips", earlier) if skip["subscription_id"])
        assert (skip["reason"], skip["by_change_id"]) == ("superseded", int(later))

    @pytest.mark.parametrize(
        "verb", ["show", "preview", "rows", "skips", "watch", "pause", "resume", "cancel", "revert"]
    )
    def test_of_none_is_an_error(self, verb):
        error = refused(verb, "123456789")

        assert str(error) == "There is no price change 123456789. (not_found)"
        assert error.returncode == 1

    @pytest.mark.parametrize("number", ["0", "-1", "one", "9" * 20, "１"])
    def test_of_what_is_no_number_is_a_usage_error(self, number):
        assert "a whole number from 1 to" in str(refused("show", "--", number))


class TestRows:
    def test_are_old_and_new_and_page_on(self, phone):
        number, _ = planned("--service", "Phone", "--to", "1022")

        printed = price_change("rows", number, "--limit", "3")
        assert re.search(rf"\n +{pk_of('Alpha')} +20.00  →  1,022.00  follows\n", printed)
        assert printed.endswith(f"price_change rows {number} --after {pk_of('Gamma')}\n")
        printed = price_change("rows", number, "--after", str(pk_of("Gamma")))
        assert re.search(rf"\n +{pk_of('Delta')} +20.00  →  20.00  locked +locked\n", printed)
        assert "Alpha" not in printed

    def test_of_a_reason_and_for_programs(self, phone):
        number, _ = planned("--service", "Phone", "--to", "22")

        [row] = records("rows", number, "--only", "negotiated")
        assert (row["subscription"], row["old_price"], row["reason"]) == (
            pk_of("Epsilon"), 15, "negotiated",
        )  # fmt: skip
        assert len(records("rows", number, "--only", "moves")) == 3

    def test_of_one_that_was_applied_are_what_it_moved(self, phone):
        number = applied("--service", "Phone", "--to", "22")
        price_state.negotiate(pk_of("Alpha"), "1", "mistake", "ann")

        rows = records("rows", number)

        assert [(row["old_price"], row["new_price"]) for row in rows] == [(20, 22)] * 3
        assert [row["subscription"] for row in rows] == [
            pk_of("Alpha"), pk_of("Beta"), pk_of("Gamma"),
        ]  # fmt: skip
        assert f"price_change skips {number} has the others" in str(
            refused("rows", number, "--only", "locked")
        )


class TestList:
    def test_is_newest_first_and_tells_what_each_does(self, phone):
        first, _ = planned("--service", "Phone", "--to", "22")
        second = applied("--plan", "full 0", "--to", "10", "--title", "Spring")

        lines = price_change("list").splitlines()

        ann = r"ann \(claimed\)"
        assert re.match(rf" +{second}  applied +\d{{4}}-.*Z  {ann}  Spring$", lines[1])
        assert re.match(
            rf" +{first}  planned +{ann}  List price of Phone: 20.00 → 22.00 USD$",
            lines[2],
        )
        assert [c["id"] for c in records("list", "--status", "planned")] == [int(first)]
        assert len(records("list", "--limit", "1")) == 1

    def test_of_a_subscription_are_those_that_are_scheduled_to_move_it(self, phone):
        number, fingerprint = planned(
            "--service", "Phone", "--to", "22", "--at", "2999-01-01T00:00Z"
        )
        price_change("approve", number, fingerprint)

        assert [c["id"] for c in records("list", "--subscription", str(pk_of("Beta")))] == [
            int(number)
        ]
        assert not records("list", "--subscription", str(pk_of("Delta")))


@pytest.mark.usefixtures("by_chunks")
class TestPauseResumeCancel:
    def test_paused_leaves_the_rest_and_resumed_goes_on(self, phone):
        number = begun("--all", "--add", "1")

        printed = price_change("pause", number)
        assert re.search(r"state +paused: Paused by ann \(claimed\).\n", printed)
        assert printed.endswith(f"price_change resume {number}\n")
        repricing.reprice()
        assert prices()["Alpha"] == 20

        printed = price_change("resume", number, "--wait")
        assert re.search(r"state +applied\n", printed)
        ann = r"ann \(claimed\)"
        assert re.search(rf"paused by +{ann}, 20.*\n *resumed by +{ann}, 20", printed)
        assert prices()["Alpha"] == 21

    def test_wait_ends_with_an_error_when_somebody_pauses(self, phone):
        number = begun("--all", "--add", "1")
        price_change("pause", number)

        error = refused("watch", number)

        assert str(error) == f"Price change {number} is paused. Paused by ann (claimed)."

    def test_cancelled_before_its_instant_nothing_happens(self, phone):
        number, _ = planned("--all", "--add", "1")

        assert re.search(r"state +cancelled\n", price_change("cancel", number))
        assert "to approve, it has to be planned or held" in str(
            refused("approve", number, "0" * 32)
        )

    def test_cancelled_during_the_apply_what_was_applied_goes_back(self, phone, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 2)
        number = begun("--all", "--add", "1")
        moved = chunks.take_chunk("price", set())  # two, or one where its stretch ends
        assert prices()["Alpha"] == 21

        printed = price_change("cancel", number, "--wait")

        assert prices()["Alpha"] == 20
        assert printed.startswith(f"Price change {number} is cancelled; what it moved goes back.\n")
        assert re.search(r"moved +4\n", printed)  # it was in force for all
        shown = price_change("show", number)
        back = PriceChange.objects.get(reverts=number).pk
        assert 0 < moved < 4
        assert f"Moved 4, taken back by price change {back}.\n" in shown


class TestRevert:
    def test_is_a_change_with_a_preview_of_its_own(self, phone):
        number = applied("--service", "Phone", "--add", "1")
        price_state.negotiate(pk_of("Alpha"), "1", "touched", "ann")

        printed = price_change("revert", number)

        assert re.search(rf"takes back +price change {number}\n", printed)
        assert re.search(r"would move +3\n", printed)
        assert re.search(r"stays: touched since the change +1\n", printed)
        back = PriceChange.objects.first()
        assert printed.endswith(f"approve {back.pk} {back.fingerprint} --wait\n")
        price_change("approve", str(back.pk), back.fingerprint, "--wait")
        assert prices() == {"Alpha": 1, "Beta": 20, "Gamma": 20, "Delta": 20, "Epsilon": 15}
        assert re.search(
            rf"taken back by +price change {back.pk} \(applied\)\n", price_change("show", number)
        )

    def test_with_yes_is_applied_at_once(self, phone):
        number = applied("--service", "Phone", "--to", "22")

        assert re.search(r"moved +3\n", price_change("revert", number, "--yes", "--wait"))
        assert prices()["Alpha"] == 20
        assert refused("revert", number, "--wait").returncode == 2

    def test_of_a_plain_edit(self, phone):
        with repricing.catalogue_edit(author="carl"):
            Service.objects.filter(pk=phone.pk).update(full_price=24)
        repricing.reprice()
        number = str(PriceChange.objects.get().pk)
        assert prices()["Alpha"] == 24
        assert re.search(r"planned by +carl, ", price_change("show", number))

        price_change("revert", number, "--yes", "--wait")

        assert prices()["Alpha"] == 20
        assert Service.objects.get(pk=phone.pk).full_price == 20


@pytest.mark.django_db(transaction=True)
class TestProcess:
    """Behaviour that only a separate process shows: exit status, signals, pipes, and workers."""

    def test_wait_and_watch_are_right_beside_workers(self, start_workers):
        a_book(subscriptions=2000, services=1, plans=1)
        start_workers(1)

        here, fingerprint = planned("--all", "--add", "1")
        change = as_json("approve", here, fingerprint, "--wait")
        assert change["status"] == "applied"
        assert change["outcome"]["applied"] == change["outcome"]["rows"] == 2000

        there, fingerprint = planned("--all", "--add", "1")
        price_change("approve", there, fingerprint)  # wakes the worker
        assert re.search(r"moved +2,000\n", price_change("watch", there))

    def test_exit_status_says_what_went_wrong(self):
        a_service(20, name="Phone")

        run = manage("price_change", "plan", "--service", "Phone", "--to", "x", "--json")

        assert (run.returncode, run.stdout) == (1, "")
        assert "CommandError: --to is a number such as 12.50; 'x' is not." in run.stderr
        assert not PriceChange.objects.exists()

    def test_a_reader_that_goes_away_is_no_fault(self):
        a_book(subscriptions=5000, services=1, plans=1)
        number, _ = planned("--all", "--add", "1")

        with start("price_change", "rows", number, "--limit", "5000", "--json") as run:
            json.loads(run.stdout.readline())
            run.stdout.close()
            assert run.stderr.read() == ""
            assert run.wait(60) == 128 + signal.SIGPIPE

    def test_interrupted_leaves_it_scheduled_and_says_so(self, request):
        # As at a terminal: programs in the background of a shell ignore Ctrl-C.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
        a_subscription(service=a_service(20, name="Phone"))
        number, fingerprint = planned(
            "--service", "Phone", "--to", "22", "--at", "2999-01-01T00:00Z"
        )
        said = io.StringIO()

        def interrupt():
            until(lambda: "Ctrl-C leaves it scheduled" in said.getvalue())
            signal.raise_signal(signal.SIGINT)

        Thread(target=interrupt).start()
        with pytest.raises(CommandError) as error:
            call_command("price_change", "approve", number, fingerprint, "--wait", stderr=said)

        assert "is scheduled for 2999-01-01 00:00:00Z; waiting for it." in said.getvalue()
        assert "stays scheduled for 2999-01-01 00:00:00Z; the workers" in str(error.value)
        assert error.value.returncode == 130
        assert PriceChange.objects.get().status == "scheduled"


def begun(*words):
    """A change that is applying and has moved nothing yet."""
    number, fingerprint = planned(*words)
    price_change("approve", number, fingerprint)
    assert starting.start_due()
    return number


def start(*words):
    return subprocess.Popen(
        [sys.executable, SERVICE / "manage.py", *words],
        env=on_this_database(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def manage(*words):
    run = start(*words)
    out, err = run.communicate(timeout=60)
    return subprocess.CompletedProcess(words, run.returncode, out, err)


class TestGuide:
    """The transcript of docs/price-changes.md."""

    def commands(self):
        """The commands that were typed, and those that the output says to type next."""
        typed = r"^    (?:\$ |  next: )?\./pricebook manage (price_.+)$"
        for line in re.findall(typed, GUIDE.read_text(encoding="utf-8"), re.MULTILINE):
            yield shlex.split(line)

    def test_each_command_parses(self):
        found = list(self.commands())
        assert {words[1] for words in found if words[0] == "price_change"} >= {
            "plan", "approve", "watch", "revert", "rows",
        }  # fmt: skip
        for name, *words in found:
            command = load_command_class(get_commands()[name], name)
            command.create_parser("manage", name).parse_args(words)
