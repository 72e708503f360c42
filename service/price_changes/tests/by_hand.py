"""Histories written by hand: the shortest ones of rules that are built, and of others."""

from decimal import Decimal

from price_changes.tests.histories import NOT_TOLD, PULLED, RELEASED, TOLD, Event, History


def listed(minute, kind="list price changed", value=24, **about):
    return minute, kind, {"of": 1, "value": Decimal(value), "when_moved": "current", **about}


def edited(minute, value=24):
    return minute, "list price edited", {"of": 1, "value": Decimal(value), "by": "update"}


def a_set(minute, when_moved="current", adjustment="add", **about):
    kind = "set of prices" if adjustment == "add" else "set of states"
    values = {"filter": {"subscription": 1}, "adjustment": adjustment}
    if kind == "set of prices":
        values["operand"] = "5"
    return minute, kind, {**values, "when_moved": when_moved, **about}


def on(subscription, minute, kind, **about):
    return minute, kind, {"subscription": subscription, "by": "update", **about}


def own(minute, kind, **about):
    return on(1, minute, kind, **about)


def corrected(minute, price="30.05", **about):
    return own(minute, "corrected", price=Decimal(price), **about)


def opened(minute, **about):
    return minute, "opened", {"client": 1, "service": 1, "plan": 1, "by": "save", **about}


def verb(minute, kind, by="revert"):
    return minute, kind, {"change": 100, "by": by}


def risen(minute, at):
    """A list price of 20 and that instant."""
    return listed(minute, value=20 + at, at=at)


def pulled(minute):
    return minute, PULLED, {}


def released(minute):
    return minute, RELEASED, {}


def told(minute, change=100):
    return minute, TOLD, {"change": change}


def not_told(minute, change=100):
    return minute, NOT_TOLD, {"change": change}


def a_history_of(*events, ticks=False):
    happens = [Event(100 + n, *event) for n, event in enumerate(events)]
    return History("told", ticks, happens)


