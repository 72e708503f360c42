"""The rows of a set that somebody has written between the set's instant and its worker.

The set is in force from its instant, so the row gets an entry of it there, and later entries apply
on top. A price or a price state that somebody has given since stays as given; a row that has only
moved to another client, or was locked at the price that it had, gets the price of the set. Later
entries are entered again, so that a subscription's last one is what stands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import DataError, connection
from django.db.models import F, Max, OuterRef, Subquery

from price_changes.models import PriceChange
from services.ledger.point_in_time import as_of
from services.models import LedgerEntry, Subscription, WholeLedger
from services.models.ledger import Entry
from services.repricing import accounts
from services.repricing.writes import ledger_origin


@dataclass(frozen=True)
class Standing:
    """The content of an entry, without its origin. `price` is None for a deletion."""

    client_id: int
    service_id: int
    plan_id: int
    price: Decimal | None
    price_state: str
    locked_until: datetime | None

    @classmethod
    def of(cls, entry: Entry) -> Standing:
        return cls(
            entry.client_id,
            entry.service_id,
            entry.plan_id,
            entry.price,
            entry.price_state,
            entry.locked_until,
        )

    @property
    def pair(self) -> tuple[int, int]:
        return self.service_id, self.plan_id

    @property
    def says(self) -> tuple[Decimal | None, str, datetime | None]:
        return self.price, self.price_state, self.locked_until


class LateRow(NamedTuple):
    """A row on the list: how it stood when it was listed, and what the set makes of it."""

    id: int
    price: Decimal
    price_state: str
    locked_until: datetime | None
    new_price: Decimal
    new_state: str
    new_until: datetime | None
    service_id: int
    plan_id: int

    def stood(self, client_id: int) -> Standing:
        return Standing(client_id, self.service_id, self.plan_id, *self[1:4])

    def is_listed_as(self, stood: Standing) -> bool:
        return (self.service_id, self.plan_id, *self[1:4]) == (*stood.pair, *stood.says)


def upon(
    becomes: Standing, before: Standing, after: Standing, at: datetime, by_catalogue: bool
) -> Standing:
    """The standing of a row that the set had turned into `becomes`, after a later entry.

    Without the set, the entry turned `before` into `after`, at the instant `at`. `by_catalogue`: it
    is of a price change, which moves or keeps only rows that follow.
    """
    if after.price is None or after.pair != before.pair:
        return after
    if by_catalogue:
        stays = replace(becomes, client_id=after.client_id)
        return after if becomes.price_state == "follows" else stays
    if after.price_state == "follows" and before.locked_until == at:
        # The end of a lock; the set may have left the row another lock, or none.
        return after if becomes.locked_until == at else replace(becomes, client_id=after.client_id)
    followed = before.price_state == after.price_state == "follows"
    if followed and becomes.price_state == "follows":
        return after  # at the rule's price then
    if followed or after.says == before.says:
        return replace(becomes, client_id=after.client_id)
    if after.price_state == "locked" and after.price == before.price:
        return replace(after, price=becomes.price)
    return after


# The entry has the period that is known now. It may lie within a correction that was made in the
# very moment in which the set came, so the trigger `ledger_corrected` is told to look.
ENTER = """
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
        started_at, ended_at, source, external_id, period_only, effective_at, recorded_at,
        change_id, author)
SELECT %(subscription)s, %(client)s, %(service)s, %(plan)s, %(price)s, %(state)s, %(until)s,
       started_at, ended_at, %(source)s, %(external_id)s, %(period_only)s, coalesce(%(at)s, now),
       now, %(change)s, %(author)s
  FROM period_known(%(subscription)s, 'infinity'), book_clock() now,
       set_config('pricebook.late_row', 'on', true)
"""


LISTED = """
SELECT item.*, service_id, plan_id
  FROM price_changes_listedrows listed,
       unnest(ids, prices, price_states, untils, new_prices, new_states, new_untils)
       AS item (id, price, price_state, until, new_price, new_state, new_until)
 WHERE listed.change_id = %(change)s AND item.id = ANY (%(ids)s)
   AND EXISTS (SELECT FROM unnest(%(ids)s::bigint[]) late WHERE late BETWEEN first_id AND last_id)
