"""Every race about prices that is known, each played by two real connections.

The order is the test's: a call is held at a chosen place, or waits for a lock, and the database
says so. Next to each race is the same play without its protection, and it ends wrong: this proves
that the test would notice.
"""

import math
import threading
import time
from contextlib import ExitStack, nullcontext

import psycopg
import pytest
from django.db import OperationalError, connection, models, transaction

from pricebook.tests.servers import until
from services import repricing
from services.models import Plan, Repricing, RepricingStep, Service, Subscription
from services.repricing import (
    chunks,
    comments,
    followers,
    locks,
    plan_due,
    reprice,
    reprice_one,
    stamp,
)
from services.tests.factories import a_book, a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import (
    CREATE,
    MOVE_SERVICE,
    Pause,
    a_person,
    execute_in_background,
    in_background,
    replaced,
    without_catalogue_locks,
    without_trigger,
)

pytestmark = pytest.mark.django_db(transaction=True)


def right():
    """Whether, with everything drained, price = rule everywhere."""
    reprice()
    stamp()
    assert not Repricing.objects.due().exists()
    return not Subscription.objects.mispriced().exists()


def not_one_after_the_other(patch):
    """A worker may take a step while another is at an earlier one of the same pair."""

    def claim(lane, blocked, number=1, rows=None, up_to=None):
        return list(
            RepricingStep.objects.filter(kind=lane)
            .exclude(pk__in=blocked)
            .select_related("repricing")
            .order_by("pk")
            .select_for_update(skip_locked=True, of=("self",))[:number]
        )

    patch.setattr(chunks, "_claim", claim)


def only_the_last_edit(patch):
    """A worker knows only the last of several due edits; rows that have its price already are not
    locked, as they would be to write an entry for each edit.
    """
    due = followers._due
    patch.setattr(followers, "_due", lambda *pair: due(*pair)._replace(events=[]))


class TestAChunkThatBeganBeforeASecondEdit:
    """100 → 200 → 100: the chunk of the first edit must not end after the second's."""

    def there_and_back(self, monkeypatch, service, subscription, work):
        with a_person() as editor:
            editor.execute(MOVE_SERVICE, [200, service.pk])
            editor.commit()
            plan_due()
            pause = Pause(monkeypatch, followers, "moved_by")
            chunk = in_background(work)
            pause.until_reached()  # it has written 200, and not committed

            edit = execute_in_background(editor, MOVE_SERVICE, [100, service.pk])
            edit.until_it_waits_or_ends()
            if not edit.running:
                editor.commit()
                reprice()  # another worker, which sees 100 everywhere
            pause.go_on()
            chunk.result()
            edit.result()
            editor.commit()
        return right()

    def test_ends_with_the_later_price(self, monkeypatch, service, subscription):
        assert self.there_and_back(monkeypatch, service, subscription, reprice)

    def test_of_one_subscription_too(self, monkeypatch, service, subscription):
        assert self.there_and_back(
            monkeypatch, service, subscription, lambda: reprice_one(subscription.pk)
        )

    def test_without_the_locks_set_price_of_one_ends_with_the_earlier(
        self, monkeypatch, service, subscription
    ):
        only_the_last_edit(monkeypatch)
        with without_catalogue_locks():
            assert not self.there_and_back(
                monkeypatch, service, subscription, lambda: reprice_one(subscription.pk)
            )

    def test_without_the_locks_steps_still_come_one_after_the_other(
        self, monkeypatch, service, subscription
    ):
        only_the_last_edit(monkeypatch)
        with without_catalogue_locks():
            assert self.there_and_back(monkeypatch, service, subscription, reprice)

    def test_without_the_locks_the_rows_still_hold_up_who_goes_through_both_edits(
        self, monkeypatch, service, subscription
    ):
        not_one_after_the_other(monkeypatch)
        with without_catalogue_locks():
            assert self.there_and_back(monkeypatch, service, subscription, reprice)

    def test_without_all_of_it_it_ends_with_the_earlier(self, monkeypatch, service, subscription):
        not_one_after_the_other(monkeypatch)
        only_the_last_edit(monkeypatch)
        with without_catalogue_locks():
            assert not self.there_and_back(monkeypatch, service, subscription, reprice)


