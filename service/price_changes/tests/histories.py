"""Histories of a small book: what people and programs decide, and at which instants.

    Telling       gives its events to the oracle, which says whether one may happen at all
    shortened()   the same history without events that do not matter

An event names subscriptions, services and changes by numbers of its own, not by ids: so a history
can be played on any number of books, and without some of its events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from price_changes.tests import facts
from price_changes.tests.facts import Place
from price_changes.tests.oracle import AFTER, BEFORE, Oracle
from price_changes.tests.standing import rule

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
    """An event; `number` is the name of the change or the subscription that it creates."""

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
        """The history without an event, and without those that depend on it."""
        events = allowed(self, lambda other: other is not event)
        return replace(self, events=events)

    @property
    def boundaries(self) -> list[int]:
        """The minutes at which an earlier decision takes effect."""
        named = ("at", "since", "until", "started_at", "ended_at")
        found = {event.about.get(name) for event in self.events for name in named}
        return sorted(minute for minute in found if minute is not None and minute > 0)

    @property
    def minutes(self) -> list[int]:
        """The minutes at which anything happens, in order."""
        return sorted({*self.boundaries, *(event.minute for event in self.events)})


def allowed(history: History, wanted: Callable[[Event], bool]) -> list[Event]:
    telling, events = Telling(history.ticks), []
    for event in history.events:
        if wanted(event) and telling.allows(event):
            telling.tell(event)
            events.append(event)
    return events


def shortened(history: History, fails: Callable[[History], bool]) -> History:
    """The history without events that it does not need to fail."""
    again = True
    while again:
        again = False
        for event in reversed(history.events):
            shorter = history.without(event)
            if len(shorter.events) < len(history.events) and fails(shorter):
                history, again = shorter, True
                break
    return history


# --- The meaning of events --------------------------------------------------------------------

CATALOGUE = {
    "list price edited": "service",
    "discount edited": "plan",
    "list price changed": "service",
    "discount changed": "plan",
    "for new only": "service",
    "discount for new only": "plan",
}
FOR_NEW_ONLY = ("for new only", "discount for new only")
SETS = ("set of prices", "set of states")
# Those that are approved, and may have an instant to come.
SCHEDULED = (*SETS, *(kind for kind in CATALOGUE if "edited" not in kind))
OF_CHANGE = ("cancelled", "taken back", "restored", "paused", "resumed")
PULLED, RELEASED = OF_BRAKE = ("brake pulled", "brake released")
TOLD, NOT_TOLD = OF_NOTICE = ("all told", "one not told after all")
# Those that may ask for a notice.
ASKING = ("list price changed", "discount changed", *SETS)
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
    "corrected",
    "deleted",
)
KINDS = (*CATALOGUE, *SETS, *OF_CHANGE, *OF_BRAKE, *OF_NOTICE, "opened", *OF_SUBSCRIPTION)
# The events that must come before it.
NEEDS = {
    "cancelled": ["list price changed", "discount changed", *FOR_NEW_ONLY, *SETS],
    "taken back": [*CATALOGUE, *SETS],
    "restored": ["taken back"],
    "paused": ["list price changed", "discount changed", *FOR_NEW_ONLY, *SETS],
    "resumed": ["paused"],
    TOLD: [*ASKING],
    NOT_TOLD: [TOLD],
    PULLED: [RELEASED],
    RELEASED: [PULLED],
    "reopened": ["ended"],
    "lock cut": ["locked"],
    "released": ["locked"],
    "follows": ["negotiated"],
    "set of states": ["negotiated", "locked"],
}


class Telling:
    """The oracle, and the facts that an event means to it."""

    def __init__(self, ticks: bool) -> None:
        self.tick = MICROSECOND if ticks else timedelta(0)
        self.oracle = Oracle()
        self.changes: dict[int, int] = {}  # the number of its fact, by that of the event
        self.reverted: set[int] = set()  # which may be reverted again
        self.paused: set[int] = set()
        self.now = START
        self.told: list[Event] = []
        for service, price in LIST_PRICES.items():
            self._says(facts.Value(effective_at=START, subject=("service", service), value=price))
        for plan, percent in DISCOUNTS.items():
            value = Decimal(percent)
            self._says(facts.Value(effective_at=START, subject=("plan", plan), value=value))
        for number, (client, service, plan) in OPENED.items():
            self._says(
                facts.Opened(
                    subscription=number, client=client, service=service, plan=plan, started_at=START
                )
            )

    def _says(self, fact: facts.Fact) -> int:
        return self.oracle.record(self.now, fact)

    def allows(self, event: Event) -> bool:
        """Whether an event can happen: its subjects exist, and nothing would refuse it."""
        self.now = instant(event.minute) + self.tick
        return self._can_happen(event.kind, event.about, event)

    def _can_happen(self, kind: str, about: dict[str, Any], event: Event) -> bool:
        if kind in OF_SUBSCRIPTION:
            return self._allows_own(kind, about)
        if kind in OF_CHANGE:
            return about["change"] in self.changes and self._allows_verb(kind, about)
        if kind in OF_BRAKE:
            return self._is_braked == (kind == RELEASED)
        if kind in OF_NOTICE:
            return about["change"] in self.changes and self._may_be_told(about["change"])
        if self._is_braked and kind in SCHEDULED and "at" not in about:
            return False
        later = about.get("at")
        if later is not None and instant(later) <= self.now:
            return False
        until = about.get("until")
        if until is not None and instant(until) <= max(self.now, instant(later or 0)):
            return False
        if about.get("notice") and not self._would_tell(event):
            return False
        if kind in SETS:
            return self._would_move(event)
        if kind in FOR_NEW_ONLY and self._has_a_set_at(self._at(about), kind, about["of"]):
            return False
        if kind == "opened":
            start, end = about.get("started_at"), about.get("ended_at")
            start = self.now if start is None else instant(start)
            has_ended = end is not None and instant(end) <= self.now
            return (end is None or instant(end) > start) and (has_ended or "paid" not in about)
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
        if kind == "corrected":
            since, until = instant(about["since"]), self._minute(about.get("until"))
            answer = self.oracle.answer(number, since)
            if self.tick and until is None:
                return False  # the facts don't know at which tick something else was paid
            is_past = since < (until or self.now) <= self.now
            return is_past and answer is not None and answer.active
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

    def _allows_verb(self, kind: str, about: dict[str, Any]) -> bool:
        event, by = about["change"], about["by"]
        change = self.changes[event]
        fact = self.oracle.by_number[change]
        assert isinstance(fact, facts.Scheduled)
        undone = self.oracle.undone_before(change, self._here)
        has_come = fact.effective_at <= self.now
        if kind == "restored":
            takes_back = isinstance(fact, facts.Value) and not fact.for_new_only
            return takes_back and undone and event in self.reverted and not self._is_braked
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
        if event in self.paused and isinstance(fact, facts.Set) and by == "revert":
            return False  # its revert would wait for its copies
        if isinstance(fact, facts.Value):
            return self.oracle.in_force(change, self._here)
        return any(
            self.oracle.has_last_word(change, number, self._here)
            and not self.oracle.deleted(number, self._here)
            and self.oracle.ended(number, self.now) is None
            for number in self.oracle.subscriptions
        )

    def _may_be_told(self, event: int) -> bool:
        """Whether it asks for a notice, and is still to come or has come."""
        change = self.changes[event]
        fact = self.oracle.by_number[change]
        assert isinstance(fact, facts.Value | facts.Set)
        if not fact.notice or self.oracle.undone_before(change, self._here):
            return False
        if fact.effective_at > self.now:
            return True
        if isinstance(fact, facts.Value):
            return self.oracle.in_force(change, self._here)
        return not self.oracle.stopped(change) and not self.oracle.held(change)

    def _would_tell(self, event: Event) -> bool:
        """Whether there is surely somebody whose price it moves: else it waits for nobody."""
        trial = Oracle()
        trial.facts, trial.by_number = list(self.oracle.facts), dict(self.oracle.by_number)
        if event.kind in SETS:
            change = trial.record(self.now, self._set(event))
            return any(
                trial.moves_price(change, row) for row in trial.approved_rows(change).values()
            )
        subject, value = (CATALOGUE[event.kind], event.about["of"]), Decimal(event.about["value"])
        return any(
            self._would_move_price(number, subject, value, place)
            for number in self.oracle.subscriptions
            if self.oracle.end(number) is None and not self.oracle.deleted(number, self._here)
            for place in [(self._at(event.about), AFTER)]
            if self._would_move_price(number, subject, value, self._here)
        )

    def _would_move_price(
        self, number: int, subject: tuple[str, int], value: Decimal, place: Place
    ) -> bool:
        standing, price = self.oracle.standing(number, place)
        services, plans = ("service", standing.service), ("plan", standing.plan)
        if standing.state != "follows" or subject not in (services, plans):
            return False
        list_price = value if subject == services else self.oracle.value(services, place)
        discount = value if subject == plans else self.oracle.value(plans, place)
        return rule(list_price, discount) != price

    @property
    def _here(self) -> Place:
        return self.now, AFTER

    @property
    def _is_braked(self) -> bool:
        return self.oracle.brake_is_on(self._here)

    def _has_a_set_at(self, at: datetime, kind: str, of: int) -> bool:
        """Whether a set may move subscriptions of a service or a plan at just this instant, or was
        taken back at it."""
        sets = [fact for fact in self.oracle.facts if isinstance(fact, facts.Set)]
        return any(
            fact.effective_at == at
            and fact.filter.get(CATALOGUE[kind], of) == of
            and not self.oracle.undone_before(fact.number, (at, BEFORE))
            for fact in sets
        ) or any(
            fact.place[0] == at and fact.of in {each.number for each in sets}
            for fact in self.oracle.facts
            if isinstance(fact, facts.Undone)
        )

    def _would_move(self, event: Event) -> bool:
        trial = Oracle()
        trial.facts, trial.by_number = list(self.oracle.facts), dict(self.oracle.by_number)
        change = trial.record(self.now, self._set(event))
        return any(row.becomes for row in trial.approved_rows(change).values())

    def _set(self, event: Event) -> facts.Set:
        about = event.about
        names = ("operand", "floor", "ceiling", "rounding_step")
        given: dict[str, Any] = {name: Decimal(about[name]) for name in names if name in about}
        return facts.Set(
            effective_at=self._at(about),
            hold=about["when_moved"] == "hold",
            notice=about.get("notice", False),
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
            self._says(facts.Undone(of=self.changes[change], again=again))
            self.reverted.discard(change)
            if kind == "taken back" and about["by"] == "revert":
                self.reverted.add(change)
            self.paused.discard(change)
        elif kind == "paused":
            self.paused.add(about["change"])
        elif kind == "resumed":
            self.paused.discard(about["change"])
        elif kind in OF_BRAKE:
            self._says(facts.Pulled() if kind == PULLED else facts.Released())
        elif kind in OF_NOTICE:
            change = self.changes[about["change"]]
            self._says(facts.AllTold(of=change) if kind == TOLD else facts.NotTold(of=change))
        elif kind == "corrected":
            self._tell_correction(about)
        else:
            self._says(self._own(event))

    def _tell_correction(self, about: dict[str, Any]) -> None:
        """It lasts until a given instant, or as long as the same was paid; else it goes on."""
        number, price, since = about["subscription"], about["price"], instant(about["since"])
        (_, first), *later = paid = self.oracle.paid_since(number, since, self.now)
        assert first is not None
        other = (
            at
            for at, answer in later
            if answer is None or replace(answer, client=first.client) != first
        )
        until = self._minute(about.get("until")) or next(other, None)
        told = [answer for at, answer in paid if at < (until or self.now) and answer is not None]
        if all(answer.price == price for answer in told if answer.active):
            return  # it says nothing new
        end = until or self.now
        self._says(facts.Corrected(subscription=number, since=since, until=end, price=price))
        if until is None:
            standing, _ = self.oracle.standing(number, self._here)
            if standing.state == "locked":
                self._says(facts.Locked(subscription=number, until=standing.until, price=price))
            else:
                self._says(facts.Negotiated(subscription=number, price=price))

    def _tell_value(self, event: Event) -> None:
        about = event.about
        subject = (CATALOGUE[event.kind], about["of"])
        value = Decimal(about["value"])
        if "edited" in event.kind and value == self.oracle.value(subject, self._here):
            return  # it says nothing new
        self.changes[event.number] = self._says(
            facts.Value(
                effective_at=self._at(about),
                hold=about.get("when_moved", "current") == "hold",
                notice=about.get("notice", False),
                subject=subject,
                value=value,
                for_new_only=event.kind in FOR_NEW_ONLY,
                locked_until=self._minute(about.get("until")),
            )
        )

    def _own(self, event: Event) -> facts.Fact:
        kind, about = event.kind, event.about
        if kind == "opened":
            return facts.Opened(
                subscription=event.number,
                client=about["client"],
                service=about["service"],
                plan=about["plan"],
                started_at=self._minute(about.get("started_at")) or self.now,
                ended_at=self._minute(about.get("ended_at")),
                state="negotiated" if "price" in about else "follows",
                price=about.get("price", about.get("paid")),
            )
        number = about["subscription"]
        if kind == "started":
            return facts.Started(subscription=number, started_at=instant(about["started_at"]))
        if kind in ("ended", "reopened"):
            end = self._minute(about.get("ended_at"))
            return facts.Ended(subscription=number, ended_at=end)
        if kind == "moved to a service":
            return facts.Moved(subscription=number, service=about["to"])
        if kind == "moved to a plan":
            return facts.Moved(subscription=number, plan=about["to"])
        if kind == "moved to a client":
            return facts.Moved(subscription=number, client=about["to"])
        if kind == "locked":
            return facts.Locked(subscription=number, until=self._minute(about.get("until")))
        if kind == "negotiated":
            return facts.Negotiated(subscription=number, price=about["price"])
        if kind == "deleted":
            return facts.Deleted(subscription=number)
        return facts.Follows(subscription=number)  # released, lock cut, follows

    def subjects(self, event: Event) -> frozenset[object]:
        """The subscriptions, services and plans that an event is about."""
        about = event.about
        if event.kind in (*OF_CHANGE, *OF_NOTICE):
            of = next(other for other in self.told if other.number == about["change"])
            return self.subjects(of)
        if event.kind in OF_BRAKE:
            return self._held_by_brake(event)
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

    def _held_by_brake(self, event: Event) -> frozenset[object]:
        """The subjects of the changes that were to come at or after an event of the brake."""
        to_come = [
            other
            for other in self.told
            if other.kind in (*CATALOGUE, *SETS) and other.about.get("at", 0) >= event.minute
        ]
        return frozenset[object]().union(*map(self.subjects, to_come))

    def _pair(self, number: int, place: Place) -> frozenset[object]:
        standing, _ = self.oracle.standing(number, place)
        return frozenset([number, ("service", standing.service), ("plan", standing.plan)])
