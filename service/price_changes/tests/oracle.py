"""The answers of the book at an instant, by the facts alone: a fold of them in plain Python.

It shares no code with the product, and knows no worker: it has only what somebody has decided, and
when. Nothing is stored but facts, so an answer is the same whenever workers came.

- A place is (effective instant, number); numbers are drawn as facts are recorded. Ends of locks
  have the number 0, so they come first. BEFORE and AFTER are the two sides of an instant.
- A question is asked up to a place, and by what was known before a number: so it can be asked what
  a preview saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from math import inf
from typing import Any, TypeVar

from price_changes.tests.facts import (
    AllTold,
    Corrected,
    Deleted,
    Ended,
    Fact,
    Follows,
    Locked,
    Moved,
    Negotiated,
    NotTold,
    Opened,
    Own,
    Place,
    Pulled,
    Released,
    Set,
    Started,
    Undone,
    Value,
)
from price_changes.tests.standing import (
    Answer,
    Row,
    Standing,
    Told,
    judged,
    kept_until_a_fact_comes,
    rule,
)

BEFORE, AFTER = -1, inf
LATEST: Place = (datetime.max.replace(tzinfo=UTC), AFTER)

AFact = TypeVar("AFact", bound=Fact)
AnOwn = TypeVar("AnOwn", bound=Own)


class Oracle:
    """The facts, in the order in which they were recorded, and what follows from them."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.by_number: dict[int, Fact] = {}
        self.kept: dict[tuple[Any, ...], Any] = {}

    def record(self, at: datetime, fact: Fact) -> int:
        """Record a fact; returns its number."""
        number = len(self.facts) + 1
        recorded = replace(fact, number=number, recorded_at=at)
        self.facts.append(recorded)
        self.by_number[number] = recorded
        self.kept.clear()
        return number

    # --- The catalogue

    def value(self, subject: tuple[str, int], place: Place, known: float = inf) -> Decimal:
        """The value in force just before a place."""
        return self._catalogue(subject, place, known)[0]

    def in_force(self, change: int, place: Place) -> bool:
        """Whether a value has come, was not held, and is not undone, just before a place."""
        fact = self.by_number[change]
        assert isinstance(fact, Value)
        return change in self._catalogue(fact.subject, place, inf)[1]

    @kept_until_a_fact_comes
    def _catalogue(
        self, subject: tuple[str, int], place: Place, known: float
    ) -> tuple[Decimal, frozenset[int]]:
        """The value in force, and the numbers of all that count, just before a place."""
        first, *values = [fact for fact in self._known(Value, known) if fact.subject == subject]
        numbers = {fact.number for fact in values}
        undoings = [fact for fact in self._known(Undone, known) if fact.of in numbers]
        counting = {first.number: first}  # the first one holds since ever
        undone = set()
        events: list[Value | Undone] = [*values, *undoings]
        for event in sorted(events, key=lambda fact: fact.place):
            if event.place >= place:
                break
            if isinstance(event, Undone):
                if not event.again:
                    undone.add(event.of)
                    counting.pop(event.of, None)
                elif (of := self.by_number[event.of]).place < event.place:
                    assert isinstance(of, Value)
                    undone.discard(event.of)
                    counting[event.of] = of
            elif event.number not in undone and not self.stopped(event.number, known):
                now = max(counting.values(), key=lambda fact: fact.place).value
                if not event.hold or now == self.seen(event.number):
                    counting[event.number] = event
        return max(counting.values(), key=lambda fact: fact.place).value, frozenset(counting)

    @kept_until_a_fact_comes
    def seen(self, change: int) -> Decimal:
        """The value just before the place of a change, as its approver saw it."""
        fact = self.by_number[change]
        assert isinstance(fact, Value)
        return self.value(fact.subject, fact.place, fact.number)

    def rule_price(self, service: int, plan: int, place: Place, known: float = inf) -> Decimal:
        return rule(
            self.value(("service", service), place, known),
            self.value(("plan", plan), place, known),
        )

    # --- The subscriptions that are there, and the active ones

    @property
    def subscriptions(self) -> list[int]:
        return [fact.subscription for fact in self._known(Opened, inf)]

    def opened(self, subscription: int) -> Opened:
        return next(self._own(Opened, subscription))

    def deleted(self, subscription: int, place: Place, known: float = inf) -> bool:
        deletions = self._own(Deleted, subscription)
        return any(fact.place < place and fact.number < known for fact in deletions)

    def _periods(
        self, subscription: int, recorded: Place = LATEST, known: float = inf
    ) -> tuple[datetime, datetime | None, list[tuple[datetime, datetime]]]:
        """A subscription's start, end, and gaps, by what was recorded before a place."""
        opened = self.opened(subscription)
        start, end = opened.started_at, opened.ended_at
        gaps: list[tuple[datetime, datetime]] = []
        for fact in self._own(Own, subscription):
            if fact.number >= known or fact.recorded >= recorded:
                continue
            if isinstance(fact, Started):
                start = fact.started_at
            elif isinstance(fact, Ended):
                now, to = fact.recorded_at, fact.ended_at
                if end is not None and end <= now and (to is None or to > now):
                    gaps.append((end, now))
                end = to
        return start, end, gaps

    def start(self, subscription: int, known: float = inf) -> datetime:
        return self._periods(subscription, known=known)[0]

    def end(self, subscription: int) -> datetime | None:
        return self._periods(subscription)[1]

    def ended(
        self, subscription: int, at: datetime, recorded: Place = LATEST, known: float = inf
    ) -> datetime | None:
        """The end that it has passed at an instant; None while it is active, or upcoming."""
        _, end, gaps = self._periods(subscription, recorded, known)
        of_gap = next((since for since, to in gaps if since <= at < to), None)
        if end is None or end > at:
            return of_gap
        return next((since for since, to in gaps if since <= end <= to), end)

    def active(self, subscription: int, at: datetime, known: float = inf) -> bool:
        begun = self.start(subscription, known) <= at
        return begun and self.ended(subscription, at, known=known) is None

    # --- One subscription

    def standing(
        self, subscription: int, place: Place, known: float = inf
    ) -> tuple[Standing, Decimal]:
        """How it stands just before a place, and what it pays or would pay."""
        standing = self._told(subscription, place, known).standing
        return standing, self._price(standing, place, known)

    def _price(self, standing: Standing, place: Place, known: float) -> Decimal:
        if standing.price is not None:
            return standing.price
        return self.rule_price(standing.service, standing.plan, place, known)

    @kept_until_a_fact_comes
    def _told(self, subscription: int, place: Place, known: float) -> Told:
        opened = self.opened(subscription)
        told = Told(self._first(opened))
        for fact in self._story(opened, place, known):
            told.pass_to(fact.place)
            if isinstance(fact, Ended):
                self._end(told, fact, opened)
            elif isinstance(fact, Own):
                self._own_fact(told, fact, known)
            elif isinstance(fact, Value):
                self._keep(told, fact, opened, known)
            elif isinstance(fact, Set):
                self._move(told, fact, opened, known)
            elif isinstance(fact, Undone) and not fact.again:
                at = fact.recorded_at
                if self.ended(subscription, at, fact.place, known) is None:
                    told.take_back(fact.of, fact.number, at)
        told.pass_to(place)
        return told

    def _first(self, opened: Opened) -> Standing:
        """Its creation: another price than the rule's only if it had ended or negotiated."""
        state, price = opened.state, opened.price
        if state == "follows" and price is not None and opened.ended_at is not None:
            end: Place = (opened.ended_at, BEFORE)
            if price == self.rule_price(opened.service, opened.plan, end, opened.number):
                price = None
            else:
                state = "negotiated"
        return Standing(
            opened.client, opened.service, opened.plan, state, price, opened.locked_until
        )

    def _story(self, opened: Opened, place: Place, known: float) -> list[Fact]:
        """The facts that may move its price or state before a place, in the order of places."""
        own = (Moved, Locked, Follows, Negotiated, Ended)
        return sorted(
            (
                fact
                for fact in self.facts
                if fact.number < known
                and fact.place < place
                and (
                    (isinstance(fact, own) and fact.subscription == opened.subscription)
                    or (isinstance(fact, Value) and fact.for_new_only)
                    or isinstance(fact, Set | Undone)
                )
            ),
            key=lambda fact: fact.place,
        )

    @staticmethod
    def _end(told: Told, fact: Ended, opened: Opened) -> None:
        """End the price that it was given because it had ended, when it is opened again."""
        opens = fact.ended_at is None or fact.ended_at > fact.recorded_at
        if opens and not told.words and opened.state != told.standing.state:
            told.says(told.standing.follows())

    def _own_fact(self, told: Told, fact: Own, known: float) -> None:
        now = told.standing
        if isinstance(fact, Moved):
            to = replace(
                now,
                client=fact.client or now.client,
                service=fact.service or now.service,
                plan=fact.plan or now.plan,
            )
            if (to.service, to.plan) != (now.service, now.plan):
                to = to.follows()
            if to != now:
                told.says(to)
        elif isinstance(fact, Follows):
            if now.state != "follows":
                told.says(now.follows())
        elif isinstance(fact, Negotiated):
            told.says(replace(now, state="negotiated", price=fact.price, until=None))
        elif isinstance(fact, Locked):
            if fact.until is not None and fact.until <= fact.recorded_at:
                told.says(now.follows())
            else:
                price = fact.price
                if price is None:
                    price = self._price(now, fact.place, known)
                told.says(replace(now, state="locked", price=price, until=fact.until))

    def _keep(self, told: Told, change: Value, opened: Opened, known: float) -> None:
        """Apply a change for new subscriptions only: existing ones that follow keep their price."""
        at = change.effective_at
        if opened.recorded_at >= at and opened.started_at >= at:
            return
        now = told.standing
        if change.subject not in (("service", now.service), ("plan", now.plan)):
            return
        ended = self.ended(opened.subscription, at, change.place, known)
        if now.state != "follows" or ended is not None:
            return
        if change.number in self._catalogue(change.subject, (at, change.number + 0.5), known)[1]:
            price = self._price(now, change.place, known)
            kept = replace(now, state="locked", price=price, until=change.locked_until)
            told.says(kept, change.number)

    # --- The brake, and the notice that a change asks for

    def brake_is_on(self, place: Place, known: float = inf) -> bool:
        """Whether it was pulled before a place, and not released before it."""
        facts = [
            fact
            for fact in (*self._known(Pulled, known), *self._known(Released, known))
            if fact.place < place
        ]
        last = max(facts, key=lambda fact: fact.place, default=None)
        return isinstance(last, Pulled)

    @kept_until_a_fact_comes
    def braked(self, change: int, known: float = inf) -> bool:
        """Whether the brake was on at the place of a change that was approved for an instant to
        come.
        """
        fact = self.by_number[change]
        assert isinstance(fact, Value | Set)
        return fact.effective_at > fact.recorded_at and self.brake_is_on(fact.place, known)

    @kept_until_a_fact_comes
    def noticed(self, change: int, known: float = inf) -> bool:
        """Whether it asks for no notice, or all were told by what was recorded before its place."""
        fact = self.by_number[change]
        assert isinstance(fact, Value | Set)
        told = [
            each
            for each in self._known(Fact, known)
            if isinstance(each, AllTold | NotTold) and each.of == change and each.place < fact.place
        ]
        return not fact.notice or bool(told and isinstance(told[-1], AllTold))

    def stopped(self, change: int, known: float = inf) -> bool:
        return self.braked(change, known) or not self.noticed(change, known)

    # --- Sets

    def _move(self, told: Told, change: Set, opened: Opened, known: float) -> None:
        if self.undone_before(change.number, change.place, known) or self.stopped(
            change.number, known
        ):
            return
        if self.held(change.number, known):
            return
        if opened.recorded >= change.place or self.deleted(
            opened.subscription, change.place, known
        ):
            return
        row = self._judged(change, opened.subscription, told.standing, known)
        if change.frozen:
            listed = self.approved_rows(change.number).get(opened.subscription)
            if listed is None or listed.becomes is None or row is None or row.reason == "ended":
                return
            if (listed.of_any_client, listed.price) == (row.of_any_client, row.price):
                becomes = replace(listed.becomes, client=row.standing.client)
                told.says(becomes, change.number)
        elif row is not None and row.becomes is not None:
            told.says(row.becomes, change.number)

    def moves_price(self, change: int, row: Row) -> bool:
        """Whether a row of an approved set is to pay another price."""
        fact = self.by_number[change]
        return row.becomes is not None and (
            self._price(row.becomes, fact.place, change) != row.price
        )

    def has_last_word(self, change: int, subscription: int, place: Place) -> bool:
        """Whether nobody has touched the price of a row since the change has moved it."""
        words = self._told(subscription, place, inf).words
        return bool(words) and change in (words[-1].by, words[-1].of)

    def undone_before(self, change: int, place: Place, known: float = inf) -> bool:
        """Whether it is undone just before a place."""
        undone = [
            fact for fact in self._known(Undone, known) if fact.of == change and fact.place < place
        ]
        return bool(undone) and not undone[-1].again

    @kept_until_a_fact_comes
    def held(self, change: int, known: float = inf) -> bool:
        """Whether a set that was approved with hold finds other rows than its approver saw."""
        fact = self.by_number[change]
        assert isinstance(fact, Set)
        if not fact.hold:
            return False
        then, now = self.approved_rows(change), self.rows(change, known)
        return {pk: row.as_seen for pk, row in then.items()} != {
            pk: row.as_seen for pk, row in now.items()
        }

    def approved_rows(self, change: int) -> dict[int, Row]:
        return self.rows(change, change)

    @kept_until_a_fact_comes
    def rows(self, change: int, known: float = inf) -> dict[int, Row]:
        """The rows of a set at its place, by what was known before a number."""
        fact = self.by_number[change]
        assert isinstance(fact, Set)
        found = {}
        for opened in self._known(Opened, known):
            if opened.recorded < fact.place and not self.deleted(
                opened.subscription, fact.place, known
            ):
                standing, _ = self.standing(opened.subscription, fact.place, known)
                row = self._judged(fact, opened.subscription, standing, known)
                if row is not None:
                    found[opened.subscription] = row
        return found

    def _judged(
        self, change: Set, subscription: int, standing: Standing, known: float
    ) -> Row | None:
        """A row, judged by a set; None if the filter leaves it out."""
        price = self._price(standing, change.place, known)
        asked = {
            "subscription": subscription,
            "client": standing.client,
            "service": standing.service,
            "plan": standing.plan,
            "price_state": standing.state,
        }
        has_ended = self.ended(subscription, change.effective_at, change.place, known) is not None
        begun = self._periods(subscription, change.place, known)[0] <= change.effective_at
        asked["state"] = "ended" if has_ended else "active" if begun else "upcoming"
        for name, value in change.filter.items():
            if name == "price_from":
                if price < Decimal(value):
                    return None
            elif name == "price_to":
                if price > Decimal(value):
                    return None
            elif asked[name] != value:
                return None
        if has_ended:
            return Row(standing, price, None, "ended")
        becomes, reason = judged(change, standing, price)
        return Row(standing, price, becomes, reason)

    # --- Questions

    @kept_until_a_fact_comes
    def answer(self, subscription: int, at: datetime, known: float = inf) -> Answer | None:
        """The answer for a subscription; None if not recorded yet, not begun, or deleted."""
        opened = self.opened(subscription)
        came = at >= opened.recorded_at or at >= self.start(subscription, known)
        if opened.number >= known or not came or self.deleted(subscription, (at, AFTER), known):
            return None
        end = self.ended(subscription, at, known=known)
        place: Place = (at, AFTER) if end is None else (end, BEFORE)
        standing, price = self.standing(subscription, place, known)
        if end is None:
            price = self._corrected(subscription, at, known) or price
        return Answer(
            self.active(subscription, at, known),
            standing.client,
            standing.service,
            standing.plan,
            price,
            standing.state,
            standing.until,
        )

    def _corrected(self, subscription: int, at: datetime, known: float) -> Decimal | None:
        """The price that the last correction of an instant says."""
        corrections = [
            fact
            for fact in self._own(Corrected, subscription)
            if fact.number < known and fact.since <= at < fact.until
        ]
        return corrections[-1].price if corrections else None

    def paid_since(
        self, subscription: int, since: datetime, to: datetime
    ) -> list[tuple[datetime, Answer | None]]:
        """The answers at each instant from `since` to `to` at which there may be another one."""
        names = ("effective_at", "locked_until", "until", "started_at", "ended_at", "since")
        found = {getattr(fact, name, None) for fact in self.facts for name in names}
        instants = {fact.place[0] for fact in self.facts} | {at for at in found if at is not None}
        within = sorted({since, *(at for at in instants if since < at <= to)})
        return [(at, self.answer(subscription, at)) for at in within]

    def paying(self, at: datetime, known: float = inf) -> dict[int, Answer]:
        """The subscriptions that pay, and what."""
        return {pk: answer for pk, answer in self.all(at, known).items() if answer.active}

    def all(self, at: datetime, known: float = inf) -> dict[int, Answer]:
        """All subscriptions that exist, paying or not."""
        answers = ((pk, self.answer(pk, at, known)) for pk in self.subscriptions)
        return {pk: answer for pk, answer in answers if answer is not None}

    # --- Looking through the facts

    def _known(self, kind: type[AFact], known: float) -> list[AFact]:
        return [fact for fact in self.facts if isinstance(fact, kind) and fact.number < known]

    def _own(self, kind: type[AnOwn], subscription: int) -> Iterator[AnOwn]:
        for fact in self.facts:
            if isinstance(fact, kind) and fact.subscription == subscription:
                yield fact
