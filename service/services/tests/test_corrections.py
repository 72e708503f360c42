"""Corrections: what was paid in an interval that has passed was wrong."""

import io
import json
from datetime import timedelta
from decimal import Decimal
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from rest_framework.test import APIClient

from keys.tests.asking import with_key
from keys.tests.making import a_key
from price_changes import verbs
from price_changes.models import MovedAlone
from price_changes.running import lifecycle, starting
from price_changes.tests.asking import bill
from price_changes.tests.changes import approved, planned
from pricebook.kit.scopes import SCOPES
from services import corrections, ledger, price_state, repricing
from services.audit import book_check
from services.corrections import CorrectionRefused, Line, LinesRefused
from services.ledger import points
from services.ledger.point_in_time import as_of
from services.models import CorrectedEntry, Correction, Point, Service, Subscription, book_clock
from services.repricing import chunks, followers
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import Pause, a_person, in_background, without_trigger

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def now(db):
    return book_clock()


@pytest.fixture
def subscription(now):
    """A follower at 20.00 for 60 days."""
    return a_subscription(a_client(), a_service(20), a_plan(0), started_at=now - 60 * DAY)


@pytest.fixture
def program(db) -> APIClient:
    return with_key(a_key("erp", *SCOPES)[1])


def correct(subscription, since, price, until=None):
    [done] = corrections.correct([Line(subscription.pk, since, Decimal(price), until)], "x", "ann")
    return done


def paid(subscription, at, known_at=None):
    sql, params = as_of(at, subscription_id=subscription.pk, known_at=known_at)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row = cursor.fetchone()
    return float(row[4]), row[5]


def billed(subscription, *instants):
    entries = ledger.history(subscription.pk)
    return [float(bill(entries, at)) for at in instants]


