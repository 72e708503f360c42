"""Requests as of an instant: what they may ask, and the error if nothing was there then."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _
from rest_framework.exceptions import NotFound

from pricebook.kit.errors import BadParameter
from services import ledger
from services.hooks import price_changes
from services.reading import parameters
from services.reading.filters import BookFilter
from services.reading.ordering import BY_ID, Ordering


def refuse_with_as_of(wanted: BookFilter, ordering: Ordering) -> None:
    others = {name: str(value) for name, value in wanted.given.items()}
    if ordering != BY_ID:
        others["ordering"] = str(ordering)
    for name, value in others.items():
        if name not in ledger.AS_OF_FILTERS:
            raise BadParameter(
                name,
                value,
                _(
                    "The ledger doesn't know %(name)s; as_of goes with %(as_of_filters)s, in"
                    " the order of the ids."
                )
                % {"name": name, "as_of_filters": ", ".join(ledger.AS_OF_FILTERS)},
                code="not_with_as_of",
                allowed=list(ledger.AS_OF_FILTERS),
            )


def waiting_for(instant: datetime | None, known_at: datetime | None = None) -> list[dict[str, Any]]:
    """The changes of sets that are missing from an answer as of an instant (now), for the API.

    One query.
    """
    return [asdict(change) for change in price_changes().waiting_for(instant, known_at)]


def instants(query: QueryDict, name: str = "as_of") -> tuple[datetime | None, datetime | None]:
    """The instant asked for, and the one by whose known facts to answer (None: by all facts).

    `known_at` alone asks for that instant. BadParameter for a bad value, and if more may yet be
    recorded as of `known_at`. One query with `known_at`, otherwise none.
    """
    instant = parameters.instant(query, name)
    known_at = parameters.instant(query, "known_at")
    if known_at is None:
        return instant, None
    try:
        ledger.refuse_incomplete(known_at)
    except ledger.Incomplete as error:
        given = str(query["known_at"])
        raise BadParameter("known_at", given, error.detail, error.code) from None
    return instant or known_at, known_at


def nothing_then(pk: str, instant: datetime | None, known_at: datetime | None = None) -> NotFound:
    said = {
        "pk": pk,
        "instant": instant.isoformat() if instant else "",
        "known_at": known_at.isoformat() if known_at else "",
    }
    if instant and known_at:
        detail = _("There was no subscription %(pk)s at %(instant)s, as was known at %(known_at)s.")
    elif instant:
        detail = _("There was no subscription %(pk)s at %(instant)s.")
    else:
        detail = _("There was no subscription %(pk)s.")
    return NotFound(detail % said)
