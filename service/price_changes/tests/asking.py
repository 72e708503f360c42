"""The answers of the product's readers, beside those of the facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from math import inf
from random import Random
from typing import Any
from unittest.mock import patch

from django.db.models import Q

from price_changes.kinds import OF_CATALOGUE
from price_changes.models import PriceChange
from price_changes.planning.pending import waiting_for
from price_changes.tests import histories
from price_changes.tests.histories import SETS, History, Telling, instant
from price_changes.tests.standing import Answer
from price_changes.tests.timeline import MICROSECOND, Timeline
from pricebook.kit.prepared import prepared_cursor
from services import ledger
from services.hooks import Change
from services.ledger import point_in_time, points
from services.ledger.entries import Entry
from services.models import Plan, Service, Subscription
from services.reading import pages, total
from services.tests.factories import a_client

SECOND = timedelta(seconds=1)


def bill(entries: list[Entry], at: datetime) -> Decimal | None:
    """The prices of a subscription by its entries, as docs/api.md tells to read them."""
    period = entries[-1]
    if at < period["started_at"] or (period["ended_at"] is not None and period["ended_at"] <= at):
        return None
    for each in entries:
        if each["unpaid_since"] and each["unpaid_since"] <= at < each["effective_at"]:
            return None
    by_then = [each for each in entries if each["effective_at"] <= at]
    last = max(by_then, key=lambda each: (each["effective_at"], each["id"]))
    price: Decimal | None = last["price"]
    return price


@dataclass(frozen=True)
class Difference:
    """An answer of the product that differs from that of the facts."""

    reader: str
    when: str
    about: str
    product: object
    oracle: object

    def __str__(self) -> str:
        told = f"{self.reader} {self.when}, {self.about}"
        return f"{told}: product {self.product}, oracle {self.oracle}"


class Book:
    """The product's book at the start of a history: ids by the numbers of the history."""

    def __init__(self) -> None:
        self.clients = {number: a_client().pk for number in histories.CLIENTS}
        self.services = {
            number: Service.objects.create(name=f"Service {number}", full_price=price).pk
            for number, price in histories.LIST_PRICES.items()
        }
        self.plans = {
            number: Plan.objects.create(plan_type=plan_type, discount_percent=percent).pk
            for (number, percent), plan_type in zip(
                histories.DISCOUNTS.items(), ("student", "discount"), strict=True
            )
        }
        self.subscriptions = {
            number: Subscription.objects.create(
                client_id=self.clients[client],
                service_id=self.services[service],
                plan_id=self.plans[plan],
            ).pk
            for number, (client, service, plan) in histories.OPENED.items()
        }


