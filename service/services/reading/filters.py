"""Which subscriptions a caller means: the one vocabulary of filters.

The list, the totals and changes of a set of subscriptions take the same names with the same
meaning, from a query string or from JSON. A new filter is a field of `BookFilter`, and an index if
it has one: parsing, the condition, the schema of the API, the way in which a page is read, the
field of the form that plans a change and the words of the change follow from it.
"""

# ruff: noqa: RUF009 - what stands behind a filter's name is its metadata: nothing mutable

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Self

from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from services.models import BookNow, Plan, Skip, Subscription, SubscriptionQuerySet
from services.parsing import BadValue
from services.reading.filter_kinds import (
    ID,
    INSTANT,
    PENDING,
    PRICE,
    RECORD,
    SEARCH,
    Access,
    Filter,
    a_filter,
    one_of,
    text,
)
from services.reading.scheduled import Pending
from services.reading.search import named_like

# The states of a subscription by its start and end: it is in exactly one. Only active ones pay.
STATES = ("active", "ended", "upcoming")


def _skipped_by(change_id: int) -> Q:
    """The subscriptions that a price change has named as skipped or failed."""
    named = Skip.objects.filter(repricing__change_id=change_id, subscription_id__isnull=False)
    left = named.exclude(reason=Skip.Reason.NOT_STAMPED)  # those were moved
    return Q(pk__in=left.order_by().values("subscription_id"))


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

    service: int | None = a_filter(
        RECORD,
        Access.COUNTED,
        "service_id",
        "Only those of this service (its id).",
        _lazy("Service"),
    )
    plan: int | None = a_filter(
        RECORD, Access.COUNTED, "plan_id", "Only those of this plan (its id).", _lazy("Plan")
    )
    plan_type: str | None = a_filter(
        one_of(Plan.Type.choices),
        Access.COUNTED,
        "plan__plan_type",
        "Only those of plans of this type.",
        _lazy("Plan type"),
    )
    client: int | None = a_filter(
        RECORD, Access.INDEXED, "client_id", "Only those of this client (its id).", _lazy("Client")
    )
    except_client: int | None = a_filter(
        RECORD,
        Access.SCANNED,
        lambda client_id: ~Q(client_id=client_id),
        "Only those of other clients than this one (its id).",
        _lazy("Except client"),
        hint=_lazy("One client whose subscriptions stay as they are."),
    )
    email: str | None = a_filter(
        text(254),
        Access.INDEXED,
        "client__user__email__iexact",
        "Only those of the client with this e-mail.",
        _lazy("E-mail of the client"),
        has_history=False,
    )
    subscription: int | None = a_filter(
        ID, Access.FEW, "id", "Only the subscription of this id.", _lazy("Subscription")
    )
    source: str | None = a_filter(
        text(50),
        Access.INDEXED,
        "source",
        "Only those that came from this system.",
        _lazy("Source"),
        has_history=False,
    )
    external_id: str | None = a_filter(
        text(50),
        Access.FEW,
        "external_id",
        "Their id in `source`, which is needed too.",
        _lazy("External id"),
        hint=_lazy("Give its source too."),
        has_history=False,
    )
    comment: str | None = a_filter(
        text(50),
        Access.INDEXED,
        "comment",
        "Only those with exactly this comment.",
        _lazy("Comment"),
        has_history=False,
    )
    comment_prefix: str | None = a_filter(
        text(50),
        Access.INDEXED,
        "comment__startswith",
        "Only those whose comment begins with this.",
        _lazy("Comment begins with"),
        has_history=False,
    )
    state: str | None = a_filter(
        one_of(zip(STATES, (_lazy("active"), _lazy("ended"), _lazy("upcoming")), strict=True)),
        Access.SCANNED,
        _state,
        "Only those that are active, which have begun and have not ended; that have ended; or"
        " that have not begun.",
        _lazy("State"),
        then="CASE WHEN ended THEN 'ended' WHEN upcoming THEN 'upcoming' ELSE 'active' END = %s",
        adjective=True,
        timeless=False,
    )
    price_state: str | None = a_filter(
        one_of(Subscription.PriceState.choices),
        Access.SCANNED,
        "price_state",
        "Only those in this price state.",
        _lazy("Price state"),
        then="state = %s",
        adjective=True,
    )
    price_from: Decimal | None = a_filter(
        PRICE,
        Access.SCANNED,
        "price__gte",
        "Only those that pay this or more.",
        _lazy("Price from"),
        hint=_lazy("This price too."),
        then="price >= %s",
    )
    price_to: Decimal | None = a_filter(
        PRICE,
        Access.SCANNED,
        "price__lte",
        "Only those that pay this or less.",
        _lazy("Price to"),
        hint=_lazy("This price too."),
        then="price <= %s",
    )
    started_from: datetime | None = a_filter(
        INSTANT,
        Access.INDEXED,
        "started_at__gte",
        "Only those that started then or later.",
        _lazy("Started from"),
    )
    started_to: datetime | None = a_filter(
        INSTANT,
        Access.INDEXED,
        "started_at__lt",
        "Only those that started before then.",
        _lazy("Started before"),
    )
    ended_from: datetime | None = a_filter(
        INSTANT,
        Access.INDEXED,
        "ended_at__gte",
        "Only those that ended then or later.",
        _lazy("Ended from"),
    )
    ended_to: datetime | None = a_filter(
        INSTANT,
        Access.INDEXED,
        "ended_at__lt",
        "Only those that ended before then.",
        _lazy("Ended before"),
    )
    skipped_by: int | None = a_filter(
        ID,
        Access.INDEXED,
        _skipped_by,
        "Only those that the price change of this id has skipped or failed to move, one by one.",
        _lazy("Skipped by price change"),
        hint=_lazy("Its number: the rest of that change."),
        has_history=False,
        timeless=False,
    )
    q: str | None = a_filter(
        SEARCH,
        Access.SEARCHED,
        named_like,
        "Only those of clients and services with a word like this in their name; forgives a typo.",
        _lazy("Q"),
        has_history=False,
        not_for_a_change=_lazy("forgives a typo, so it also finds what is only like the word"),
    )
    pending: Pending | None = a_filter(
        PENDING,
        Access.JUDGED,
        Pending.condition,
        "Only those that a scheduled price change would move (true), that none would (false), or"
        " that the one of this id would.",
        _lazy("Pending"),
        not_for_a_change=_lazy("depends on what is scheduled"),
        timeless=False,
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
                    _("There is no filter %(name)s; there are %(filters)s.")
                    % {"name": repr(str(name)[:100]), "filters": ", ".join(FILTERS)},
                    "filter",
                    name,
                    allowed=list(FILTERS),
                )
        parsed = {name: FILTERS[name].kind.parse(name, value) for name, value in given.items()}
        refuse_id_without_source(parsed)
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

    def as_json(self) -> dict[str, Any]:
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
        """Whether it filters by service and plan alone, for which there are subtotals."""
        return self.given.keys() <= named(Access.COUNTED)

    @property
    def timeless(self) -> bool:
        """Whether the subscriptions that match change only when the book does."""
        return all(FILTERS[name].timeless for name in self.given)


def refuse_id_without_source(parsed: Mapping[str, Any]) -> None:
    if "external_id" in parsed and "source" not in parsed:
        raise BadValue(
            "source_missing",
            _("external_id is unique within a source: give source too."),
            "external_id",
            parsed["external_id"],
        )


FILTERS: dict[str, Filter] = {each.name: each.metadata["filter"] for each in fields(BookFilter)}
# The filters that a price change of a set of subscriptions may have.
LASTING = [name for name, each in FILTERS.items() if not each.not_for_a_change]


def record_of(name: str) -> str:
    """The kind of record that a filter by an id names: `except_client` names a client."""
    return name.removeprefix("except_")


def named(access: Access) -> set[str]:
    """The names of the filters whose rows are found in this way."""
    return {name for name, each in FILTERS.items() if each.access == access}
