"""The instant decides: whenever workers come, all readers give the answers of the facts.

A history is drawn, and played against the product under each schedule of its workers. The answers
are compared with those of a fold of the facts in plain Python (`oracle`), which knows no worker. A
failure shows the shortest history that still has it; its seed draws it again.

    HISTORIES=500 ./pricebook test -n 0 service/price_changes/tests/test_oracle.py
"""

import os
import re
from datetime import timedelta
from decimal import Decimal
from itertools import islice

import pytest
from django.db import connection

from price_changes.tests import by_hand
from price_changes.tests import facts as of
from price_changes.tests.asking import Book
from price_changes.tests.drawing import a_history, histories_in_which_two_meet, told
from price_changes.tests.histories import KINDS, START, shortened
from price_changes.tests.oracle import Oracle
from price_changes.tests.plays import Play, shortest
from price_changes.tests.schedules import FOR_ANY
from price_changes.tests.standing import rule
from price_changes.tests.timeline import Timeline
from services import catalogue_values
from services.ledger import point_in_time
from services.models import CatalogueValue

# In the suite always the same one; HISTORIES asks for that many others.
ASKED = os.environ.get("HISTORIES")
SEED = os.environ.get("SEED") or (os.urandom(4).hex() if ASKED else "always")
HISTORIES = int(ASKED or 1)


@pytest.fixture
def timeline(db):
    return Timeline()


def the_histories():
    return islice(histories_in_which_two_meet(SEED), HISTORIES)


def the_plays():
    """The histories that pass, with the schedules of their plays."""
    for events in by_hand.HISTORIES:
        yield by_hand.a_history_of(*events), "never"
    for ticks, events in by_hand.SETS_LISTED_LAST:
        yield by_hand.a_history_of(*events, ticks=ticks), "last"
    for history in the_histories():
        for schedule in FOR_ANY:
            yield history, schedule


def minute(number):
    return START + timedelta(minutes=number)


class Facts(Oracle):
    """The oracle, in the hands of a test: one service at 20.00, one plan, one subscription."""

    def __init__(self, **opened):
        super().__init__()
        self.record(START, of.Value(effective_at=START, subject=SERVICE, value=Decimal(20)))
        self.record(START, of.Value(effective_at=START, subject=PLAN, value=Decimal(0)))
        values = {"client": 1, "service": 1, "plan": 1, "started_at": START} | opened
        self.record(START, of.Opened(subscription=1, **values))

    def list_price(self, recorded, at, value, **more):
        fact = of.Value(effective_at=minute(at), subject=SERVICE, value=Decimal(value), **more)
        return self.record(minute(recorded), fact)

    def set(self, recorded, at, operand, **more):
        values = {"filter": {}, "adjustment": "add", "hold": False} | more
        fact = of.Set(effective_at=minute(at), operand=Decimal(operand), **values)
        return self.record(minute(recorded), fact)

    def says(self, recorded, fact):
        return self.record(minute(recorded), fact)

    def undone(self, recorded, change):
        return self.says(recorded, of.Undone(of=change))

    def paid(self, *minutes):
        """The price that is paid then; None if nothing is."""
        answers = [self.answer(1, minute(number)) for number in minutes]
        return [float(each.price) if each and each.active else None for each in answers]

    def price(self, at):
        return float(self.answer(1, minute(at)).price)

    def state(self, at):
        return self.answer(1, minute(at)).state


SERVICE, PLAN = ("service", 1), ("plan", 1)


