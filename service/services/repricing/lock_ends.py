"""Releases locks that have come to their end: the subscription follows the catalogue from then on.

So does a subscription that has ended meanwhile: between its lock's end and its own it followed, and
gets the price that it paid last. A subscription that had ended before its lock did has paid the
locked price to its end, and stays as it was then. If its end is moved or cleared, the trigger notes
its lock again, so that the next sweep releases it, since the lock's end.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from django.db.models import OuterRef, Q, Subquery

from pricebook.kit.points import at_point
from services.models import BookNow, LedgerEntry, LockEnd, Subscription
from services.repricing import accounts
from services.repricing.locks import LockHeld, giving_way, wait_for_listing
from services.repricing.writes import CLIENT_THEN, ledger_origin

# The most rows that one transaction releases.
ROWS = 5_000


def release_ended(up_to: datetime | None = None) -> bool:
    """Release the locks that have ended by `up_to` (now); False if somebody is in the way.

    The subscriptions follow again from the instant at which their lock ended. One query when none
    has.
    """
    while True:
        ended = LockEnd.objects.filter(until__lte=up_to or BookNow())
        ended = ended.order_by("until", "subscription_id")
        until = ended.values_list("until", flat=True).first()
        if until is None:
            return True
        try:
            with giving_way():
                wait_for_listing()
                taken = list(
                    LockEnd.objects.filter(until=until)
                    .order_by("subscription_id")
                    .select_for_update(skip_locked=True)
                    .values_list("pk", "subscription_id")[:ROWS]
                )
                if not taken:
                    return True  # another worker has them
                _release_pairs(until, [subscription_id for _, subscription_id in taken])
                LockEnd.objects.filter(pk__in=[pk for pk, _ in taken]).delete()
                at_point("locks ended")
        except LockHeld:
            return False


# The instants since `since` at which a value of the catalogue has come into force, or was undone,
# for a (service, plan), each with its change. Not a value whose work has not begun: that brings its
# own entries. Nor one that has never counted, because it is held, or was cancelled before its
# instant; nor an undoing that was cancelled before its instant. Nor one for new subscriptions only
# that has been taken back: it does not concern those who were there.
CAME = """effective_at > {since} AND effective_at <= (SELECT book_clock()) AND started
          AND NOT undone @> effective_at AND held IS NOT TRUE
          AND NOT (for_new_only AND NOT isempty(undone))
          AND (undoes_id IS NULL OR change_id IS NOT NULL AND NOT EXISTS (
               SELECT FROM services_cataloguevalue withdrawal
                WHERE withdrawal.undoes_id = value.undoes_id AND change_id IS NULL
                  AND withdrawal.effective_at = value.effective_at
                  AND withdrawal.id > value.id))"""
MOVED_SINCE = f"""
       SELECT effective_at, change_id, id FROM services_cataloguevalue value
        WHERE value.service_id = {{service}} AND {CAME}
       UNION ALL
       SELECT effective_at, change_id, id FROM services_cataloguevalue value
        WHERE value.plan_id = {{plan}} AND {CAME}
"""  # noqa: S608 - constants

# Entries with the rule's price at each instant at which the catalogue moved it, from the end of the
# lock to the end of the subscription. The time for which a change keeps the subscription is left
# out, and the end of that time: `settle_kept` enters both, in their order. Where the change that
# wrote the lock was taken back before the lock's end, the subscription follows since then. A
# write that came while no sweep had released the lock is entered again, as of a follower: so the
# last entry of a subscription is the one that stands, as those who come late require.
RELEASED = f"""
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, started_at, ended_at,
        effective_at, recorded_at, change_id, author, source, external_id)
