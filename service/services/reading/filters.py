"""Which subscriptions a caller means: the one vocabulary of filters.

The list, the totals and changes of a set of subscriptions take the same names with the same
meaning, from a query string or from JSON. A new filter is one line of `BookFilter`: parsing, the
condition, the schema of the API and its words follow from it.
"""

# ruff: noqa: RUF009 - what stands behind a filter's name is its metadata: nothing mutable

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from functools import cached_property, partial
from typing import Any, Self

from django.db.models import Q

from services import parsing
from services.models import BookNow, Plan, Subscription, SubscriptionQuerySet
from services.parsing import MAX_BIGINT, BadValue
from services.reading.scheduled import Pending, parse_pending
from services.reading.search import named_like


@dataclass(frozen=True)
class Kind:
    """A type of the values of filters: how they are parsed, and their schema in the API."""

    parse: Callable[[str, Any], Any]
    schema: dict[str, Any]


ID = Kind(parsing.identifier, {"type": "integer", "minimum": 1, "maximum": MAX_BIGINT})
PRICE = Kind(parsing.money, {"type": "string", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,2})?$"})
INSTANT = Kind(parsing.instant, {"type": "string", "format": "date-time"})


def text(length: int) -> Kind:
    return Kind(partial(parsing.text, length=length), {"type": "string", "maxLength": length})


def one_of(*words: str) -> Kind:
    return Kind(partial(parsing.word, words=words), {"type": "string", "enum": list(words)})


def _searched(name: str, value: Any) -> str:
    words = parsing.text(name, value, 100)
    if len(words.strip()) < 3:
        raise BadValue("too_short", f"{name} has three letters or more.", name, value)
    return words


SEARCH = Kind(_searched, {"type": "string", "minLength": 3, "maxLength": 100})
PENDING = Kind(parse_pending, {"type": "string", "pattern": "^(true|false|[0-9]{1,19})$"})


@dataclass(frozen=True)
class Filter:
    """A filter of the vocabulary. `condition`: a lookup of Django's, or a function that makes a Q.

    `lasting`: it can be part of a price change. A filter by scheduled changes would look at itself.
    """

    kind: Kind
    condition: str | Callable[[Any], Q]
    help: str
    lasting: bool = True

    def q(self, value: Any) -> Q:
        if callable(self.condition):
            return self.condition(value)
        return Q(**{self.condition: value})


def _filter(
    kind: Kind, condition: str | Callable[[Any], Q], help: str, lasting: bool = True
) -> Any:
    return field(default=None, metadata={"filter": Filter(kind, condition, help, lasting)})


# The states of a subscription by its start and end: it is in exactly one. Only active ones pay.
STATES = ("active", "ended", "upcoming")


def _state(state: str) -> Q:
    return {
        "active": Q(started_at__lte=BookNow()) & (Q(ended_at=None) | Q(ended_at__gt=BookNow())),
        "ended": Q(ended_at__lte=BookNow()),
        "upcoming": Q(started_at__gt=BookNow()),
    }[state]