"""
ENTERED = """
SELECT DISTINCT subscription_id FROM services_ledgerentry
 WHERE change_id = %(change)s AND subscription_id = ANY (%(ids)s)
"""


def move_listed(change: PriceChange, ids: list[int]) -> tuple[int, list[int]]:
    """Lock the rows of a change's list that have these ids, and `move` them. Five queries more."""
    list(Subscription.objects.filter(pk__in=ids).order_by("pk").select_for_update(no_key=True))
    values: dict[str, Any] = {"change": change.pk, "ids": ids}
    with connection.cursor() as cursor:
        cursor.execute(LISTED, values)
        rows = [LateRow(*row) for row in cursor.fetchall()]
        cursor.execute(ENTERED, values)
        entered = {pk for (pk,) in cursor.fetchall()}
    newest = LedgerEntry.objects.aggregate(id=Max("id", default=0))["id"]
    moved = move(rows, change, entered)
    accounts.take_from(ids, newest)
    return moved


def move(
    rows: Iterable[LateRow], change: PriceChange, entered: Collection[int] = ()
) -> tuple[int, list[int]]:
    """Enter the set for each row at its instant, and its later entries again on top of that.

    `entered`: the rows that have an entry of it already, before those later ones were seen.

    Returns the number of rows that moved, and the ids of rows of a frozen set that stood otherwise
    at the instant than they were listed. Four queries, and about one for each entry and for each
    row that is updated. The rows must be locked.
    """
    at = change.effective_at
    assert at is not None
    listed = {row.id: row for row in rows}
    told = _told_of(list(listed))
    ended = _ended_before(at, list(listed))
    ended_since = _ended_since(at, list(entered))
    moved = []
    for pk, stood in _as_they_stood(at, list(listed)).items():
        row = listed[pk]
        if pk in entered:  # as the set has it, so how it stood before is on the list
            stood = row.stood(stood.client_id)
        if change.when_moved == PriceChange.WhenMoved.FROZEN and not row.is_listed_as(stood):
            continue
        if row.new_price.is_nan():
            raise DataError("The price would be negative, or too high.")
        moved.append(pk)
        before, of_set = stood, (row.new_price, row.new_state, row.new_until)
        now = replace(
            before, price=row.new_price, price_state=row.new_state, locked_until=row.new_until
        )
        # Entries that stand behind that of the set already, and say what they did.
        stands = pk in entered
        if not stands:
            _enter(told[pk][0], now, at, change.pk, change.approved_by)
        by_set = True
        for entry in told[pk]:
            if entry.effective_at > at:
                after = Standing.of(entry)
                by_catalogue = entry.change_id is not None
                if before.price_state == "follows" and after.price_state == "locked":
                    before = replace(before, price=_rule_at(before.pair, entry.effective_at))
                now = upon(now, before, after, entry.effective_at, by_catalogue)
                before = after
                by_set = by_set and now.says == of_set
                stands = stands and now == after
                if not stands:
                    _enter(entry, now, entry.effective_at, entry.change_id, entry.author)
        if pk in ended and now.price != ended[pk][1]:
            last, price = ended[pk]
            now = replace(now, price=price)
            _enter(last, now, None, None, last.author)
        elif stands and pk in ended_since and now.price != ended_since[pk].price:
            last = ended_since[pk]
            _enter(last, now, None, None, last.author)
        if now.says != before.says and now.price is not None:
            reason = {"price_reason": change.why} if by_set and now.price_state != "follows" else {}
            with ledger_origin(writes_entries=True):
                Subscription.objects.filter(pk=pk).update(
                    price=now.price,
                    price_state=now.price_state,
                    locked_until=now.locked_until,
                    **reason,
                )
    return len(moved), sorted(listed.keys() - set(moved))


TOLD = """
SELECT entry.* FROM unnest(%s::bigint[]) asked (id) CROSS JOIN LATERAL entries_of(asked.id) entry
 WHERE NOT period_only ORDER BY effective_at, entry.id
"""