class TestOne:
    def test_a_correction_without_an_end_goes_on(self, subscription, now):
        known = book_clock()
        done = correct(subscription, now - 30 * DAY, 24)
        subscription.refresh_from_db()
        assert (subscription.price, subscription.price_state) == (24, "negotiated")
        assert (done.goes_on, done.old_price, done.moves) == (True, 20, True)
        before, since = now - 31 * DAY, now - 30 * DAY
        assert [paid(subscription, at) for at in (before, since, now)] == [
            (20, "follows"),
            (24, "follows"),
            (24, "follows"),
        ]
        assert ledger.total_as_of(since).amount == 24
        assert paid(subscription, since, known_at=known) == (20, "follows")
        assert billed(subscription, before, since, book_clock()) == [20, 24, 24]
        explained = ledger.explain(subscription.pk, since + DAY)
        assert (explained.price, explained.author, explained.since) == (24, "ann", since)
        assert explained.price_reason == "x"

    def test_a_correction_is_about_its_interval_and_no_other_instant(self, subscription, now):
        since, until = now - 30 * DAY, now - 20 * DAY
        done = correct(subscription, since, 24, until)
        assert not done.goes_on
        instants = (since - DAY, since, until - DAY, until, now)
        assert [paid(subscription, at)[0] for at in instants] == [20, 24, 24, 20, 20]
        assert billed(subscription, *instants) == [20, 24, 24, 20, 20]
        assert ledger.explain(subscription.pk, now).since == until
        subscription.refresh_from_db()
        assert (subscription.price, subscription.price_state) == (20, "follows")
        told = [entry for entry in ledger.history(subscription.pk) if entry["correction_id"]]
        assert [(entry["effective_at"], entry["price"]) for entry in told] == [
            (since, 24),
            (until, 20),
        ]
        assert {entry["correction_reason"] for entry in told} == {"x"}
        assert not book_check.check().differs

    def test_it_lasts_to_the_next_move(self, moved_clock, subscription, now):
        moved_clock.passes(DAY)
        Service.objects.update(full_price=30)
        repricing.reprice()
        moved_clock.passes(DAY)
        done = correct(subscription, now - DAY, 24)
        assert [(part.old_price, part.new_price) for part in done.intervals] == [(20, 24)]
        assert paid(subscription, done.until)[0] == 30
        assert not done.goes_on

    def test_moves_within_the_interval_lie_below(self, moved_clock, subscription, now):
        moved_clock.passes(DAY)
        Service.objects.update(full_price=30)
        repricing.reprice()
        moved_clock.passes(DAY)
        price_state.negotiate(subscription.pk, 40, "x", "ann")
        moved_clock.passes(DAY)
        until = moved_clock.now() - timedelta(hours=1)
        done = correct(subscription, now, 24, until)
        assert [part.old_price for part in done.intervals] == [20, 30, 40]
        instants = [*(now + hours * timedelta(hours=1) for hours in (1, 25, 49)), until]
        assert [paid(subscription, at)[0] for at in instants] == [24, 24, 24, 40]
        assert billed(subscription, *instants) == [24, 24, 24, 40]

    def test_the_last_correction_of_an_instant_counts(self, subscription, now):
        correct(subscription, now - 30 * DAY, 24, now - 10 * DAY)
        correct(subscription, now - 20 * DAY, 26, now - 5 * DAY)
        instants = [now - days * DAY for days in (30, 20, 10, 5)]
        assert [paid(subscription, at)[0] for at in instants] == [24, 26, 26, 20]
        assert billed(subscription, *instants) == [24, 26, 26, 20]

    def test_a_lock_stays_with_its_end(self, moved_clock, subscription):
        until = moved_clock.now() + 30 * DAY
        price_state.lock(subscription.pk, until, "promised", "ann")
        since = moved_clock.now()
        moved_clock.passes(DAY)
        correct(subscription, since, 18)
        subscription.refresh_from_db()
        assert (subscription.price, subscription.price_state) == (18, "locked")
        assert subscription.locked_until == until

    def test_the_same_price_corrects_nothing(self, subscription, now):
        done = correct(subscription, now - 30 * DAY, 20)
        assert (done.moves, done.id, Correction.objects.count()) == (False, None, 0)

    @pytest.mark.parametrize(
        ("since", "until", "code"),
        [
            (61, None, "not_paid_then"),
            (4, None, "not_paid_then"),  # it has ended
            (-1, None, "not_past"),
            (30, 31, "bad_until"),
            (30, 30, "bad_until"),
            (30, -1, "bad_until"),
        ],
    )
    def test_is_refused_where_nothing_was_paid(self, subscription, now, since, until, code):
        Subscription.objects.update(ended_at=now - 5 * DAY)
        asked = (now - since * DAY, 24, None if until is None else now - until * DAY)
        with pytest.raises(LinesRefused) as refused:
            correct(subscription, *asked)
        assert refused.value.refusals[0].code == code

    def test_who_has_ended_is_corrected_to_the_end(self, subscription, now):
        end = now - 5 * DAY
        Subscription.objects.update(ended_at=end)
        done = correct(subscription, now - 30 * DAY, 24)
        assert done.until == end
        assert paid(subscription, end - DAY)[0] == 24
        assert ledger.total_as_of(end - DAY).amount == 24
        assert not book_check.check().differs

    def test_facts_stay(self, subscription, now):
        correct(subscription, now - 30 * DAY, 24)
        for model in (Correction, CorrectedEntry):
            for statement in (
                model.objects.all().delete,
                lambda m=model: m.objects.update(price=1),
            ):
                with pytest.raises(Exception, match="append-only"), transaction.atomic():
                    statement()


