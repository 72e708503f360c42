"""The price of one subscription: locked, negotiated, or following the catalogue."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from pricebook.tests.servers import until
from services import price_state, repricing
from services.audit import book_check
from services.models import LockEnd, Plan, Repricing, Service, Subscription, WholeLedger
from services.price_state import PriceStateError
from services.repricing import reprice
from services.repricing.lock_ends import release_ended
from services.tests.factories import a_plan, a_service, a_subscription
from services.tests.interleaving import a_person, in_background, without_trigger

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def soon():
    return timezone.now() + HOUR


def catalogue_moves_to(full_price, subscription):
    Service.objects.filter(pk=subscription.service_id).update(full_price=full_price)


def state(subscription):
    subscription.refresh_from_db()
    return subscription.price_state, subscription.price


def entries(subscription):
    """The ledger's entries of a subscription: [(state, price)], the first one first."""
    return list(
        WholeLedger.objects.filter(subscription_id=subscription.pk)
        .order_by("id")
        .values_list("price_state", "price")
    )


def last_entry(subscription):
    return WholeLedger.objects.filter(subscription_id=subscription.pk).latest("id")


def price_at(subscription, instant):
    """The price that was paid then: that of the last recorded entry in force by then."""
    return (
        WholeLedger.objects.filter(subscription_id=subscription.pk, effective_at__lte=instant)
        .latest("id")
        .price
    )


def a_lock_that_ends(subscription):
    """Lock it for a moment that is over when this returns; returns its end. Nobody has swept."""
    end = timezone.now() + timedelta(seconds=0.1)
    price_state.lock(subscription.pk, end, "a moment", "Ann")
    until(lambda: timezone.now() > end)
    return end


class TestLock:
    def test_keeps_the_price_it_has_now(self, subscription):
        end = soon()
        locked = price_state.lock(subscription.pk, end, "a promise", "Ann")
        assert (locked.price_state, locked.locked_until, locked.price) == ("locked", end, 100)
        assert locked.price_reason == "a promise"
        entry = last_entry(subscription)
        assert (entry.price_state, entry.locked_until, entry.price) == ("locked", end, 100)
        assert (entry.author, entry.change_id) == ("Ann", None)

    def test_keeps_the_price_in_force_though_a_repricing_has_yet_to_come(self, subscription):
        catalogue_moves_to(200, subscription)
        price_state.lock(subscription.pk, None, "a promise", "Ann")
        reprice()
        assert state(subscription) == ("locked", 200)

    def test_of_a_negotiated_one_keeps_that_price(self, subscription):
        price_state.negotiate(subscription.pk, 80, "a friend", "Ann")
        price_state.lock(subscription.pk, soon(), "for an hour", "Ann")
        assert state(subscription) == ("locked", 80)

    def test_again_gives_it_another_end_and_reason(self, subscription):
        first, second = soon(), soon() + HOUR
        price_state.lock(subscription.pk, first, "one hour", "Ann")
        price_state.lock(subscription.pk, second, "two hours", "Ben")
        subscription.refresh_from_db()
        assert (subscription.locked_until, subscription.price_reason) == (second, "two hours")
        assert last_entry(subscription).author == "Ben"

    def test_without_an_end_is_not_for_the_sweep(self, subscription):
        price_state.lock(subscription.pk, None, "for good", "Ann")
        assert not LockEnd.objects.exists()

    def test_counts_its_queries(self, subscription, django_assert_num_queries):
        # 5 queries: * lock the row * the time, the author's name * write * what triggers made of it
        #   * forget the name (and a savepoint and its release, within the test's transaction)
        with django_assert_num_queries(5 + 2):
            price_state.lock(subscription.pk, soon(), "a promise", "Ann")


