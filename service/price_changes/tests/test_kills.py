"""kill -9 at the named points of price changes: no row is lost, and a sown fault is seen.

`./pricebook bench kills` plays 200 of these rounds; each failing one prints its seed.
"""

import json
from datetime import timedelta

import pytest
from django.db import connection

from price_changes.tests import kills
from price_changes.tests.changes import clock, drained, scheduled
from price_changes.tests.kills.faults import FAULTS
from price_changes.tests.kills.proof import double_entries
from price_changes.tests.kills.rounds import POINTS_OF_PEOPLE, POINTS_OF_WORKERS, plan_of
from pricebook.local import template
from pricebook.local.home import Home
from pricebook.local.suite import suite_template
from pricebook.tests.servers import until
from services import price_state
from services.models import LockEnd, Subscription, WholeLedger
from services.tests.factories import a_plan, a_service, a_subscription

# All rounds are played in the set-up of the first test.
pytestmark = [pytest.mark.kills, pytest.mark.long, pytest.mark.timeout(600)]

ROUNDS = 6
MOMENT = timedelta(milliseconds=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("kills")
    # The migrations have run in it, as they would here.
    if (tables := suite_template()) is not None:
        template.copy(tables, Home(home))
    return home


@pytest.fixture(scope="module")
def outcomes(home):
    """All rounds in one run, since servers and workers take longer to start than a round."""
    return list(kills.run(home, ROUNDS))


@pytest.fixture(scope="module")
def sown(home):
    return list(kills.run(home, 0, faults=FAULTS))


def test_two_hundred_rounds_bring_each_kind_to_each_of_its_points():
    met = {plan_of(seed) for seed in range(200)}
    workers = {(kind, point) for kind, point in met if kind != "web"}
    assert {point for kind, point in met - workers} == set(POINTS_OF_PEOPLE)
    assert len(workers) == 4 * len(POINTS_OF_WORKERS)


def test_nothing_is_lost_or_done_twice_whatever_is_killed(outcomes):
    assert len(outcomes) == ROUNDS
    failed = [outcome for outcome in outcomes if outcome["findings"]]
    assert not failed, json.dumps(failed, indent=1)
    assert {outcome["kind"] for outcome in outcomes} == {
        "worker",
        "database session",
        "PostgreSQL",
        "Valkey",
        "web",
    }
    # If the scheduler let no process come to the point in time, the kill was a random one.
    assert sum(outcome["hit"] for outcome in outcomes) >= ROUNDS / 2


@pytest.mark.thorough
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_was_sown_is_seen(sown, fault):
    last = [outcome for outcome in sown if outcome["fault"] == fault][-1]
    assert last["findings"], FAULTS[fault].says


@pytest.mark.django_db
class TestDoubleEntries:
    """The judge takes an entry for double only if it did not have to be repeated."""

    @pytest.fixture
    def subscription(self):
        """A change has come late: the entry of a later instant is repeated after its own."""
        subscription = a_subscription(service=a_service(full_price=100), plan=a_plan(0))
        start = clock()
        prices = {"kind": "list_price", "service": subscription.service_id}
        scheduled(start + 2 * MOMENT, "current", **prices, new_value=300)
        drained()
        scheduled(start + MOMENT, "current", **prices, new_value=200)
        drained()
        return subscription

    def entries(self, subscription):
        of_it = WholeLedger.objects.filter(subscription_id=subscription.pk)
        return list(of_it.order_by("id").values_list("price", flat=True))

    def double(self):
        return sum(count for count, _ in double_entries())

    def test_are_not_those_behind_a_late_change(self, subscription):
        assert self.entries(subscription) == [100, 300, 200, 300]
        assert self.double() == 0

    def test_are_not_those_of_a_person_who_releases_a_lock_that_has_ended(self):
        row = a_subscription(service=a_service(full_price=100), plan=a_plan(0))
        price_state.lock(row.pk, clock() + timedelta(seconds=0.5), "promised", "ann")
        until(lambda: clock() > LockEnd.objects.get().until)
        Subscription.objects.filter(pk=row.pk).update(price_state="follows", locked_until=None)
        assert self.entries(row) == [100, 100, 100, 100]
        assert self.double() == 0

    @pytest.mark.parametrize("price", [100, 200, 300])
    def test_are_those_that_come_once_more(self, subscription, price):
        with connection.cursor() as cursor:
            cursor.execute(AGAIN, [price])
        assert self.double() > 0


COLUMNS = (
    "subscription_id, client_id, service_id, plan_id, price, price_state, effective_at, change_id"
)
AGAIN = f"""
INSERT INTO services_ledgerentry ({COLUMNS})
SELECT {COLUMNS} FROM services_ledgerentry WHERE price = %s ORDER BY id DESC LIMIT 1
"""
