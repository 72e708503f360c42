"""Subscriptions in the admin: the list with its total, and its filters."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db import models
from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.contrib.filters.admin import DropdownFilter, RelatedDropdownFilter
from unfold.decorators import display

from pricebook.kit.access import author
from pricebook.kit.book_admin import (
    BookAdmin,
    Colours,
    LateJoinPaginator,
    Searched,
    ShownCount,
)
from pricebook.kit.figures import amount, money
from pricebook.kit.scopes import VIEW_CLIENT
from services.about_price_states import ABOUT
from services.admin import questions
from services.admin.price_state import PricePages
from services.counted_moves import Stands, counted, stands
from services.models import BookNow, Subscription, book_clock
from services.moves import Effect, Move, NeedsAnotherPerson
from services.reading import found
from services.reading.access_paths import SEARCH_NAMES
from services.reading.filters import STATES, BookFilter
from services.reading.total import Figures, Total, figures


class SubscriptionPaginator(LateJoinPaginator):
    """Counts and sums from the subtotals where only service and plan are filtered."""

    book_filter: BookFilter | None = None

    @cached_property
    def figures(self) -> Figures:
        if self.book_filter is not None:
            return figures(self.book_filter)
        pays = BookFilter(state="active").condition()
        sums = self.object_list.order_by().aggregate(  # type: ignore[attr-defined]
            amount=Coalesce(Sum("price"), Decimal(0)),
            subscriptions=Count("pk"),
            paid_amount=Coalesce(Sum("price", filter=pays), Decimal(0)),
            paid=Count("pk", filter=pays),
        )
        return Figures(
            Total(sums["amount"], sums["subscriptions"]), Total(sums["paid_amount"], sums["paid"])
        )

    @cached_property
    def count(self) -> int:
        return ShownCount(self.figures.total.subscriptions)


_STATES = {
    "active": _lazy("active"),
    "ended": _lazy("ended"),
    "upcoming": _lazy("upcoming"),
}


class CatalogueFilter(RelatedDropdownFilter):
    def has_output(self) -> bool:
        return True  # Django drops a filter with a single choice, and lists what it excludes


class WordFilter(DropdownFilter):
    """A filter by one of a few words; another one is no filter, and refused."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        word = self.value()
        if not word:
            return queryset
        if word not in [choice for choice, _label in self.lookup_choices]:
            raise IncorrectLookupParameters(word)
        return self.of_word(queryset, word)

    def of_word(self, queryset: Any, word: str) -> Any:
        raise NotImplementedError


class StateFilter(WordFilter):
    title = _lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, str(_STATES[state]).capitalize()) for state in STATES]

    def of_word(self, queryset: Any, word: str) -> Any:
        return queryset.filter(BookFilter(state=word).condition())


class PriceStateFilter(WordFilter):
    title = _lazy("price state")
    parameter_name = "price_state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Subscription.PriceState.choices)

    def of_word(self, queryset: Any, word: str) -> Any:
        return queryset.filter(price_state=word)


class PendingFilter(WordFilter):
    title = _lazy("scheduled change")
    parameter_name = "pending"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("true", _("Would move it")), ("false", _("None would move it"))]

    def of_word(self, queryset: Any, word: str) -> Any:
        return queryset.filter(BookFilter.of({"pending": word}).condition())


# The names of the list's filters in a change of a set of subscriptions.
FILTERS_OF_SET = {
    "service__id__exact": "service",
    "plan__id__exact": "plan",
    "client__id__exact": "client",
    "state": "state",
    "price_state": "price_state",
}


def set_query(query: QueryDict) -> str | None:
    """The list's filters for the form that plans a change; None if it can't express them."""
    asked = {name: values for name, values in query.lists() if values != [""]}
    given = {}
    for name in [name for name in asked if name not in ("p", "o", "e")]:
        if name not in FILTERS_OF_SET or len(asked[name]) != 1:
            return None
        given[f"where_{FILTERS_OF_SET[name]}"] = asked[name][0]
    return f"?{urlencode(given)}" if given else ""


def _id(value: Any) -> int | None:
    return None if value is None else int(value)


# Narrow values stay on one line: otherwise the table would break them to make room for wide ones.
ONE_LINE = '<span class="whitespace-nowrap">{}</span>'
AMOUNT = '<span class="block text-right whitespace-nowrap">{}</span>'


SAYS = _lazy("Saving it moves this price at once, or whether it is paid.")


def _pays(subscription: Subscription) -> bool:
    """Whether it has begun and has not ended. One query."""
    active = BookFilter(state="active").condition()
    return Subscription.objects.filter(active, pk=subscription.pk).exists()


class Unseen(Exception):
    """A form has moved the price of a subscription, or whether it pays now, and nobody has been
    shown that."""

    def __init__(
        self,
        subscription: Subscription,
        before: tuple[Stands, bool],
        after: tuple[Stands, bool],
    ) -> None:
        super().__init__()
        ((old_price, old_state, _), paid), ((new_price, new_state, _), pays) = before, after
        self.moves = (old_price, old_state, paid) != (new_price, new_state, pays)
        self.said = f"{subscription.service}, {subscription.plan}"
        self.confirmation = (
            f"{subscription.service_id} {subscription.plan_id} {old_price} {old_state}"
            f" {new_price} {new_state} {paid} {pays}"
        )
        if paid != pays:  # the total has another part of it, by its start or its end
            old_price, new_price = (
                (old_price if paid else Decimal(0)),
                (new_price if pays else Decimal(0)),
            )
        row = {
            "subscription": subscription.pk,
            "old_price": old_price,
            "price_state": old_state,
            "new_price": new_price,
            "new_state": new_state,
        }
        move = Move(1, old_price, new_price, abs(new_price - old_price))
        self.effect = Effect(move, rows=(row,))


