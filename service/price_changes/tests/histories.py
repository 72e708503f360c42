"""Random histories of a small book: what people and programs decide, and at which instants.

    a_history()   draws one, in which two kinds of fact meet
    Telling       tells its events to the oracle, which says whether one may happen at all
    shortened()   the same history without what does not matter

An event names subscriptions, services and changes by numbers of its own, not by ids: so a history
can be told to any number of books, and without some of its events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from price_changes.tests import oracle
from price_changes.tests.oracle import AFTER, Oracle

START = datetime(2027, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)

# The book at its start: two of each, and three subscriptions.
LIST_PRICES = {1: Decimal("20.00"), 2: Decimal("37.45")}
DISCOUNTS = {1: 0, 2: 15}
CLIENTS = (1, 2)
OPENED = {1: (1, 1, 1), 2: (2, 1, 2), 3: (1, 2, 1)}  # client, service, plan

PRICES = [Decimal(price) for price in ("20.00", "24.00", "30.05", "0.05")]
PERCENTS = [0, 15, 25, 50]


def instant(minute: int) -> datetime:
    return START + minute * MINUTE


@dataclass(frozen=True)
class Event:
    """`number` is the name of the change or the subscription that it brings."""

    number: int
    minute: int
    kind: str
    about: dict[str, Any]

    def __str__(self) -> str:
        about = ", ".join(f"{name}={value}" for name, value in self.about.items())
        return f"{self.minute:>3}'  #{self.number} {self.kind}({about})"


@dataclass
class History:
    seed: object
    ticks: bool
    events: list[Event] = field(default_factory=list)

    def __str__(self) -> str:
        clock = "a clock that ticks" if self.ticks else "a clock that stands still at each minute"
        return "\n".join([f"history {self.seed!r}, {clock}", *map(str, self.events)])

    def without(self, event: Event) -> History:
        """And without what can't be without it."""
        return History(self.seed, self.ticks, allowed(self, lambda other: other is not event))

    @property
    def boundaries(self) -> list[int]:
        """The minutes at which something takes effect that was decided before."""
        named = ("at", "until", "started_at", "ended_at")
        found = {event.about.get(name) for event in self.events for name in named}
        return sorted(minute for minute in found if minute is not None and minute > 0)

    @property
    def minutes(self) -> list[int]:
        """At which anything happens, in order."""
        return sorted({*self.boundaries, *(event.minute for event in self.events)})


def allowed(history: History, wanted: Callable[[Event], bool]) -> list[Event]:
    telling, events = Telling(history.ticks), []
    for event in history.events:
        if wanted(event) and telling.allows(event):
            telling.tell(event)
            events.append(event)
    return events


def shortened(history: History, fails: Callable[[History], bool]) -> History:
    """Without each event without which it still fails."""
    again = True
    while again:
        again = False
        for event in reversed(history.events):
            shorter = history.without(event)
            if len(shorter.events) < len(history.events) and fails(shorter):
                history, again = shorter, True
                break
    return history


# --- What an event means ----------------------------------------------------------------------

CATALOGUE = {
    "list price edited": "service",
    "discount edited": "plan",
    "list price changed": "service",
    "discount changed": "plan",
    "for new only": "service",
}
SETS = ("set of prices", "set of states")
OF_CHANGE = ("cancelled", "taken back", "restored", "paused", "resumed")
OF_SUBSCRIPTION = (
    "started",
    "ended",
    "reopened",
    "moved to a service",
    "moved to a plan",
    "moved to a client",
    "locked",
    "lock cut",
    "released",
    "negotiated",
    "follows",
    "deleted",
)
KINDS = (*CATALOGUE, *SETS, *OF_CHANGE, "opened", *OF_SUBSCRIPTION)
# What has to come before it.
NEEDS = {
    "cancelled": ["list price changed", "discount changed", "for new only", *SETS],
    "taken back": [*CATALOGUE, *SETS],
    "restored": ["taken back"],
    "paused": ["list price changed", "discount changed", "for new only", *SETS],
    "resumed": ["paused"],
    "reopened": ["ended"],
    "lock cut": ["locked"],
    "released": ["locked"],
    "follows": ["negotiated"],
    "set of states": ["negotiated", "locked"],
}