class TestOracle:
    """The rules of time, each by a case."""

    def test_an_interval_has_its_beginning_and_not_its_end(self):
        facts = Facts(ended_at=minute(9))
        facts.list_price(1, 5, 24)
        assert facts.paid(-1, 0, 4.99, 5, 8.99, 9) == [None, 20, 20, 24, 24, None]

    def test_at_one_instant_the_later_approval_is_in_force(self):
        facts = Facts()
        facts.list_price(1, 5, 24, hold=False)
        later = facts.list_price(2, 5, 25, hold=False)
        facts.undone(7, later)
        assert facts.paid(4, 5, 6, 7) == [20, 25, 25, 24]

    def test_a_later_instant_is_in_force_though_it_was_approved_first(self):
        facts = Facts()
        facts.list_price(1, 6, 30)
        facts.list_price(2, 5, 24, hold=False)
        assert facts.paid(4, 5) == [20, 24]

    def test_a_change_is_held_whose_approver_saw_another_value(self):
        facts = Facts()
        facts.list_price(1, 5, 24)
        facts.list_price(2, 3, 22, hold=False)  # an edit in between
        assert facts.paid(2, 3, 5) == [20, 22, 22]

    def test_a_change_is_not_held_whose_approver_saw_what_comes_before_it(self):
        facts = Facts()
        facts.list_price(1, 3, 22)
        facts.list_price(2, 5, 24)
        assert facts.paid(2, 3, 5) == [20, 22, 24]

    def test_what_is_cancelled_before_its_instant_never_was(self):
        facts = Facts()
        facts.undone(3, facts.list_price(1, 5, 24))
        assert facts.paid(2, 5) == [20, 20]

    def test_what_is_taken_back_was_paid_until_then(self):
        facts = Facts()
        facts.undone(7, facts.list_price(1, 5, 24))
        assert facts.paid(4, 5, 6, 7) == [20, 24, 24, 20]

    def test_the_end_of_a_lock_comes_before_what_is_of_the_same_instant(self):
        facts = Facts()
        facts.says(1, of.Locked(subscription=1, until=minute(5)))
        facts.list_price(1, 3, 24)
        facts.set(2, 5, 1)
        assert facts.paid(2, 4.99, 5) == [20, 20, 25]

    def test_a_lock_keeps_the_price_in_force(self):
        facts = Facts()
        facts.list_price(1, 3, 24)
        facts.says(4, of.Locked(subscription=1, until=None))
        facts.list_price(5, 5, 30)
        assert facts.paid(6) == [24]

    def test_the_end_of_a_lock_that_is_written_into_the_past_releases_now(self):
        facts = Facts()
        facts.says(1, of.Locked(subscription=1, until=None))
        facts.list_price(2, 3, 24)
        facts.says(6, of.Locked(subscription=1, until=minute(4)))
        assert facts.paid(5, 6) == [20, 24]

    def test_who_has_ended_keeps_the_price_in_force_at_the_end(self):
        facts = Facts()
        facts.list_price(1, 3, 24)
        facts.list_price(1, 5, 30)
        facts.says(7, of.Ended(subscription=1, ended_at=minute(4)))
        assert facts.paid(3.5, 4) == [24, None]
        assert facts.price(8) == 24

    def test_the_gap_of_one_that_was_opened_again_stays_unpaid(self):
        facts = Facts(ended_at=minute(3))
        facts.list_price(1, 4, 24)
        facts.says(6, of.Ended(subscription=1, ended_at=None))
        assert facts.paid(2, 3, 5, 6) == [20, None, None, 24]

    def test_to_postpone_an_end_to_another_one_that_has_passed_is_a_correction(self):
        facts = Facts(ended_at=minute(3))
        facts.says(6, of.Ended(subscription=1, ended_at=minute(5)))
        assert facts.paid(2, 3, 4, 5, 6) == [20, 20, 20, None, None]

    def test_the_first_price_holds_from_the_start_on(self):
        facts = Facts(started_at=minute(-9), state="negotiated", price=Decimal(7))
        assert facts.paid(-10, -9, 1) == [None, 7, 7]

    def test_for_new_only_keeps_who_follows_and_was_there(self):
        facts = Facts()
        change = facts.list_price(1, 5, 24, for_new_only=True)
        opened = {"client": 1, "service": 1, "plan": 1, "started_at": minute(5)}
        facts.says(5, of.Opened(subscription=2, **opened))
        assert facts.paid(5) == [20]
        assert facts.state(5) == "locked"
        assert facts.answer(2, minute(5)).price == 24
        facts.undone(8, change)
        assert facts.state(8) == "follows"

    def test_a_set_is_judged_by_what_was_recorded_by_its_instant(self):
        facts = Facts()
        facts.set(1, 5, 3)
        facts.says(7, of.Negotiated(subscription=1, price=Decimal(9)))
        facts.says(8, of.Ended(subscription=1, ended_at=minute(4)))  # but who pays is known
        assert facts.paid(3, 5, 7) == [20, None, None]
        assert facts.rows(4)[1].reason == ""

    def test_a_set_of_rows_that_were_moved_is_held(self):
        facts = Facts()
        facts.set(1, 5, 3, hold=True)
        facts.says(2, of.Negotiated(subscription=1, price=Decimal(9)))
        assert facts.paid(4, 5) == [9, 9]

    def test_a_frozen_set_moves_nobody_who_was_moved(self):
        facts = Facts()
        facts.set(1, 5, 3, frozen=True)
        facts.says(2, of.Negotiated(subscription=1, price=Decimal(9)))
        assert facts.paid(4, 5) == [9, 9]

    def test_a_set_that_is_taken_back_restores_whom_nobody_touched_since(self):
        facts = Facts()
        change = facts.set(1, 5, 3)
        over = facts.set(1, 6, 3)
        facts.undone(8, over)
        facts.undone(9, change)
        assert facts.paid(4, 5, 6, 8, 9) == [20, 23, 26, 23, 20]
        assert facts.state(9) == "follows"

    def test_half_a_cent_rounds_up(self):
        assert rule(Decimal("0.05"), Decimal(50)) == Decimal("0.03")


class TestHistories:
    def test_any_two_kinds_of_event_can_meet(self):
        number = len(KINDS)
        pairs = number * (number + 1) // 2
        histories = histories_in_which_two_meet(SEED)
        assert len({str(history.seed) for history in islice(histories, pairs)}) == pairs

    def test_a_seed_draws_the_same_history_again(self):
        for history, again in zip(the_histories(), the_histories(), strict=True):
            assert str(history) == str(again)
            assert told(history).oracle.facts == told(again).oracle.facts

    def test_without_an_event_goes_what_needs_it(self):
        history = a_history("a", ("resumed", "resumed"))
        shorter = shortened(history, lambda shorter: bool(shorter.events))
        assert len(shorter.events) == 1