def _told_of(ids: list[int]) -> dict[int, list[Entry]]:
    """The entries of each row, in the order of instants; only the last of those entered again."""
    told: dict[int, list[Entry]] = defaultdict(list)
    times: dict[int, list[int]] = defaultdict(list)  # each that is told was entered so often
    for entry in WholeLedger.objects.raw(TOLD, [ids]):
        of_it, entered = told[entry.subscription_id], times[entry.subscription_id]
        place = _entered_again(of_it, entered, entry)
        if place is None:
            of_it.append(entry)
            entered.append(1)
        else:
            of_it[place] = entry
    return dict(told)


def _entered_again(told: list[Entry], times: list[int], entry: Entry) -> int | None:
    """The place of the one that an entry repeats, or None.

    The clock may stand still, so one author may have written several times at an instant. They are
    entered again in their order; or only those that are told as locked beyond the end of the lock.
    """
    if entry.recorded_at == entry.effective_at:
        return None
    like = (entry.effective_at, entry.change_id, entry.author)
    places = [
        place
        for place, each in enumerate(told)
        if (each.effective_at, each.change_id, each.author) == like
    ]
    if entry.price_state == "follows":
        for place in places:
            until = told[place].locked_until
            if until is not None and until < entry.effective_at:
                return place
    if not places:
        return None
    place = min(places, key=times.__getitem__)
    times[place] += 1
    return place


def _ended_before(at: datetime, ids: list[int]) -> dict[int, tuple[LedgerEntry, Decimal]]:
    """By row, its last entry, as one of its period, and its price; if it ended by the instant.

    Its end was put there since. So it ended at the price that it paid before the set, whatever
    state the set gives it; the book has that price, whatever late workers have entered meanwhile.
    """
    of_row = LedgerEntry.objects.filter(subscription_id=OuterRef("pk")).order_by("-pk")
    rows = Subscription.objects.filter(pk__in=ids, ended_at__lte=at)
    ended = rows.annotate(last=Subquery(of_row.values("pk")[:1]))
    prices = dict(ended.values_list("last", "price"))
    found = {}
    for entry in LedgerEntry.objects.filter(pk__in=prices):
        entry.period_only = True
        found[entry.subscription_id] = entry, prices[entry.pk]
    return found


def _ended_since(at: datetime, ids: list[int]) -> dict[int, LedgerEntry]:
    """By row, its last entry, if that says an end after the set's instant that had passed by then.

    It has the price at which the row has ended, as its writer saw it, who did not see the set.
    """
    told = LedgerEntry.objects.filter(subscription_id__in=ids, period_only=True, ended_at__gt=at)
    newest = LedgerEntry.objects.filter(subscription_id=OuterRef("subscription_id")).order_by("-pk")
    last = told.filter(ended_at__lte=F("effective_at"), pk=Subquery(newest.values("pk")[:1]))
    return {entry.subscription_id: entry for entry in last}


def _as_they_stood(at: datetime, ids: list[int]) -> dict[int, Standing]:
    sql, params = as_of(at, known_at=at, among=ids)
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} ORDER BY subscription_id", params)
        return {pk: Standing(*row) for pk, *row, _, _ in cursor.fetchall()}


def _rule_at(pair: tuple[int, int], at: datetime) -> Decimal:
    """The rule's price, which a follower paid though no entry says so, and a lock has kept."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT price_rule_at(%s, %s, %s)", [*pair, at])
        price: Decimal = cursor.fetchone()[0]
    return price


def _enter(
    like: Entry,
    standing: Standing,
    effective_at: datetime | None,
    change_id: int | None,
    author: str,
) -> None:
    """Write an entry; `effective_at` is None for one that is in force from its recording on."""
    with connection.cursor() as cursor:
        cursor.execute(
            ENTER,
            {
                "subscription": like.subscription_id,
                "client": standing.client_id,
                "service": standing.service_id,
                "plan": standing.plan_id,
                "price": standing.price,
                "state": standing.price_state,
                "until": standing.locked_until,
                "source": like.source,
                "external_id": like.external_id,
                "period_only": like.period_only,
                "at": effective_at,
                "change": change_id,
                "author": author,
            },
        )
