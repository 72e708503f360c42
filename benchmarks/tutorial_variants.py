"""The tutorial's own code, step by step, on Pricebook's tables, for the claims to compare with.

It is written from the document, but for two points, both in its favour: its arithmetic is the exact
rule (in floating point the answers could not be compared), and its list, which has no pages, shows
the first hundred.
"""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import models, transaction
from django.db.models import Prefetch, Sum
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from clients.models import Client
from services.models import Plan, Subscription
from services.pricing import RulePrice, rule_price

PAGE = 100


# --- Chapters 5-7, 9 and 11: the list ----------------------------------------------------------


class BareSerializer(serializers.ModelSerializer):
    """Chapter 5."""

    client_name = serializers.CharField(source="client.company_name")
    email = serializers.CharField(source="client.user.email")

    class Meta:
        model = Subscription
        fields = ("id", "plan_id", "client_name", "email")


class PlanSerializer(serializers.ModelSerializer):
    class Meta:
        model = Plan
        fields = ("id", "plan_type", "discount_percent")


class WithPlanSerializer(BareSerializer):
    """Chapter 6, step 4."""

    plan = PlanSerializer()

    class Meta(BareSerializer.Meta):
        fields = (*BareSerializer.Meta.fields, "plan")


class ComputingSerializer(WithPlanSerializer):
    """Chapter 7, step 1: the price computed from the instance, which queries the service."""

    price = serializers.SerializerMethodField()

    class Meta(WithPlanSerializer.Meta):
        fields = (*WithPlanSerializer.Meta.fields, "price")

    def get_price(self, instance: Any) -> Decimal:
        return rule_price(instance.service.full_price, instance.plan.discount_percent)


class AnnotatedSerializer(ComputingSerializer):
    """Chapter 7, step 3."""

    def get_price(self, instance: Any) -> Decimal:
        return instance.rule_price


class StoredSerializer(ComputingSerializer):
    """Chapter 9: a column."""

    def get_price(self, instance: Any) -> Decimal:
        return instance.price


PREFETCHED_CLIENT = Prefetch(
    "client",
    queryset=Client.objects.select_related("user").only("company_name", "user__email"),
)
RULE = RulePrice("service__full_price", "plan__discount_percent")


class FirstPage(ReadOnlyModelViewSet):
    """The first hundred; the total, if there is one, is that of all."""

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        queryset = self.get_queryset()
        rows = self.get_serializer(queryset[:PAGE], many=True).data
        answer: dict[str, Any] = {"result": rows}
        self.add_total(answer, queryset)
        return Response(answer)

    def add_total(self, answer: dict[str, Any], queryset: models.QuerySet[Any]) -> None:
        pass


class Naive(FirstPage):
    queryset = Subscription.objects.all()
    serializer_class = BareSerializer


class PrefetchRelated(FirstPage):
    queryset = Subscription.objects.prefetch_related("client").prefetch_related("client__user")
    serializer_class = BareSerializer


class PrefetchOnly(FirstPage):
    queryset = Subscription.objects.prefetch_related(PREFETCHED_CLIENT)
    serializer_class = BareSerializer


class PlanNaive(FirstPage):
    queryset = PrefetchOnly.queryset
    serializer_class = WithPlanSerializer


class PlanPrefetched(FirstPage):
    queryset = Subscription.objects.prefetch_related("plan", PREFETCHED_CLIENT)
    serializer_class = WithPlanSerializer


class PriceComputed(FirstPage):
    queryset = PlanPrefetched.queryset
    serializer_class = ComputingSerializer


class PriceAnnotated(FirstPage):
    queryset = PlanPrefetched.queryset.annotate(rule_price=RULE)
    serializer_class = AnnotatedSerializer


class TotalAggregated(PriceAnnotated):
    def add_total(self, answer: dict[str, Any], queryset: models.QuerySet[Any]) -> None:
        answer["total_amount"] = queryset.aggregate(total=Sum("rule_price")).get("total")


class PriceStored(FirstPage):
    queryset = PlanPrefetched.queryset
    serializer_class = StoredSerializer

    def add_total(self, answer: dict[str, Any], queryset: models.QuerySet[Any]) -> None:
        answer["total_amount"] = queryset.aggregate(total=Sum("price")).get("total")


class TotalCached(PriceStored):
    def add_total(self, answer: dict[str, Any], queryset: models.QuerySet[Any]) -> None:
        price_cache = cache.get(settings.PRICE_CACHE_NAME)
        if price_cache:
            answer["total_amount"] = Decimal(price_cache)
        else:
            super().add_total(answer, queryset)
            cache.set(settings.PRICE_CACHE_NAME, str(answer["total_amount"]), 60 * 60)


class SelectRelated(PriceStored):
    """Not in the document: one join for all to-one relations."""

    queryset = Subscription.objects.select_related("plan", "client__user").only(
        "price",
        "plan__plan_type",
        "plan__discount_percent",
        "client__company_name",
        "client__user__email",
    )


# --- Chapters 9 and 10: one task a subscription -------------------------------------------------


def set_price(subscription_id: int) -> None:
    """The body of the tutorial's task: read, compute, write the whole row."""
    with transaction.atomic():
        subscription = (
            Subscription.objects.select_for_update(of=("self",))
            .annotate(rule_price=RULE)
            .get(id=subscription_id)
        )
        subscription.price = subscription.rule_price
        models.Model.save(subscription)
