"""The clients that a bridge shows are those that moved most, whatever their rows say today."""

from datetime import timedelta

import pytest

from price_changes.tests.changes import approved, drained, planned
from services import price_state
from services.ledger import bridge as bridges
from services.ledger import points
from services.ledger.bridge import bridge
from services.ledger.bridge_clients import can_rank
from services.ledger.total_then import nearest, total_as_of
from services.models import Subscription
from services.tests.factories import a_client, a_service, a_subscription

HOUR = timedelta(hours=1)


@pytest.fixture
def most(db, monkeypatch, moved_clock):
    """The one client that is shown of a bridge, and by how much its total moved.

    `by_sums`: whether that is found without reading all rows.
    """
    monkeypatch.setitem(bridges.MOST, "client", 1)
    monkeypatch.setattr(points, "FACTS", 2)

    def asked(since, until, by_sums=True):
        while points.make_next(moved_clock.now()):
            pass
        assert all(nearest(at) is not None for at in (since, until))
        assert can_rank(since, until) is by_sums
        found = bridge(since, until, by="client")
        totals = [total_as_of(at) for at in (since, until)]
        assert [found.total_since, found.total_until] == totals
        shown, others = found.groups
        assert others.id is None
        return shown.id, shown.until.amount - shown.since.amount

    return asked


def test_are_those_that_the_facts_say(most, moved_clock):
    now, passes = moved_clock.now, moved_clock.passes
    phone, line, paper = (a_service(100) for _ in range(3))
    stays, parts, deals, left, kept, locked = (a_client() for _ in range(6))

    def subscriptions(client, service, number):
        return [a_subscription(client, service).pk for _ in range(number)]

    subscriptions(stays, phone, 2)
    subscriptions(stays, line, 1)
    parting = subscriptions(parts, phone, 3)
    dealing = subscriptions(deals, phone, 8)
    leaving = subscriptions(left, phone, 4)
    subscriptions(kept, paper, 1)
    locking = subscriptions(locked, line, 2)
    passes(HOUR)
    for pk in dealing:
        price_state.negotiate(pk, 100, "deal", "ann")
    Subscription.objects.filter(pk__in=leaving).update(ended_at=now())
    passes(HOUR)
    since = now()
    phone.full_price = 110
    phone.save()
    passes(HOUR)
    until = now()
    Subscription.objects.filter(pk__in=parting).update(client=stays)
    for pk in dealing[:4]:
        price_state.follow(pk, "ann")
    assert most(since, until) == (parts.pk, 30)  # no worker has come

    drained()
    since = now()
    phone.full_price = 120
    phone.save()
    of_paper = {"kind": "list_price", "service": paper.pk, "for_new_only": True}
    approved(planned(**of_paper, new_value="200", effective_at=None))
    passes(HOUR)
    assert most(since, now()) == (stays.pk, 50)

    drained()
    for pk in locking:
        price_state.lock(pk, now() + HOUR, "asked", "ann")
    at = now() + 3 * HOUR
    approved(planned(kind="list_price", service=line.pk, new_value="110", effective_at=at))
    since, until = at - HOUR, at + HOUR
    assert most(since, until) == (locked.pk, 20)

    moved_clock.to(until)  # the locks end, and no worker comes
    assert most(since, until, by_sums=False) == (locked.pk, 20)