WRITES = {
    "insert": CREATE + "(%(client)s, %(service)s, %(plan)s, '')",
    "bulk": CREATE
    + "(%(client)s, %(service)s, %(plan)s, ''), (%(client)s, %(service)s, %(plan)s, '')",
    "insert with a price": "INSERT INTO services_subscription"
    " (client_id, service_id, plan_id, comment, price)"
    " VALUES (%(client)s, %(service)s, %(plan)s, '', 100)",
    "move to the service": "UPDATE services_subscription SET service_id = %(service)s"
    " WHERE id = %(elsewhere)s",
    "reactivate": "UPDATE services_subscription SET ended_at = NULL WHERE id = %(ended)s",
}


class TestAWriterBesideAPriceEdit:
    @pytest.fixture
    def names(self, service, plan):
        ended = a_subscription(service=service, plan=plan)
        Subscription.objects.filter(pk=ended.pk).update(
            started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z"
        )
        return {
            "client": a_client().pk,
            "service": service.pk,
            "plan": plan.pk,
            "elsewhere": a_subscription(plan=plan).pk,
            "ended": ended.pk,
        }

    def writer_first(self, names, write):
        with a_person() as writer, a_person() as editor:
            writer.execute(WRITES[write], names)
            edit = execute_in_background(editor, MOVE_SERVICE, [200, names["service"]])
            edit.until_it_waits_or_ends()
            if not edit.running:
                editor.commit()
                reprice()  # sees nothing of what the writer has not committed
            writer.commit()
            edit.result()
            editor.commit()
        return right()

    def editor_first(self, names, write):
        with a_person() as writer, a_person() as editor:
            editor.execute(MOVE_SERVICE, [200, names["service"]])
            writing = execute_in_background(writer, WRITES[write], names)
            writing.until_it_waits_or_ends()
            editor.commit()
            if not writing.running:
                reprice()
            writing.result()
            writer.commit()
        stale = Subscription.objects.filter(service=names["service"], ended_at=None, price=100)
        return not stale.exists() and right()

    @pytest.mark.parametrize("write", WRITES)
    def test_has_the_new_price_whoever_comes_first(self, names, write):
        assert self.writer_first(names, write)

    @pytest.mark.parametrize("write", WRITES)
    def test_has_it_when_it_becomes_visible(self, names, write):
        assert self.editor_first(names, write)

    @pytest.mark.parametrize("write", ["insert", "move to the service"])
    @pytest.mark.parametrize("order", ["writer_first", "editor_first"])
    def test_without_the_locks_keeps_the_old_price(self, names, write, order):
        with without_catalogue_locks():
            assert not getattr(self, order)(names, write)

    def with_an_old_snapshot(self, names, write, isolation):
        with a_person(isolation) as writer, a_person() as editor:
            writer.execute("SELECT count(*) FROM services_service")  # takes the snapshot
            editor.execute(MOVE_SERVICE, [200, names["service"]])
            editor.commit()
            reprice()
            writer.execute(WRITES[write], names)
            writer.commit()
        return right()

    @pytest.mark.parametrize("write", WRITES)
    @pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
    def test_has_it_though_its_snapshot_is_older(self, names, write, isolation):
        assert self.with_an_old_snapshot(names, write, isolation)

    def test_without_looking_again_the_old_snapshot_would_win(self, names):
        def mutate(definition):
            return definition.replace("IF current_setting(", "IF false AND current_setting(")

        with replaced("subscription_written", mutate):
            assert not self.with_an_old_snapshot(names, "insert", "repeatable read")