# Each was wrong for ever if workers came late, when workers still wrote the history.
HISTORIES = [
    [listed(1, at=3), verb(5, "taken back", by="cancel")],
    [listed(1, at=3), own(4, "locked")],
    [listed(1, at=3), edited(4, 20)],
    [own(1, "ended", ended_at=5), listed(1, at=3)],
    [listed(1, at=2), listed(1, value=30, at=3), own(1, "ended", ended_at=3)],
    [edited(2), own(4, "ended", ended_at=1)],
    # A correction lies above a price that no worker has copied, the end of a lock, another one
    # and a change for new subscriptions only; and it may go on.
    [edited(2), corrected(5, since=1, until=4), corrected(6, 24, since=3, until=5)],
    [edited(2), corrected(5, since=3), edited(6, 20)],
    [own(1, "locked", until=3), edited(2), corrected(5, since=2, until=4)],
    [listed(1, "for new only", at=3), corrected(5, since=2, until=4)],
    [listed(1, at=3), corrected(5, since=2, until=4), own(6, "ended", ended_at=3)],
    # An end that has passed is put off to another one: the feed has what came in between.
    [
        own(1, "ended", ended_at=3),
        edited(4),
        corrected(6, since=2, until=5),
        own(8, "reopened", ended_at=7),
    ],
    [edited(4), own(5, "ended", ended_at=3), own(8, "reopened", ended_at=7)],
    [
        own(1, "locked", until=4),
        own(1, "ended", ended_at=3),
        edited(2),
        corrected(6, since=2, until=5),
        own(8, "reopened", ended_at=7),
    ],
    # A change for new subscriptions only in that time keeps nobody: by then it had ended.
    [
        own(1, "ended", ended_at=3),
        listed(2, "for new only", at=4),
        own(8, "reopened", ended_at=7),
    ],
    [
        own(1, "ended", ended_at=3),
        listed(2, "for new only", at=4, locked_until=6),
        edited(5, 30),
        own(8, "reopened", ended_at=7),
    ],
    [
        listed(1, "for new only", at=2),
        own(1, "ended", ended_at=3),
        listed(2, "for new only", 28, at=4),
        own(8, "reopened", ended_at=7),
    ],
    [
        own(1, "ended", ended_at=3),
        listed(2, "for new only", at=4),
        own(6, "reopened", ended_at=5),
        own(8, "reopened", ended_at=7),
        (9, "taken back", {"change": 101, "by": "revert"}),
    ],
    # Periods, and late writes of them.
    [own(1, "locked"), edited(2), own(4, "lock cut")],
    [own(1, "ended", ended_at=2), own(4, "reopened")],
    [edited(2), opened(5, started_at=1, ended_at=3)],
    [own(1, "locked", until=3), edited(2), own(5, "locked")],
    [own(1, "locked", until=4), edited(2), own(6, "ended", ended_at=3)],
    [own(3, "negotiated", price=Decimal(24)), own(5, "ended", ended_at=2)],
    [
        own(3, "negotiated", price=Decimal(24)),
        own(5, "ended", ended_at=2),
        own(6, "reopened"),
    ],
    [
        own(1, "negotiated", price=Decimal(24)),
        own(3, "negotiated", price=Decimal(30)),
        own(5, "ended", ended_at=2),
    ],
    [
        own(1, "negotiated", price=Decimal(24)),
        own(3, "started", started_at=-4),
        own(5, "ended", ended_at=-2),
    ],
    [own(1, "ended", ended_at=2), own(3, "deleted")],
    # Its last price is that of where it was, and of how it stood, at an end that is put back.
    [edited(2), own(5, "moved to a plan", to=2), own(6, "ended", ended_at=4)],
    [edited(2), own(5, "moved to a service", to=2), own(6, "ended", ended_at=4)],
    [
        edited(2),
        own(3, "negotiated", price=Decimal(30)),
        own(5, "follows"),
        own(6, "ended", ended_at=4),
    ],
    [
        edited(2),
        own(3, "locked", until=5),
        own(5, "moved to a plan", to=2),
        own(6, "ended", ended_at=4),
    ],
    # At a price of its own, because it was created after its end.
    [listed(1, at=3), opened(5, started_at=2, ended_at=4, paid=Decimal(9))],
    [listed(1, "for new only", at=3), opened(5, started_at=2, ended_at=4, paid=Decimal(9))],
    [
        listed(1, at=3),
        opened(5, started_at=2, ended_at=4, paid=Decimal(9)),
        on(101, 6, "ended", ended_at=5),
    ],
    [
        listed(1, at=3),
        opened(5, started_at=2, ended_at=4, paid=Decimal(9)),
        on(101, 6, "reopened"),
        listed(7, "for new only", 30, at=8),
    ],
    # An entry that is repeated after a late copy is no such price.
    [
        own(1, "negotiated", price=Decimal(70)),
        a_set(2, at=3),
        own(4, "follows"),
        edited(5),
        own(6, "ended", ended_at=6),
    ],
    [edited(3), own(5, "moved to a client", to=2)],
    [listed(1, "for new only", at=3)],
    [listed(1, "for new only", 20, at=3), listed(4)],
    [listed(1, "for new only", at=3), opened(5, started_at=2)],
    [listed(1, "for new only", at=3), own(5, "moved to a plan", to=2)],
    [listed(1, "for new only", at=3, until=5), listed(6)],
    [listed(1, "for new only", at=3), own(5, "lock cut")],
    [listed(1, "for new only", at=3), verb(5, "taken back", by="cancel")],
    [listed(1, at=3), verb(5, "taken back")],
    [listed(1, "for new only", at=3), verb(5, "taken back")],
    # It came in the gap of one that is opened again.
    [own(2, "ended", ended_at=3), listed(4, "for new only", at=5), own(7, "reopened")],
    [
        own(2, "ended", ended_at=3),
        listed(4, "for new only", at=5),
        own(7, "reopened"),
        own(8, "moved to a client", to=2),
    ],
    [
        listed(1, "for new only", at=3),
        own(4, "ended", ended_at=4),
        own(5, "reopened"),
        edited(6, 26),
        verb(7, "taken back"),
    ],
    [listed(1, at=3), verb(5, "paused"), verb(6, "taken back")],
    [listed(1, at=3), verb(5, "taken back"), verb(6, "restored")],
    [listed(1, at=3), verb(5, "taken back"), listed(7, value=26)],
    [listed(1, at=5, when_moved="hold"), edited(3, 22)],
    [listed(1, "for new only", at=5, when_moved="hold"), edited(3, 22)],
    [
        listed(1, at=3, value=22),
        listed(2, at=5, when_moved="hold"),
        verb(3, "taken back", "cancel"),
    ],
    [
        listed(1, "for new only", at=5, until=7, when_moved="hold"),
        verb(5, "taken back"),
    ],
    # No worker had written what it paid, before it was opened again, deleted or locked anew.
    [own(1, "ended", ended_at=5), listed(1, at=3), own(7, "reopened")],
    [own(1, "ended", ended_at=5), listed(1, at=6), own(7, "reopened")],
    [
        listed(1, at=2),
        listed(1, "for new only", 30, at=3),
        listed(1, value=33, at=4),
        own(5, "deleted"),
    ],
    [listed(1, "for new only", at=3, until=4), own(5, "deleted")],
    [
        listed(1, "for new only", at=3),
        verb(4, "taken back"),
        listed(4, value=30, at=5),
        own(6, "deleted"),
    ],
    [own(1, "locked", until=3), edited(2), own(5, "deleted")],
    [
        own(1, "locked", until=3),
        listed(1, at=4),
        listed(1, "for new only", 30, at=5),
        own(7, "negotiated", price=Decimal(9)),
    ],
    [listed(1, at=3), listed(1, value=26, at=4), opened(5, started_at=2, ended_at=6)],
    # A start that is said late, before moves of the catalogue: the feed has each of them.
    [edited(2), edited(3, value=26), opened(5, started_at=1)],
    [listed(1, at=4), edited(2), own(5, "started", started_at=-2)],
    [listed(1, "for new only", value=26, at=3), edited(2), own(5, "started", started_at=-2)],
    [listed(1, "for new only", at=3), edited(4, value=26), opened(5, started_at=2)],
    [edited(2), opened(3), on(101, 5, "started", started_at=1)],
    [edited(2), listed(3, at=4, value=26), opened(5), on(102, 7, "started", started_at=1)],
    # Two writes while no worker has ended a lock.
    *(
        [own(1, "locked", until=3), edited(2), edited(4, 26), *of_client, last]
        for of_client, last in (
            ([own(5, "moved to a client", to=2)], own(7, "negotiated", price=Decimal(9))),
            ([own(5, "moved to a client", to=2), edited(6, 28)], own(7, "deleted")),
            (
                [own(5, "moved to a client", to=2), own(5, "moved to a client", to=1)],
                own(7, "locked", until=9),
            ),
        )
    ),
    # Sets
    [a_set(1, at=3), own(4, "negotiated", price=Decimal(24))],
    [a_set(1, at=3), verb(4, "paused")],
    [listed(1, at=2), a_set(1, "hold", at=4)],
    [a_set(1, at=3), verb(5, "taken back")],
    # Filters are judged as of the instant: a state, a price, who pays.
    [own(1, "locked", until=4), a_set(2, "hold", at=6, filter={"price_state": "follows"})],
    [
        own(1, "locked", until=4),
        on(2, 1, "locked"),
        a_set(2, "hold", "release", at=6, filter={"price_state": "locked"}),
    ],
    [own(1, "locked", until=4), a_set(5, "frozen", at=6, filter={"price_state": "follows"})],
    [listed(1, at=4), a_set(2, "hold", at=6, filter={"price_from": "21"})],
    [listed(1, at=4), a_set(2, "hold", at=6, filter={"price_to": "21"})],
    [listed(1, value=21, at=8), a_set(2, at=6, filter={"price_to": "20"})],
    [
        listed(1, "for new only", at=4),
        a_set(2, "hold", "release", at=6, filter={"price_state": "locked"}),
    ],
    [own(1, "ended", ended_at=4), a_set(2, "hold", at=6, filter={"state": "active"})],
    [own(1, "ended", ended_at=8), a_set(2, at=6, filter={"state": "active"})],
    [opened(1, started_at=4), a_set(2, "hold", at=6, filter={"state": "active"})],
    [opened(1, started_at=8), a_set(2, at=6, filter={"state": "active"})],
    [opened(1, started_at=8), a_set(2, at=6, filter={"state": "upcoming"})],
    [a_set(1, at=4), a_set(2, "hold", at=4)],
    [a_set(1, at=3), a_set(2, "frozen", at=4)],
    [a_set(1, "frozen", at=3), own(2, "negotiated", price=Decimal(30)), a_set(2, "hold", at=4)],
    [a_set(1, "hold", at=3), a_set(2, "hold", at=4), a_set(2, "frozen", at=5)],
    # Recorded at the very instant of a change for new ones only, before it: it is a new one.
    [opened(2), listed(2, "for new only")],
    [opened(2), listed(2, "for new only"), edited(4, 30)],
    [own(2, "moved to a plan", to=2), listed(2, "for new only")],
    [own(2, "released"), listed(2, "for new only"), own(4, "ended", ended_at=3)],
    # A move of the instant of a plain entry, decided after it, and entered by a writer.
    [own(1, "locked"), own(2, "lock cut"), edited(2), own(4, "locked")],
    [own(1, "locked"), own(2, "released"), edited(2), own(4, "locked")],
    [edited(2), own(2, "moved to a plan", to=2), own(4, "locked")],
    [own(2, "moved to a plan", to=2), edited(2), own(4, "locked")],
    [opened(2), edited(2), on(100, 4, "locked")],
    [opened(2), edited(2), edited(2, 30), on(100, 4, "locked")],
    # The brake: what comes after the pull and not after the release is held, whoever approved it
    # when; and what was judged behind that, with it.
    *(
        [*(change(1, at=at) for at in (3, 5, 6)), pulled(3), released(5)]
        for change in (risen, a_set)
    ),
    *([pulled(1), change(2, at=4), change(2, at=5), released(4)] for change in (risen, a_set)),
    [listed(1, "for new only", at=3), pulled(2), released(4), edited(5, 26)],
    [listed(1, at=4), pulled(2), listed(2, value=26, at=6, when_moved="hold"), released(3)],
    [a_set(1, at=4), pulled(2), a_set(2, "hold", at=6), released(3)],
    [a_set(1, at=4), pulled(2), a_set(2, "hold", at=6), released(5)],
    [listed(1, at=3), pulled(4), verb(5, "taken back"), released(6), verb(7, "restored")],
    [listed(1, at=7), pulled(2), released(3), pulled(4), verb(5, "cancelled"), released(6)],
    # A notice: what is recorded before the instant decides; and the brake holds on its own.
    *(
        [listed(1, at=6, notice=True), *marks]
        for marks in (
            [told(2), not_told(4)],
            [told(5), not_told(6)],
            [told(3), pulled(4), not_told(4), released(5)],
            [pulled(2), told(3)],
            [told(3), verb(7, "taken back"), verb(9, "restored")],
        )
    ),
    *(
        [a_set(1, at=6, notice=True), *marks]
        for marks in (
            [],
            [told(2), not_told(3), told(5)],
            [pulled(2), told(3), released(5)],
        )
    ),
    [listed(1, at=4, notice=True), listed(2, value=26, at=6, when_moved="hold"), told(3)],
    [a_set(1, at=4, notice=True), a_set(2, "frozen", at=6, notice=True), told(5, 101)],
]

