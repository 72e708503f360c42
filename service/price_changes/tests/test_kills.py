"""kill -9 at the named points of price changes: I6 and I7, and that the rounds can see a fault.

`./pricebook bench kills` plays 200 of these rounds; each failing one prints its seed.
"""

import json

import pytest

from price_changes.tests import kills
from price_changes.tests.kills.faults import FAULTS

pytestmark = [pytest.mark.kills, pytest.mark.timeout(400)]

ROUNDS = 20


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """All rounds in one run, since servers and workers take longer to start than a round."""
    home = tmp_path_factory.mktemp("kills")
    return list(kills.run(home, ROUNDS, faults=FAULTS))


def test_nothing_is_lost_or_done_twice_whatever_is_killed(outcomes):
    played = [outcome for outcome in outcomes if outcome["fault"] is None]
    assert len(played) == ROUNDS
    failed = [outcome for outcome in played if outcome["findings"]]
    assert not failed, json.dumps(failed, indent=1)
    assert {outcome["kind"] for outcome in played} == {
        "worker",
        "database session",
        "PostgreSQL",
        "Valkey",
        "web",
    }
    # Where the scheduler let nobody come to the point in time, the kill was one at random.
    assert sum(outcome["hit"] for outcome in played) >= ROUNDS / 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_was_sown_is_seen(outcomes, fault):
    last = [outcome for outcome in outcomes if outcome["fault"] == fault][-1]
    assert last["findings"], FAULTS[fault].says