class TestACatalogueChange:
    def test_moves_followers_and_leaves_locked_and_negotiated_ones_alone(self, subscription):
        pair = {"service": subscription.service, "plan": subscription.plan}
        locked, negotiated = a_subscription(**pair), a_subscription(**pair)
        price_state.lock(locked.pk, soon(), "a promise", "Ann")
        price_state.negotiate(negotiated.pk, "70.50", "a friend", "Ann")

        catalogue_moves_to(200, subscription)
        assert reprice() == 1

        assert state(subscription) == ("follows", 200)
        assert state(locked) == ("locked", 100)
        assert state(negotiated) == ("negotiated", Decimal("70.50"))
        skipped = dict(Repricing.objects.get().skips.values_list("reason", "rows"))
        assert skipped == {"locked": 1, "negotiated": 1}

    def test_is_not_written_over_them_by_hand_either(self, subscription):
        price_state.lock(subscription.pk, soon(), "a promise", "Ann")
        catalogue_moves_to(200, subscription)
        assert not repricing.reprice_one(subscription.pk)
        assert state(subscription) == ("locked", 100)


class TestRelease:
    def test_returns_it_to_the_rule_at_once(self, subscription):
        price_state.lock(subscription.pk, soon(), "a promise", "Ann")
        catalogue_moves_to(200, subscription)
        released = price_state.release(subscription.pk, "Ben")
        assert (released.price_state, released.price) == ("follows", 200)
        assert (released.locked_until, released.price_reason) == (None, "")
        entry = last_entry(subscription)
        assert (entry.price_state, entry.price, entry.author) == ("follows", 200, "Ben")

    def test_leaves_nothing_for_the_sweep_to_release(self, subscription):
        price_state.lock(subscription.pk, soon(), "a promise", "Ann")
        price_state.release(subscription.pk, "Ann")
        known = entries(subscription)
        LockEnd.objects.update(until=timezone.now())  # its end has come
        assert release_ended()
        assert entries(subscription) == known
        assert not LockEnd.objects.exists()

    @pytest.mark.parametrize("verb", ["nothing", "negotiate"])
    def test_of_one_that_is_not_locked_is_refused(self, subscription, verb):
        if verb == "negotiate":
            price_state.negotiate(subscription.pk, 80, "a friend", "Ann")
        with pytest.raises(PriceStateError) as refused:
            price_state.release(subscription.pk, "Ann")
        assert (refused.value.code, refused.value.status_code) == ("not_locked", 409)


class TestNegotiate:
    def test_gives_it_a_price_of_its_own(self, subscription):
        given = price_state.negotiate(subscription.pk, Decimal("79.90"), "a friend", "Ann")
        assert (given.price_state, given.price) == ("negotiated", Decimal("79.90"))
        assert given.price_reason == "a friend"
        entry = last_entry(subscription)
        assert (entry.price, entry.author) == (Decimal("79.90"), "Ann")

    def test_ends_a_lock(self, subscription):
        price_state.lock(subscription.pk, soon(), "a promise", "Ann")
        given = price_state.negotiate(subscription.pk, 0, "a gift", "Ann")
        assert (given.price_state, given.locked_until, given.price) == ("negotiated", None, 0)

    @pytest.mark.parametrize("price", [0, 1, "0.01", Decimal("1.10"), "1e3", "9999999999.99"])
    def test_takes_an_exact_price(self, subscription, price):
        assert price_state.negotiate(subscription.pk, price, "so", "Ann").price == Decimal(price)

    @pytest.mark.parametrize(
        "price",
        [
            "-0.01", "NaN", "sNaN", "Infinity", "1e10", "10000000000", "0.001", "1e-999999",
            "1e999999", "", "cheap", "1\0", "1_000", "١٢", 0.1, True, None, [],
        ],
    )  # fmt: skip
    def test_refuses_what_is_no_price(self, subscription, price):
        with pytest.raises(PriceStateError) as refused:
            price_state.negotiate(subscription.pk, price, "so", "Ann")
        assert refused.value.code == "bad_price"
        assert refused.value.detail
        assert state(subscription) == ("follows", 100)


class TestFollow:
    def test_returns_a_negotiated_one_to_the_rule_at_once(self, subscription):
        price_state.negotiate(subscription.pk, 80, "a friend", "Ann")
        catalogue_moves_to(200, subscription)
        followed = price_state.follow(subscription.pk, "Ben")
        assert (followed.price_state, followed.price, followed.price_reason) == ("follows", 200, "")
        assert last_entry(subscription).author == "Ben"

    def test_of_one_that_follows_changes_nothing(self, subscription):
        known = entries(subscription)
        assert price_state.follow(subscription.pk, "Ann").price == 100
        assert entries(subscription) == known


