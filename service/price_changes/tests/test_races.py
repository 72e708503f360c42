"""Every known race of price changes, each played by two real connections.

The test decides the order: a call is held at a chosen place, or waits for a lock. Next to each race
is the same play with its protection taken out, which ends wrong.
"""

import contextlib
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection, transaction

from price_changes.errors import ChangeError, MovedSincePreview
from price_changes.models import ListedRows, PriceChange
from price_changes.planning import preview as previews
from price_changes.running import (
    allowing,
    brake,
    cancelling,
    lifecycle,
    listing,
    moving,
    outcomes,
    starting,
)
from price_changes.tests.changes import (
    accounted,
    applied,
    approved,
    clock,
    drained,
    paid,
    planned,
    scheduled,
    stands,
    started,
)
from pricebook.tests.servers import until
from services import price_state, repricing
from services.audit import book_check
from services.models import (
    Repricing,
    RepricingStep,
    Service,
    Subscription,
    WholeLedger,
    book_clock,
)
from services.repricing import accounts, chunks, lock_ends, planning
from services.tests.factories import a_book, a_client, a_service
from services.tests.interleaving import (
    CREATE,
    MOVE_SERVICE,
    Pause,
    a_person,
    in_background,
    without_catalogue_locks,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_chunks")]


@pytest.fixture
def book(monkeypatch):
    """Ten rows of one pair, in chunks of five."""
    monkeypatch.setattr(chunks, "CHUNK", 5)
    return a_book(subscriptions=10, services=1, plans=1)


def raised(**more):
    """A set change that adds five to every price."""
    return planned(kind="set", adjustment="add", operand=5, **more)


def right():
    """Whether, with everything drained, book and changes agree."""
    drained()
    ended = PriceChange.objects.filter(status__in=["applied", "cancelled", "reverted"])
    return (
        not book_check.check().differs
        and all(accounted(change) for change in ended)
        and not ListedRows.objects.exists()
        and not Repricing.objects.due().exists()
    )


def refusal(background):
    """The code with which a call was refused; None if it was done."""
    try:
        background.result()
    except ChangeError as refused:
        return refused.code
    return None


@contextmanager
def _held_without_a_lock(change_id, verb):
    """As allowing.held, but without a lock on the change."""
    with transaction.atomic():
        change = PriceChange.objects.get(pk=change_id)
        if change.status not in allowing.ALLOWED[verb]:
            raise allowing.wrong_state(change, verb)
        yield change


class TestTwoApprovals:
    def second(self, monkeypatch):
        change = raised()
        pause = Pause(monkeypatch, lifecycle, "_order")
        first = in_background(lifecycle.approve, change.pk, change.fingerprint, "bob")
        pause.until_reached()  # it is approved, and not committed
        second = in_background(lifecycle.approve, change.pk, change.fingerprint, "carl")
        second.until_it_waits_or_ends()
        pause.go_on()
        first.result()
        return refusal(second)

    def test_have_one_effect(self, monkeypatch, subscription):
        assert self.second(monkeypatch) == "wrong_state"
        assert PriceChange.objects.get().approved_by == "bob"
        assert right()
        assert stands(subscription)[0] == 105

    def test_without_the_lock_would_both_be_done(self, monkeypatch, subscription):
        monkeypatch.setattr(allowing, "held", _held_without_a_lock)
        assert self.second(monkeypatch) is None


class TestAnApprovalBesideAPreview:
    def approval(self, monkeypatch, subscription):
        change = raised()
        Subscription.objects.update(price=70, price_state="negotiated")
        pause = Pause(monkeypatch, previews, "count")
        preview = in_background(lifecycle.preview, change.pk)
        pause.until_reached()
        approval = in_background(lifecycle.approve, change.pk, change.fingerprint, "bob", "current")
        approval.until_it_waits_or_ends()
        pause.go_on()
        preview.result()
        return refusal(approval)

    def test_is_of_the_fingerprint_that_the_preview_leaves(self, monkeypatch, subscription):
        assert self.approval(monkeypatch, subscription) == "stale_fingerprint"

    def test_without_the_lock_would_be_of_the_one_before(self, monkeypatch, settings, subscription):
        settings.APPROVAL_DRIFT = 100  # the recount would refuse it
        monkeypatch.setattr(allowing, "held", _held_without_a_lock)
        assert self.approval(monkeypatch, subscription) is None


class TestTwoReverts:
    def second(self, monkeypatch):
        change = applied(raised())
        pause = Pause(monkeypatch, lifecycle, "_plan_revert")
        first = in_background(lifecycle.revert, change.pk, "bob", True)
        pause.until_reached()
        second = in_background(lifecycle.revert, change.pk, "carl", True)
        second.until_it_waits_or_ends()
        pause.go_on()
        first.result()
        return refusal(second)

    def test_have_one_effect(self, monkeypatch, subscription):
        assert self.second(monkeypatch) in ("reverted_already", "wrong_state")
        assert right()
        assert stands(subscription)[:2] == (100, "follows")

    def test_have_one_without_the_lock_too(self, monkeypatch, subscription):
        monkeypatch.setattr(allowing, "held", _held_without_a_lock)
        assert self.second(monkeypatch) == "reverted_already"  # by the constraint

    def test_without_lock_and_constraint_there_would_be_two(self, monkeypatch, subscription):
        monkeypatch.setattr(allowing, "held", _held_without_a_lock)
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX price_change_reverted_once")
        try:
            assert self.second(monkeypatch) is None
            assert PriceChange.objects.exclude(reverts=None).count() == 2
        finally:
            PriceChange.objects.exclude(reverts=None).delete()
            constraint = next(
                each
                for each in PriceChange._meta.constraints
                if each.name == "price_change_reverted_once"
            )
            with connection.schema_editor() as editor:
                editor.add_constraint(PriceChange, constraint)


class TestAChunkInHand:
    """A worker has moved rows and not committed, and somebody wants the change to stop."""

    def chunk(self, monkeypatch, change):
        monkeypatch.setattr(listing, "WIDTH", "SELECT 1000000 + %s")  # one stretch, by any ids
        approved(change)
        started()
        repricing.plan_due()
        pause = Pause(monkeypatch, moving, "move_rows")
        chunk = in_background(chunks.take_chunk, "price", set())
        pause.until_reached()
        return pause, chunk

    def test_is_not_waited_for_by_who_pauses(self, monkeypatch, book):
        change = raised()
        pause, chunk = self.chunk(monkeypatch, change)
        lifecycle.pause(change.pk, "ann")
        pause.go_on()
        assert chunk.result() == 5
        assert repricing.reprice() == 0
        assert book.filter(price_state="negotiated").count() == 5
        lifecycle.resume(change.pk, "ann")
        assert right()
        assert book.filter(price_state="negotiated").count() == 10

    def test_would_go_on_if_nobody_looked_whether_it_is_paused(self, monkeypatch, book):
        def claim(lane, blocked, number=1, rows=None, up_to=None):
            return list(
                RepricingStep.objects.filter(kind=lane)
                .exclude(pk__in=blocked)
                .select_related("repricing")
                .order_by("pk")
                .select_for_update(skip_locked=True, of=("self",))[:number]
            )

        change = raised()
        pause, chunk = self.chunk(monkeypatch, change)
        lifecycle.pause(change.pk, "ann")
        pause.go_on()
        chunk.result()
        monkeypatch.setattr(chunks, "_claim", claim)
        assert repricing.reprice() == 5

    def test_is_taken_back_by_who_cancels(self, monkeypatch, book):
        before = dict(book.values_list("pk", "price"))
        change = raised()
        pause, chunk = self.chunk(monkeypatch, change)
        lifecycle.cancel(change.pk, "ann")
        pause.go_on()
        assert chunk.result() == 5
        drained()
        assert right()
        assert dict(book.values_list("pk", "price")) == before
        found = outcomes.outcome(change)
        assert (found["applied"], found["skipped"]) == (10, {})

    def test_of_several_steps_is_taken_back_as_a_whole(self, monkeypatch):
        monkeypatch.setattr(chunks, "_room", lambda: 1000)
        monkeypatch.setattr(chunks, "SECONDS", 60)
        book = a_book(subscriptions=10, services=1, plans=2)
        before = dict(book.values_list("pk", "price"))
        change = raised()
        approved(change)
        started()
        pause = Pause(monkeypatch, chunks, "_fill_up")
        chunk = in_background(chunks.take_chunk, "price", set())
        pause.until_reached()
        lifecycle.cancel(change.pk, "ann")
        pause.go_on()
        assert chunk.result() == 10
        drained()
        assert right()
        assert dict(book.values_list("pk", "price")) == before
        found = outcomes.outcome(change)
        assert (found["applied"], found["skipped"]) == (10, {})


class TestWhoCancelsBesideAPlanner:
    """A worker splits the repricing into steps, and has not committed them."""

    @pytest.mark.parametrize("for_new_only", [False, True])
    def test_goes_on_with_his_steps(self, service, subscription, for_new_only):
        change = approved(
            planned(
                kind="list_price",
                service=service.pk,
                new_value=150,
                for_new_only=for_new_only,
                **({} if for_new_only else {"comment": "January"}),
            )
        )
        started()
        with a_person() as planner:
            [work] = Repricing.objects.filter(change_id=change.pk)
            planner.execute("SELECT FROM services_repricing WHERE id = %s FOR UPDATE", [work.pk])
            planner.execute(
                "INSERT INTO services_repricingstep (repricing_id, kind, service_id, plan_id,"
                " subscriptions, last_id) SELECT %s, unnest(ARRAY['price', 'comment']),"
                " service_id, plan_id, 1, id FROM services_subscription",
                [work.pk],
            )
            planner.execute(
                "UPDATE services_repricing SET planned_at = now() WHERE id = %s", [work.pk]
            )
            cancel = in_background(lifecycle.cancel, change.pk, "ann").until_it_waits()
            planner.commit()
            cancel.result()
        kinds = RepricingStep.objects.filter(repricing=work).values_list("kind", flat=True)
        assert list(kinds) == ["price"]
        drained()
        assert right()
        assert stands(subscription)[0] == 100
        subscription.refresh_from_db()
        assert subscription.comment == ""


class TestTwoWorkers:
    def test_start_each_change_once_and_in_order(self, monkeypatch, service, subscription):
        at = clock()
        for value in (150, 140):
            scheduled(at, kind="list_price", service=service.pk, new_value=value)
        pause = Pause(monkeypatch, starting, "start")
        first = in_background(starting.start_due)
        pause.until_reached()
        assert starting.start_due() is False  # and does not start the second one meanwhile
        pause.go_on()
        assert first.result() is True
        assert right()
        assert stands(subscription)[0] == 140
        assert Repricing.objects.count() == 2

    def test_would_start_them_in_any_order_without_the_lock(
        self, monkeypatch, service, subscription
    ):
        def start_next():
            with transaction.atomic():
                due = PriceChange.objects.filter(status="scheduled").order_by(
                    "effective_at", "approval"
                )
                change = due.select_for_update(skip_locked=True).first()
                if change is not None:
                    starting.start(change)
                return change

        other = a_service(full_price=10)
        at = clock()
        scheduled(at, kind="list_price", service=service.pk, new_value=150)
        scheduled(at, kind="list_price", service=other.pk, new_value=20)
        pause = Pause(monkeypatch, starting, "start")
        first = in_background(start_next)
        pause.until_reached()
        assert start_next().service_id == other.pk  # before the one that was approved first
        pause.go_on()
        first.result()

    def test_give_no_change_the_drift_of_one_that_the_other_started(self, monkeypatch):
        """It is counted before the lock: the other worker may start that change meanwhile."""
        changes = [
            approved(planned(kind="list_price", service=a_service(20).pk, new_value=22))
            for _ in range(2)
        ]
        drift, told = starting.drift, []

        def drift_of(change):
            told.append(change.pk)
            if len(told) == 1:
                assert starting.start_due()  # the other worker, as if it had started only the first
                PriceChange.objects.filter(pk=changes[1].pk).update(status="scheduled", drift=None)
                return 7
            return drift(change)

        monkeypatch.setattr(starting, "drift", drift_of)
        assert starting.start_due()
        found = PriceChange.objects.order_by("pk").values_list("drift", flat=True)
        assert list(found) == [0, 0]

    def test_move_the_rows_of_a_set_once(self, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        book = a_book(subscriptions=40, services=2, plans=2)
        change = approved(raised())
        started()
        workers = [in_background(repricing.reprice) for _ in range(2)]
        assert sum(worker.result() for worker in workers) == 40
        assert right()
        entries = WholeLedger.objects.filter(change_id=change.pk)
        assert entries.count() == entries.values("subscription_id").distinct().count() == 40
        assert set(book.values_list("price_state", flat=True)) == {"negotiated"}


class TestAReleaseBesideAChunk:
    """A lock has ended before a list price moved. One worker releases it, another one counts."""

    def counted(self, monkeypatch, book):
        ends = clock() + timedelta(seconds=0.2)
        Subscription.objects.filter(pk=book[0].pk).update(
            price_state="locked", locked_until=ends, price_reason="asked"
        )
        until(lambda: clock() > ends)
        change = scheduled(clock(), kind="list_price", service=book[0].service_id, new_value=150)
        started()
        planning.plan_due()
        pause = Pause(monkeypatch, lock_ends, "_release_pairs")
        release = in_background(lock_ends.release_ended)
        pause.until_reached()
        chunk = in_background(chunks.take_chunk, "price", set()).until_it_waits_or_ends()
        pause.go_on()
        release.result()
        chunk.result()
        drained()
        change.refresh_from_db()
        outcome = outcomes.outcome(change)
        return outcome["rows"], outcome["applied"], outcome["skipped"]

    def test_counts_it_as_moved(self, monkeypatch, book):
        assert self.counted(monkeypatch, book) == (10, 10, {})
        assert right()

    def test_without_waiting_would_count_it_twice(self, monkeypatch, book):
        monkeypatch.setattr(accounts, "_wait_for_releases", lambda *_: None)
        assert self.counted(monkeypatch, book) == (11, 10, {"locked": 1})


class TestASetThatIsListedBesideAChunk:
    """The set lets a row follow since its instant; a later list price's chunk counts the row."""

    def counted(self, monkeypatch, book):
        row = book[0]
        Subscription.objects.filter(pk=row.pk).update(
            price_state="negotiated", price=7, price_reason="deal"
        )
        monkeypatch.setattr(chunks, "AT_ONCE", 4_000)  # a larger one waits for all chunks anyway
        approved(planned(kind="set", adjustment="follow"))
        Service.objects.filter(pk=row.service_id).update(full_price=150)
        change = PriceChange.objects.latest("pk")
        planning.plan_due()
        pause = Pause(monkeypatch, chunks, "_do_chunk")
        chunk = in_background(chunks.take_chunk, "price", set())
        pause.until_reached()
        listing = in_background(started).until_it_waits_or_ends()
        pause.go_on()
        chunk.result()
        listing.result()
        drained()
        outcome = outcomes.outcome(change)
        return outcome["rows"], outcome["applied"], outcome["skipped"]

    def test_has_it_count_the_row_as_moved(self, monkeypatch, book):
        assert self.counted(monkeypatch, book) == (10, 10, {})
        assert right()

    def test_without_waiting_would_have_it_count_the_row_twice(self, monkeypatch, book):
        monkeypatch.setattr(accounts, "wait_for_counts", lambda _: None)
        assert self.counted(monkeypatch, book) == (11, 10, {"negotiated": 1})


class TestKeepingBesideAPerson:
    """A chunk that keeps old prices waits for somebody who lets a row follow again."""

    def test_leaves_the_row_to_the_person(self, book):
        row = book[0]
        change = scheduled(
            clock(), kind="list_price", service=row.service_id, new_value=150, for_new_only=True
        )
        started()
        planning.plan_due()
        decided, go_on = threading.Event(), threading.Event()

        def follow():
            with transaction.atomic():
                price_state.follow(row.pk, "dan")
                decided.set()
                assert go_on.wait(20)

        person = in_background(follow)
        assert decided.wait(20)
        chunk = in_background(chunks.take_chunk, "price", set()).until_it_waits()
        go_on.set()
        person.result()
        chunk.result()
        assert right()
        assert stands(row)[:2] == (150, "follows")
        assert WholeLedger.objects.filter(change_id=change.pk, subscription_id=row.pk).count() == 1


class TestASetBeside:
    """A chunk of a set meets somebody who has written one of its rows and not committed."""

    def beside(self, subscription, sql, *arguments, when_moved="current"):
        change = approved(raised(), when_moved)
        started()
        with a_person() as person:
            person.execute(sql, arguments)
            chunk = in_background(chunks.take_chunk, "price", set()).until_it_waits()
            person.commit()
            chunk.result()
        return change

    BY_HAND = "UPDATE services_subscription SET price = 70, price_state = 'negotiated'"

    def test_a_person_leaves_what_he_wrote(self, subscription):
        change = self.beside(subscription, self.BY_HAND)
        assert right()
        assert stands(subscription)[:2] == (70, "negotiated")
        assert paid(subscription, change.effective_at) == 105
        assert outcomes.outcome(change)["applied"] == 1

    def test_a_person_would_be_overwritten_by_who_does_not_look_at_the_version(
        self, monkeypatch, subscription
    ):
        by_version = "AND subscription.ctid IS NOT DISTINCT FROM version"
        assert by_version in moving.MOVE
        monkeypatch.setattr(moving, "MOVE", moving.MOVE.replace(by_version, ""))
        self.beside(subscription, self.BY_HAND)
        assert stands(subscription)[0] == 105

    def test_a_catalogue_edit_has_both(self, service, subscription):
        change = approved(raised(), "current")
        started()
        with a_person() as editor:
            editor.execute(MOVE_SERVICE, [300, service.pk])
            chunk = in_background(repricing.reprice, 1).until_it_waits()
            editor.commit()
            chunk.result()
        assert right()
        # The set came first by its instant, and moved the price from before it.
        assert stands(subscription)[:2] == (105, "negotiated")
        assert outcomes.outcome(change)["applied"] == 1

    def test_a_later_set_stands_upon_one_that_was_paused(self, subscription):
        early = approved(raised(), "current")
        started()
        lifecycle.pause(early.pk, "ann")
        late = approved(planned(kind="set", adjustment="amount", operand=7), "current")
        drained()
        late.refresh_from_db()
        assert late.status == "scheduled"
        lifecycle.resume(early.pk, "ann")
        drained()
        assert right()
        assert stands(subscription)[0] == 7
        assert paid(subscription, early.effective_at) == 105
        assert outcomes.outcome(early)["applied"] == outcomes.outcome(late)["applied"] == 1

    def test_who_deletes_rows_has_had_their_price_until_then(self, subscription):
        change = self.beside(subscription, "DELETE FROM services_subscription", when_moved="frozen")
        assert right()
        assert paid(subscription, change.effective_at) == 105
        assert outcomes.outcome(change)["applied"] == 1


class TestACreatorBesideAChangeForNewOnesOnly:
    def created(self, service, plan):
        client = a_client()
        change = planned(kind="list_price", service=service.pk, new_value=150, for_new_only=True)
        with a_person() as creator:
            creator.execute(CREATE + "(%s, %s, %s, '')", [client.pk, service.pk, plan.pk])
            approval = in_background(
                lifecycle.approve, change.pk, change.fingerprint, "bob"
            ).until_it_waits_or_ends()
            if not approval.running:
                drained()
            creator.commit()
            approval.result()
        drained()
        return stands(Subscription.objects.get(client=client))[:2]

    def test_who_was_first_is_kept(self, service, plan, subscription):
        assert self.created(service, plan) == (100, "locked")
        assert right()
        assert stands(subscription)[:2] == (100, "locked")

    def test_without_the_locks_would_be_forgotten(self, service, plan, subscription):
        with without_catalogue_locks():
            assert self.created(service, plan) == (100, "follows")  # neither new nor kept


class TestAChangeForNewOnesOnlyBesideASetOfItsInstant:
    def second(self, monkeypatch, service, subscription):
        at = book_clock() + timedelta(minutes=10)
        price_state.negotiate(subscription.pk, 30, "deal", "ann")
        a_set = planned(kind="set", adjustment="follow", filter={}, effective_at=at)
        for_new = {"service": service.pk, "new_value": 150, "for_new_only": True}
        change = planned(kind="list_price", effective_at=at, **for_new)
        pause = Pause(monkeypatch, lifecycle, "_order")
        first = in_background(lifecycle.approve, a_set.pk, a_set.fingerprint, "bob")
        pause.until_reached()  # it has its number, and is not committed
        second = in_background(lifecycle.approve, change.pk, change.fingerprint, "carl")
        second.until_it_waits_or_ends()
        pause.go_on()
        first.result()
        return refusal(second)

    def test_is_refused(self, monkeypatch, service, subscription):
        assert self.second(monkeypatch, service, subscription) == "instant_of_a_set"

    def test_without_the_lock_of_approvals_would_not_see_it(
        self, monkeypatch, service, subscription
    ):
        monkeypatch.setattr(brake, "ONE_BY_ONE", "SELECT 1")
        assert self.second(monkeypatch, service, subscription) is None


class TestResumeBesideCancel:
    def resumed(self, monkeypatch, book):
        change = approved(raised())
        started()
        chunks.take_chunk("price", set())
        lifecycle.pause(change.pk, "ann")
        pause = Pause(monkeypatch, cancelling, "go_on")
        cancel = in_background(lifecycle.cancel, change.pk, "ann")
        pause.until_reached()
        resume = in_background(lifecycle.resume, change.pk, "bob").until_it_waits_or_ends()
        pause.go_on()
        cancel.result()
        return refusal(resume), change

    def test_is_refused(self, monkeypatch, book):
        before = dict(book.values_list("pk", "price"))
        code, change = self.resumed(monkeypatch, book)
        assert code == "wrong_state"
        assert right()
        change.refresh_from_db()
        assert change.status == "cancelled"
        assert dict(book.values_list("pk", "price")) == before

    def test_without_the_lock_would_bring_back_a_cancelled_one(self, monkeypatch, book):
        monkeypatch.setattr(allowing, "held", _held_without_a_lock)
        code, change = self.resumed(monkeypatch, book)
        change.refresh_from_db()
        assert code is None
        assert change.status != "cancelled"


class TestAPriceChangeUnderLoad:
    """Nobody waits: eight connections create subscriptions of a service, two workers reprice it."""

    def test_is_approved_while_each_creates_a_few_and_ends_right(
        self, settings, service, plan, subscription
    ):
        settings.APPROVAL_DRIFT = 100_000  # a few rows, and many of them new
        client = a_client()
        stop = threading.Event()
        created: list[int] = []

        def create(number):
            time.sleep(number / 80)  # so that at each moment some of them are in a transaction
            with a_person() as creator:
                while not stop.is_set():
                    creator.execute(CREATE + "(%s, %s, %s, '')", [client.pk, service.pk, plan.pk])
                    time.sleep(0.1)  # its transaction has other things to do
                    creator.commit()
                    created.append(number)

        def work():
            while not stop.is_set():
                repricing.reprice(seconds=1)

        running = [in_background(create, number) for number in range(8)]
        running += [in_background(work) for _ in range(2)]
        most = 0
        changes = []
        try:
            until(lambda: Subscription.objects.filter(service=service).count() >= 16)
            for value in range(200, 206):
                change = planned(kind="list_price", service=service.pk, new_value=value)
                while change.status == "planned":
                    before = len(created)
                    # If the one before it has come into force meanwhile, the value before it is
                    # another one: it has been previewed again, and is approved so.
                    with contextlib.suppress(MovedSincePreview):
                        approved(change)
                    most = max(most, len(created) - before)
                    change.refresh_from_db()
                changes.append(change)
            until(lambda: not PriceChange.objects.filter(status="scheduled").exists())
        finally:
            stop.set()
            for each in running:
                each.result()
        assert most <= 8 * 10  # each of the eight ten times, however long that takes
        assert right()
        assert Service.objects.get(pk=service.pk).full_price == 205
        assert set(Subscription.objects.values_list("price", flat=True)) == {205}
        assert set(PriceChange.objects.values_list("status", flat=True)) == {"applied"}