class Telling:
    """The oracle, and what an event means to it."""

    def __init__(self, ticks: bool) -> None:
        self.tick = MICROSECOND if ticks else timedelta(0)
        self.oracle = Oracle()
        self.changes: dict[int, int] = {}  # the number of its fact, by that of the event
        self.reverted: set[int] = set()  # which may be reverted again
        self.paused: set[int] = set()
        self.now = START
        self.told: list[Event] = []
        for service, price in LIST_PRICES.items():
            self._says(oracle.Value(effective_at=START, subject=("service", service), value=price))
        for plan, percent in DISCOUNTS.items():
            value = Decimal(percent)
            self._says(oracle.Value(effective_at=START, subject=("plan", plan), value=value))
        for number, (client, service, plan) in OPENED.items():
            self._says(
                oracle.Opened(
                    subscription=number, client=client, service=service, plan=plan, started_at=START
                )
            )

    def _says(self, fact: oracle.Fact) -> int:
        return self.oracle.record(self.now, fact)

    def allows(self, event: Event) -> bool:
        """Whether it can happen: it has what it is about, and nothing would refuse it."""
        self.now = instant(event.minute) + self.tick
        kind, about = event.kind, event.about
        if kind in OF_SUBSCRIPTION:
            return self._allows_own(kind, about)
        if kind in OF_CHANGE:
            return about["change"] in self.changes and self._allows_verb(kind, about["change"])
        later = about.get("at")
        if later is not None and instant(later) <= self.now:
            return False
        until = about.get("until")
        if until is not None and instant(until) <= max(self.now, instant(later or 0)):
            return False
        if kind in SETS:
            return self._would_move(event)
        if kind == "opened":
            start, end = about.get("started_at"), about.get("ended_at")
            start = self.now if start is None else instant(start)
            return end is None or instant(end) > start
        return True

    def _allows_own(self, kind: str, about: dict[str, Any]) -> bool:
        number = about["subscription"]
        if number not in self.oracle.subscriptions or self.oracle.deleted(number, self._here):
            return False
        start, end = self.oracle.start(number), self.oracle.end(number)
        if kind == "deleted":
            return True
        if kind in ("ended", "reopened"):
            given = about.get("ended_at")
            if (kind == "reopened") != (end is not None and end <= self.now):
                return False
            to = None if given is None else instant(given)
            return to != end and (to is None or to > start)
        if self.oracle.ended(number, self.now) is not None:
            return False
        if kind == "started":
            to = instant(about["started_at"])
            return number in OPENED and to != start and (end is None or to < end)
        until = about.get("until")
        if kind == "locked" and until is not None and instant(until) <= self.now:
            return False
        standing, _ = self.oracle.standing(number, self._here)
        if kind in ("released", "lock cut"):
            return standing.state == "locked"
        return kind != "follows" or standing.state == "negotiated"

    def _allows_verb(self, kind: str, event: int) -> bool:
        change = self.changes[event]
        fact = self.oracle.by_number[change]
        assert isinstance(fact, oracle.Scheduled)
        undone = self.oracle.undone_before(change, self._here)
        has_come = fact.effective_at <= self.now
        if kind == "restored":
            takes_back = isinstance(fact, oracle.Value) and not fact.for_new_only
            return takes_back and undone and event in self.reverted
        if undone:
            return False
        if kind == "cancelled":
            return not has_come
        if kind == "paused":
            return has_come and event not in self.paused
        if kind == "resumed":
            return event in self.paused
        if not has_come:
            return False
        if isinstance(fact, oracle.Value):
            return self.oracle.in_force(change, self._here)
        return any(
            self.oracle.has_last_word(change, number, self._here)
            and not self.oracle.deleted(number, self._here)
            and self.oracle.ended(number, self.now) is None
            for number in self.oracle.subscriptions
        )

    @property
    def _here(self) -> oracle.Place:
        return self.now, AFTER

    def _would_move(self, event: Event) -> bool:
        trial = Oracle()
        trial.facts, trial.by_number = list(self.oracle.facts), dict(self.oracle.by_number)
        change = trial.record(self.now, self._set(event))
        return any(row.becomes for row in trial.approved_rows(change).values())

    def _set(self, event: Event) -> oracle.Set:
        about = event.about
        names = ("operand", "floor", "ceiling", "rounding_step")
        given: dict[str, Any] = {name: Decimal(about[name]) for name in names if name in about}
        return oracle.Set(
            effective_at=self._at(about),
            hold=about["when_moved"] == "hold",
            frozen=about["when_moved"] == "frozen",
            filter=about["filter"],
            adjustment=about["adjustment"],
            locked_until=self._minute(about.get("until")),
            **given,
        )

    def _at(self, about: dict[str, Any]) -> datetime:
        return self._minute(about.get("at")) or self.now

    @staticmethod
    def _minute(minute: int | None) -> datetime | None:
        return None if minute is None else instant(minute)

    def tell(self, event: Event) -> None:
        self.now = instant(event.minute) + self.tick
        self.told.append(event)
        kind, about = event.kind, event.about
        if kind in CATALOGUE:
            self._tell_value(event)
        elif kind in SETS:
            self.changes[event.number] = self._says(self._set(event))
        elif kind in ("cancelled", "taken back", "restored"):
            change = about["change"]
            again = kind == "restored"
            self._says(oracle.Undone(of=self.changes[change], again=again))
            self.reverted.discard(change)
            if kind == "taken back" and about["by"] == "revert":
                self.reverted.add(change)
            self.paused.discard(change)
        elif kind == "paused":
            self.paused.add(about["change"])
        elif kind == "resumed":
            self.paused.discard(about["change"])
        else:
            self._says(self._own(event))

    def _tell_value(self, event: Event) -> None:
        about = event.about
        subject = (CATALOGUE[event.kind], about["of"])
        value = Decimal(about["value"])
        if "edited" in event.kind and value == self.oracle.value(subject, self._here):
            return  # it says nothing new
        self.changes[event.number] = self._says(
            oracle.Value(
                effective_at=self._at(about),
                hold=about.get("when_moved", "current") == "hold",
                subject=subject,
                value=value,
                for_new_only=event.kind == "for new only",
                locked_until=self._minute(about.get("until")),
            )
        )

    def _own(self, event: Event) -> oracle.Fact:
        kind, about = event.kind, event.about
        if kind == "opened":
            return oracle.Opened(
                subscription=event.number,
                client=about["client"],
                service=about["service"],
                plan=about["plan"],
                started_at=self._minute(about.get("started_at")) or self.now,
                ended_at=self._minute(about.get("ended_at")),
                state="negotiated" if "price" in about else "follows",
                price=about.get("price"),
            )
        number = about["subscription"]
        if kind == "started":
            return oracle.Started(subscription=number, started_at=instant(about["started_at"]))
        if kind in ("ended", "reopened"):
            end = self._minute(about.get("ended_at"))
            return oracle.Ended(subscription=number, ended_at=end)
        if kind == "moved to a service":
            return oracle.Moved(subscription=number, service=about["to"])
        if kind == "moved to a plan":
            return oracle.Moved(subscription=number, plan=about["to"])
        if kind == "moved to a client":
            return oracle.Moved(subscription=number, client=about["to"])
        if kind == "locked":
            return oracle.Locked(subscription=number, until=self._minute(about.get("until")))
        if kind == "negotiated":
            return oracle.Negotiated(subscription=number, price=about["price"])
        if kind == "deleted":
            return oracle.Deleted(subscription=number)
        return oracle.Follows(subscription=number)  # released, lock cut, follows

    def subjects(self, event: Event) -> frozenset[object]:
        """The subscriptions, services and plans that an event is about."""
        about = event.about
        if event.kind in OF_CHANGE:
            of = next(other for other in self.told if other.number == about["change"])
            return self.subjects(of)
        after = instant(event.minute) + MINUTE / 2, AFTER
        if event.kind in CATALOGUE:
            subject = (CATALOGUE[event.kind], about["of"])
            pairs = {number: self._pair(number, after) for number in self.oracle.subscriptions}
            return frozenset([subject, *(pk for pk, pair in pairs.items() if subject in pair)])
        if event.kind in SETS:
            rows = self.oracle.approved_rows(self.changes[event.number])
            return frozenset().union(*(self._pair(number, after) for number in rows))
        number = event.number if event.kind == "opened" else about["subscription"]
        return self._pair(number, after)

    def _pair(self, number: int, place: oracle.Place) -> frozenset[object]:
        standing, _ = self.oracle.standing(number, place)
        return frozenset([number, ("service", standing.service), ("plan", standing.plan)])