class TestBesideOthers:
    @pytest.mark.parametrize("both", [False, True], ids=["moved together", "moved alone"])
    def test_a_late_copy_stands_below_a_correction(self, moved_clock, subscription, both):
        """Each row has entries of its own of two changes that are due."""
        self.a_change_is_due(moved_clock, subscription, both)
        since = moved_clock.now() - 2 * DAY
        correct(subscription, since, 24, moved_clock.now() - timedelta(hours=1))
        repricing.reprice()
        assert billed(subscription, since, since + DAY + timedelta(hours=1)) == [24, 24]
        assert billed(subscription, moved_clock.now()) == [30]

    def test_a_row_that_comes_again_by_its_id_stands_below_its_correction(self, subscription, now):
        """Statements of new rows ask once whether any was corrected, and not for each."""
        correct(subscription, now - 30 * DAY, 24, now - 10 * DAY)
        same = {"client": subscription.client, "service": subscription.service}
        pk, plan = subscription.pk, subscription.plan
        subscription.delete()
        again = [
            Subscription(**same, plan=plan, started_at=now - 20 * DAY, pk=number)
            for number in (pk, pk + 1)
        ]
        Subscription.objects.bulk_create(again)
        assert [billed(row, now - 15 * DAY, now) for row in again] == [[24, 20], [20, 20]]

    @pytest.mark.parametrize(
        ("both", "trigger", "table"),
        [
            (False, "moved_corrected", "services_movedfollowers"),
            (True, "ledger_corrected", "services_ledgerentry"),
        ],
    )
    def test_without_its_trigger_it_would_not(
        self, moved_clock, subscription, both, trigger, table
    ):
        with without_trigger(trigger, table), pytest.raises(AssertionError):
            self.test_a_late_copy_stands_below_a_correction(moved_clock, subscription, both)

    @staticmethod
    def a_change_is_due(moved_clock, subscription, both):
        service = subscription.service_id
        for days, price in ((1, 25), (1.01, 30))[0 if both else 1 :]:
            at = moved_clock.now() + days * DAY
            values = {"kind": "list_price", "service": service, "new_value": price}
            approved(planned(**values, effective_at=at), "current")
        moved_clock.passes(2 * DAY)

    def test_points_of_before_hold_no_more(self, subscription, now):
        others = [a_subscription(started_at=now - days * DAY) for days in range(2, 50, 3)]
        with patch.object(points, "FACTS", 3):
            points.make()
        assert Point.objects.filter(at__gt=now - 30 * DAY).exists()
        at = now - 10 * DAY
        amount = ledger.total_as_of(at).amount
        correct(subscription, now - 30 * DAY, 24)
        assert ledger.total_as_of(at).amount == amount + 4
        with patch.object(points, "FACTS", 3):
            points.make()
        assert ledger.total_as_of(at).amount == amount + 4
        assert points.check() is None
        assert len(others) > 3

    def test_a_set_that_has_come_is_listed_first(self, moved_clock, subscription):
        at = moved_clock.now() + DAY
        approved(planned(kind="set", adjustment="add", operand=5, effective_at=at))
        moved_clock.passes(2 * DAY)
        since = moved_clock.now() - 3 * DAY
        with pytest.raises(CorrectionRefused) as refused:
            correct(subscription, since, 24)
        assert refused.value.code == "set_waits"
        assert starting.start_due()
        assert correct(subscription, since, 24).until == at
        repricing.reprice()
        assert billed(subscription, since, at, moved_clock.now()) == [24, 25, 25]

    def test_a_set_behind_a_paused_change_is_listed_first(self, moved_clock, subscription):
        """A paused list price holds it up; what it does of then would stand in no bill."""
        values = {"kind": "list_price", "service": subscription.service_id, "new_value": 30}
        paused = approved(planned(**values), "current")
        assert starting.start_due()
        lifecycle.pause(paused.pk, "ann")
        change = approved(
            planned(kind="set", adjustment="add", operand=5, effective_at=moved_clock.now() + DAY)
        )
        moved_clock.passes(2 * DAY)
        since, until = moved_clock.now() - 3 * DAY, moved_clock.now() - timedelta(hours=1)
        with pytest.raises(CorrectionRefused) as refused:
            correct(subscription, since, 24, until)
        assert (refused.value.code, refused.value.about["change"]) == ("set_waits", change.pk)
        lifecycle.resume(paused.pk, "ann")
        repricing.reprice()
        correct(subscription, since, 24, until)
        assert billed(subscription, since, until) == [24, 35]

    @pytest.mark.parametrize("days", [(1, 3), (2.5, 3)], ids=["over the set", "after it"])
    def test_a_row_that_is_not_copied_is_told_below_it(
        self, moved_clock, monkeypatch, subscription, days
    ):
        """It was listed at 25, and the database refuses that when a worker comes to copy it."""
        now = moved_clock.now()
        at = now + 2 * DAY
        approved(planned(kind="set", adjustment="add", operand=5, effective_at=at))
        moved_clock.passes(4 * DAY)
        monkeypatch.setattr(chunks, "AT_ONCE", 0)
        assert starting.start_due()
        since, until = (now + number * DAY for number in days)
        correct(subscription, since, 24, until)
        with connection.cursor() as cursor:
            cursor.execute("""
                CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN RAISE check_violation; END $$;
                CREATE TRIGGER refuse BEFORE UPDATE ON services_subscription FOR EACH ROW
                WHEN (NEW.price = 25) EXECUTE FUNCTION refuse()""")
        repricing.reprice()
        assert not book_check.check().differs
        instants = (since - DAY / 4, since, until - DAY / 4, until, moved_clock.now())
        told = [20, 24, 24, 20, 20]
        assert [paid(subscription, each)[0] for each in instants] == told
        assert billed(subscription, *instants) == told

    def test_a_set_that_the_brake_holds_is_not_waited_for(self, moved_clock, subscription):
        at = moved_clock.now() + DAY
        approved(planned(kind="set", adjustment="add", operand=5, effective_at=at))
        verbs.pull_brake("ann", "wrong list")
        moved_clock.passes(2 * DAY)
        correct(subscription, at - DAY, 24, at + timedelta(hours=1))
        starting.start_due()
        assert billed(subscription, at, moved_clock.now()) == [24, 20]

    def test_a_set_may_come_while_a_price_goes_on(self, moved_clock, monkeypatch, subscription):
        """Its late row is entered at an instant that is corrected."""
        at = moved_clock.now() + DAY
        approved(planned(kind="set", adjustment="add", operand=5, effective_at=at))
        go_on_at = price_state.go_on_at

        def later(*args):
            moved_clock.passes(2 * DAY)
            return go_on_at(*args)

        monkeypatch.setattr(price_state, "go_on_at", later)
        since = moved_clock.now() - DAY
        correct(subscription, since, 24)
        assert starting.start_due()
        repricing.reprice()
        instants = (since, at, at + timedelta(hours=1), moved_clock.now())
        assert [paid(subscription, each)[0] for each in instants] == [24, 24, 24, 24]
        assert billed(subscription, *instants) == [24, 24, 24, 24]


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_the_second_one_of_two_lies_above(self, monkeypatch, subscription, now):
        first = Pause(monkeypatch, corrections, "_write")
        one = in_background(correct, subscription, now - 30 * DAY, 24)
        first.until_reached()
        two = in_background(correct, subscription, now - 20 * DAY, 26).until_it_waits()
        first.go_on()
        assert one.result().goes_on
        done = two.result()
        assert done.old_price == 24  # it has seen the other one
        assert billed(subscription, now - 25 * DAY, now - 15 * DAY) == [24, 26]
        assert not book_check.check().differs

    def test_the_feed_has_it_once_it_is_committed(self, monkeypatch, subscription, now):
        behind = ledger.feed().next
        pause = Pause(monkeypatch, corrections, "_count")
        one = in_background(correct, subscription, now - 30 * DAY, 24)
        pause.until_reached()
        nothing = ledger.feed(behind)
        assert nothing.entries == []
        pause.go_on()
        one.result()
        told = ledger.feed(nothing.next).entries
        assert [(entry["price"], bool(entry["correction_id"])) for entry in told] == [
            (24, False),
            (24, True),
        ]
        assert ledger.feed(nothing.next, limit=1).entries == told[:1]

    def test_a_chunk_that_is_not_committed_is_waited_for(self, monkeypatch, subscription, now):
        Service.objects.update(full_price=30)
        edited = book_clock()
        with monkeypatch.context() as patched:
            chunk = Pause(patched, followers, "moved_by")
            worker = in_background(repricing.reprice)
            chunk.until_reached()
            one = in_background(correct, subscription, now - DAY, 24).until_it_waits()
            chunk.go_on()
            worker.result()
        assert one.result().until < edited
        assert billed(subscription, now - DAY, book_clock()) == [24, 30]
        assert not book_check.check().differs

    def test_a_page_of_the_past_is_not_confirmed_after_it(self, program, subscription, now):
        page = f"/api/subscriptions/?as_of={(now - DAY).isoformat().replace('+', '%2B')}"
        etag = program.get(page)["ETag"]
        assert program.get(page, HTTP_IF_NONE_MATCH=etag).status_code == 304
        correct(subscription, now - 30 * DAY, 24, now - timedelta(hours=1))
        assert program.get(page, HTTP_IF_NONE_MATCH=etag).json()["total_amount"] == 24

    def test_no_set_is_listed_beside_it(self, monkeypatch, subscription, now):
        """Its rows would be judged, and their prices entered, at an instant that is corrected."""
        pause = Pause(monkeypatch, corrections, "_count")
        one = in_background(correct, subscription, now - DAY, 24, now - timedelta(hours=1))
        pause.until_reached()
        approved(planned(kind="set", adjustment="add", operand=5), "current")
        assert not starting.start_due()
        pause.go_on()
        one.result()
        assert starting.start_due()
        assert billed(subscription, now - DAY, book_clock()) == [24, 25]

    def test_an_edit_that_is_not_committed_is_waited_for(self, subscription, now):
        """Else the price would go on over it."""
        with a_person() as person:
            person.execute("UPDATE services_service SET full_price = 30")
            one = in_background(correct, subscription, now - DAY, 24).until_it_waits()
            person.commit()
        assert not one.result().goes_on
        assert billed(subscription, now - DAY, book_clock()) == [24, 30]

    def test_an_end_that_is_not_committed_is_waited_for(self, subscription, now):
        with a_person() as person:
            person.execute("UPDATE services_subscription SET ended_at = %s", [now - 5 * DAY])
            one = in_background(correct, subscription, now - 30 * DAY, 24).until_it_waits()
            person.commit()
        assert one.result().until == now - 5 * DAY
        assert not book_check.check().differs


