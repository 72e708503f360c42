"""Book, ledger and changes agree, whoever writes, by whatever path, in whatever order.

A machine draws the actions of people, programs and workers. Each time the workers have drained:

- the book check finds nothing: price = rule, totals = rows, last entries = rows
- as-of(now) is the state, and as-of of an earlier reading's instant is what was read then, but for
  rows with an entry that was recorded since for an earlier instant (a late worker's)
- no entry is in force before the subscription's first, or after it was recorded; an entry of a
  set is in force no earlier than those that were recorded before it
- list price and discount are of the greatest (instant, approval) that is neither cancelled nor
  taken back
- a row that a set has moved is what Python makes of what it paid before; a row that a revert has
  restored is what it was before
- applied + skipped + failed = rows, for every change that has ended, and no list is left over

There is one session in one transaction, which is rolled back: test_races.py has two at once. Time
passes when the machine says so: scheduled changes and ends of locks are moved to the present.
"""

import io
import os
from contextlib import suppress
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from price_changes.errors import ChangeError
from price_changes.kinds import OF_CATALOGUE, OF_ROWS
from price_changes.kinds.adjustments import Move
from price_changes.models import ListedRows, PriceChange
from price_changes.planning import definition
from price_changes.running import allowing, judging, lifecycle, moving, outcomes, starting
from price_changes.running.lifecycle import preview
from price_changes.tests.changes import accounted, clock, move_instant
from services import catalogue_values, ledger, price_state, repricing
from services.audit import book_check
from services.ledger.point_in_time import as_of
from services.models import Plan, Repricing, Service, Subscription, WholeLedger
from services.price_state import PriceStateError
from services.repricing import accounts, chunks
from services.tests.factories import a_client, a_service
from services.tests.interleaving import replaced
from services.transfer.importing import import_book

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
CENT = Decimal("0.01")

amounts = st.decimals(0, 500, places=2)
any_of = st.integers(0, 1000)  # an index into whatever there is