VERBS = {
    "lock": lambda pk: price_state.lock(pk, None, "so", "Ann"),
    "release": lambda pk: price_state.release(pk, "Ann"),
    "negotiate": lambda pk: price_state.negotiate(pk, 1, "so", "Ann"),
    "follow": lambda pk: price_state.follow(pk, "Ann"),
}


class TestAnyVerb:
    @pytest.mark.parametrize("verb", VERBS)
    def test_is_refused_for_one_that_has_ended(self, subscription, verb):
        Subscription.objects.filter(pk=subscription.pk).update(
            started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z"
        )
        with pytest.raises(PriceStateError) as refused:
            VERBS[verb](subscription.pk)
        assert (refused.value.code, refused.value.status_code) == ("subscription_ended", 409)
        assert "2021-01-01" in refused.value.detail

    @pytest.mark.parametrize("verb", VERBS)
    def test_is_refused_for_one_that_is_not_there(self, db, verb):
        with pytest.raises(PriceStateError) as refused:
            VERBS[verb](0)
        assert (refused.value.code, refused.value.status_code) == ("unknown_subscription", 404)

    @pytest.mark.parametrize("end", [datetime(2999, 1, 1), "tomorrow", 0])
    def test_wants_a_time_with_an_offset(self, subscription, end):
        with pytest.raises(PriceStateError, match="offset"):
            price_state.lock(subscription.pk, end, "so", "Ann")

    @pytest.mark.parametrize(
        "end", [datetime(2020, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 12, tzinfo=UTC)]
    )
    def test_wants_a_time_to_come(self, subscription, end):
        with pytest.raises(PriceStateError) as refused:
            price_state.lock(subscription.pk, end, "so", "Ann")
        assert refused.value.code == "bad_until"
        assert end.isoformat() in refused.value.detail

    @pytest.mark.parametrize("reason", ["", "  ", "x" * 201, "a\0b", "\u202e", "\ud800", None])
    def test_wants_a_reason_that_fits(self, subscription, reason):
        for verb in (price_state.lock, price_state.negotiate):
            with pytest.raises(PriceStateError) as refused:
                verb(subscription.pk, None if verb is price_state.lock else 1, reason, "Ann")
            assert refused.value.code == "bad_reason"

    def test_takes_a_reason_that_just_fits_and_a_name_of_any_script(self, subscription):
        reason = "ж" * 200
        assert price_state.lock(subscription.pk, None, reason, "Анна").price_reason == reason
        assert last_entry(subscription).author == "Анна"

    def test_refuses_an_author_that_does_not_fit(self, subscription):
        with pytest.raises(PriceStateError) as refused:
            price_state.follow(subscription.pk, "x" * 151)
        assert refused.value.code == "bad_author"

    def test_speaks_for_its_author_alone(self, subscription):
        with transaction.atomic():
            price_state.lock(subscription.pk, None, "so", "Ann")
            with pytest.raises(PriceStateError):
                price_state.lock(subscription.pk, datetime(2020, 1, 1, tzinfo=UTC), "so", "Ben")
            other = a_subscription(service=subscription.service, plan=subscription.plan)
        assert last_entry(other).author == connection.settings_dict["USER"]

    @pytest.mark.django_db(transaction=True)
    def test_waits_for_who_writes_the_row_and_judges_what_he_left(self, subscription):
        with a_person() as person:
            person.execute(
                "UPDATE services_subscription SET price_state = 'negotiated', price = 70"
                " WHERE id = %s",
                [subscription.pk],
            )
            releasing = in_background(price_state.release, subscription.pk, "Ann").until_it_waits()
            person.commit()
        with pytest.raises(PriceStateError, match="is negotiated"):
            releasing.result()
        assert state(subscription) == ("negotiated", 70)