class TestApi:
    def test_of_one(self, program, subscription, now):
        address = f"/api/subscriptions/{subscription.pk}/"
        seen = program.get(address)["ETag"]
        body = {"since": (now - 30 * DAY).isoformat(), "price": "24.00", "reason": "typing error"}
        looked = program.post(f"{address}correct/", body | {"dry_run": True}).json()
        assert (looked["moves"], looked["dry_run"]) == (1, True)
        assert looked["corrections"][0]["intervals"][0]["old_price"] == 20
        assert Correction.objects.count() == 0
        done = program.post(f"{address}correct/", body, HTTP_IF_MATCH=seen)
        assert done.status_code == 200, done.content
        [said] = done.json()["corrections"]
        assert (said["id"], said["until"]) == (Correction.objects.get().pk, None)
        again = program.post(f"{address}correct/", body, HTTP_IF_MATCH=seen)
        assert again.status_code == 412
        refused = program.post(f"{address}correct/", body | {"since": "2999-01-01T00:00:00Z"})
        assert (refused.status_code, refused.json()["code"]) == (400, "not_past")

    def test_a_list_is_corrected_as_a_whole(self, program, subscription, now):
        Subscription.objects.update(source="crm", external_id="1")
        other = a_subscription(started_at=now - 60 * DAY)
        since = (now - 30 * DAY).isoformat()
        line = {"source": "crm", "external_id": "1", "since": since, "price": 24}
        lines = [line, {"subscription": other.pk, "since": since, "price": 1}]
        unknown, unsaid = (
            {"subscription": 2**40, "since": at, "price": 1} for at in (since, "yesterday")
        )

        def post(lines):
            asked = {"lines": lines, "reason": "x"}
            return program.post(
                "/api/subscriptions/correct/", asked, format="json", HTTP_IDEMPOTENCY_KEY="c-17"
            ).json()

        for bad, refused in (
            ([*lines, line, unknown], [(3, "twice_in_one"), (4, "not_found")]),
            ([*lines, unsaid, lines[1] | line], [(3, "not_an_instant"), (4, "missing")]),
        ):
            said = post(bad)
            assert [(each["line"], each["code"]) for each in said["lines"]] == refused
        assert Correction.objects.count() == 0
        done = post(lines)
        assert post(lines) == done
        assert Correction.objects.count() == 2  # sent twice, and done once
        assert (done["moves"], done["total_before"], done["total_after"]) == (2, 270, 25)
        assert paid(other, now)[0] == 1

    def test_lines_cost_no_queries_of_their_own(self, now, django_assert_num_queries):
        rows = [a_subscription(started_at=now - 60 * DAY) for _ in range(9)]
        until = now - DAY
        lines = [Line(row.pk, now - 2 * DAY, Decimal(1), until) for row in rows]
        # 10 queries: * a savepoint, twice * the rows, their catalogue * the clock, twice
        # * whether a set waits * what was paid * the corrections, their entries
        with django_assert_num_queries(10):
            corrections.correct(lines, "x", "ann")


