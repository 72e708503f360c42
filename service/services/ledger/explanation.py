"""Why a subscription pays what it pays, or paid what it paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection
from django.utils.translation import gettext as _

from pricebook.kit.currency import minor_unit, plain
from pricebook.words.stored import shown
from services.about_price_states import about
from services.catalogue_subject import CatalogueSubject
from services.catalogue_values import in_force
from services.hooks import Change, PendingChange, price_changes
from services.ledger.entries import OWN, REASON_NOW, Entry
from services.ledger.explanation_words import arithmetic, at_said, decided, of_own_price
from services.ledger.last_move import Asked, Move, last_move, last_moves
from services.models import Repricing
from services.sql import SQL

MICROSECOND = timedelta(microseconds=1)


def rule() -> str:
    """The price rule in a line."""
    return f"price = round(full_price * (100 - discount_percent) / 100, {minor_unit()}), half up"


@dataclass(frozen=True)
class Edit:
    """An edit of the catalogue: a list price, or a discount in per cent, and from when."""

    old: Decimal | None
    new: Decimal
    effective_at: datetime
    author: str
    change_id: int | None


@dataclass(frozen=True)
class Rule:
    """The rule's price at an instant, the values that it comes from, and who set them.

    An edit is None where the value was never edited.
    """

    list_price: Decimal
    discount_percent: int
    price: Decimal
    arithmetic: str
    list_price_edit: Edit | None
    discount_edit: Edit | None
    text: str = field(default_factory=rule)


@dataclass(frozen=True)
class Explanation:
    """Why a subscription pays what it pays at an instant; `text` is the same in a sentence.

    `price` is None if it was deleted by then. `rule` is None where nothing is known of the service
    or the plan of then. `price_reason` belongs to a locked or negotiated price, and is known for
    the newest entry only. `in_line`: whether the price is the rule's. With `known_at` all is by
    what was recorded by then, without a reason that a person gave; if it is None, by all that is
    recorded.
    """

    subscription_id: int
    at: datetime
    client_id: int
    service_id: int
    plan_id: int
    price: Decimal | None
    price_state: str
    locked_until: datetime | None
    price_reason: str
    since: datetime
    recorded_at: datetime
    entry_id: int
    author: str
    change: Change | None
    rule: Rule | None
    in_line: bool
    known_at: datetime | None
    text: str


# The newest entry with a price. For a subscription that has ended, it is the newest before its end,
# unless somebody has written after the end which price it ended with. An entry that a worker has
# written for a change of the catalogue is none: its values tell what moved a follower, or keeps it
# (`kept`), and the entry may be of a change that was taken back at its own instant. Nor is the
# entry of a move before a late start was written.
EXPLAIN = """
SELECT moment.at, entry.*,
       coalesce(kept_reason(kept), {reason}, '') AS price_reason,
       corrected.price AS corrected_price, corrected.since AS corrected_since,
       corrected.reason AS corrected_because, corrected.author AS corrected_by,
       corrected.recorded_at AS corrected_at, corrected.id AS correction_id,
       period.end_passed, resumed.at AS resumed_at, ruled.at AS ruled_at,
       list_price_at(entry.service_id, ruled.at{known}) AS list_price,
       discount_at(entry.plan_id, ruled.at{known}) AS discount_percent,
       price_rule_at(entry.service_id, entry.plan_id, ruled.at{known}) AS rule_price
  FROM (SELECT {asked} AS id, {moment} OFFSET 0) moment
  {said}
  LEFT JOIN LATERAL (
       SELECT min(unpaid_since) AS since FROM services_ledgerentry
        WHERE subscription_id = moment.id AND unpaid_since <= least(moment.at, said.ended_at)
          AND effective_at > least(moment.at, said.ended_at) {recorded}) gap ON true
 CROSS JOIN LATERAL (
       SELECT coalesce(gap.since, said.ended_at) AS ended_at,
              CASE WHEN coalesce(gap.since, said.ended_at) <= moment.at
                   THEN coalesce(gap.since, said.ended_at) END AS end_passed) period
 CROSS JOIN LATERAL (
       SELECT least(moment.at, period.end_passed - interval '1 microsecond') AS at) ruled
 CROSS JOIN LATERAL (
       SELECT written AS newest
         FROM services_ledgerentry written
        WHERE subscription_id = moment.id AND effective_at <= moment.at {recorded}
          AND (NOT period_only OR effective_at < recorded_at)
          AND NOT EXISTS (
              SELECT FROM services_cataloguevalue value
               WHERE (value.change_id = written.change_id
                      OR period_only AND value.effective_at = written.effective_at)
                 AND (value.service_id = written.service_id OR value.plan_id = written.plan_id))
          AND (effective_at <= ruled.at OR price IS NULL
               OR change_id IS NULL AND NOT period_only AND recorded_at >=
                  CASE WHEN started_at IS NULL THEN period.end_passed ELSE ended_at END)
        ORDER BY effective_at DESC, id DESC LIMIT 1) last
 CROSS JOIN LATERAL (SELECT kept_entry(moment.id, ruled.at{known}) AS kept OFFSET 0) story
 CROSS JOIN LATERAL (SELECT {columns}
                       FROM (SELECT (coalesce(kept, newest)).*) word) entry
  LEFT JOIN LATERAL (
       SELECT * FROM services_correction
        WHERE subscription_id = moment.id AND since <= moment.at AND until > moment.at {recorded}
        ORDER BY id DESC LIMIT 1) corrected ON period.end_passed IS NULL
 CROSS JOIN LATERAL (
       SELECT max(least(until, period.end_passed)) AS at FROM services_correction
        WHERE subscription_id = moment.id AND until <= moment.at
          AND (corrected.id IS NULL OR id > corrected.id) {recorded}) resumed
  {reasoned}
