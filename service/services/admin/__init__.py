"""Services, plans, subscriptions and repricings in the admin."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db import models
from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.contrib.filters.admin import DropdownFilter, RelatedDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from clients.models import Client
from pricebook.admin import NUL, BookAdmin, LateJoinPaginator
from pricebook.kit.open_forms import OpenForm
from pricebook.templatetags.pricebook import PRICE_STATE_COLOURS
from services.admin.price_state import PricePages
from services.models import Plan, Repricing, Service, Subscription, Subtotal
from services.reading.filters import BookFilter
from services.reading.total import Total, total_amount
from services.repricing import catalogue_edit, progress

# --- The catalogue ----------------------------------------------------------------------------


class CatalogueForm(OpenForm):
    """A service or a plan; whoever moves its price may leave a comment on what that moves."""

    moves_prices: str  # the field

    stamp = forms.CharField(
        label="Comment to stamp on the subscriptions",
        max_length=Subscription._meta.get_field("comment").max_length,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Never over a comment that a person wrote.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("stamp") and not self.errors and not self.moves():
            label = self.fields[self.moves_prices].label
            self.add_error("stamp", f"The {label.lower()} does not change: nothing to stamp.")  # type: ignore[union-attr]
        return cleaned

    def moves(self) -> bool:
        """Whether saving moves prices."""
        before = self.initial.get(self.moves_prices)  # None of a new one, which nobody has yet
        return before is not None and self.cleaned_data[self.moves_prices] != before


class ServiceForm(CatalogueForm):
    moves_prices = "full_price"


class PlanForm(CatalogueForm):
    moves_prices = "discount_percent"


class CatalogueAdmin(BookAdmin):
    """What services and plans have in common: what their subscriptions add up to, and moving it."""

    role: str  # "service" or "plan": the name of the relation
    plans: str  # the kind of price change that moves it
    change_form_outer_before_template = "services/catalogue_price.html"

    def get_queryset(self, request: HttpRequest) -> models.QuerySet:
        subtotals = Subtotal.objects.filter(**{f"{self.role}_id": OuterRef("pk")}).values(
            f"{self.role}_id"
        )
        return (
            super()
            .get_queryset(request)
            .annotate(
                subscription_count=Subquery(subtotals.values(sum=Sum("subscriptions"))),
                amount=Subquery(subtotals.values(sum=Sum("amount"))),
            )
        )

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> list[str]:
        return [*self.fields, "stamp"] if obj else self.fields

    @admin.display(description="subscriptions")
    def subscriptions_shown(self, record: Any) -> str:
        url = reverse("admin:services_subscription_changelist")
        return format_html(
            '<a class="text-link" href="{}?{}__id__exact={}">{}</a>',
            url,
            self.role,
            record.pk,
            f"{record.subscription_count or 0:,}",
        )

    @admin.display(description="total")
    def amount_shown(self, record: Any) -> str:
        return f"{record.amount or 0:,.2f}"

    def save_model(
        self, request: HttpRequest, obj: models.Model, form: CatalogueForm, change: bool
    ) -> None:
        comment = form.cleaned_data.get("stamp", "")
        with catalogue_edit(author=request.user.get_username(), comment=comment):
            super().save_model(request, obj, form, change)
        if form.moves():
            self.tell_what_follows(request, obj)

    def tell_what_follows(self, request: HttpRequest, record: models.Model) -> None:
        total = total_amount(BookFilter(**{self.role: record.pk}))
        repricing = Repricing.objects.filter(**{self.role: record}).latest("id")
        messages.info(
            request,
            format_html(
                '{} being repriced. <a class="underline" href="{}">Watch it</a>',
                "1 subscription is"
                if total.subscriptions == 1
                else f"{total.subscriptions:,} subscriptions are",
                reverse("admin:price_changes_pricechange_change", args=[repricing.change_id]),
            ),
        )

    def in_the_way(self, records: Collection[models.Model]) -> list[str]:
        rows = (
            Subtotal.objects.filter(**{f"{self.role}_id__in": [record.pk for record in records]})
            .values_list(f"{self.role}_id")
            .annotate(sum=Sum("subscriptions"))
            .exclude(sum=0)
        )
        names = {record.pk: str(record) for record in records}
        return [
            f"{count:,} subscriptions of {names[pk]}: move them to another {self.role}, or delete"
            " them, first"
            for pk, count in rows
        ]

    def get_deleted_objects(
        self, objs: Iterable[models.Model], request: HttpRequest
    ) -> tuple[list, dict[str, int], set[str], list[str]]:
        deleted, counts, missing, protected = super().get_deleted_objects(objs, request)
        # Nobody deletes repricings, but those of a thing that nobody buys go with it.
        return deleted, counts, missing - {str(Repricing._meta.verbose_name)}, protected


@admin.register(Service)
class ServiceAdmin(CatalogueAdmin):
    role = "service"
    plans = "list_price"
    form = ServiceForm
    list_display = ["name", "full_price", "subscriptions_shown", "amount_shown"]
    search_fields = ["name"]
    sortable_by = ["name", "full_price"]
    fields = ["name", "full_price"]


@admin.register(Plan)
class PlanAdmin(CatalogueAdmin):
    role = "plan"
    plans = "discount"
    form = PlanForm
    list_display = [
        "__str__",
        "plan_type",
        "discount_percent",
        "subscriptions_shown",
        "amount_shown",
    ]
    search_fields = ["plan_type", "=discount_percent"]
    sortable_by = ["plan_type", "discount_percent"]
    fields = ["plan_type", "discount_percent"]


# --- Subscriptions ----------------------------------------------------------------------------


class SubscriptionPaginator(LateJoinPaginator):
    """Counts, and adds up, from the subtotals where the filters are the catalogue's alone."""

    book_filter: BookFilter | None = None

    @cached_property
    def total(self) -> Total:
        if self.book_filter is not None:
            return total_amount(self.book_filter)
        sums = self.object_list.order_by().aggregate(  # type: ignore[attr-defined]
            subscriptions=Count("pk"), amount=Coalesce(Sum("price"), Decimal(0))
        )
        return Total(**sums)

    @cached_property
    def count(self) -> int:
        return self.total.subscriptions


