"""The instant decides, and nobody's sleep."""

import time
from collections import Counter

import pytest

from price_changes.tests.histories import KINDS, a_history, meetings
from price_changes.tests.plays import SCHEDULES, Book, Play
from price_changes.tests.timeline import Timeline


@pytest.fixture
def timeline(db, monkeypatch):
    return Timeline(monkeypatch)


def test_try(timeline):
    book = Book()
    start = time.monotonic()
    import cProfile; profile = cProfile.Profile(); profile.enable()
    plays = 0
    counts = Counter()
    for n in range(8):
        first, second = KINDS[n % len(KINDS)], KINDS[(n * 7) % len(KINDS)]
        history = a_history(n, (first, second))
        for schedule in SCHEDULES:
            plays += 1
            found = Play(book, timeline, history, schedule).differences()
            for each in found:
                counts[schedule, each.reader] += 1
            if found:
                print(schedule, found[0])
                print(history)
    print(plays, time.monotonic() - start)
    print(counts)
    profile.disable(); profile.dump_stats('/tmp/oracle.prof')
