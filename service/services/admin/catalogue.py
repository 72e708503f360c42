"""Services and plans in the admin, with the totals of their subscriptions, and repricing edits."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.db.models import OuterRef, Q, Subquery, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext
from unfold.widgets import UnfoldAdminTextInputWidget

from pricebook.kit.access import author
from pricebook.kit.book_admin import Searched
from pricebook.kit.figures import amount, grouped, percent
from pricebook.kit.open_forms import OpenForm
from services.admin.value_edits import AsksFirst
from services.catalogue_subject import CatalogueSubject
from services.counted_moves import counted_edit
from services.models import Plan, Repricing, Service, Subscription, Subtotal
from services.reading import found
from services.reading.access_paths import SEARCH_NAMES
from services.reading.filters import BookFilter
from services.reading.total import total_amount
from services.repricing import catalogue_edit

IN_USE = {
    "service": _lazy(
        "%(number)s subscriptions of %(name)s: move them to another service, or delete them, first"
    ),
    "plan": _lazy(
        "%(number)s subscriptions of %(name)s: move them to another plan, or delete them, first"
    ),
}


class CatalogueForm(OpenForm):
    """The form of a service or plan; an edit may stamp a comment on subscriptions it reprices."""

    moves_prices: str  # the field

    stamp = forms.CharField(
        label=_lazy("Comment to stamp on the subscriptions"),
        max_length=Subscription._meta.get_field("comment").max_length,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=_lazy("It never replaces a comment that a person wrote."),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("stamp") and not self.errors and not self.moves():
            label = self.fields[self.moves_prices].label
            self.add_error(
                "stamp",
                _("The %(lower)s does not change: nothing to stamp.")
                % {"lower": str(label).lower()},
            )
        return cleaned

    def moves(self) -> bool:
        """Whether saving moves prices."""
        before = self.initial.get(self.moves_prices)  # None if new, without subscriptions
        return before is not None and self.cleaned_data[self.moves_prices] != before


class ServiceForm(CatalogueForm):
    moves_prices = "full_price"


class PlanForm(CatalogueForm):
    moves_prices = "discount_percent"


class CatalogueAdmin(AsksFirst):
    """Shared by services and plans: totals of their subscriptions, and edits that reprice them."""

    role: str  # "service" or "plan": the name of the relation
    plans: str  # the kind of price change that moves it
    change_form_outer_before_template = "services/catalogue_price.html"

    def get_queryset(self, request: HttpRequest) -> models.QuerySet:
        of_one = Subtotal.objects.in_force().filter(**{f"{self.role}_id": OuterRef("pk")})
        subtotals = of_one.values(f"{self.role}_id")
        records = self.model._default_manager.in_force().annotate(
            subscription_count=Subquery(subtotals.values(sum=Sum("paid_subscriptions"))),
            amount=Subquery(subtotals.values(sum=Sum("paid_amount"))),
        )
        ordering = self.get_ordering(request)
        return records.order_by(*ordering) if ordering else records

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> list[str]:
        return [*self.fields, "stamp"] if obj else self.fields

    @admin.display(description=_lazy("subscriptions"))
    def subscriptions_shown(self, record: Any) -> str:
        url = reverse("admin:services_subscription_changelist")
        return format_html(
            '<a class="text-link" href="{}?{}__id__exact={}">{}</a>',
            url,
            self.role,
            record.pk,
            grouped(record.subscription_count or 0),
        )

    @admin.display(description=_lazy("total"))
    def amount_shown(self, record: Any) -> str:
        return amount(record.amount or 0)

    def save_model(
        self, request: HttpRequest, obj: models.Model, form: CatalogueForm, change: bool
    ) -> None:
        comment, writer = form.cleaned_data.get("stamp", ""), author(request.user)
        if not form.moves():
            with catalogue_edit(author=writer, comment=comment):
                return super().save_model(request, obj, form, change)
        subject = CatalogueSubject(self.role, obj.pk)  # type: ignore[arg-type]
        with counted_edit(subject, form.cleaned_data[form.moves_prices], writer, comment):
            super().save_model(request, obj, form, change)
        self.tell_what_follows(request, obj)
        return None

    def tell_what_follows(self, request: HttpRequest, record: models.Model) -> None:
        total = total_amount(BookFilter(**{self.role: record.pk}))
        repricing = Repricing.objects.filter(**{self.role: record}).latest("id")
        messages.info(
            request,
            format_html(
                '{} <a class="underline" href="{}">{}</a>',
                ngettext(
                    "%(number)s subscription is being repriced.",
                    "%(number)s subscriptions are being repriced.",
                    total.subscriptions,
                )
                % {"number": grouped(total.subscriptions)},
                reverse("admin:price_changes_pricechange_change", args=[repricing.change_id]),
                _("Watch it"),
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
            IN_USE[self.role] % {"number": grouped(count), "name": names[pk]} for pk, count in rows
        ]

    def get_deleted_objects(
        self, objs: Iterable[models.Model], request: HttpRequest
    ) -> tuple[list, dict[str, int], set[str], list[str]]:
        deleted, counts, missing, protected = super().get_deleted_objects(objs, request)
        # Nobody may delete repricings, but those of a record without subscriptions are deleted with
        # it.
        return deleted, counts, missing - {str(Repricing._meta.verbose_name)}, protected


@admin.register(Service)
class ServiceAdmin(CatalogueAdmin):
    desk_page = "desk:service"
    role = "service"
    plans = "list_price"
    form = ServiceForm
    list_display = ["name", "full_price_shown", "subscriptions_shown", "amount_shown"]
    search_fields = ["name"]  # see searched
    sortable_by = ["name", "full_price_shown"]
    fields = ["name", "full_price", ("source", "external_id")]

    @admin.display(description=_lazy("list price"), ordering="full_price")
    def full_price_shown(self, service: Service) -> str:
        return amount(service.full_price)

    def searched(self, words: str) -> Searched:
        which = found.found("service", words, SEARCH_NAMES)
        return Searched(Q(pk__in=which.ids), which.too_many)


@admin.register(Plan)
class PlanAdmin(CatalogueAdmin):
    desk_page = "desk:plan"
    role = "plan"
    plans = "discount"
    form = PlanForm
    list_display = [
        "__str__",
        "plan_type",
        "discount_shown",
        "subscriptions_shown",
        "amount_shown",
    ]
    search_fields = ["plan_type"]  # see searched
    sortable_by = ["plan_type", "discount_shown"]
    fields = ["plan_type", "discount_percent", ("source", "external_id")]

    @admin.display(description=_lazy("discount"), ordering="discount_percent")
    def discount_shown(self, plan: Plan) -> str:
        return percent(plan.discount_percent)

    def searched(self, words: str) -> Searched:
        return Searched(Q(pk__in=found.plans(words)))
