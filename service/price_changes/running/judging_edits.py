"""Compares plain edits with the limits: those by SQL and the ORM, which succeed whatever they move.

A door that asks the policy marks its edit as judged. A worker counts what any other one has moved,
once its rows are moved; beyond a limit the change says so (`needs_another`), and it stands as not
approved on the home page, on its own page and in the API, until it is taken back, or until another
person accepts it.
"""

from __future__ import annotations

from decimal import Decimal

from django.db import transaction
from django.utils.translation import gettext as _

from price_changes.errors import ChangeError
from price_changes.kinds.relations import fetch
from price_changes.models import PriceChange
from price_changes.planning.around import named
from price_changes.running import allowing, limits, second_person
from pricebook.words.stored import in_english
from services.models import book_clock
from services.moves import Move, NeedsAnotherPerson

MOST = 100  # edits of one run
# Followers are moved by chunks; where several changes move them at once, by entries of their own.
MOVED = """
SELECT coalesce(sum(number), 0)::bigint, coalesce(sum(number * old_price), 0),
       coalesce(sum(number * price), 0), coalesce(sum(number * abs(price - old_price)), 0),
       max(CASE WHEN price = old_price THEN 0 WHEN old_price = 0 THEN 'Infinity'
                ELSE abs(price - old_price) * 100 / old_price END)
  FROM (SELECT number, old_price, price FROM services_movedfollowers WHERE change_id = %(change)s
         UNION ALL
        SELECT number, old_price, price
          FROM (SELECT count(*) AS number, service_id, plan_id, effective_at, price
                  FROM services_ledgerentry
                 WHERE change_id = %(change)s AND price_state = 'follows' AND price IS NOT NULL
                 GROUP BY service_id, plan_id, effective_at, price) entered,
               price_rule_at(service_id, plan_id, effective_at - interval '1 microsecond') old_price
         WHERE price <> old_price) moved
"""


def judge_edits() -> int:
    """Judge the edits whose rows are moved; return how many are beyond a limit.

    One query if there is none, which no limit needs more than.
    """
    edits = PriceChange.objects.filter(judged=False)
    if not limits.Limits.now():
        edits.update(judged=True)
        return 0
    moved = edits.exclude(status__in=[PriceChange.Status.APPLYING, PriceChange.Status.PAUSED])
    ids = list(moved.order_by("pk").values_list("pk", flat=True)[:MOST])
    return sum(_is_beyond(pk) for pk in ids)


def _is_beyond(change_id: int) -> bool:
    with transaction.atomic():
        # Another worker, or a person, may have it in hand: then it is judged by the next sweep.
        rows = PriceChange.objects.select_for_update(skip_locked=True)
        change = rows.filter(pk=change_id, judged=False).first()
        if change is None:
            return False
        try:
            with transaction.atomic():
                limits.moved_alone(change.approved_by, _move(change), change.pk)
        except NeedsAnotherPerson as refusal:
            change.needs_another = in_english(refusal.detail)[:500]
        change.judged = True
        change.save(update_fields=["judged", "needs_another"])
    return bool(change.needs_another)


def _move(change: PriceChange) -> Move:
    [(rows, before, after, movement, percent)] = fetch(MOVED, {"change": change.pk})
    finite = percent is None or percent.is_finite()
    return Move(
        rows, before, after, movement, (percent or Decimal(0)) if finite else None, named(change)
    )


def accept(change_id: int, author: str) -> PriceChange:
    """Approve what an edit has moved beyond a limit; raises ChangeError.

    Another person than its author has to, as long as any limit is set. It adds to nobody's sum.
    """
    with allowing.held(change_id, "accept") as change:
        if not change.not_approved:
            raise ChangeError(
                "nothing_to_accept",
                _("Price change %(change_id)s is approved: there is nothing to accept.")
                % {"change_id": change_id},
                409,
            )
        if why := why_not_accept(change, author):
            raise ChangeError("needs_another_person", why, 403)
        change.accepted_by, change.accepted_at = author, book_clock()
        change.needs_another = ""
        change.save(update_fields=["accepted_by", "accepted_at", "needs_another"])
    return change


def why_not_accept(change: PriceChange, author: str) -> str | None:
    """The reason why this author can't accept an edit; None: it can. Up to two queries."""
    if not limits.Limits.now():
        return None
    return second_person.why_not_after(change.approved_by, author, change)