class Book(RuleBasedStateMachine):
    """The machine: all that may happen to a small book."""

    @initialize()
    def open(self):
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()
        self.clients = [a_client() for _ in range(2)]
        self.services = [a_service(full_price=price) for price in ("100.00", "37.45")]
        self.plans = [
            Plan.objects.get_or_create(plan_type=kind, discount_percent=percent)[0]
            for kind, percent in (("full", 0), ("discount", 15), ("student", 50))
        ]
        self.opened = {
            **{("list_price", each.pk): Decimal(each.full_price) for each in self.services},
            **{("discount", each.pk): Decimal(each.discount_percent) for each in self.plans},
        }
        self.stale = []
        self.seen = []
        self.imported = 0
        for n in range(4):
            self.made(n, n // 2)

    def teardown(self):
        if hasattr(self, "savepoint"):
            try:
                self.drain()
            finally:
                transaction.set_rollback(True)
                self.savepoint.__exit__(None, None, None)

    def made(self, service, plan, **more):
        return Subscription.objects.create(
            client=self.clients[service % 2],
            service=self.services[service % 2],
            plan=self.plans[plan % 3],
            **more,
        )

    def row(self, n):
        rows = list(Subscription.objects.order_by("pk"))
        return rows[n % len(rows)] if rows else self.made(n, n)

    def change(self, n, *statuses):
        found = list(PriceChange.objects.filter(status__in=statuses).order_by("pk"))
        return found[n % len(found)] if found else None

    # --- People and programs write subscriptions

    @rule(n=any_of, path=st.sampled_from(["save", "bulk", "SQL", "SQL with a price", "negotiated"]))
    def create(self, n, path):
        if path == "save":
            self.made(n, n // 2)
        elif path == "bulk":
            Subscription.objects.bulk_create(
                Subscription(client=self.clients[0], service=each, plan=self.plans[n % 3])
                for each in self.services
            )
        elif path == "negotiated":
            self.made(n, n // 2, price=Decimal(n), price_state="negotiated", price_reason="asked")
        else:
            names, values = ("", "") if path == "SQL" else (", price", ", 12.34")
            self.sql(
                "INSERT INTO services_subscription (client_id, service_id, plan_id, comment"
                f"{names}) VALUES (%s, %s, %s, ''{values})",
                self.clients[n % 2].pk,
                self.services[n % 2].pk,
                self.plans[n % 3].pk,
            )

    @rule(
        n=any_of,
        m=any_of,
        path=st.sampled_from(
            ["save", "update", "bulk_update", "SQL", "price", "state", "lock", "client", "move"]
        ),
    )
    def write(self, n, m, path):
        row = self.row(n)
        rows = Subscription.objects.filter(pk=row.pk)
        plan = self.plans[m % 3]
        if path == "save":
            row.plan, row.comment = plan, "typed"
            row.save()
        elif path == "update":
            rows.update(plan=plan, comment="")
        elif path == "bulk_update":
            row.service = self.services[m % 2]
            Subscription.objects.bulk_update([row], ["service"])
        elif path == "SQL":
            self.sql("UPDATE services_subscription SET price = price + 1")
        elif path == "price":
            rows.update(price=m)
        elif path == "state":
            rows.update(price=m, price_state="negotiated", locked_until=None)
        elif path == "lock":
            rows.update(price_state="locked", locked_until=clock() + HOUR)
        elif path == "client":
            rows.update(client=self.clients[m % 2])
        else:
            values = {"price": m, "price_state": "negotiated", "locked_until": None}
            rows.update(service=self.services[m % 2], **values)

    @rule(n=any_of, path=st.sampled_from(["delete", "SQL", "end", "come back"]))
    def leave(self, n, path):
        row = self.row(n)
        rows = Subscription.objects.filter(pk=row.pk)
        if path == "delete":
            row.delete()
        elif path == "SQL":
            self.sql("DELETE FROM services_subscription WHERE id = %s", row.pk)
        elif path == "end":
            rows.update(started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z")
        else:
            rows.update(ended_at=None)

    @rule(
        n=any_of, amount=amounts, verb=st.sampled_from(["lock", "release", "negotiate", "follow"])
    )
    def decide(self, n, amount, verb):
        row = self.row(n)
        what = {
            "lock": lambda: price_state.lock(row.pk, clock() + HOUR, "promised", "ann"),
            "release": lambda: price_state.release(row.pk, "ann"),
            "negotiate": lambda: price_state.negotiate(row.pk, amount, "a friend", "ann"),
            "follow": lambda: price_state.follow(row.pk, "ann"),
        }
        self.try_to(what[verb])

    @rule(n=any_of)
    def load(self, n):
        self.stale.append(self.row(n))

    @rule(n=any_of)
    def save_what_was_loaded_long_ago(self, n):
        if self.stale:
            row = self.stale.pop(n % len(self.stale))
            if Subscription.objects.filter(pk=row.pk).exists():
                row.source, row.external_id = "crm", str(row.pk)
                row.save()

    @rule(n=any_of, percent=st.sampled_from([0, 15, 50]), price=amounts)
    def read_a_file(self, n, percent, price):
        self.imported += 1
        kind = {0: "full", 15: "discount", 50: "student"}[percent]
        content = io.StringIO()
        content.write(
            "email,company_name,full_address,service,full_price,plan_type,discount_percent,"
            "source,external_id,comment,started_at,ended_at\n"
        )
        service = self.services[n % 2]
        content.write(
            f"new{self.imported}@example.com,New,,{service.name},{price},{kind},{percent},"
            f"file,{self.imported},,2026-01-01T00:00:00Z,\n"
        )
        import_book(io.BytesIO(content.getvalue().encode()), update=True)

    # --- The catalogue is edited

    @rule(n=any_of, price=amounts, path=st.sampled_from(["save", "update", "bulk", "SQL"]))
    def edit_a_list_price(self, n, price, path):
        service = self.services[n % 2]
        if path == "save":
            service.full_price = price
            service.save()
        elif path == "update":
            with repricing.catalogue_edit(author="dan", comment=f"edit {n % 3}"):
                Service.objects.filter(pk=service.pk).update(full_price=price)
        elif path == "bulk":
            for each in self.services:
                each.full_price = price
            Service.objects.bulk_update(self.services, ["full_price"])
        else:
            self.sql("UPDATE services_service SET full_price = full_price + 1")

    @rule(n=any_of, percent=st.integers(0, 100))
    def edit_a_discount(self, n, percent):
        Plan.objects.filter(pk=self.plans[n % 3].pk).update(discount_percent=percent)

    # --- Price changes

    @rule(
        n=any_of,
        value=st.integers(0, 300),
        for_new_only=st.booleans(),
        later=st.booleans(),
        comment=st.sampled_from(["", "2027"]),
    )
    def change_a_list_price(self, n, value, for_new_only, later, comment):
        self.plan_and_approve(
            later,
            kind="list_price",
            service=self.services[n % 2].pk,
            new_value=value,
            for_new_only=for_new_only,
            comment="" if for_new_only else comment,
        )

    @rule(n=any_of, value=st.integers(0, 100), later=st.booleans())
    def change_a_discount(self, n, value, later):
        self.plan_and_approve(later, kind="discount", plan=self.plans[n % 3].pk, new_value=value)

    @rule(
        adjustment=st.sampled_from(["amount", "add", "percent"]),
        operand=st.integers(-20, 50),
        bounds=st.sampled_from([{}, {"rounding_step": "0.05"}, {"floor": "20", "ceiling": "99"}]),
        of=st.sampled_from([{}, {"price_from": "30"}, {"price_state": "negotiated"}]),
        later=st.booleans(),
        when_moved=st.sampled_from(["hold", "frozen", "current"]),
        comment=st.sampled_from(["", "thank you"]),
    )
    def change_a_set(self, adjustment, operand, bounds, of, later, when_moved, comment):
        self.plan_and_approve(
            later,
            when_moved,
            kind="set",
            adjustment=adjustment,
            operand=abs(operand) if adjustment == "amount" else operand,
            filter=of,
            comment=comment,
            **bounds,
        )

    @rule(
        adjustment=st.sampled_from(["lock", "release", "follow"]),
        later=st.booleans(),
        when_moved=st.sampled_from(["hold", "frozen", "current"]),
        until=st.booleans(),
    )
    def change_states(self, adjustment, later, when_moved, until):
        more = {"locked_until": clock() + 2 * HOUR} if until and adjustment == "lock" else {}
        self.plan_and_approve(
            later, when_moved, kind="set", filter={}, adjustment=adjustment, **more
        )

    def plan_and_approve(self, later, when_moved=None, **values):
        if later:
            values["effective_at"] = clock() + HOUR

        def do():
            change = preview(definition.plan(values, "ann").pk)
            lifecycle.approve(change.pk, change.fingerprint, "bob", when_moved)

        self.try_to(do)

    @rule(n=any_of, verb=st.sampled_from(["pause", "resume", "cancel"]))
    def stop(self, n, verb):
        change = self.change(n, *allowing.ALLOWED[verb])
        if change is not None:
            self.try_to(lambda: getattr(lifecycle, verb)(change.pk, "carl"))

    @rule(n=any_of)
    def take_back(self, n):
        change = self.change(n, "applied")
        if change is not None:
            self.try_to(lambda: lifecycle.revert(change.pk, "carl", approve_too=True))

    @rule(n=any_of, when_moved=st.sampled_from(["hold", "frozen", "current"]))
    def approve_again(self, n, when_moved):
        change = self.change(n, "held")
        if change is not None:
            catalogue = change.kind in OF_CATALOGUE

            def do():
                again = preview(change.pk)
                chosen = None if catalogue else when_moved
                lifecycle.approve(again.pk, again.fingerprint, "bob", chosen)

            self.try_to(do)

    # --- Time passes, and workers come

    @rule(n=any_of)
    def an_instant_comes(self, n):
        change = self.change(n, "scheduled")
        if change is not None and change.effective_at > clock():
            move_instant(change, clock())

    @rule()
    def locks_end(self):
        ended = Subscription.objects.filter(price_state="locked", locked_until__isnull=False)
        ended.update(locked_until=clock())

    @rule()
    def something_starts(self):
        starting.start_due()

    @rule(lane=st.sampled_from(["price", "price", "comment"]))
    def a_worker_does_a_chunk(self, lane):
        repricing.plan_due()
        chunks.take_chunk(lane, set())

    @rule()
    def drain(self):
        repricing.reprice()
        repricing.stamp()
        repricing.reprice()
        self.check_the_book()
        self.check_the_ledger()
        self.check_the_catalogue()
        self.check_the_sets()
        self.check_the_changes()
        self.seen.append((clock(), self.as_of(clock())))

    # --- Invariants

    def check_the_book(self):
        report = book_check.check()
        assert not report.differs, str(report)
        assert report.waiting == report.paused, report
        locked = Subscription.objects.active().filter(price_state="locked")
        assert not locked.filter(locked_until__lte=clock()).exists()

    def check_the_ledger(self):
        paying = Subscription.objects.in_force().active()
        columns = ("client_id", "service_id", "plan_id", "price", "price_state", "locked_until")
        state = {pk: tuple(rest) for pk, *rest in paying.values_list("pk", *columns)}
        assert self.as_of(clock()) == state
        if not Repricing.objects.due().exists():  # a paused value is in force, and not copied
            stored = Subscription.objects.active().values_list("pk", *columns)
            assert {pk: tuple(rest) for pk, *rest in stored} == state
        for instant, book in self.seen:
            corrected = set(
                WholeLedger.objects.filter(
                    recorded_at__gt=instant, effective_at__lte=instant
                ).values_list("subscription_id", flat=True)
            )
            then = self.as_of(instant)
            assert {pk: row for pk, row in then.items() if pk not in corrected} == {
                pk: row for pk, row in book.items() if pk not in corrected
            }
        for entries in self.histories().values():
            first = entries[0]
            for entry in entries:
                assert entry.effective_at >= first.effective_at, (first.pk, entry.pk)
                assert entry.effective_at <= entry.recorded_at, entry.pk

    def check_the_catalogue(self):
        for service in Service.objects.filter(pk__in=[each.pk for each in self.services]):
            assert service.full_price == self.in_force("list_price", service.pk)
        for plan in Plan.objects.filter(pk__in=[each.pk for each in self.plans]):
            assert plan.discount_percent == self.in_force("discount", plan.pk)

    def in_force(self, kind, pk):
        of = {"list_price": "service", "discount": "plan"}[kind]
        changes = PriceChange.objects.filter(kind=kind, reverts=None, **{of: pk})
        counting = changes.filter(status__in=["applying", "paused", "applied"])
        last = max(
            counting, key=lambda change: (change.effective_at, change.approval), default=None
        )
        return self.opened[kind, pk] if last is None else last.new_value

    def check_the_sets(self):
        changes = PriceChange.objects.in_bulk()
        for entries in self.histories().values():
            entries.sort(key=lambda each: (each.effective_at, each.pk))
            for n, (before, entry) in enumerate(pairwise(entries), 1):
                change = changes.get(entry.change_id)
                if change is None or change.kind not in ("set", "revert"):
                    continue
                earlier = entries[:n]
                if change.kind == "set":
                    if before.price_state == "follows":
                        before.price = self.paid_before(entry)
                    assert (entry.price_state, entry.price) == decided(change, before, entry)
                else:
                    undone = [
                        earlier[n - 1]
                        for n, each in enumerate(earlier)
                        if n and each.change_id == change.reverts_id
                    ]
                    assert before.change_id == change.reverts_id
                    was = undone[0]
                    assert entry.price_state in (was.price_state, "follows")
                    if entry.price_state != "follows":
                        assert (entry.price, entry.locked_until) == (was.price, was.locked_until)

    @staticmethod
    def paid_before(entry):
        """The price just before an entry of a set, by what was known then.

        The entry before says it only if workers came in time. A follower whose end is then put
        before the set gets no entry of the catalogue's moves since that end, but the set counted
        from what they had made of its price.
        """
        at = entry.effective_at
        sql, params = as_of(at - MICROSECOND, known_at=at, among=[entry.subscription_id])
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT price FROM ({sql}) told", params)
            return cursor.fetchone()[0]

    def check_the_changes(self):
        for change in PriceChange.objects.filter(status__in=["applied", "cancelled", "reverted"]):
            assert accounted(change), (change.pk, outcomes.outcome(change))
            assert all(rows >= 0 for rows in outcomes.outcome(change)["skipped"].values())
            assert not ListedRows.objects.filter(change_id=change.pk).exists(), change.pk
        due = PriceChange.objects.filter(
            status="scheduled", effective_at__lte=clock() - timedelta(seconds=1)
        )
        if PriceChange.objects.filter(status="paused").exists():
            due = due.exclude(kind__in=OF_ROWS)  # which may wait for it
        assert not due.exists()

    def histories(self):
        found = {}
        # Entries of a start or an end say nothing of a price, and may lie before the first.
        for entry in WholeLedger.objects.filter(period_only=False).order_by("pk"):
            found.setdefault(entry.subscription_id, []).append(entry)
        return found

    @staticmethod
    def as_of(instant):
        sql, params = ledger.as_of(instant)
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return {pk: tuple(rest) for pk, *rest, _, _ in cursor.fetchall()}

    @staticmethod
    def sql(statement, *params):
        with connection.cursor() as cursor:
            cursor.execute(statement, params or None)

    @staticmethod
    def try_to(do):
        """Do something at random; it may be refused, and then leaves nothing."""
        with suppress(ChangeError, PriceStateError), transaction.atomic():
            do()


def decided(change, before, entry):
    """The price that a change of a set makes of a price, in Python."""
    if change.adjustment == "lock":
        return "locked", before.price
    if change.adjustment in ("release", "follow"):
        return "follows", entry.price  # the rule's, which the book check proves
    operand = change.operand
    price = {
        "amount": operand,
        "add": before.price + operand,
        "percent": before.price * (100 + operand) / 100,
    }[change.adjustment]
    if change.rounding_step is not None:
        price = (price / change.rounding_step).quantize(1, ROUND_HALF_UP) * change.rounding_step
    if change.floor is not None:
        price = max(price, change.floor)
    if change.ceiling is not None:
        price = min(price, change.ceiling)
    return "negotiated", price.quantize(CENT, ROUND_HALF_UP)


# In CI always the same examples; PROPERTY_EXAMPLES asks for that many others.
ASKED = os.environ.get("PROPERTY_EXAMPLES")
PROFILE = settings(
    max_examples=int(ASKED or 8),
    stateful_step_count=25,
    derandomize=ASKED is None,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch, db):
    monkeypatch.setattr(chunks, "CHUNK", 2)
    monkeypatch.setattr(chunks, "AT_ONCE", 0)


@pytest.mark.timeout(0 if ASKED else 240)
def test_whoever_writes_all_agree():
    run_state_machine_as_test(Book, settings=PROFILE)


@pytest.fixture
def book():
    """The same machine without random choices, for a test that plays one story."""
    book = Book()
    book.open()
    yield book
    transaction.set_rollback(True)
    book.savepoint.__exit__(None, None, None)


def raise_all(book, operand=5, later=False):
    book.change_a_set("add", operand, {}, {}, later, "current", "")


def without_the_rule(definition):
    return definition.replace("WHEN price_state = 'follows' THEN rule_price", "")


class TestTheMachineCatches:
    """The shortest story that meets each inserted fault ends in a difference."""

    def test_nothing_where_there_is_no_fault(self, book):
        for tell in (
            self.released_in_between,
            self.hand_written,
            raise_all,
            self.overlapping,
            self.back_in_the_middle,
        ):
            tell(book)
            book.drain()

    def released_in_between(self, book):
        """A row whose lock has ended is moved by a change before an earlier one has begun."""
        book.decide(2, Decimal(12), "lock")
        book.change_a_discount(1, 65, False)
        book.locks_end()
        book.edit_a_list_price(0, Decimal(150), "SQL")
        book.a_worker_does_a_chunk("price")
        book.a_worker_does_a_chunk("price")

    def test_nothing_where_the_end_of_a_follower_is_put_before_its_set(self, book):
        row = book.row(1)
        book.edit_a_discount(0, 86)
        book.change_a_set("percent", 13, {}, {}, False, "hold", "")
        book.leave(1, "end")
        book.drain()
        of_set = PriceChange.objects.get(kind="set")
        entry = WholeLedger.objects.get(subscription_id=row.pk, change_id=of_set.pk)
        assert entry.price == Decimal("5.92")  # 5.24 and 13 %
        assert Subscription.objects.get(pk=row.pk).price == Decimal("37.45")

    def test_no_entry_of_a_change_before_a_row_came_that_has_its_price(self, book):
        row = book.row(2)
        self.released_in_between(book)
        book.drain()
        discount = PriceChange.objects.get(kind="discount")
        entries = WholeLedger.objects.filter(subscription_id=row.pk)
        assert not entries.filter(change_id=discount.pk).exists()

    def hand_written(self, book):
        book.write(0, 77, "price")

    def overlapping(self, book):
        raise_all(book)
        starting.start_due()
        book.stop(-1, "pause")
        raise_all(book, 7)
        book.drain()
        book.stop(0, "resume")

    def back_in_the_middle(self, book):
        for value in (150, 160):
            book.change_a_list_price(0, value, False, False, "")
            book.drain()
        first = PriceChange.objects.filter(kind="list_price").earliest("pk")
        lifecycle.revert(first.pk, "carl", approve_too=True)

    def test_a_trigger_that_forgets_the_rule(self, book):
        with replaced("subscription_written", without_the_rule):
            self.hand_written(book)
            with pytest.raises(AssertionError, match=r"\b1 prices differ from the rule"):
                book.drain()

    def test_a_mover_that_forgets_the_ledger(self, monkeypatch, book):
        entered = "WHERE has_moved"
        assert entered in judging.ENTRY
        nothing = judging.ENTRY.replace(entered, "WHERE false AND has_moved")
        monkeypatch.setattr(judging, "ENTRY", nothing)
        raise_all(book)
        with pytest.raises(AssertionError, match=r"4 rows from the ledger|'rows': 4, 'applied': 0"):
            book.drain()

    def test_a_mover_that_goes_over_a_later_change(self, monkeypatch, book):
        entered = "%(up_to_id)s"
        assert entered in moving.MOVE
        over = moving.MOVE.replace(entered, "NULL")
        over = over.replace("(newest_at > %(effective)s OR is_copied) AND", "false AND")
        monkeypatch.setattr(moving, "MOVE", over)
        raise_all(book)
        starting.start_due()
        book.decide(0, Decimal(70), "negotiate")
        with pytest.raises(AssertionError):
            book.drain()

    def test_a_revert_that_undoes_nothing(self, monkeypatch, book):
        monkeypatch.setattr(catalogue_values, "undo", lambda *_: None)
        book.change_a_list_price(0, 150, False, False, "")
        book.drain()
        first = PriceChange.objects.filter(kind="list_price").earliest("pk")
        lifecycle.revert(first.pk, "carl", approve_too=True)
        with pytest.raises(AssertionError):
            book.drain()

    def test_a_chunk_that_counts_no_skips(self, monkeypatch, book):
        monkeypatch.setattr(accounts, "_skip", lambda step, rows: None)
        book.decide(0, Decimal(70), "negotiate")
        book.change_a_list_price(0, 150, False, False, "")
        with pytest.raises(AssertionError):
            book.drain()

    def test_a_set_that_is_rounded_down(self, monkeypatch, book):
        target = Move.target
        monkeypatch.setattr(Move, "target", lambda *of: f"trunc({target(*of)}, 0)")
        raise_all(book)
        with pytest.raises(AssertionError):
            book.drain()