class TestALockThatEnds:
    def test_returns_the_row_at_that_instant(self, subscription):
        end = timezone.now() + timedelta(seconds=0.1)
        price_state.lock(subscription.pk, end, "a moment", "Ann")
        catalogue_moves_to(200, subscription)
        until(lambda: timezone.now() > end)
        assert reprice() == 0  # the sweep is part of it, and moves no price of the repricing

        assert state(subscription) == ("follows", 200)
        assert (subscription.locked_until, subscription.price_reason) == (None, "")
        entry = last_entry(subscription)
        assert (entry.effective_at, entry.price) == (end, 200)
        assert (entry.locked_until, entry.change_id, entry.author) == (None, None, "")
        assert not LockEnd.objects.exists()

    def test_is_half_open(self, subscription):
        end = timezone.now() + timedelta(seconds=0.1)
        price_state.lock(subscription.pk, end, "a moment", "Ann")
        catalogue_moves_to(200, subscription)
        assert release_ended()
        assert state(subscription) == ("locked", 100)  # not yet
        until(lambda: timezone.now() > end)
        assert release_ended()
        assert price_at(subscription, end - timedelta(microseconds=1)) == 100
        assert price_at(subscription, end) == 200

    def test_has_the_right_price_at_each_instant_though_an_edit_came_before_the_sweep(
        self, subscription
    ):
        catalogue_moves_to(200, subscription)
        reprice()
        end = a_lock_that_ends(subscription)
        known = len(entries(subscription))
        catalogue_moves_to(300, subscription)
        assert release_ended()

        written = WholeLedger.objects.filter(subscription_id=subscription.pk).order_by("id")[known:]
        edited = Repricing.objects.latest("id").effective_at
        assert [(entry.effective_at, entry.price) for entry in written] == [
            (end, 200),
            (edited, 300),
        ]
        assert state(subscription) == ("follows", 300)
        # The worker that comes for that edit finds nothing left to write.
        assert reprice() == 0
        assert len(entries(subscription)) == known + 2

    def test_of_a_discount_too(self, subscription):
        end = a_lock_that_ends(subscription)
        Plan.objects.filter(pk=subscription.plan_id).update(discount_percent=25)
        catalogue_moves_to(200, subscription)
        assert release_ended()
        written = WholeLedger.objects.filter(effective_at__gte=end).order_by("id")
        assert [entry.price for entry in written] == [100, 75, 150]
        assert state(subscription) == ("follows", 150)

    def test_beside_many_others_goes_alone(self, subscription):
        pair = {"service": subscription.service, "plan": subscription.plan}
        locked, negotiated = a_subscription(**pair), a_subscription(**pair)
        price_state.lock(locked.pk, soon(), "a promise", "Ann")
        price_state.negotiate(negotiated.pk, 70, "a friend", "Ann")
        a_lock_that_ends(subscription)
        assert release_ended()
        assert [state(each)[0] for each in (subscription, locked, negotiated)] == [
            "follows", "locked", "negotiated",
        ]  # fmt: skip
        assert [each.subscription_id for each in LockEnd.objects.all()] == [locked.pk]

    def test_that_was_given_another_end_stays(self, subscription):
        end = timezone.now() + timedelta(seconds=0.1)
        price_state.lock(subscription.pk, end, "a moment", "Ann")
        price_state.lock(subscription.pk, soon(), "a promise", "Ann")
        until(lambda: timezone.now() > end)
        assert release_ended()
        assert state(subscription) == ("locked", 100)

    @pytest.mark.parametrize("verb", ["lock", "negotiate", "follow"])
    def test_has_followed_since_for_whoever_decides_before_the_sweep(self, subscription, verb):
        end = a_lock_that_ends(subscription)
        catalogue_moves_to(200, subscription)
        edited = Repricing.objects.latest("id").effective_at
        VERBS[verb](subscription.pk)
        assert price_at(subscription, edited) == 200
        assert price_at(subscription, end) == 100
        assert release_ended()
        expected = {"lock": ("locked", 200), "negotiate": ("negotiated", 1)}
        assert state(subscription) == expected.get(verb, ("follows", 200))
        assert entries(subscription)[-1] == state(subscription)

    def test_is_not_there_to_be_released(self, subscription):
        a_lock_that_ends(subscription)
        with pytest.raises(PriceStateError) as refused:
            price_state.release(subscription.pk, "Ann")
        assert refused.value.code == "not_locked"

    def test_returns_one_that_ended_after_it_to_what_it_paid_last(self, subscription):
        end = a_lock_that_ends(subscription)
        catalogue_moves_to(200, subscription)
        ended = timezone.now()
        Subscription.objects.filter(pk=subscription.pk).update(ended_at=ended)
        catalogue_moves_to(300, subscription)
        assert release_ended()
        assert not LockEnd.objects.exists()
        assert state(subscription) == ("follows", 200)
        assert entries(subscription)[-2:] == [("follows", 100), ("follows", 200)]
        assert price_at(subscription, end) == 100
        assert price_at(subscription, ended) == 200
        assert not book_check.check().differs

    def test_releases_one_that_had_ended_before_it_when_that_goes_on(self, subscription):
        end = a_lock_that_ends(subscription)
        ended = {"started_at": end - 2 * HOUR, "ended_at": end - HOUR}
        Subscription.objects.filter(pk=subscription.pk).update(**ended)
        catalogue_moves_to(200, subscription)
        assert release_ended()
        assert state(subscription) == ("locked", 100)
        Subscription.objects.filter(pk=subscription.pk).update(ended_at=None)
        assert release_ended()
        assert state(subscription) == ("follows", 200)
        assert not LockEnd.objects.exists()
        reprice()
        assert not book_check.check().differs

    def test_of_one_that_has_ended_or_is_gone_is_forgotten(self, subscription):
        gone = a_subscription(service=subscription.service, plan=subscription.plan)
        a_lock_that_ends(gone)
        gone.delete()
        a_lock_that_ends(subscription)
        Subscription.objects.filter(pk=subscription.pk).update(
            started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z"
        )
        assert release_ended()
        assert not LockEnd.objects.exists()
        assert state(subscription) == ("locked", 100)  # what it paid to its end

    @pytest.mark.django_db(transaction=True)
    def test_waits_for_nobody_who_holds_the_row_for_long(self, subscription):
        a_lock_that_ends(subscription)
        with a_person() as person:
            person.execute(
                "UPDATE services_subscription SET comment = 'mine' WHERE id = %s", [subscription.pk]
            )
            assert in_background(release_ended).result() is False
            person.commit()
        assert release_ended()
        assert state(subscription)[0] == "follows"