class TestAServerWithAnotherDefault:
    def test_has_the_locks_work_all_the_same(self):
        """Only READ COMMITTED reads the newest catalogue after a lock."""
        database = connection.ops.quote_name(connection.settings_dict["NAME"])
        setting = f"ALTER DATABASE {database} {{}} default_transaction_isolation"
        with connection.cursor() as cursor:
            cursor.execute(setting.format("SET") + " = 'repeatable read'")
        try:
            connection.close()
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SHOW transaction_isolation")
                assert cursor.fetchone() == ("read committed",)
        finally:
            with connection.cursor() as cursor:
                cursor.execute(setting.format("RESET"))
            connection.close()


class TestAnEditorAndAWriterAtItsCommit:
    """Its foreign keys are checked then, while the editor waits for it and holds his row locked."""

    def deadlocked(self, service, plan, sql):
        client = a_client()
        with a_person() as writer, a_person() as editor:
            writer.execute(CREATE + "(%s, %s, %s, '')", [client.pk, service.pk, plan.pk])
            edit = execute_in_background(editor, sql).until_it_waits()
            try:
                writer.commit()
                edit.result()
                editor.commit()
            except psycopg.errors.DeadlockDetected:
                return True
        assert right()
        return False

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE services_service SET full_price = 200",
            "UPDATE services_service SET full_price = 200, name = 'Renamed'",
            "UPDATE services_plan SET discount_percent = 50",
        ],
    )
    def test_do_not_wait_for_each_other(self, service, plan, sql):
        assert not self.deadlocked(service, plan, sql)

    def test_would_if_a_foreign_key_could_point_to_what_is_edited(self, service, plan):
        with connection.cursor() as cursor:
            cursor.execute("CREATE UNIQUE INDEX key ON services_plan (plan_type, discount_percent)")
            try:
                assert self.deadlocked(
                    service, plan, "UPDATE services_plan SET discount_percent = 50"
                )
            finally:
                cursor.execute("DROP INDEX key")


ONE_BY_ONE = """
CREATE OR REPLACE FUNCTION lock_pairs(services bigint[], plans bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_service(id, false) FROM unnest(services) id;
    PERFORM lock_plan(id, false) FROM unnest(plans) id;
END $$
"""


class TestAnEditorOfManyServices:
    """His locks come in any order; somebody creates subscriptions of the same services at once."""

    def failed(self, plan):
        first, last = a_service(full_price=10), a_service(full_price=10)
        pair = [Subscription(client=a_client(), service=each, plan=plan) for each in (first, last)]
        with a_person() as editor:
            editor.execute(MOVE_SERVICE, [20, last.pk])
            creator = in_background(Subscription.objects.bulk_create, pair)
            until(lambda: waiting_for_advisory_lock(editor))
            failed = 0
            try:
                editor.execute(MOVE_SERVICE, [20, first.pk])
                editor.commit()
            except psycopg.errors.DeadlockDetected:
                editor.rollback()
                failed += 1
            try:
                creator.result()
            except OperationalError:
                failed += 1
        return failed

    def test_and_the_creator_pass_each_other(self, plan):
        assert self.failed(plan) == 0
        assert Subscription.objects.filter(price=20).count() == 2

    def test_without_letting_go_they_would_deadlock(self, plan):
        with replaced("lock_pairs", lambda _: ONE_BY_ONE):
            assert self.failed(plan) == 1


def waiting_for_advisory_lock(person):
    """Whether some session waits for an advisory lock."""
    return person.execute(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
    ).fetchone()[0]


