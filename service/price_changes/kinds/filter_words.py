"""The filter of a set in words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.translation import get_language, pgettext_lazy
from django.utils.translation import gettext as _

from price_changes.kinds.words import Names
from pricebook.kit import figures
from services.about_price_states import about
from services.models import Subscription
from services.reading.filter_kinds import Input
from services.reading.filters import FILTERS

# The values of the filter `active`, and the types of plans, before "subscriptions".
OF_PERIODS = {
    "active": pgettext_lazy("subscriptions", "active"),
    "ended": pgettext_lazy("subscriptions", "ended"),
    "upcoming": pgettext_lazy("subscriptions", "upcoming"),
    "full": pgettext_lazy("subscriptions", "full"),
    "student": pgettext_lazy("subscriptions", "student"),
    "discount": pgettext_lazy("subscriptions", "discount"),
}


def subscriptions(which: dict[str, Any], names: Names) -> str:
    """A filter in words: "Active, locked subscriptions of service Fibre, price from 100.00"."""
    if not which:
        return _("All subscriptions")
    adjectives = [_adjective(value) for name, value in which.items() if FILTERS[name].adjective]
    said = []
    for name, value in which.items():
        label = _label(name)
        kind = FILTERS[name].kind
        if kind.input == Input.RECORD:
            said.append(f"{label} {getattr(names, name)(value)}")
        elif kind.input == Input.INSTANT:
            said.append(f"{label} {figures.instant(datetime.fromisoformat(value))}")
        elif not FILTERS[name].adjective:
            said.append(f"{label} {value}")
    subject = (
        _("%(adjectives)s subscriptions") % {"adjectives": ", ".join(adjectives)}
        if adjectives
        else _("Subscriptions")
    )
    subject = subject[:1].upper() + subject[1:]
    if not said:
        return subject
    return _("%(subject)s of %(said)s") % {"subject": subject, "said": ", ".join(said)}


def _label(name: str) -> str:
    """The name of a filter in a sentence: its label, as it stands within one."""
    if (get_language() or "en").startswith("en"):
        return name.replace("_", " ")
    label = str(FILTERS[name].label)
    return label[:1].lower() + label[1:]


def _adjective(value: str) -> str:
    """A price state as it stands before "subscriptions"; any other value as it is."""
    if value in Subscription.PriceState:
        return str(about(value).adjective)
    return str(OF_PERIODS.get(value, value))