# --- Drawing one ------------------------------------------------------------------------------


class Drawing:
    """Draws events around one subscription, its service and its plan, and few others."""

    def __init__(self, random: Random, ticks: bool) -> None:
        self.random = random
        self.telling = Telling(ticks)
        self.events: list[Event] = []
        self.minute = 1
        self.focus = random.choice(list(OPENED))

    def draw(self, kind: str, depth: int = 0) -> None:
        for again in range(4):
            self.pass_time()
            event = Event(100 + len(self.events), self.minute, kind, self.about(kind))
            if self.telling.allows(event):
                self.telling.tell(event)
                self.events.append(event)
                return
            if again == 1 and depth < 3 and kind in NEEDS:
                self.draw(self.random.choice(NEEDS[kind]), depth + 1)

    def pass_time(self) -> None:
        """No time, a minute or two, or up to the next instant at which something takes effect."""
        coming = [minute for minute in self.coming() if minute > self.minute]
        if coming and self.random.random() < 0.35:
            self.minute = coming[0]
        else:
            self.minute += self.random.choice([0, 0, 1, 1, 2])

    def coming(self) -> list[int]:
        return History(None, False, self.events).boundaries

    def later(self) -> int:
        """An instant to come, often one at which something else takes effect."""
        coming = [minute for minute in self.coming() if minute > self.minute]
        if coming and self.random.random() < 0.4:
            return self.random.choice(coming)
        return self.minute + self.random.randint(1, 4)

    def any_time(self) -> int:
        return self.random.choice([self.later(), self.later(), self.minute, self.earlier()])

    def earlier(self) -> int:
        happened = [event.minute for event in self.events] or [0]
        return self.random.choice([*happened, self.minute - 1, 1 - self.random.randint(1, 9)])

    def often(self, share: float = 0.5) -> bool:
        return self.random.random() < share

    def some(self, numbers: Any, of_focus: int) -> int:
        return of_focus if self.often(0.75) else self.random.choice(list(numbers))

    def about(self, kind: str) -> dict[str, Any]:
        choose = self.random.choice
        client, service, plan = OPENED[self.focus]
        subscriptions = self.telling.oracle.subscriptions
        if kind in OF_CHANGE:
            changes = list(self.telling.changes) or [0]
            change = changes[-1] if self.often(0.7) else choose(changes)
            return {"change": change, "by": choose(["cancel", "revert"])}
        if kind in CATALOGUE:
            return self.about_a_value(kind, service, plan)
        if kind in SETS:
            return self.about_a_set(kind)
        if kind == "opened":
            about: dict[str, Any] = {
                "client": self.some(CLIENTS, client),
                "service": self.some(LIST_PRICES, service),
                "plan": self.some(DISCOUNTS, plan),
                "by": choose(["save", "bulk", "SQL"]),
            }
            if self.often():
                about["started_at"] = self.any_time()
            if self.often(0.3):
                about["ended_at"] = self.any_time()
            if self.often(0.2):
                about["price"] = choose(PRICES)
            return about
        about = {"subscription": self.some(subscriptions, self.focus)}
        if kind == "started":
            about["started_at"] = self.any_time()
        elif kind == "ended" or (kind == "reopened" and self.often(0.4)):
            about["ended_at"] = self.any_time()
        elif kind == "moved to a service":
            about["to"] = choose(list(LIST_PRICES))
        elif kind == "moved to a plan":
            about["to"] = choose(list(DISCOUNTS))
        elif kind == "moved to a client":
            about["to"] = choose(CLIENTS)
        elif kind == "negotiated":
            about["price"] = choose(PRICES)
        elif kind == "locked" and self.often(0.7):
            about["until"] = self.later()
        about["by"] = choose(["verb", "update", "save"])
        return about

    def about_a_value(self, kind: str, service: int, plan: int) -> dict[str, Any]:
        of_service = CATALOGUE[kind] == "service"
        about: dict[str, Any] = {
            "of": self.some(LIST_PRICES, service) if of_service else self.some(DISCOUNTS, plan),
            "value": self.random.choice(PRICES if of_service else PERCENTS),
        }
        if "edited" in kind:
            about["by"] = self.random.choice(["update", "save", "bulk", "SQL"])
            return about
        if self.often(0.75):
            about["at"] = self.later()
        if kind == "for new only" and self.often(0.4):
            about["until"] = about.get("at", self.minute) + self.random.randint(1, 4)
        about["when_moved"] = self.random.choice(["hold", "current"])
        return about

    def about_a_set(self, kind: str) -> dict[str, Any]:
        choose = self.random.choice
        client, service, plan = OPENED[self.focus]
        about: dict[str, Any] = {
            "filter": choose(
                [
                    {},
                    {"subscription": self.focus},
                    {"service": service},
                    {"plan": plan},
                    {"client": client},
                    {"price_state": choose(["follows", "negotiated", "locked"])},
                    {"price_from": "21"},
                ]
            ),
            "when_moved": choose(["current", "current", "frozen", "hold"]),
        }
        if self.often(0.75):
            about["at"] = self.later()
        if kind == "set of states":
            about["adjustment"] = choose(["lock", "lock", "release", "follow"])
            if about["adjustment"] == "lock" and self.often():
                about["until"] = about.get("at", self.minute) + self.random.randint(1, 4)
            return about
        about["adjustment"] = choose(["amount", "add", "percent"])
        about["operand"] = {
            "amount": choose(["20", "33.33"]),
            "add": "5",
            "percent": choose(["10", "-10", "50"]),
        }[about["adjustment"]]
        about |= choose([{}, {}, {"rounding_step": "0.5"}, {"floor": "21"}, {"ceiling": "22"}])
        return about