class TestAnEditorWhoseTransactionStaysOpen:
    def other_prices_moved(self, service, subscription, seconds):
        other = a_subscription(plan=subscription.plan, service=a_service(full_price=10))
        Service.objects.update(full_price=200)
        with a_person() as editor:
            editor.execute(MOVE_SERVICE, [300, service.pk])
            worker = in_background(reprice, seconds)
            try:
                repricing_of_other = Subscription.objects.filter(pk=other.pk, price=200)
                deadline = time.monotonic() + 2
                while not repricing_of_other.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
                moved = repricing_of_other.exists()
            finally:
                editor.commit()
            worker.result()
        return moved

    def test_holds_up_his_own_service_only(self, service, subscription):
        assert self.other_prices_moved(service, subscription, seconds=1)
        assert right()

    def test_holds_up_all_of_a_worker_that_does_not_give_way(
        self, monkeypatch, service, subscription
    ):
        monkeypatch.setattr(locks, "LOCK_TIMEOUT", "0")
        assert not self.other_prices_moved(service, subscription, seconds=1)
        assert right()


class TestAPersonAndAWorkerWhoWaitForEachOther:
    """The person has written a subscription and waits for the service; a chunk holds it and waits
    for the row.
    """

    def victim(self, service, subscription, work):
        with a_person() as editor, a_person() as person:
            editor.execute(MOVE_SERVICE, [200, service.pk])
            editor.commit()
            person.execute(
                "UPDATE services_subscription SET comment = 'mine' WHERE id = %s", [subscription.pk]
            )
            worker = in_background(work)
            worker.until_it_waits_or_ends()
            # Past the worker's own look for a deadlock (deadlock_timeout): the next is his.
            if worker.running:
                time.sleep(1.2)
            edit = execute_in_background(person, MOVE_SERVICE, [300, service.pk])
            try:
                edit.result()
                person.commit()
            except psycopg.errors.DeadlockDetected:
                person.rollback()
                return "person"
            finally:
                worker.result()
        return None

    def test_the_chunk_gives_way(self, service, subscription):
        assert self.victim(service, subscription, lambda: reprice(seconds=3)) is None
        assert right()

    def test_set_price_of_one_gives_way(self, service, subscription):
        assert self.victim(service, subscription, lambda: reprice_one(subscription.pk)) is None
        assert right()

    def test_without_giving_way_the_person_is_the_victim(self, monkeypatch, service, subscription):
        monkeypatch.setattr(locks, "LOCK_TIMEOUT", "0")
        assert self.victim(service, subscription, lambda: reprice(seconds=3)) == "person"


class TestTwoWorkers:
    def test_share_the_steps_and_wait_for_nobody(self, monkeypatch):
        book = a_book(subscriptions=40, services=2, plans=2)
        Service.objects.filter(subscriptions__in=book).update(full_price=777)
        pause = Pause(monkeypatch, followers, "moved_by")
        first = in_background(reprice)
        pause.until_reached()
        # All but the chunk that the first one holds, and without waiting for it.
        assert reprice() == 30
        pause.go_on()
        assert first.result() == 10
        assert right()

    def test_do_what_the_other_one_plans(self, service, subscription):
        Service.objects.update(full_price=200)
        with a_person() as planner:  # a run that stamps, say, and takes no step for prices
            planner.execute("SELECT FROM services_repricing FOR UPDATE")
            pricing = in_background(reprice).until_it_waits()
            planner.commit()
            assert pricing.result() == 1

    def test_leave_when_the_other_one_plans_for_too_long(self, service, subscription):
        Service.objects.update(full_price=200)
        with a_person() as planner:
            planner.execute("SELECT FROM services_repricing FOR UPDATE")
            assert in_background(reprice).result() == 0
        assert right()

    def test_on_a_service_and_a_plan_at_once(self, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 10)
        book = a_book(subscriptions=80, services=2, plans=2)
        service, plan = book.first().service, book.first().plan
        for round in range(3):
            Service.objects.filter(pk=service.pk).update(full_price=500 + round)
            workers = [in_background(reprice) for _ in range(2)]
            Plan.objects.filter(pk=plan.pk).update(discount_percent=50 + round)
            for worker in workers:
                worker.result()
            assert right()

    def test_that_price_and_stamp_the_same_rows_keep_both(self, monkeypatch, service, subscription):
        with repricing.catalogue_edit(comment="2027"):
            service.full_price = 200
            service.save()
        pause = Pause(monkeypatch, followers, "moved_by")
        pricing = in_background(reprice)
        pause.until_reached()
        stamping = in_background(stamp)
        stamping.until_it_waits()
        pause.go_on()
        pricing.result()
        stamping.result()
        subscription.refresh_from_db()
        assert (subscription.price, subscription.comment) == (200, "2027")

    @pytest.mark.parametrize("whole", [False, True])
    def test_that_save_the_same_row_keep_both_unless_they_write_it_whole(
        self, monkeypatch, subscription, whole
    ):
        if whole:
            monkeypatch.setattr(Subscription, "save", models.Model.save)
        one, other = (Subscription.objects.get(pk=subscription.pk) for _ in range(2))
        one.comment = "typed"
        one.save()
        other.source, other.external_id = "crm", "7"
        other.save()
        assert Subscription.objects.get(pk=subscription.pk).comment == ("" if whole else "typed")


