"""The revert of a set: the rows that a set has moved go back, unless somebody touched them since.

A change of the catalogue is taken back by a change of its own kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from price_changes.kinds.kind import ChangeKind
from price_changes.kinds.relations import SQL, literal
from price_changes.kinds.words import Names
from price_changes.models import PriceChange

# The rows that a change of a set has moved, and what each was before it. "Before" is by the order
# of instants, not of ids: a late worker enters the set after entries of later instants.
REVERT_ROWS = """
SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
       CASE WHEN reason IS NULL THEN target ELSE price END AS new_price,
       CASE WHEN reason IS NULL THEN before_state ELSE price_state END AS new_state,
       CASE WHEN reason IS NULL THEN before_until END AS new_until, reason, upcoming, boundary
  FROM (SELECT *, CASE WHEN before_state = 'follows' THEN price_rule(full_price, discount_percent)
                       ELSE before_price END AS target,
               CASE WHEN gone THEN 'deleted' WHEN ended THEN 'ended'
                    WHEN newest_change IS DISTINCT FROM {change} AND NOT has_last_word({change}, id)
                      OR {reason_is_anothers} THEN 'touched_since' END AS reason
          FROM (SELECT moved.subscription_id AS id,
                       coalesce(subscription.client_id, last.client_id) AS client_id,
                       coalesce(subscription.service_id, last.service_id) AS service_id,
                       coalesce(subscription.plan_id, last.plan_id) AS plan_id,
                       coalesce(subscription.price, 0) AS price,
                       coalesce(subscription.price_state, 'follows') AS price_state,
                       subscription.locked_until, price_reason, subscription.id IS NULL AS gone,
                       coalesce(ended_at <= {at}, false) AS ended,
                       coalesce(started_at > {at}, false) AS upcoming,
                       CASE WHEN started_at > {at} THEN started_at ELSE ended_at END AS boundary,
                       last.change_id AS newest_change, before.price AS before_price,
                       CASE WHEN before.locked_until <= {at} THEN 'follows'
                            ELSE coalesce(before.price_state, 'follows') END AS before_state,
                       CASE WHEN before.locked_until > {at} THEN before.locked_until
                        END AS before_until,
                       full_price, discount_percent::integer AS discount_percent
                  FROM (SELECT DISTINCT ON (subscription_id) subscription_id,
                               effective_at AS moved_at, id AS first_id
                          FROM services_ledgerentry WHERE change_id = {change}
                         ORDER BY subscription_id, effective_at, id) moved
                  LEFT JOIN services_subscription subscription
                    ON subscription.id = moved.subscription_id
                  LEFT JOIN services_service service ON service.id = subscription.service_id
                  LEFT JOIN services_plan plan ON plan.id = subscription.plan_id
                 CROSS JOIN LATERAL (
                       SELECT change_id, client_id, service_id, plan_id FROM services_ledgerentry
                        WHERE subscription_id = moved.subscription_id AND NOT period_only
                        ORDER BY id DESC LIMIT 1) last
                  LEFT JOIN LATERAL (
                       SELECT price, price_state, locked_until FROM services_ledgerentry
                        WHERE subscription_id = moved.subscription_id
                          AND (effective_at, id) < (moved_at, first_id) AND NOT period_only
                        ORDER BY effective_at DESC, id DESC LIMIT 1) before ON true) known) judged
"""


class RevertOfSet(ChangeKind):
    name = PriceChange.Kind.REVERT
    noun = _lazy("a revert")

    def rows(self, change: PriceChange, at: datetime, relations: Mapping[str, str] | None) -> SQL:
        """The rows that the set has moved, by the ledger, as they are written now."""
        assert change.reverts is not None
        anothers, params = reason_is_anothers(change.reverts)
        return REVERT_ROWS.format(
            at=literal(at), change=int(change.reverts.pk), reason_is_anothers=anothers
        ), params

    def sentence(self, change: PriceChange, names: Names) -> str:
        return _("The rows that price change %(reverts_id)s moved go back") % {
            "reverts_id": change.reverts_id
        }


def reason_is_anothers(undone: PriceChange) -> SQL:
    """The condition that somebody has given a row's price state another reason, at the same price.

    The ledger has no entry of that.
    """
    if undone.reverts_id is not None:
        return "false", []
    return "(price_state <> 'follows' AND price_reason <> %s)", [undone.why]
