"""What a request as of an instant may ask, and the answer where nothing was there then."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.http import QueryDict
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
                f"The ledger doesn't know {name}; as_of goes with"
                f" {', '.join(ledger.AS_OF_FILTERS)}, in the order of the ids.",
                code="not_with_as_of",
                allowed=list(ledger.AS_OF_FILTERS),
            )


def waiting_for(instant: datetime | None, known_at: datetime | None = None) -> list[dict[str, Any]]:
    """The changes of sets that an answer as of an instant (now) does not hold, as the API has them.

    One query.
    """
    return [asdict(change) for change in price_changes().waiting_for(instant, known_at)]


def instants_of(query: QueryDict, name: str = "as_of") -> tuple[datetime | None, datetime | None]:
    """The instant that is asked for, and by which facts: all (None), or those known at an instant.

    `known_at` alone asks for that instant. Raises BadParameter, also where what was known at an
    instant is not complete yet. One query with `known_at`, and else none.
    """
    instant = parameters.instant_of(query, name)
    known_at = parameters.instant_of(query, "known_at")
    if known_at is None:
        return instant, None
    try:
        ledger.refuse_incomplete(known_at)
    except ledger.Incomplete as error:
        given = str(query["known_at"])
        raise BadParameter("known_at", given, error.detail, error.code) from None
    return instant or known_at, known_at


def nothing_then(pk: str, instant: datetime | None, known_at: datetime | None = None) -> NotFound:
    when = f" at {instant.isoformat()}" if instant else ""
    known = f", as was known at {known_at.isoformat()}" if known_at else ""
    return NotFound(f"There was no subscription {pk}{when}{known}.")
