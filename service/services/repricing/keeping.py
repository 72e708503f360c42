"""Keeps and releases rows of one (service, plan) for a change for new subscriptions only.

Each function requires the catalogue's locks. The change's instant decides which rows are kept
(`kept_entries`); a worker writes it down, and may come late.
"""

from __future__ import annotations

from django.db import connection
from django.db.models import OuterRef, Q, Subquery

from services import catalogue_values
from services.models import LedgerEntry, Repricing, Subscription, SubscriptionQuerySet
from services.repricing import lock_ends
from services.repricing.locks import lock_rows
from services.repricing.writes import ledger_origin, write_price

LOCKED = Subscription.PriceState.LOCKED

# For rows that have an entry since its instant: each is asked what it was then. A row that was kept
# by a later write has its entry already.
KEEP_LATE = """
UPDATE services_subscription subscription
   SET price = %(price)s, price_state = 'locked', locked_until = %(until)s, price_reason = %(why)s
  FROM (SELECT id FROM services_subscription one
         WHERE id = ANY (%(ids)s) AND EXISTS (
               SELECT FROM kept_entries(id, least((SELECT book_now()),
                                                  ended_at - interval '1 microsecond')) entry
                WHERE entry.change_id = %(change)s)
           AND NOT EXISTS (
               SELECT FROM services_ledgerentry known
                WHERE known.change_id = %(change)s AND known.subscription_id = one.id)) kept
 WHERE subscription.id = kept.id
"""


def keep(rows: SubscriptionQuerySet, repricing: Repricing, service_id: int, plan_id: int) -> int:
    """Lock the followers of the change's instant at the price just before it; return how many.

    Those that were written at the very instant, before it was approved, are new ones too. Those
    that had ended by what was recorded before it are not kept, wherever their end was put since.
    """
    price = catalogue_values.price_before(
        service_id, plan_id, repricing.change_id, repricing.effective_at
    )
    if price is None:
        return 0
    followers = rows.filter(service_id=service_id, plan_id=plan_id).following(
        repricing.effective_at
    )
    said = LedgerEntry.objects.filter(subscription_id=OuterRef("pk"), period_only=False)
    newest = said.order_by("-effective_at", "-id")
    before = LedgerEntry.objects.filter(
        subscription_id=OuterRef("pk"), recorded_at__lt=repricing.effective_at
    ).order_by("-id")
    given = {
        "change": repricing.change_id,
        "price": price,
        "until": repricing.locked_until,
        "why": f"Price change {repricing.change_id} is for new subscriptions only",
    }
    locked = lock_rows(followers)
    if not locked:
        return 0
    since = followers.filter(pk__in=locked).alias(since=Subquery(newest.values("effective_at")[:1]))
    had_ended = Subscription.objects.filter(pk__in=locked, ended_at__isnull=False).alias(
        end_then=Subquery(before.values("ended_at")[:1])
    )
    had_ended = had_ended.filter(end_then__lte=repricing.effective_at)
    with ledger_origin(repricing.change_id, repricing.effective_at):
        kept = since.filter(
            ~Q(pk__in=had_ended.values("pk")), since__lt=repricing.effective_at
        ).update(
            price=price,
            price_state=LOCKED,
            locked_until=repricing.locked_until,
            price_reason=given["why"],
        )
        with connection.cursor() as cursor:
            cursor.execute(KEEP_LATE, given | {"ids": locked})
            kept += int(cursor.rowcount)
    at_once = since.filter(since=repricing.effective_at)
    rule = catalogue_values.price_at(service_id, plan_id, repricing.effective_at)
    write_price(at_once.exclude(price=rule), rule, repricing.effective_at)
    return kept


# The rows that a change for new subscriptions only has locked, or its revert has released, and
# nobody has touched since; and their state before. A lock that has ended by `at` is none.
BACK = """
SELECT * FROM (
    SELECT moved.subscription_id AS id, before.change_id, before.price, newest.price_state,
           CASE WHEN before.locked_until <= {at} THEN 'follows' ELSE before.price_state END
               AS back_state,
           CASE WHEN before.locked_until > {at} THEN before.locked_until END AS back_until
      FROM (SELECT DISTINCT ON (subscription_id) subscription_id,
                   effective_at AS moved_at, id AS first_id
              FROM services_ledgerentry WHERE change_id = {change} {only}
             ORDER BY subscription_id, effective_at, id) moved
     CROSS JOIN LATERAL (
           SELECT change_id, price_state FROM services_ledgerentry
            WHERE subscription_id = moved.subscription_id AND NOT period_only
            ORDER BY id DESC LIMIT 1) newest
     CROSS JOIN LATERAL (
           SELECT change_id, price, price_state, locked_until FROM services_ledgerentry
            WHERE subscription_id = moved.subscription_id
              AND (effective_at, id) < (moved_at, first_id) AND NOT period_only
            ORDER BY effective_at DESC, id DESC LIMIT 1) before
     WHERE newest.change_id = {change} OR has_last_word({change}, moved.subscription_id)) known
 WHERE back_state <> price_state
"""

# Not those whose state another writer has put back already, with an entry of this change behind
# that of the undone one.
GIVEN_BACK = f"""({
    BACK.format(at="%(at)s", change="%(undone)s", only="AND subscription_id = ANY (%(ids)s)")
}
   AND NOT EXISTS (
       SELECT FROM services_ledgerentry entered
        WHERE entered.change_id = %(change)s AND entered.subscription_id = known.id
          AND entered.id > (SELECT max(id) FROM services_ledgerentry undone
                             WHERE undone.change_id = %(undone)s
                               AND undone.subscription_id = known.id))) back"""  # noqa: S608
FREED = f"SELECT id FROM {GIVEN_BACK} WHERE back_state = 'follows' ORDER BY id"  # noqa: S608
KEEP_AGAIN = f"""
UPDATE services_subscription subscription
   SET price = back.price, price_state = back_state, locked_until = back_until,
       price_reason = format('Price change %%s is for new subscriptions only', back.change_id)
  FROM {GIVEN_BACK}
 WHERE subscription.id = back.id AND back_state <> 'follows'
"""  # noqa: S608 - constants


def give_back(rows: SubscriptionQuerySet, repricing: Repricing) -> int:
    """Put back the price states that the undone change has overwritten; return how many.

    That change is `repricing.unkeeps_change_id`; only rows that nobody has touched are put back. If
    they follow again, also the moves of the catalogue since then are entered.
    """
    there = rows.filter(Q(ended_at=None) | Q(ended_at__gt=repricing.effective_at))
    locked = there.order_by().select_for_update(no_key=True).values_list("pk", flat=True)
    given = {
        "ids": list(locked),
        "undone": repricing.unkeeps_change_id,
        "change": repricing.change_id,
        "at": repricing.effective_at,
    }
    with connection.cursor() as cursor:
        cursor.execute(FREED, given)
        freed = [id for (id,) in cursor.fetchall()]
        with ledger_origin(repricing.change_id, repricing.effective_at):
            cursor.execute(KEEP_AGAIN, given)
            given_back = int(cursor.rowcount)
    if freed:
        lock_ends.follow_since(repricing.effective_at, freed, repricing.change_id)
    return given_back + len(freed)