class TestAPersonBesideAChunk:
    """He writes a row of the chunk while it runs."""

    @pytest.fixture
    def moved_service(self, service, subscription):
        Service.objects.filter(pk=service.pk).update(full_price=200)
        return service

    def chunk_waits_for(self, work, sql, *arguments):
        with a_person() as person:
            person.execute(sql, arguments)
            worker = in_background(work).until_it_waits()
            person.commit()
            worker.result()

    def chunk_first(self, monkeypatch, sql, *arguments):
        with a_person() as person:
            pause = Pause(monkeypatch, followers, "moved_by")
            worker = in_background(reprice)
            pause.until_reached()
            writing = execute_in_background(person, sql, arguments)
            writing.until_it_waits_or_ends()
            pause.go_on()
            worker.result()
            writing.result()
            person.commit()

    BY_HAND = "UPDATE services_subscription SET price = 1 WHERE id = %s"
    MOVE = "UPDATE services_subscription SET plan_id = %s WHERE id = %s"
    TYPE = "UPDATE services_subscription SET comment = 'mine' WHERE id = %s"

    def test_a_price_by_hand_is_put_right(self, monkeypatch, moved_service, subscription):
        self.chunk_waits_for(reprice, self.BY_HAND, subscription.pk)
        assert right()
        Service.objects.update(full_price=300)
        self.chunk_first(monkeypatch, self.BY_HAND, subscription.pk)
        assert right()

    def test_without_the_trigger_a_price_by_hand_stays(
        self, monkeypatch, moved_service, subscription
    ):
        with without_trigger("subscription_written_update"):
            self.chunk_first(monkeypatch, self.BY_HAND, subscription.pk)
            assert not right()

    def test_one_moved_to_another_plan_has_that_plans_price(
        self, monkeypatch, moved_service, subscription
    ):
        self.chunk_waits_for(reprice, self.MOVE, a_plan(50).pk, subscription.pk)
        assert right()
        Service.objects.update(full_price=300)
        self.chunk_first(monkeypatch, self.MOVE, a_plan(20).pk, subscription.pk)
        assert right()

    @pytest.mark.parametrize("trigger", [True, False])
    def test_a_chunk_that_does_not_judge_anew_needs_the_trigger(
        self, monkeypatch, moved_service, subscription, trigger
    ):
        def move_followers(rows, service_id, plan_id, number):
            chosen = list(rows.values_list("pk", flat=True))
            price = Subscription.objects.with_rule_price().get(pk=chosen[0]).rule_price
            return Subscription.objects.filter(pk__in=chosen).update(price=price), None

        monkeypatch.setattr(followers, "moved_by", move_followers)
        half = a_plan(50).pk
        with a_person() as person:
            person.execute(self.MOVE, [half, subscription.pk])
            missing = nullcontext()
            if not trigger:
                person.commit()
                missing = without_trigger("subscription_written_update")
                Subscription.objects.filter(pk=subscription.pk).update(plan=subscription.plan)
            with missing:
                if not trigger:
                    person.execute(self.MOVE, [half, subscription.pk])
                    person.execute(
                        "UPDATE services_subscription SET price = 100 WHERE id = %s",
                        [subscription.pk],
                    )
                worker = in_background(reprice).until_it_waits()
                person.commit()
                worker.result()
        found = Subscription.objects.get(pk=subscription.pk)
        assert (found.plan_id, found.price) == (half, 100 if trigger else 200)

    def test_a_comment_typed_while_it_is_stamped_stays(self, service, subscription):
        with repricing.catalogue_edit(comment="2027"):
            service.full_price = 200
            service.save()
        self.chunk_waits_for(stamp, self.TYPE, subscription.pk)
        assert Subscription.objects.get(pk=subscription.pk).comment == "mine"

    def test_stamping_what_was_read_before_goes_over_it(self, monkeypatch, service, subscription):
        def write_stamp(rows, comment, change_id):
            empty = list(rows.filter(comment="").values_list("pk", flat=True))
            return Subscription.objects.filter(pk__in=empty).update(comment=comment)

        monkeypatch.setattr(comments, "write", write_stamp)
        with repricing.catalogue_edit(comment="2027"):
            service.full_price = 200
            service.save()
        self.chunk_waits_for(stamp, self.TYPE, subscription.pk)
        assert Subscription.objects.get(pk=subscription.pk).comment == "2027"