SELECT id, client_id, service_id, plan_id, price_rule_at(service_id, plan_id, effective_at),
       'follows', started_at, ended_at, effective_at, (SELECT book_clock()), change_id, author,
       source, external_id
  FROM (
SELECT subscription.id, {CLIENT_THEN.format(subscription="subscription", at="event.effective_at")}
           AS client_id, subscription.service_id, subscription.plan_id,
       started_at, ended_at, event.effective_at, event.change_id,
       '' AS author, NULL AS source, NULL AS external_id, event.id AS position
  FROM services_subscription subscription
  LEFT JOIN LATERAL (
       SELECT effective_at, change_id, price_state
         FROM kept_entries(subscription.id, least((SELECT book_now()), ended_at))
              WITH ORDINALITY kept
        WHERE kept.effective_at < %(until)s AND %(change)s::bigint IS NULL
        ORDER BY ordinality DESC LIMIT 1) let_go ON let_go.price_state = 'follows'
 CROSS JOIN LATERAL (SELECT coalesce(let_go.effective_at, %(until)s) AS at) since
 CROSS JOIN LATERAL (
       {
    MOVED_SINCE.format(
        since="since.at", service="subscription.service_id", plan="subscription.plan_id"
    )
}
       UNION ALL
       SELECT since.at, coalesce(%(change)s, let_go.change_id), 0) event
 WHERE subscription.id = ANY (%(ids)s)
   AND (ended_at IS NULL OR event.effective_at < ended_at)
   AND (event.id = 0 OR
        price_rule_at(subscription.service_id, subscription.plan_id, event.effective_at) <>
        price_rule_at(subscription.service_id, subscription.plan_id,
                      event.effective_at - interval '1 microsecond'))
   AND coalesce(
       (SELECT kept.price_state = 'follows'
               AND (event.id = 0 OR (kept.effective_at, kept.change_id)
                                    IS DISTINCT FROM (event.effective_at, event.change_id))
          FROM kept_entries(subscription.id, least((SELECT book_now()), ended_at))
               WITH ORDINALITY kept
         WHERE kept.effective_at >= since.at AND kept.effective_at <= event.effective_at
         ORDER BY ordinality DESC LIMIT 1), true)
 UNION ALL
SELECT written.subscription_id, written.client_id, written.service_id, written.plan_id,
       subscription.started_at, subscription.ended_at, written.effective_at, NULL,
       written.author, written.source, written.external_id, written.id
  FROM services_subscription subscription
  JOIN services_ledgerentry written ON written.subscription_id = subscription.id
 WHERE subscription.id = ANY (%(ids)s) AND written.id >= ledger_id_at(%(until)s)
   AND written.effective_at > %(until)s AND NOT period_only AND written.change_id IS NULL
   AND (written.price_state, written.locked_until) = ('locked', %(until)s)
   AND (subscription.ended_at IS NULL OR written.effective_at < subscription.ended_at)) entry
 ORDER BY id, effective_at, position
RETURNING id
"""  # noqa: S608 - constants


# A set may have replaced the lock, and its worker is on the way.
COPY_LISTED = """
SELECT copy_listed(array_agg(asked.id ORDER BY asked.id))
  FROM unnest(%s::bigint[]) asked (id) CROSS JOIN LATERAL listed_as(asked.id) entry
 WHERE (SELECT listed_late()) IS NOT NULL
HAVING count(*) > 0
"""


def _release_pairs(until: datetime, subscription_ids: list[int]) -> None:
    with ledger_origin(writes_entries=True), connection.cursor() as cursor:
        cursor.execute(COPY_LISTED, [subscription_ids])
    rows = Subscription.objects.filter(
        Q(ended_at=None) | Q(ended_at__gt=until),
        pk__in=subscription_ids,
        price_state=Subscription.PriceState.LOCKED,
        locked_until=until,
    )
    pairs = list(rows.order_by().values_list("service_id", "plan_id").distinct())
    for service_id in sorted({service_id for service_id, _ in pairs}):
        with connection.cursor() as cursor:
            cursor.execute("SELECT lock_service(%s, false)", [service_id])
    for plan_id in sorted({plan_id for _, plan_id in pairs}):
        with connection.cursor() as cursor:
            cursor.execute("SELECT lock_plan(%s, false)", [plan_id])
    found = list(rows.select_for_update(no_key=True).values_list("pk", "service_id", "plan_id"))
    if not {tuple(pair) for _, *pair in found} <= set(pairs):
        raise LockHeld("A subscription moved to a pair that is not locked.")
    follow_since(until, [pk for pk, *_ in found])


def follow_since(
    until: datetime, subscription_ids: list[int], change_id: int | None = None
) -> None:
    """Let locked rows follow since `until`, with the entries of all that they have missed.

    `change_id`: the change that lets them follow; if left out, it is the end of their lock.
    Requires the locks of the rows and of their catalogue. Four queries and the settings'.
    """
    with connection.cursor() as cursor:
        cursor.execute(RELEASED, {"until": until, "ids": subscription_ids, "change": change_id})
        entries = [id for (id,) in cursor.fetchall()]
    newest = LedgerEntry.objects.filter(subscription_id=OuterRef("pk")).order_by("-id")
    with ledger_origin(writes_entries=True):
        Subscription.objects.filter(pk__in=subscription_ids).update(
            price_state=Subscription.PriceState.FOLLOWS,
            price=Subquery(newest.values("price")[:1]),
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT settle_kept(%s::bigint[])", [subscription_ids])
    # For all that was entered: chunks have counted these rows as locked.
    if entries:
        accounts.correct(subscription_ids, min(entries) - 1)
