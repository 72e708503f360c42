"""Named queries on subscriptions and repricings. An adjective filters, `with_` annotates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, TypeVar

from django.db import models
from django.db.models import F, Q
from django.db.models.fields.tuple_lookups import (  # type: ignore[import-untyped]
    Tuple,
    TupleGreaterThan,
    TupleLessThanOrEqual,
)
from django.db.models.functions import Now

from services.pricing import RulePrice

if TYPE_CHECKING:
    from services.filters import BookFilter
    from services.models import Repricing, SavesChanges, Subscription  # noqa: F401

SavedModel = TypeVar("SavedModel", bound="SavesChanges")


class ChangesQuerySet(models.QuerySet[SavedModel]):
    """Of models that save their changes: tells instances what a bulk write has saved of them."""

    def bulk_create(
        self, objs: Iterable[SavedModel], *args: Any, **kwargs: Any
    ) -> list[SavedModel]:
        created = super().bulk_create(objs, *args, **kwargs)
        for instance in created:
            instance.mark_saved()
        return created

    def bulk_update(
        self, objs: Iterable[SavedModel], fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> int:
        instances, names = list(objs), list(fields)
        rows = super().bulk_update(instances, names, *args, **kwargs)
        for instance in instances:
            instance.mark_saved(names)
        return rows


class SubscriptionQuerySet(ChangesQuerySet["Subscription"]):
    def active(self) -> Self:
        """Those that have not ended."""
        return self.filter(Q(ended_at=None) | Q(ended_at__gt=Now()))

    def of_pair(self, service_id: int, plan_id: int, after_id: int, last_id: int) -> Self:
        """Those of one service and plan with after_id < id <= last_id, in the order of ids.

        As one range of the index (service_id, plan_id, id): for two equalities and an order by id
        the planner may walk the primary key, through all that belongs to other pairs.
        """
        pair = [F("service_id"), F("plan_id"), F("id")]
        return self.filter(
            TupleGreaterThan(Tuple(*pair), (service_id, plan_id, after_id)),
            TupleLessThanOrEqual(Tuple(*pair), (service_id, plan_id, last_id)),
        ).order_by("service_id", "plan_id", "id")

    def following(self) -> Self:
        """Active ones that follow the catalogue: their price is to be the rule's."""
        return self.active().filter(price_state="follows")

    def matching(self, book_filter: BookFilter) -> Self:
        """Those that a caller of the API means."""
        return self.filter(book_filter.condition())

    def for_api(self) -> Self:
        """The columns that the API shows, in one query: every relation is to one, so they join."""
        return self.select_related("client__user", "service", "plan").only(
            "client__company_name",
            "client__user__email",
            "service__name",
            "service__full_price",
            "plan__plan_type",
            "plan__discount_percent",
            "price",
            "price_state",
            "locked_until",
            "price_reason",
            "comment",
            "source",
            "external_id",
            "started_at",
            "ended_at",
        )

    def with_rule_price(self) -> Self:
        """Annotate `rule_price`: what the catalogue says now (joins service and plan)."""
        return self.annotate(rule_price=RulePrice("service__full_price", "plan__discount_percent"))

    def mispriced(self) -> Self:
        """Followers whose price is not the rule's, waiting for a worker or not."""
        return self.following().with_rule_price().exclude(price=F("rule_price"))


class RepricingQuerySet(models.QuerySet["Repricing"]):
    def due(self) -> Self:
        """Those with work left."""
        return self.filter(finished_at=None)

    def concerning(self, service_id: int, plan_id: int) -> Self:
        """Those of the catalogue that concern the subscriptions of this service and plan."""
        return self.exclude(kind="rows").filter(
            Q(service=service_id) | Q(service=None), Q(plan=plan_id) | Q(plan=None)
        )