def a_history(seed: object, meeting: tuple[str, str], more: int = 1) -> History:
    """One in which facts of two kinds may meet, and up to `more` others come between."""
    random = Random(str(seed))
    drawing = Drawing(random, ticks=random.random() < 0.5)
    kinds = [*meeting, *random.choices(KINDS, k=random.randint(0, more))]
    random.shuffle(kinds)
    for kind in kinds:
        drawing.draw(kind)
    return History(seed, drawing.telling.tick > timedelta(0), drawing.events)


def meetings(telling: Telling) -> Iterator[tuple[str, str]]:
    """The kinds that met on one subscription, service or plan; each pair in the order of KINDS."""
    events = [(event, telling.subjects(event)) for event in telling.told]
    for n, (event, subjects) in enumerate(events):
        for other, others in events[:n]:
            if subjects & others:
                first, second = sorted([event.kind, other.kind], key=KINDS.index)
                yield first, second


def told(history: History) -> Telling:
    telling = Telling(history.ticks)
    for event in history.events:
        assert telling.allows(event), event
        telling.tell(event)
    return telling


def histories_in_which_all_meet(seed: object, tries: int = 200) -> Iterator[History]:
    """Histories until each kind has met each other one, and another of its own.

    ValueError where two don't meet in so many tries.
    """
    unmet = {pair for n, kind in enumerate(KINDS) for pair in ((kind, to) for to in KINDS[n:])}
    for pair in sorted(unmet, key=lambda pair: (KINDS.index(pair[0]), KINDS.index(pair[1]))):
        for n in range(tries):
            if pair not in unmet:
                break
            history = a_history(f"{seed}: {' and '.join(pair)}, {n}", pair, more=3)
            met = set(meetings(told(history)))
            if pair in met:
                unmet -= met
                yield history
    if unmet:
        raise ValueError(f"{unmet} never met")
