"""The comment that a price change stamps on subscriptions, beside what people write there."""

from __future__ import annotations

from django.db.models import Exists, F, OuterRef, Q, Subquery

from services.models import Repricing, StampedComment, SubscriptionQuerySet


def write(rows: SubscriptionQuerySet, comment: str, change_id: int | None = None) -> int:
    """Stamp rows that have no comment, or an earlier stamp; what a person wrote stays.

    A comment that a price change's stamp overwrites is kept for its revert.
    """
    stamped = rows.filter(Q(comment="") | Q(comment=F("stamp"))).exclude(comment=comment)
    if change_id is not None:
        before = list(stamped.select_for_update(no_key=True).values_list("pk", "comment", "stamp"))
        StampedComment.objects.bulk_create(
            (
                StampedComment(change_id=change_id, subscription_id=pk, comment=was, stamp=stamp)
                for pk, was, stamp in before
            ),
            ignore_conflicts=True,
        )
        stamped = stamped.filter(pk__in=[pk for pk, _, _ in before])
    return stamped.update(comment=comment, stamp=comment)


def take_back(rows: SubscriptionQuerySet, change_id: int) -> int:
    """Put back the comments that the change's stamp overwrote, where the stamp is still there."""
    before = StampedComment.objects.filter(change_id=change_id, subscription_id=OuterRef("pk"))
    repricing = Repricing.objects.filter(change_id=change_id).exclude(comment="")
    comment = repricing.values_list("comment", flat=True).first()
    stamped = rows.filter(Exists(before), comment=comment, stamp=comment)
    return stamped.update(
        comment=Subquery(before.values("comment")), stamp=Subquery(before.values("stamp"))
    )