@pytest.mark.parametrize(("schedule", "events"), by_hand.WITH_WORKERS)
def test_whoever_has_come_the_answers_are_those_of_the_facts(timeline, schedule, events):
    history = by_hand.a_history_of(*events)
    assert Play(Book(), timeline, history, schedule, every=True).differences() == []


@pytest.mark.timeout(0 if ASKED else 240)
def test_whoever_comes_when_the_answers_are_those_of_the_facts(timeline):
    book = Book()
    for history, schedule in the_plays():
        if Play(book, timeline, history, schedule).differences():
            pytest.fail(shortest(book, timeline, history, schedule))


SEQUENCES = """
SELECT format('SELECT setval(%%L, %%s)', schemaname || '.' || sequencename, coalesce(last_value, 1))
  FROM pg_sequences WHERE schemaname = 'public'
"""
# Names of savepoints, fingerprints with a seed of the database's, and snapshots.
DRAWN = re.compile(r"\b(s\d+_x\d+|[0-9a-f]{32,}|\d+:\d+:[\d,]*|Jsonb\(.*?\))")


@pytest.mark.thorough
@pytest.mark.usefixtures("small_steps_together")  # else a slow machine takes fewer of them at once
class TestPlays:
    @pytest.mark.parametrize("schedule", FOR_ANY)
    def test_a_history_is_played_the_same_each_time(self, timeline, schedule):
        book, history = Book(), a_history("a", ("set of prices", "for new only"), more=3)
        first, again = self.told(book, timeline, history, schedule)
        assert first == again

    def told(self, book, timeline, history, schedule):
        """Twice, all that is asked of the database, which gives the same ids."""
        sequences = asked(SEQUENCES)
        for _ in range(2):
            for (statement,) in sequences:
                sql(statement)
            told = []

            def tell(execute, statement, params, many, context, told=told):
                told.append(DRAWN.sub("drawn", f"{statement} {params}"))
                return execute(statement, params, many, context)

            with connection.execute_wrapper(tell):
                Play(book, timeline, history, schedule).differences()
            yield told


def copies_are_handed_on(_):
    sql("""CREATE OR REPLACE FUNCTION copies_late_since(at timestamptz) RETURNS timestamptz
           LANGUAGE sql STABLE AS 'SELECT NULL::timestamptz'""")


def a_cancel_undoes_from_the_instant_of_the_change(monkeypatch):
    undo = catalogue_values.undo

    def too_early(change_id, effective_at, *others):
        decided = CatalogueValue.objects.filter(change_id=change_id)
        undo(change_id, decided.earliest("effective_at").effective_at, *others)

    monkeypatch.setattr(catalogue_values, "undo", too_early)


def writers_trust_copies(_):
    sql("""CREATE FUNCTION stored_rule(service bigint, plan bigint, at timestamptz)
           RETURNS numeric LANGUAGE sql STABLE RETURN (
               SELECT price_rule(full_price, discount_percent::int)
                 FROM services_service service, services_plan plan
                WHERE service.id = $1 AND plan.id = $2)""")
    for function in ("subscription_priced", "subscription_written"):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_get_functiondef(%s::regproc)", [function])
            (made,) = cursor.fetchone()
        assert "price_rule_at(" in made
        sql(made.replace("price_rule_at(", "stored_rule("))


def what_was_recorded_later_was_known(monkeypatch):
    monkeypatch.setitem(point_in_time.BY_KNOWN, "recorded", "")


def an_end_that_was_recorded_later_was_known(_):
    sql("""CREATE OR REPLACE FUNCTION period_known(subscription bigint, known timestamptz)
           RETURNS TABLE (started_at timestamptz, ended_at timestamptz) LANGUAGE sql STABLE AS $$
               SELECT started_at, ended_at FROM services_ledgerentry
                WHERE subscription_id = subscription AND started_at IS NOT NULL
                ORDER BY id DESC LIMIT 1 $$""")


def corrections_are_left_out(monkeypatch):
    monkeypatch.setattr(point_in_time, "NOT_ENDED", "false")


def a_correction_was_known_before_it_was_recorded(monkeypatch):
    monkeypatch.setitem(point_in_time.BY_KNOWN, "recorded_of_corrections", "")


def sql(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


def asked(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement, [])
        return cursor.fetchall()


MUTANTS = [
    copies_are_handed_on,
    a_cancel_undoes_from_the_instant_of_the_change,
    writers_trust_copies,
    what_was_recorded_later_was_known,
    an_end_that_was_recorded_later_was_known,
    corrections_are_left_out,
    a_correction_was_known_before_it_was_recorded,
]


@pytest.mark.thorough
class TestMutants:
    """Histories that pass fail when the product decides by anything else."""

    @pytest.mark.parametrize("mutant", MUTANTS)
    def test_a_mutant_is_found(self, timeline, monkeypatch, mutant):
        mutant(monkeypatch)
        book = Book()
        assert any(
            Play(book, timeline, history, schedule).differences()
            for history, schedule in the_plays()
        )