class TestAMoveToAnotherPlan:
    """Or service: what was agreed was agreed for the other one."""

    @pytest.fixture
    def half(self):
        return a_plan(50)

    @pytest.mark.parametrize("verb", ["lock", "negotiate"])
    @pytest.mark.parametrize("to", ["plan", "service"])
    def test_ends_what_was_agreed(self, subscription, half, verb, to):
        VERBS[verb](subscription.pk)
        subscription.refresh_from_db()
        if to == "plan":
            subscription.plan = half
        else:
            subscription.service = a_service(full_price=50)
        subscription.save()
        assert (subscription.price_state, subscription.price) == ("follows", 50)
        assert (subscription.locked_until, subscription.price_reason) == (None, "")
        assert entries(subscription)[-1] == ("follows", 50)

    def test_keeps_what_the_same_write_agrees_on(self, subscription, half):
        price_state.lock(subscription.pk, None, "so", "Ann")
        Subscription.objects.filter(pk=subscription.pk).update(
            plan=half, price_state="negotiated", price=42, price_reason="for the move"
        )
        assert state(subscription) == ("negotiated", 42)
        assert subscription.price_reason == "for the move"

    def test_to_the_same_plan_ends_nothing(self, subscription):
        price_state.lock(subscription.pk, None, "so", "Ann")
        Subscription.objects.filter(pk=subscription.pk).update(plan=subscription.plan)
        assert state(subscription) == ("locked", 100)

    def test_would_take_the_lock_along_without_its_trigger(self, subscription, half):
        price_state.lock(subscription.pk, None, "so", "Ann")
        # A table with pending events can't be altered: foreign keys are checked now.
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with without_trigger("subscription_moved"):
            Subscription.objects.filter(pk=subscription.pk).update(plan=half)
        assert state(subscription) == ("locked", 100)