@admin.register(Subscription)
class SubscriptionAdmin(PricePages, BookAdmin):
    """Prices are not typed here: they come from the rule, or from a decision with a reason."""

    desk_page = "desk:subscription"
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
    search_fields = ["client__company_name"]  # see searched
    search_help_text = _lazy("Client, service, e-mail or external id")
    autocomplete_fields = ["client", "service", "plan"]
    fields = [
        "client",
        ("service", "plan"),
        "price_now",
        "comment",
        ("source", "external_id"),
        "started_at",
        "ended_at",
    ]
    readonly_fields = ["price_now"]

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> list:
        return [field for field in self.fields if obj or field != "price_now"]

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = Subscription.objects.in_force().annotate(asked_at=BookNow())
        ordering = self.get_ordering(request)
        return rows.order_by(*ordering) if ordering else rows

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except Unseen as unseen:  # it was written, and is undone
            title = _("Subscription %(id)s: %(said)s") % {"id": object_id, "said": unseen.said}
            seen = (title, str(SAYS), unseen.effect, unseen.confirmation)
            name = _("subscription %(id)s") % {"id": object_id}
            return questions.ask(request, self, name, *seen)
        except NeedsAnotherPerson as needs:
            messages.error(
                request,
                _(
                    "Nothing was saved. %(detail)s Somebody else may do it, within the limits"
                    " of that person; or end this one, and begin another."
                )
                % {"detail": needs.detail},
            )
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:  # a new one has had no price
            return super().save_model(request, obj, form, change)
        before = stands(obj), _pays(obj)
        with counted(obj, author(request.user)):
            super().save_model(request, obj, form, change)
        unseen = Unseen(obj, before, (stands(obj), _pays(obj)))
        if unseen.moves and request.POST.get(questions.CONFIRMED) != unseen.confirmation:
            raise unseen
        return None

    def get_deleted_objects(
        self, objs: Iterable[Any], request: HttpRequest
    ) -> tuple[list, dict[str, int], set[str], list[str]]:
        """The subscriptions by client, service, plan and money: their numbers tell nobody whose."""
        deleted, counts, missing, protected = super().get_deleted_objects(objs, request)
        if not deleted:
            return deleted, counts, missing, protected
        ids = [each.pk for each in objs]
        rows = Subscription.objects.in_force().filter(pk__in=ids).order_by("pk")
        rows = rows.select_related("client", "service", "plan")
        names = request.user.has_perm(VIEW_CLIENT)
        named = [
            f"{row}: {f'{row.client}, ' if names else ''}{row.service}, {row.plan},"
            f" {money(row.price)}"
            for row in rows
        ]
        total = sum((row.price for row in rows), Decimal(0))
        said = _(
            "Together %(total)s. A subscription that has paid is ended instead: its history stays."
        ) % {"total": money(total)}
        return [said, *named], counts, missing, protected

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"started_at": book_clock()} | super().get_changeform_initial_data(request)

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

    def searched(self, words: str) -> Searched:
        """By the names of clients and services, as the API's `q`; by e-mail, id and external id.

        The few clients and services are found first, then their subscriptions by index.
        """
        clients, services = (
            found.found(kind, words, SEARCH_NAMES) for kind in ("client", "service")
        )
        itself = found.subscriptions(words, SEARCH_NAMES)
        return Searched(
            Q(client__in=clients.ids) | Q(service__in=services.ids) | Q(pk__in=itself.ids),
            clients.too_many or services.too_many,
        )

    @admin.display(description=_lazy("client"))
    def client_shown(self, subscription: Subscription) -> str:
        return subscription.client.company_name

    @admin.display(description=_lazy("plan"))
    def plan_shown(self, subscription: Subscription) -> str:
        return format_html(ONE_LINE, subscription.plan)

    @admin.display(description=_lazy("price"))
    def price_now(self, subscription: Subscription) -> str:
        return money(subscription.price)

    @admin.display(description=_lazy("price"))
    def price_shown(self, subscription: Subscription) -> str:
        return format_html(AMOUNT, amount(subscription.price))

    @display(
        description=_lazy("price state"),
        label=Colours((state.label, about.colour) for state, about in ABOUT.items()),
    )
    def price_state_shown(self, subscription: Subscription) -> str:
        return str(subscription.get_price_state_display())

    @display(
        description=_lazy("state"),
        label=Colours(zip(_STATES.values(), ("success", "warning", "info"), strict=True)),
    )
    def state(self, subscription: Any) -> str:
        ended_at, asked_at = subscription.ended_at, subscription.asked_at
        if subscription.started_at > asked_at:
            state = "upcoming"
        else:
            state = "active" if ended_at is None or ended_at > asked_at else "ended"
        return str(_STATES[state])