class TestLimits:
    def test_the_list_is_one_move(self, settings, subscription, now):
        settings.APPROVAL_LIMIT_ROWS = Decimal(2)
        rows = [subscription, *(a_subscription(started_at=now - 60 * DAY) for _ in range(2))]
        lines = [Line(row.pk, now - DAY, Decimal(22)) for row in rows]
        done, why = corrections.show(lines, "x", "ann")
        assert (len(done), why.startswith("It moves 3 rows")) == (3, True)
        corrections.correct(lines[:2], "x", "ann")
        [moved] = MovedAlone.objects.all()
        assert (moved.rows, moved.movement) == (2, 2 + 228)


class TestCommand:
    @pytest.fixture
    def file(self, tmp_path, subscription, now):
        path = tmp_path / "lines.csv"
        path.write_text(
            f"subscription,since,until,price\n{subscription.pk},{(now - DAY).isoformat()},,24\n"
        )
        return path

    @staticmethod
    def run(*words):
        out = io.StringIO()
        call_command("correct", *map(str, words), "--author", "ann", stdout=out)
        return out.getvalue()

    def test_corrects_a_file(self, file, subscription):
        asked = (file, "--reason", "typing error")
        assert "A dry run" in self.run(*asked, "--dry-run")
        assert Correction.objects.count() == 0
        assert json.loads(self.run(*asked, "--json"))["moves"] is True
        assert Correction.objects.get().author == "ann (claimed)"
        assert "0 of 1 corrected" in self.run(*asked)

    def test_names_the_lines_that_it_refuses(self, file):
        file.write_text(file.read_text() + "99999,2020-01-01T00:00:00Z,,1.001\n")
        with pytest.raises(CommandError, match=r"line 3: .*too_exact"):
            self.run(file, "--reason", "x")
        file.write_text("subscription,since,price\n\n5,x,1\n")
        with pytest.raises(CommandError, match=r"line 3: .*not_an_instant"):
            self.run(file, "--reason", "x")
        file.write_text("subscription,price,price\n5,18,1\n")
        with pytest.raises(CommandError, match="'price' is there twice"):
            self.run(file, "--reason", "x")
        file.write_text("price\n\n")
        with pytest.raises(CommandError, match="has no lines"):
            self.run(file, "--reason", "x")
