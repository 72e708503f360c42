"""A bridge adds up, and each of its steps is that of the facts, whenever workers came.

HISTORIES=500 ./pricebook test -n 0 service/price_changes/tests/test_bridge.py
"""

import os
from random import Random

import pytest

from price_changes.tests.asking import Book
from price_changes.tests.bridging import Bridging
from price_changes.tests.drawing import a_history
from price_changes.tests.histories import KINDS, shortened
from price_changes.tests.plays import Play
from price_changes.tests.timeline import Timeline
from services.ledger import bridge, points

ASKED = os.environ.get("HISTORIES")
SEED = os.environ.get("SEED") or (os.urandom(4).hex() if ASKED else "bridges")
HISTORIES = int(ASKED or 6)
SCHEDULES = ("at once", "never", "late", "piecemeal")


class BridgePlay(Bridging, Play):
    """A history of which only bridges are asked."""

    def _compare_now(self, now, when): ...

    def _compare_known(self, when): ...

    def _compare_bills(self, when): ...

    def _compare_ahead(self, now, when):
        if self.every or self.random.random() < 0.3:
            self._compare_bridges(now, when)

    def _compare_then(self, now, when):
        self._compare_bridges(now, when)
        while points.make_next(now):
            pass
        self._compare_bridges(now, f"{when}, by points")


@pytest.fixture
def timeline(db, monkeypatch):
    monkeypatch.setattr(points, "FACTS", 2)
    monkeypatch.setitem(bridge.MOST, "client", 1)  # so that there are others
    return Timeline()


@pytest.mark.timeout(0 if ASKED else 60)
def test_its_steps_are_those_of_the_facts(timeline):
    book = Book()
    for number in range(HISTORIES):
        seed = f"{SEED} {number}"
        meeting = Random(seed).sample(KINDS, 2)
        history = a_history(seed, tuple(meeting), more=5)
        schedule = SCHEDULES[number % len(SCHEDULES)]
        if BridgePlay(book, timeline, history, schedule).differences():

            def fails(shorter, schedule=schedule):
                return BridgePlay(book, timeline, shorter, schedule, every=True).differences()

            shortest = shortened(history, lambda shorter: bool(fails(shorter)))
            found = fails(shortest) or ["(only when few are asked)"]
            pytest.fail("\n".join([f"workers come {schedule}", str(shortest), *map(str, found)]))