# Each was wrong for ever where no worker came before the end; with whether the clock ticks.
SETS_LISTED_LAST = [
    # The copy of an edit comes after the end that is put before the set.
    (True, [edited(2), a_set(3), own(6, "ended", ended_at=3)]),
    (True, [edited(2), a_set(3, at=4), own(6, "ended", ended_at=4)]),
    # Written while no sweep had released a lock that had ended before the set.
    (True, [own(1, "locked", until=3), a_set(2, at=4), own(6, "moved to a client", to=2)]),
    (
        False,
        [
            own(1, "locked", until=3),
            a_set(2, adjustment="lock", at=4),
            own(6, "ended", ended_at=1),
            own(7, "reopened"),
        ],
    ),
    # Somebody has written twice at an instant, and two sets are entered below that.
    (False, [a_set(2, at=4), own(6, "locked"), own(6, "released")]),
    (False, [a_set(2, at=4), own(6, "locked"), own(6, "lock cut")]),
    (
        False,
        [
            a_set(2, at=4),
            a_set(2, at=5),
            own(6, "locked"),
            own(6, "moved to a client", to=2),
            own(6, "released"),
        ],
    ),
]

# With the workers who come: what they have written is not all that is known at the end.
WITH_WORKERS = [
    ("once, after the second write", [listed(6), verb(8, "taken back"), verb(8, "restored")]),
    (
        "once, after the second write",
        [listed(6), verb(8, "taken back"), verb(8, "restored"), own(9, "locked")],
    ),
    (
        "once, after the first write",
        [listed(3, "for new only"), verb(5, "taken back"), listed(7, value=30)],
    ),
    ("never", [own(1, "locked", until=3), edited(2), own(5, "moved to a client", to=2)]),
    ("at once", [listed(1, "for new only", at=5), verb(5, "taken back", by="cancel")]),
    # Stored as the set that was taken back has left it, and given an end of the lock.
    (
        "listed",
        [
            a_set(1, adjustment="lock", at=3, filter={}),
            verb(4, "taken back"),
            own(6, "locked", until=9, by="save"),
            edited(7),
        ],
    ),
]
