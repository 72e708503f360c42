"""The words of the lists: states, price states, and the labels of filters."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from services.reading.filters import FILTERS

STATES: dict[str, Promise] = {
    "active": pgettext_lazy("subscription", "active"),
    "upcoming": _("not begun yet"),
    "ended": _("ended"),
}
PRICE_STATES: dict[str, Promise] = {
    "follows": _("follows the catalogue"),
    "locked": _("locked"),
    "negotiated": _("negotiated"),
}
PLAN_TYPES: dict[str, Promise] = {
    "full": _("full price"),
    "student": _("student"),
    "discount": _("with a discount"),
}
PENDING: dict[str, Promise] = {
    "true": _("a scheduled change would move it"),
    "false": _("no scheduled change would move it"),
}
LABELS: dict[str, Promise] = {
    "q": _("Name of a client or service"),
    "service": _("Service"),
    "plan": _("Plan"),
    "plan_type": _("Plan type"),
    "client": _("Client"),
    "except_client": _("Except client"),
    "subscription": _("Subscription"),
    "email": _("E-mail of the client"),
    "source": _("Source"),
    "external_id": _("External id"),
    "comment": _("Comment"),
    "comment_prefix": _("Comment begins with"),
    "state": _("State"),
    "price_state": _("Price state"),
    "price_from": _("Price from"),
    "price_to": _("Price to"),
    "started_from": _("Started from"),
    "started_to": _("Started before"),
    "ended_from": _("Ended from"),
    "ended_to": _("Ended before"),
    "pending": _("Scheduled change"),
}
# The other values of an address.
OTHERS: dict[str, Promise] = {
    "ordering": _("Order"),
    "cursor": _("Place in the list"),
    "page_size": _("Rows of a page"),
}


def label_of(name: str, labels: Mapping[str, str | Promise] = LABELS) -> str | Promise:
    """The label of a filter; that of the vocabulary for one which has no field here."""
    if name in labels:
        return labels[name]
    return FILTERS[name].label if name in FILTERS else name