class TestAPriceEditUnderLoad:
    """Eight connections create subscriptions of the service, two workers reprice it: none waits."""

    SHARE_LOCK = """
    CREATE OR REPLACE FUNCTION lock_{0}(id bigint, for_change boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        IF NOT for_change THEN
            PERFORM FROM services_{0} row WHERE row.id = lock_{0}.id FOR SHARE;
        END IF;
    END $$
    """

    def created_beside_an_edit(self, service, plan, edits, give_up=20.0):
        """How many are created while one edit waits, at most; inf: it gave up.

        Each of the eight creators holds its transaction for a tenth of a second.
        """
        client = a_client()
        stop = threading.Event()
        created: list[int] = []

        def create(number):
            time.sleep(number / 80)  # so that at each moment some are in their transaction
            with a_person() as creator:
                while not stop.is_set():
                    creator.execute(CREATE + "(%s, %s, %s, '')", [client.pk, service.pk, plan.pk])
                    time.sleep(0.1)  # its transaction has other things to do
                    creator.commit()
                    created.append(number)

        def work():
            while not stop.is_set():
                reprice(seconds=1)

        running = [in_background(create, number) for number in range(8)]
        running += [in_background(work) for _ in range(2)]
        most: float = 0
        try:
            until(lambda: Subscription.objects.filter(service=service).count() >= 16)
            with a_person() as editor:
                editor.execute(f"SET statement_timeout = {int(give_up * 1000)}")
                editor.commit()
                for full_price in range(200, 200 + edits):
                    before = len(created)
                    editor.execute(MOVE_SERVICE, [full_price, service.pk])
                    editor.commit()
                    most = max(most, len(created) - before)
        except psycopg.errors.QueryCanceled:
            most = math.inf
        finally:
            stop.set()
            for each in running:
                each.result()
        return most

    def test_commits_while_each_creates_a_few(self, service, plan):
        assert self.created_beside_an_edit(service, plan, edits=10) <= 8 * 10
        assert Subscription.objects.filter(service=service).count() > 20
        assert right()

    def test_would_starve_behind_share_locks_on_the_catalogue_rows(self, service, plan):
        # New holders of FOR SHARE do not queue behind an update that waits.
        with ExitStack() as mutants:
            mutants.enter_context(replaced("lock_pairs", lambda _: ONE_BY_ONE))
            for table in ("service", "plan"):
                definition = self.SHARE_LOCK.format(table)
                mutants.enter_context(replaced(f"lock_{table}", lambda _, new=definition: new))
            assert self.created_beside_an_edit(service, plan, edits=2, give_up=2) == math.inf