class CatalogueFilter(RelatedDropdownFilter):
    def has_output(self) -> bool:
        return True  # Django drops a filter that has one choice, and lists what it excludes


class StateFilter(DropdownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("ended", "Ended")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "active":
            return queryset.active()
        if self.value() == "ended":
            return queryset.filter(ended_at__lte=Now())
        return queryset


class PriceStateFilter(DropdownFilter):
    title = "price state"
    parameter_name = "price_state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Subscription.PriceState.choices)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() in Subscription.PriceState.values:
            return queryset.filter(price_state=self.value())
        return queryset


class PendingFilter(DropdownFilter):
    title = "scheduled change"
    parameter_name = "pending"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("true", "Would move it"), ("false", "None would move it")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() in ("true", "false"):
            return queryset.filter(BookFilter.of({"pending": self.value()}).condition())
        return queryset


# How the list's filters are called in a change of a set of subscriptions.
FILTERS_OF_SET = {
    "service__id__exact": "service",
    "plan__id__exact": "plan",
    "client__id__exact": "client",
    "state": "state",
    "price_state": "price_state",
}


def set_query(query: QueryDict) -> str | None:
    """The list's filters for the form that plans a change; None where it can't say the same."""
    asked = {name: values for name, values in query.lists() if values != [""]}
    kept = {}
    for name in [name for name in asked if name not in ("p", "o", "e")]:
        if name not in FILTERS_OF_SET or len(asked[name]) != 1:
            return None
        kept[f"where_{FILTERS_OF_SET[name]}"] = asked[name][0]
    return f"?{urlencode(kept)}" if kept else ""


def _id(value: Any) -> int | None:
    return None if value is None else int(value)


# What is narrow stays on one line: the table would else break it to make room for what is wide.
ONE_LINE = '<span class="whitespace-nowrap">{}</span>'
AMOUNT = '<span class="block text-right whitespace-nowrap">{}</span>'


@admin.register(Subscription)
class SubscriptionAdmin(PricePages, BookAdmin):
    """Prices are not typed here: the rule gives them, or somebody's decision with a reason."""

    # More clients than this with the same piece of a name are no answer to a search.
    SEARCHED_CLIENTS = 1_000

    paginator = SubscriptionPaginator
    list_display = [
        "id",
        "client_shown",
        "service",
        "plan_shown",
        "price_shown",
        "price_state_shown",
        "comment",
        "external_id",
        "state",
    ]
    list_display_links = ["id", "client_shown"]
    list_select_related = ["client", "service", "plan"]
    list_filter = [
        ("service", CatalogueFilter),
        ("plan", CatalogueFilter),
        StateFilter,
        PriceStateFilter,
        PendingFilter,
    ]
    list_before_template = "services/subscriptions_total.html"
    list_disable_select_all = True
    ordering = ["-id"]
    sortable_by = ["id"]
    search_fields = ["client__company_name"]  # see get_search_results
    search_help_text = "Client, e-mail or external id"
    autocomplete_fields = ["client", "service", "plan"]
    fields = [
        "client",
        ("service", "plan"),
        "price",
        "comment",
        ("source", "external_id"),
        "started_at",
        "ended_at",
    ]
    readonly_fields = ["price"]

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> list:
        return [field for field in self.fields if obj or field != "price"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"started_at": timezone.now()} | super().get_changeform_initial_data(request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        query = {"set_query": set_query(request.GET)}
        return super().changelist_view(request, query | (extra_context or {}))

    def get_paginator(
        self, request: HttpRequest, queryset: models.QuerySet, *args: Any, **kwargs: Any
    ) -> Paginator:
        paginator = super().get_paginator(request, queryset, *args, **kwargs)
        asked = {name: values for name, values in request.GET.lists() if values != [""]}
        service = asked.pop("service__id__exact", [None])
        plan = asked.pop("plan__id__exact", [None])
        if asked.keys() <= {"p", "o", "e"} and len(service) == len(plan) == 1:
            paginator.book_filter = BookFilter(service=_id(service[0]), plan=_id(plan[0]))
        return paginator

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet, search_term: str
    ) -> tuple[models.QuerySet, bool]:
        """The clients first, which are few, and then their subscriptions by index."""
        term = search_term.strip()
        if not term or NUL in term:
            return super().get_search_results(request, queryset, "" if not term else NUL)
        clients = Client.objects.filter(
            Q(company_name__icontains=term) | Q(user__email__icontains=term)
        )
        ids = list(clients.order_by().values_list("pk", flat=True)[: self.SEARCHED_CLIENTS])
        return queryset.filter(Q(client__in=ids) | Q(external_id=term)), False

    @admin.display(description="client")
    def client_shown(self, subscription: Subscription) -> str:
        return subscription.client.company_name

    @admin.display(description="plan")
    def plan_shown(self, subscription: Subscription) -> str:
        return format_html(ONE_LINE, subscription.plan)

    @admin.display(description="price")
    def price_shown(self, subscription: Subscription) -> str:
        return format_html(AMOUNT, f"{subscription.price:,.2f}")

    @display(
        description="price state",
        label={str(state.label): PRICE_STATE_COLOURS[state] for state in Subscription.PriceState},
    )
    def price_state_shown(self, subscription: Subscription) -> str:
        return subscription.get_price_state_display()

    @display(description="state", label={"active": "success", "ended": "warning"})
    def state(self, subscription: Subscription) -> str:
        ended_at = subscription.ended_at
        return "active" if ended_at is None or ended_at > timezone.now() else "ended"


# --- Repricings -------------------------------------------------------------------------------


@admin.register(Repricing)
class RepricingAdmin(BookAdmin):
    """What followed from each edit of the catalogue. To read: it is the workers who write."""

    list_display = ["__str__", "state", "bar", "repriced", "author", "comment", "requested_at"]
    list_select_related = ["service", "plan"]
    sortable_by: list[str] = []
    change_form_before_template = "services/repricing.html"
    fields = ["author", "comment", "requested_at"]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet:
        return super().get_queryset(request).prefetch_related("steps")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["repricing"] = context["original"]
        context["progress"] = progress(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    @display(
        description="state", label={"due": "info", "running": "warning", "finished": "success"}
    )
    def state(self, repricing: Repricing) -> str:
        if repricing.finished_at:
            return "finished"
        return "running" if repricing.planned_at else "due"

    @admin.display(description="looked at")
    def bar(self, repricing: Repricing) -> str:
        now = progress(repricing)
        return format_html(
            '<progress max="1" value="{}" aria-label="Looked at"></progress> {} of {}',
            f"{now.fraction:.4f}",
            f"{now.done:,}",
            f"{now.total:,}",
        )
