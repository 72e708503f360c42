"""A price change for programs, as `price_change … --json` prints it."""

from decimal import Decimal
from typing import Any

from django.forms.models import model_to_dict

from price_changes import verbs
from price_changes.models import PriceChange
from price_changes.planning.local_instant import other_instant

AMOUNTS = {"total_before", "total_after", "movement", "before", "after"}


def record(change: PriceChange) -> dict[str, Any]:
    """A change for programs: its fields, the verbs that its state allows, and its outcome."""
    fields = {
        field.attname: getattr(change, field.attname)
        for field in change._meta.concrete_fields
        if field.name not in ("preview_seed", "judged")
    }
    other = other_instant(change)
    return fields | {
        "zone_rules_differ": other is not None,
        "effective_by_zone_rules": None if other is None else other.at,
        "not_approved": change.not_approved,
        "finds": change.finds,
        "will_be_held": change.will_be_held,
        "untold": None if change.untold is None else change.untold.left,
        "brake": change.brake and model_to_dict(change.brake),
        "preview": _exact(change.preview),
        "allowed": verbs.allowed(change),
        "outcome": verbs.outcome(change) if change.started_at else None,
    }


def _exact(value: Any) -> Any:
    """The preview with its amounts as numbers: it is stored as JSON, where they are texts."""
    if isinstance(value, dict):
        return {
            name: Decimal(each)
            if name in AMOUNTS
            else {reason: Decimal(amount) for reason, amount in each.items()}
            if name == "stays_total"
            else _exact(each)
            for name, each in value.items()
        }
    return [_exact(each) for each in value] if isinstance(value, list) else value
