"""The views that change a service or a plan: its price by a question, its name at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from desk import asking
from desk.asking import Asking, Done, Figure, Question, Rows
from desk.catalogue.forms import PlanForm, ServiceForm, ValueForm
from desk.clients.changing import held, refuse_unseen, saved
from desk.clients.standing import amount_figure, state_words, unmoved
from desk.page import desk_page
from price_changes.models import PriceChange
from pricebook.kit import figures
from pricebook.kit.access import author
from pricebook.kit.scopes import (
    ADD_PLAN,
    ADD_SERVICE,
    CHANGE_PLAN,
    CHANGE_SERVICE,
    VIEW_CHANGE,
    VIEW_CLIENT,
    VIEW_PLAN,
    VIEW_SERVICE,
    VIEW_SUBSCRIPTION,
)
from services import parsing
from services.admin.value_edits import ValueEdit
from services.catalogue_subject import CatalogueSubject
from services.models import Plan, Service
from services.moves import Effect, Move
from services.writing import catalogue
from services.writing.bodies import percent, values_of

Kind = Literal["service", "plan"]
Given = dict[str, Any]
SHOWN = 10  # rows, and clients, in a question


def found_of(kind: Kind, pk: int) -> Service | Plan:
    """The service or plan as it is in force; Http404 if there is none. One query."""
    found = catalogue.MODELS[kind]._default_manager.in_force().filter(pk=pk).first()
    if found is not None:
        return found
    if kind == "service":
        raise Http404(_("There is no service %(number)s.") % {"number": pk})
    raise Http404(_("There is no plan %(number)s.") % {"number": pk})


class ChangingValue(Asking):
    """A new list price or discount, in force at once; it moves all that follow it."""

    means = gettext_lazy(
        "It moves the prices of all that follow it, at once. For another instant, or to look at"
        " each row first, plan a price change instead."
    )

    def __init__(
        self, kind: Kind, record: Service | Plan, author: str, may: Callable[[str], bool]
    ) -> None:
        self.kind, self.record, self.author, self.may = kind, record, author, may
        self.subject = CatalogueSubject(kind, record.pk)
        self.old: Decimal | int = getattr(record, self.subject.field)
        label = _("List price") if kind == "service" else _("Discount")
        self.title = label
        self.place = str(record)
        self.stands = _("Now: %(value)s") % {"value": self._said(self.old)}
        self.keep = f"value-{kind}-{record.pk}"
        self.address = reverse(f"desk:{kind}", args=[record.pk])

    def form(self, data: Any = None) -> forms.Form:
        return ValueForm(data, kind=self.kind)

    def lock(self) -> None:
        model = catalogue.MODELS[self.kind]
        model._default_manager.select_for_update(no_key=True).filter(pk=self.record.pk).first()
        self.old = getattr(found_of(self.kind, self.record.pk), self.subject.field)

    def look(self, given: Given) -> Question:
        value = self._value(given)
        effect = catalogue.show_change(
            self.kind, self.record.pk, {self.subject.field: value}, self.author
        )
        move = effect.move
        differs = value != self.old
        says = [str(self.means)] if differs else [_("That is its value already.")]
        return Question(
            says,
            [
                Figure(self.title, self._said(self.old), self._said(value)),
                unmoved(_("Prices that move"), figures.grouped(move.rows)),
                amount_figure(_("The total of all its subscriptions"), move.before, move.after),
            ],
            self._edit(value).confirmation(move) + f" {move.movement}",
            ngettext("Move %(rows)s price", "Move %(rows)s prices", move.rows)
            % {"rows": figures.grouped(move.rows)},
            self._tables(effect),
            effect.needs_another,
            differs,
        )

    def is_seen(self, question: Question, seen: str) -> bool:
        """As the admin's form: such figures as differ by up to APPROVAL_DRIFT will do."""
        _old, value, rows, before, after, movement = question.seen.split(" ")
        move = Move(int(rows), Decimal(before), Decimal(after), Decimal(movement))
        edit = self._edit(Decimal(value) if self.kind == "service" else int(value))
        return edit.is_confirmed(seen.rpartition(" ")[0], move)

    def do(self, given: Given) -> Done:
        value = self._value(given)
        plan = catalogue.change(self.kind, self.record.pk, {self.subject.field: value}, self.author)
        if plan is not None:
            return Done(plan.detail, reverse("desk:change", args=[plan.id]), is_plan=True)
        says = _("%(name)s: %(old)s → %(new)s. The prices that follow are being written.") % {
            "name": self.record,
            "old": self._said(self.old),
            "new": self._said(value),
        }
        return Done(says, self.address)

    def _value(self, given: Given) -> Decimal | int:
        if self.kind == "service":
            return parsing.money("value", given["value"])
        return percent("value", f"{given['value']:f}")

    def _edit(self, value: Decimal | int) -> ValueEdit:
        return ValueEdit(self.subject, str(self.record), self.old, value, "", self.author, [])

    def _said(self, value: Decimal | int) -> str:
        if self.kind == "plan":
            return figures.percent(value)
        return figures.money(Decimal(value))

    def _tables(self, effect: Effect) -> list[Rows]:
        before, after = _("Before"), _("After")
        tables = []
        if effect.movers and self.may(VIEW_CLIENT):
            rows = [
                (
                    mover.name,
                    figures.grouped(mover.rows),
                    figures.amount(mover.before),
                    figures.amount(mover.after),
                    figures.difference(mover.after - mover.before),
                )
                for mover in effect.movers[:SHOWN]
            ]
            headings = (_("Client"), _("Prices"), before, after, _("Difference"))
            tables.append(
                Rows(_("Clients that it moves most"), headings, rows, frozenset({1, 2, 3, 4}))
            )
        scheduled = PriceChange.objects.filter(
            status=PriceChange.Status.SCHEDULED, **{str(self.kind): self.record.pk}
        ).order_by("effective_at", "approval")[:SHOWN]
        if self.may(VIEW_CHANGE) and (
            found := [
                (each.title or str(each.pk), figures.instant(each.effective_at))
                for each in scheduled
            ]
        ):
            tables.append(
                Rows(_("Scheduled changes that meet it"), (_("Price change"), _("From")), found)
            )
        if effect.rows and self.may(VIEW_SUBSCRIPTION):
            first = [
                (
                    str(row["subscription"]),
                    figures.amount(row["old_price"]),
                    figures.amount(row["new_price"]),
                    state_words(row["new_state"], row["locked_until"]),
                )
                for row in effect.rows[:SHOWN]
            ]
            names = (_("Subscription"), before, after, _("Price state"))
            tables.append(Rows(_("The first of its rows"), names, first, frozenset({1, 2})))
        return tables