@dataclass(frozen=True, kw_only=True)
class BookFilter:
    """A set of subscriptions: those for which every value that is given holds.

    Ids that do not exist match nothing, as any other value that no subscription has.
    """

    service: int | None = _filter(ID, "service_id", "Only those of this service (its id).")
    plan: int | None = _filter(ID, "plan_id", "Only those of this plan (its id).")
    plan_type: str | None = _filter(
        one_of(*Plan.Type.values), "plan__plan_type", "Only those of plans of this type."
    )
    client: int | None = _filter(ID, "client_id", "Only those of this client (its id).")
    email: str | None = _filter(
        text(254), "client__user__email__iexact", "Only those of the client with this e-mail."
    )
    subscription: int | None = _filter(ID, "id", "Only the subscription of this id.")
    source: str | None = _filter(text(50), "source", "Only those that came from this system.")
    external_id: str | None = _filter(
        text(50), "external_id", "Their id in `source`, which is needed too."
    )
    comment: str | None = _filter(text(50), "comment", "Only those with exactly this comment.")
    comment_prefix: str | None = _filter(
        text(50), "comment__startswith", "Only those whose comment begins with this."
    )
    state: str | None = _filter(
        one_of(*STATES),
        _state,
        "Only those that are active, which have begun and have not ended; that have ended; or that"
        " have not begun.",
    )
    price_state: str | None = _filter(
        one_of(*Subscription.PriceState.values), "price_state", "Only those in this price state."
    )
    price_from: Decimal | None = _filter(PRICE, "price__gte", "Only those that pay this or more.")
    price_to: Decimal | None = _filter(PRICE, "price__lte", "Only those that pay this or less.")
    started_from: datetime | None = _filter(
        INSTANT, "started_at__gte", "Only those that started then or later."
    )
    started_to: datetime | None = _filter(
        INSTANT, "started_at__lt", "Only those that started before then."
    )
    ended_from: datetime | None = _filter(
        INSTANT, "ended_at__gte", "Only those that ended then or later."
    )
    ended_to: datetime | None = _filter(
        INSTANT, "ended_at__lt", "Only those that ended before then."
    )
    q: str | None = _filter(
        SEARCH,
        named_like,
        "Only those of clients and services with a word like this in their name; forgives a typo.",
    )
    pending: Pending | None = _filter(
        PENDING,
        Pending.condition,
        "Only those that a scheduled price change would move (true), that none would (false), or"
        " that the one of this id would.",
        lasting=False,
    )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The filter for values from JSON, a query string or a command line.

        BadValue for an unknown name and for a value that can't be used.
        """
        for name in given:
            if name not in FILTERS:
                raise BadValue(
                    "unknown_filter",
                    f"There is no filter {str(name)[:100]!r}; there are {', '.join(FILTERS)}.",
                    "filter",
                    name,
                    allowed=list(FILTERS),
                )
        parsed = {name: FILTERS[name].kind.parse(name, value) for name, value in given.items()}
        if "external_id" in parsed and "source" not in parsed:
            raise BadValue(
                "source_missing",
                "external_id is unique within a source: give source too.",
                "external_id",
                parsed["external_id"],
            )
        if parsed.get("comment_prefix") == "":
            del parsed["comment_prefix"]  # every comment begins with an empty text
        return cls(**parsed)

    @property
    def given(self) -> dict[str, Any]:
        """The values that are given, by their names; a copy for the caller."""
        return self._given.copy()

    @cached_property
    def _given(self) -> dict[str, Any]:
        return {name: value for name in FILTERS if (value := getattr(self, name, None)) is not None}

    def kept(self) -> dict[str, Any]:
        """The given values for JSON; `of()` makes the same filter from them."""
        return {
            name: value.isoformat()
            if isinstance(value, datetime)
            else str(value)
            if isinstance(value, Decimal | Pending)
            else value
            for name, value in self.given.items()
        }

    def condition(self) -> Q:
        """The filter as a condition on subscriptions."""
        return Q(*[FILTERS[name].q(value) for name, value in self.given.items()])

    def subscriptions(self) -> SubscriptionQuerySet:
        """The subscriptions that match, as they are in force."""
        return Subscription.objects.in_force().filter(self.condition())

    @property
    def by_catalogue(self) -> bool:
        """Whether it filters by service and plan alone, for which totals are kept."""
        return self.given.keys() <= {"service", "plan", "plan_type"}

    @property
    def timeless(self) -> bool:
        """Whether the subscriptions that match change only when the book does.

        That is, not with the clock, nor with what is scheduled.
        """
        return self.state is None and self.pending is None


FILTERS: dict[str, Filter] = {each.name: each.metadata["filter"] for each in fields(BookFilter)}
# The filters that a price change of a set of subscriptions may have.
LASTING = [name for name, each in FILTERS.items() if each.lasting]
