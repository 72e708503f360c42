"""The report of a book check, in figures and in words, and of a repair."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from pricebook.kit.figures import amount, grouped, instant


@dataclass(frozen=True)
class Mispriced:
    """An active subscription whose price is not the rule's, and that no worker will reach."""

    id: int
    client: str
    service: str
    plan: str
    price: Decimal
    rule_price: Decimal

    @property
    def difference(self) -> Decimal:
        return self.price - self.rule_price


@dataclass(frozen=True)
class Unrecorded:
    """A subscription whose row differs from the ledger's last entry.

    `price` is None for a deleted one, `recorded_price_state` for one that has no entry.
    """

    id: int
    price: Decimal | None
    price_state: str | None
    recorded_price: Decimal | None
    recorded_price_state: str | None


@dataclass(frozen=True)
class WrongSubtotal:
    """A (service, plan) whose part of the total is not the sum of its rows."""

    service_id: int | None
    plan_id: int | None
    subscriptions: int
    amount: Decimal
    followers: int  # that have no end
    followers_amount: Decimal
    paid_subscriptions: int
    paid_amount: Decimal
    paid_followers: int
    paid_followers_amount: Decimal
    counted_subscriptions: int
    counted_amount: Decimal
    counted_followers: int
    counted_followers_amount: Decimal
    counted_paid_subscriptions: int
    counted_paid_amount: Decimal
    counted_paid_followers: int
    counted_paid_followers_amount: Decimal
    boundaries: int  # later instants from which on the paid part would be wrong


@dataclass(frozen=True)
class Counts:
    """The figures of a check, which are kept. As text: the check in the reader's words."""

    subscriptions: int
    amount: Decimal
    paid_subscriptions: int  # of these, those that have begun and have not ended
    paid_amount: Decimal
    waiting: int
    paused: int
    prices: int  # that differ from the rule
    subtotals: int  # that differ from the rows
    entries: int  # rows that differ from the ledger's last entry
    wrong_point: datetime | None  # the instant of a point that differs from the ledger

    @property
    def differences(self) -> int:
        return self.prices + self.subtotals + self.entries + (self.wrong_point is not None)

    def __str__(self) -> str:
        paid = paused = point = ""
        if self.paid_subscriptions != self.subscriptions:
            paid = _(", of which %(amount)s is paid by %(rows)s") % {
                "amount": amount(self.paid_amount),
                "rows": grouped(self.paid_subscriptions),
            }
        if self.paused:
            paused = _(" (%(rows)s of them for a price change that is paused)") % {
                "rows": grouped(self.paused)
            }
        if self.wrong_point is not None:
            at = instant(self.wrong_point)
            point = _("; what was paid at %(at)s is kept wrongly") % {"at": at}
        return _(
            "%(subscriptions)s subscriptions, total %(amount)s%(paid)s; %(differing)s prices differ"
            " from the rule, %(waiting)s wait for a worker%(paused)s, %(subtotals)s subtotals"
            " differ from the rows, %(entries)s rows from the ledger's last entry%(point)s"
        ) % {
            "subscriptions": grouped(self.subscriptions),
            "amount": amount(self.amount),
            "paid": paid,
            "differing": grouped(self.prices),
            "waiting": grouped(self.waiting),
            "paused": paused,
            "subtotals": grouped(self.subtotals),
            "entries": grouped(self.entries),
            "point": point,
        }


@dataclass
class BookCheck:
    """The result of a check of one snapshot. `mispriced` and `unrecorded` have the first rows."""

    subscriptions: int = 0
    amount: Decimal = Decimal(0)
    paid_subscriptions: int = 0  # of these, by those that have begun and have not ended
    paid_amount: Decimal = Decimal(0)
    waiting: int = 0  # prices that a due repricing has yet to reach: late, not wrong
    paused: int = 0  # of these, where somebody has paused the price change
    differing: int = 0
    mispriced: list[Mispriced] = field(default_factory=list)
    wrong_subtotals: list[WrongSubtotal] = field(default_factory=list)
    mispriced_pairs: list[tuple[int, int]] = field(default_factory=list)
    differing_from_ledger: int = 0
    unrecorded: list[Unrecorded] = field(default_factory=list)
    wrong_point: datetime | None = None  # its instant

    @property
    def counts(self) -> Counts:
        return Counts(
            subscriptions=self.subscriptions,
            amount=self.amount,
            paid_subscriptions=self.paid_subscriptions,
            paid_amount=self.paid_amount,
            waiting=self.waiting,
            paused=self.paused,
            prices=self.differing,
            subtotals=len(self.wrong_subtotals),
            entries=self.differing_from_ledger,
            wrong_point=self.wrong_point,
        )

    @property
    def differs(self) -> bool:
        return self.counts.differences > 0

    def __str__(self) -> str:
        return str(self.counts)


@dataclass(frozen=True)
class Repair:
    """The numbers of prices that a repair moved, of pairs whose part of the total it fixed, and of
    subscriptions for which it entered in the ledger what the row says.
    """

    prices: int
    subtotals: int
    entries: int