class TestSQLByHand:
    def execute(self, sql, *arguments):
        with connection.cursor() as cursor:
            cursor.execute(sql, arguments)

    def test_may_lock_negotiate_and_release(self, subscription):
        end = soon()
        row = "UPDATE services_subscription SET {} WHERE id = %s"
        self.execute(row.format("price_state = 'locked', locked_until = %s"), end, subscription.pk)
        catalogue_moves_to(200, subscription)
        reprice()
        assert state(subscription) == ("locked", 100)
        assert LockEnd.objects.get().until == end

        # The lock's end goes with it by hand: only who goes back to the rule is helped.
        self.execute(
            row.format("price_state = 'negotiated', price = 1, locked_until = NULL"),
            subscription.pk,
        )
        assert state(subscription) == ("negotiated", 1)
        self.execute(row.format("price_state = 'follows'"), subscription.pk)
        assert state(subscription) == ("follows", 200)
        assert entries(subscription) == [
            ("follows", 100), ("locked", 100), ("negotiated", 1), ("follows", 200),
        ]  # fmt: skip
        assert last_entry(subscription).author == connection.settings_dict["USER"]

    def test_may_create_one_that_is_negotiated(self, subscription):
        self.execute(
            "INSERT INTO services_subscription"
            " (client_id, service_id, plan_id, comment, price_state, price)"
            " VALUES (%s, %s, %s, '', 'negotiated', 12.34)",
            subscription.client_id, subscription.service_id, subscription.plan_id,
        )  # fmt: skip
        created = Subscription.objects.latest("id")
        assert state(created) == ("negotiated", Decimal("12.34"))
        assert entries(created) == [("negotiated", Decimal("12.34"))]

    @pytest.mark.parametrize(
        ("values", "constraint"),
        [
            ("price_state = 'free'", "subscription_price_state_known"),
            ("locked_until = now()", "subscription_locked_until_of_locked"),
            (
                "price_state = 'negotiated', locked_until = now()",
                "subscription_locked_until_of_locked",
            ),
            (
                "price_state = 'locked', locked_until = 'infinity'",
                "subscription_locked_until_of_locked",
            ),
            ("price_state = 'negotiated', price = -1", "subscription_price_not_negative"),
            ("price_state = 'negotiated', price = 'NaN'", "subscription_price_not_negative"),
        ],
    )
    def test_can_not_break_the_rules(self, subscription, values, constraint):
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            self.execute(
                f"UPDATE services_subscription SET {values} WHERE id = %s", subscription.pk
            )
        assert state(subscription) == ("follows", 100)

    @pytest.mark.parametrize("swept", [True, False])
    def test_of_a_price_over_a_lock_that_has_ended_is_the_rule_s(
        self, subscription, moved_clock, swept
    ):
        """Whether a worker has written down the end of the lock or not."""
        end = soon()
        price_state.lock(subscription.pk, end, "so", "Ann")
        catalogue_moves_to(200, subscription)
        moved_clock.to(end + HOUR)
        if swept:
            reprice()
        self.execute("UPDATE services_subscription SET price = 7 WHERE id = %s", subscription.pk)
        assert state(subscription) == ("follows", 200)
        reprice()
        assert state(subscription) == ("follows", 200)
        assert not book_check.check().differs

    def test_of_a_price_of_one_that_ended_before_its_lock_stays(self, subscription, moved_clock):
        end = soon()
        price_state.lock(subscription.pk, end, "so", "Ann")
        Subscription.objects.filter(pk=subscription.pk).update(ended_at=end - HOUR / 2)
        moved_clock.to(end + HOUR)
        self.execute("UPDATE services_subscription SET price = 7 WHERE id = %s", subscription.pk)
        assert state(subscription) == ("locked", 7)
        reprice()
        assert state(subscription) == ("locked", 7)
        assert not book_check.check().differs