def _change_value(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    may = request.user.has_perm
    changing = ChangingValue(kind, found_of(kind, pk), author(request.user), may)
    return asking.answer(request, changing)


@desk_page(VIEW_SERVICE, CHANGE_SERVICE)
def change_list_price(request: HttpRequest, pk: int) -> HttpResponse:
    """A new list price: its form, its question, its effect."""
    return _change_value(request, "service", pk)


@desk_page(VIEW_PLAN, CHANGE_PLAN)
def change_discount(request: HttpRequest, pk: int) -> HttpResponse:
    """A new discount: its form, its question, its effect."""
    return _change_value(request, "plan", pk)


# --- Names and external ids: saved at once -------------------------------------------------------


@desk_page(VIEW_SERVICE, CHANGE_SERVICE)
def edit_service(request: HttpRequest, pk: int) -> HttpResponse:
    return _edit(request, "service", pk, ServiceForm, ("name", "source", "external_id"))


@desk_page(VIEW_PLAN, CHANGE_PLAN)
def edit_plan(request: HttpRequest, pk: int) -> HttpResponse:
    return _edit(request, "plan", pk, PlanForm, ("plan_type", "source", "external_id"))


def _edit(
    request: HttpRequest, kind: Kind, pk: int, form: type[forms.Form], names: tuple[str, ...]
) -> HttpResponse:
    record = found_of(kind, pk)
    address = reverse(f"desk:{kind}", args=[pk])

    made = form(request.POST or None, initial={name: getattr(record, name) for name in names})

    def save(values: Mapping[str, Any]) -> str:
        now = held(catalogue.MODELS[kind]._default_manager.filter(pk=pk), *names)
        refuse_unseen(made, values, now)
        given = values_of(catalogue.FIELDS[kind], values, changing=True)
        catalogue.change(kind, pk, given, author(request.user))
        return address

    title = _("Edit %(name)s") % {"name": record}
    return saved(request, made, title, save, address, f"edit-{kind}-{pk}")


@desk_page(VIEW_SERVICE, ADD_SERVICE)
def add_service(request: HttpRequest) -> HttpResponse:
    made = ServiceForm(request.POST or None, is_new=True)
    return _add(request, "service", made, _("Add a service"))


@desk_page(VIEW_PLAN, ADD_PLAN)
def add_plan(request: HttpRequest) -> HttpResponse:
    made = PlanForm(request.POST or None, is_new=True)
    return _add(request, "plan", made, _("Add a plan"))


def _add(request: HttpRequest, kind: Kind, form: forms.Form, title: str) -> HttpResponse:
    def save(values: Mapping[str, Any]) -> str:
        given = values_of(catalogue.FIELDS[kind], values)
        made = catalogue.create(kind, given, author(request.user))
        return reverse(f"desk:{kind}", args=[made])

    return saved(request, form, title, save, reverse(f"desk:{kind}s"), f"add-{kind}")