class Asking:
    """A book, its history, and the differences between the answers."""

    def __init__(self, book: Book, timeline: Timeline, history: History, every: bool) -> None:
        self.book, self.timeline, self.history = book, timeline, history
        self.ticks = history.ticks
        self.random = Random(f"questions {history.seed}")
        self.every = every  # question, and not a few
        self.telling = Telling(history.ticks)
        self.subscriptions = dict(book.subscriptions)
        self.changes: dict[int, int] = {}
        self.found: list[Difference] = []

    def _differs(
        self, reader: str, when: str, about: object, product: object, oracle: object
    ) -> None:
        self.found.append(Difference(reader, when, str(about), product, oracle))

    def _waiting(self, now: datetime, known_at: datetime | None = None) -> dict[int, datetime]:
        """Subscriptions that wait for a set which has come and is not listed, since its instant.

        Or was not listed yet at the instant of which it is asked what was known.
        """
        oracle = self.telling.oracle
        known = self._known(known_at)
        due = {
            event.number: change
            for event in self.telling.told
            if event.kind in SETS
            and oracle.by_number[change := self.telling.changes[event.number]].place[0] <= now
        }
        stopped = {number for number, change in due.items() if oracle.stopped(change, known)}
        if stopped:
            named = {each.id for each in waiting_for(now, known_at)}
            if wrong := named & {self.changes[number] for number in stopped}:
                about = f"of {self._said(now)}, known at {known_at}"
                self._differs("waiting_for", "by the brake or a notice", about, wrong, "not these")
        due = {number: change for number, change in due.items() if number not in stopped}
        if not due:
            return {}
        pks = {self.changes[number]: number for number in due}
        waiting: dict[int, datetime] = {}
        waits = Q(status="scheduled")
        if known_at is not None:
            never = Q(started_at=None, finished_at__gt=known_at)
            waits |= Q(started_at__gt=known_at) | never | Q(status="held")
        found = PriceChange.objects.filter(waits, pk__in=pks)
        for pk in found.values_list("pk", flat=True):
            change = due[pks[pk]]
            since, _ = oracle.by_number[change].place
            # As known now, and as known then: a row that was moved since was one of them then.
            for subscription in {**oracle.rows(change), **oracle.rows(change, known)}:
                waiting[subscription] = min(since, waiting.get(subscription, since))
        return waiting

    def _known(self, known_at: datetime | None) -> float:
        """The number before which all facts are that were recorded by an instant."""
        if known_at is None:
            return inf
        return 1 + sum(fact.recorded_at <= known_at for fact in self.telling.oracle.facts)

    def _expected(self, at: datetime) -> dict[int, Answer]:
        return self.telling.oracle.all(at)

    def _told(self, answer: Answer) -> tuple[Any, ...]:
        return (
            self.book.clients[answer.client],
            self.book.services[answer.service],
            self.book.plans[answer.plan],
            answer.price,
            answer.state,
            answer.until,
        )

    def _compare_now(self, now: datetime, when: str) -> None:
        self.timeline.set(now, ticks=False)
        numbers = {pk: number for number, pk in self.subscriptions.items()}
        waiting = self._waiting(now)
        expected = self._expected(now)
        page = pages.page(total.EVERYTHING, None, 100)
        listed = {
            numbers[row["id"]]: (
                row["client_id"],
                row["service"]["id"],
                row["plan_id"],
                row["price"],
                row["price_state"],
                row["locked_until"],
            )
            for row in page.result
        }
        when = f"{when} {self._said(now)}"
        if listed.keys() != expected.keys():
            self._differs("list", when, "rows", sorted(listed), sorted(expected))
            return
        for number, answer in expected.items():
            if number in waiting:
                continue
            told: tuple[Any, ...] = listed[number]
            should = self._told(answer)
            if not answer.active and self.telling.oracle.ended(number, now) is not None:
                told, should = told[3:4], should[3:4]  # if it has ended, the last price
            if told != should:
                self._differs("list", when, number, told[-3:], should[-3:])
        if not waiting:
            amount = sum((answer.price for answer in expected.values()), Decimal(0))
            if page.total.amount != amount:
                self._differs("list's total", when, "", page.total.amount, amount)
            found = total.figures()
            if found.total.amount != amount:
                self._differs("total", when, "", found.total.amount, amount)
            answers = self.telling.oracle.paying(now).values()
            paid = total.Total(sum((each.price for each in answers), Decimal(0)), len(answers))
            for reader, figure in (("list's paid", page.paid), ("paid", found.paid)):
                if figure != paid:
                    self._differs(reader, when, "", figure, paid)

    def _instants(self) -> Iterator[tuple[str, datetime]]:
        for minute in self.history.minutes:
            at = instant(minute)
            yield "just before", at - MICROSECOND
            yield "at", at
            yield "just after", at + SECOND
        yield "at the end", self.timeline.now

    def _compare_ahead(self, now: datetime, when: str) -> None:
        """Compare what will be paid, by what is known now."""
        self.timeline.set(now, ticks=False)
        minutes = [minute for minute in self.history.minutes if instant(minute) > now]
        ahead = [("ahead", instant(minute)) for minute in minutes] or [("ahead", now + SECOND)]
        chosen = ahead if self.every else [self.random.choice(ahead)]
        self._compare_as_of(chosen, f"{when} {self._said(now)}", self._waiting(chosen[-1][1]))

    def _compare_known(self, when: str) -> None:
        """Compare what was known at each instant of a record, and just before it."""
        recorded = {event.minute for event in self.telling.told}
        before = {instant(minute) - MICROSECOND for minute in recorded}
        for known_at in sorted({instant(minute) + SECOND for minute in recorded} | before):
            if histories.START < known_at <= self.timeline.now:
                instants = list(self._instants())
                waiting = self._waiting(max(at for _, at in instants), known_at)
                asked = instants if self.every else self.random.sample(instants, 2)
                self._compare_as_of(asked, when, waiting, known_at)

    def _compare_as_of(
        self,
        instants: list[tuple[str, datetime]],
        when: str,
        waiting: dict[int, datetime],
        known_at: datetime | None = None,
    ) -> None:
        known = self._known(known_at)
        found: dict[tuple[int, int], tuple[Any, ...]] = {}
        numbers = {pk: number for number, pk in self.subscriptions.items()}
        with prepared_cursor() as cursor:
            for n, (_, at) in enumerate(instants):
                cursor.execute(*point_in_time.as_of(at, known_at=known_at))
                for pk, *row, _, _ in cursor.fetchall():
                    found[n, numbers[pk]] = tuple(row)
        for n, (where, at) in enumerate(instants):
            answers = self.telling.oracle.paying(at, known)
            for number in self.subscriptions:
                if number in waiting and at >= waiting[number]:
                    continue
                answer = answers.get(number)
                told, should = found.get((n, number)), answer and self._told(answer)
                if told != should:
                    about, reader = f"#{number} {where} {self._said(at)}", "as_of"
                    if known_at is not None:
                        about, reader = f"{about}, known at {self._said(known_at)}", "known_at"
                    self._differs(reader, when, about, told and told[-3:], should and should[-3:])

    def _compare_then(self, now: datetime, when: str) -> None:
        waiting = self._waiting(now)
        instants = list(self._instants())
        self._compare_as_of(instants, when, waiting)
        asked = instants if self.every else self.random.sample(instants, min(2, len(instants)))
        for where, at in asked:
            if all(since > at for since in waiting.values()):
                answers = self.telling.oracle.paying(at)
                amount = sum((answer.price for answer in answers.values()), Decimal(0))
                told_total, should = ledger.total_as_of(at), total.Total(amount, len(answers))
                about = f"{where} {self._said(at)}"
                if told_total != should:
                    self._differs("total_as_of", when, about, told_total, should)
                page = ledger.page_as_of(at, total.EVERYTHING, None, 100)
                pays = {self.subscriptions[n]: answer.price for n, answer in answers.items()}
                if page.total != should or {row["id"]: row["price"] for row in page.result} != pays:
                    self._differs("page_as_of", when, about, (page.total, page.result), pays)
            everybody = list(self.subscriptions)
            for number in everybody if self.every else [self.random.choice(everybody)]:
                if number in waiting and at >= waiting[number]:
                    continue
                answer = self.telling.oracle.answer(number, at)
                explanation = ledger.explain(self.subscriptions[number], at)
                told_price = explanation and explanation.price
                if told_price != (answer and answer.price):
                    about = f"#{number} {where} {self._said(at)}"
                    self._differs("explain", when, about, told_price, answer and answer.price)
                self._compare_since(explanation, number, at, f"{when} {where} {self._said(at)}")
        # The next totals start from these points, whatever is recorded of the past until then.
        with patch.object(points, "FACTS", self.random.randrange(1, 4)):
            while points.make_next(now):
                pass

    def _compare_bills(self, when: str) -> None:
        """Compare what a program bills that has only read the feed, when all is written there."""
        told = {number: ledger.history(pk) for number, pk in self.subscriptions.items()}
        for where, at in self._instants():
            answers = self.telling.oracle.paying(at)
            for number, entries in told.items():
                billed, should = bill(entries, at), answers.get(number)
                if billed != (should and should.price):
                    about = f"#{number} {where} {self._said(at)}"
                    self._differs("feed", when, about, billed, should and should.price)

    def _compare_since(
        self, explanation: ledger.Explanation | None, number: int, at: datetime, when: str
    ) -> None:
        """An explained price holds since its instant; then its catalogue change moved it."""
        if explanation is None or self.ticks:  # the facts don't know how often it ticked
            return
        instants = (explanation.since - MICROSECOND, explanation.since, at)
        before, then, answer = [
            found and replace(found, active=True)  # begun or ended, its price is the same
            for found in [self.telling.oracle.answer(number, instant) for instant in instants]
        ]
        if answer != then:
            self._differs("explain", when, f"#{number} since", explanation.since, (then, answer))
        moved = explanation.price_state == "follows" and self._is_of_catalogue(explanation.change)
        if moved and before == then:
            self._differs("explain", when, f"#{number} since", explanation.since, before)

    @staticmethod
    def _is_of_catalogue(change: Change | None) -> bool:
        """Two sets of one instant have an entry each, whatever the second one gives back."""
        if change is None:
            return False
        return PriceChange.objects.filter(pk=change.id, kind__in=OF_CATALOGUE).exists()

    @staticmethod
    def _said(at: datetime) -> str:
        minutes = (at - histories.START) / histories.MINUTE
        return f"{minutes:.2f}'"


VERBS = ("locked", "released", "negotiated", "follows")