"""
# By all that is recorded, or by what was recorded by an instant; reasons of that time are not kept.
BY_ALL = {
    "moment": "coalesce(%s::timestamptz, book_now()) AS at",
    "known": "",
    "recorded": "",
    "said": """LEFT JOIN services_subscription whole ON whole.id = moment.id
  LEFT JOIN LATERAL (
       SELECT ended_at FROM services_ledgerentry
        WHERE subscription_id = moment.id AND price IS NULL AND whole.id IS NULL
        ORDER BY id DESC LIMIT 1) deleted ON true
 CROSS JOIN LATERAL (SELECT coalesce(whole.ended_at, deleted.ended_at) AS ended_at) said""",
    "reason": REASON_NOW,
    "reasoned": """LEFT JOIN services_subscription subscription
    ON subscription.id = entry.subscription_id
   AND NOT EXISTS (SELECT FROM services_ledgerentry later
                    WHERE later.subscription_id = entry.subscription_id AND later.id > entry.id
                      AND NOT later.period_only)""",
}
EACH = EXPLAIN.format(columns=", ".join(OWN), asked="unnest(%s::bigint[])", **BY_ALL)
BY_KNOWN = {
    "moment": "coalesce(%s::timestamptz, %s) AS at, %s::timestamptz AS known",
    "known": ", moment.known",
    "recorded": "AND recorded_at <= moment.known",
    "said": """LEFT JOIN LATERAL (
       SELECT ended_at FROM period_known(moment.id, moment.known)) said ON true""",
    "reason": "NULL",
    "reasoned": "",
}


def statement(
    subscription_id: int, at: datetime | None = None, known_at: datetime | None = None
) -> SQL:
    """The SQL that finds the entry which `explain` describes, and what the rule said."""
    parts: dict[str, str] = BY_ALL
    known: tuple[datetime, ...] = ()
    if known_at is not None:
        parts, known = BY_KNOWN, (known_at, known_at)
    sql = EXPLAIN.format(columns=", ".join(OWN), asked="%s::bigint", **parts)
    return sql, (subscription_id, at, *known)


def explain(
    subscription_id: int, at: datetime | None = None, known_at: datetime | None = None
) -> Explanation | None:
    """Why the subscription pays what it pays at an instant (now); None if it was not there yet.

    The price is None if it was deleted by then. With `known_at` the answer is by what was recorded
    by that instant, which is also the default of `at` then; `refuse_incomplete` must have accepted
    it. Three queries, four for a follower, and those of `PriceChanges.describe` or one more if a
    price change decided the price.
    """
    with connection.cursor() as cursor:
        cursor.execute(*statement(subscription_id, at, known_at))
        row = cursor.fetchone()
        if row is None:
            return None
        found = dict(zip([column.name for column in cursor.description], row, strict=True))

    rule = None
    if found["rule_price"] is not None:
        service = CatalogueSubject("service", found["service_id"])
        plan = CatalogueSubject("plan", found["plan_id"])
        edits = _edit(service, found, known_at), _edit(plan, found, known_at)
        rule = _rule(found, *edits)
        if asked := _follow(found, rule.price):
            _moved(found, last_move(*asked, known_at))
    _correct(found)
    change = None if found["change_id"] is None else describe_change(found["change_id"])
    return _explained(found, rule, change, known_at)


def explain_each(ids: Sequence[int]) -> dict[int, Explanation]:
    """Why these subscriptions pay what they pay now, as `explain` says it of one.

    Their rules are without who has set the list price and the discount. Two queries, and those of
    `PriceChanges.describe` for each price change that has decided one of the prices.
    """
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(EACH, [list(ids), None])
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    found = {row["subscription_id"]: row for row in rows}
    rules = {id: _rule(row) for id, row in found.items() if row["rule_price"] is not None}
    asked = {id: _follow(found[id], rule.price) for id, rule in rules.items()}
    moves = last_moves({id: each for id, each in asked.items() if each is not None})
    for id, row in found.items():
        if asked.get(id) is not None:
            _moved(row, moves.get(id))
        _correct(row)
    decided = {row["change_id"] for row in rows} - {None}
    changes = {change_id: describe_change(change_id) for change_id in sorted(decided)}
    return {
        id: _explained(row, rules.get(id), changes.get(row["change_id"]), None)
        for id, row in found.items()
    }


def _rule(found: Entry, list_price: Edit | None = None, discount: Edit | None = None) -> Rule:
    values = found["list_price"], found["discount_percent"], found["rule_price"]
    return Rule(*values, arithmetic(*values), list_price, discount)


def _explained(
    found: Entry, rule: Rule | None, change: Change | None, known_at: datetime | None
) -> Explanation:
    price = found["price"]
    author = found["author"] or (change.author if change else "")
    in_line = rule is not None and price == rule.price
    return Explanation(
        subscription_id=found["subscription_id"],
        at=found["at"],
        client_id=found["client_id"],
        service_id=found["service_id"],
        plan_id=found["plan_id"],
        price=price,
        price_state=found["price_state"],
        locked_until=found["locked_until"],
        price_reason=found["price_reason"],
        since=found["effective_at"],
        recorded_at=found["recorded_at"],
        entry_id=found["id"],
        author=author,
        change=change,
        rule=rule,
        in_line=in_line,
        known_at=known_at,
        text=f"{_why(found, rule, in_line)} {decided(found, change, author)}",
    )


def describe_change(change_id: int) -> Change:
    """A price change as the installed hooks describe it, or else its repricings (one query)."""
    if change := price_changes().describe(change_id):
        return change
    authors = Repricing.objects.filter(change_id=change_id).exclude(author="").order_by("id")
    return Change(change_id, authors.values_list("author", flat=True).first() or "")


def pending_changes(subscription_id: int) -> list[PendingChange]:
    """The changes scheduled for a subscription, by their instants. Queries: see the hooks."""
    return price_changes().pending(subscription_id)


def _edit(subject: CatalogueSubject, found: Entry, known_at: datetime | None) -> Edit | None:
    value = in_force(subject, found["ruled_at"], known_at)
    if value is None or value.before is None:
        return None
    return Edit(value.before, value.value, value.effective_at, value.author, value.change_id)


def _follow(found: Entry, price: Decimal) -> Asked | None:
    """Give a follower the catalogue's price, whether a worker has written it down or not.

    A subscription whose lock has ended by then follows. Returns what to ask for the fact that has
    moved the price last; None for one that does not follow.
    """
    until = found["locked_until"]
    if found["price"] is None:
        return None
    if until is not None and until <= found["ruled_at"]:
        found.update(price_state="follows", locked_until=None, price_reason="")
        if until > found["effective_at"]:  # else it has been written since, as it stood stored
            found.update(effective_at=until, change_id=None, author="")
    if found["price_state"] != "follows":
        return None
    found["price"] = price
    since = found["effective_at"]
    if found["change_id"] is not None:
        since -= MICROSECOND  # a copy has one change of its instant, and another may have moved it
    return Asked(found["service_id"], found["plan_id"], since, found["ruled_at"])


def _moved(found: Entry, move: Move | None) -> None:
    """Give it the instant and the change of the last move, if that came after the entry."""
    if move is not None:
        found.update(move._asdict())
        if move.change_id is not None:
            found["author"] = ""  # the change has its own


def _correct(found: Entry) -> None:
    """Give it the price of a correction, or let the price that one has interrupted go on."""
    if found["corrected_price"] is not None:
        found.update(
            price=found["corrected_price"],
            price_reason=found["corrected_because"],
            effective_at=max(found["effective_at"], found["corrected_since"]),
            recorded_at=found["corrected_at"],
            author=found["corrected_by"],
            change_id=None,
        )
    if found["resumed_at"] is not None:
        found["effective_at"] = max(found["effective_at"], found["resumed_at"])


def _why(found: Entry, rule: Rule | None, in_line: bool) -> str:
    price, state = found["price"], found["price_state"]
    reason = f" ({shown(found['price_reason'])})" if found["price_reason"] else ""
    if price is None:
        return _("It was deleted and pays nothing.")
    said = {"price": plain(price), "reason": reason, "rule": rule.arithmetic if rule else ""}
    if found["correction_id"] is not None:
        return _("Its price was corrected to %(price)s%(reason)s, recorded %(at)s.") % {
            **said,
            "at": at_said(found["recorded_at"]),
        }
    if about(state).explained:
        return of_own_price(state, found["locked_until"]) % said
    if rule is None:
        return (
            _("It followed the catalogue, at %(price)s; its service or plan was deleted since.")
            % said
        )
    if found["end_passed"] is not None:
        text = (
            _("It ended at %(at)s, at a price of %(price)s, following the catalogue: %(rule)s.")
            if in_line
            else _("It ended at %(at)s, at a price of %(price)s.")
        )
        return text % {**said, "at": at_said(found["end_passed"])}
    return _("It follows the catalogue: %(rule)s.") % said
