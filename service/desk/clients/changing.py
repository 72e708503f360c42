"""The views that change a client or a subscription."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.db.models import F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _

from clients.models import Client
from desk import asking
from desk.clients.adding import Adding
from desk.clients.forms import ClientForm, SubscriptionForm
from desk.clients.standing import as_it_stands
from desk.clients.verbs import VERBS, OneVerb, offered
from desk.once import new_token, say_done_before, sent_form
from desk.page import desk_page, show
from pricebook.kit.access import author
from pricebook.kit.book_admin import missing_for
from pricebook.kit.refusal import Refusal
from pricebook.kit.scopes import (
    ADD_CLIENT,
    ADD_SUBSCRIPTION,
    CHANGE_CLIENT,
    CHANGE_SUBSCRIPTION,
    SET_PRICE_STATE,
    VIEW_CLIENT,
    VIEW_PLAN,
    VIEW_SERVICE,
    VIEW_SUBSCRIPTION,
)
from services.models import Subscription, book_clock
from services.writing import clients, subscriptions
from services.writing.bodies import values_of

SHOWN = "initial-"  # before the names of the fields: what the form has shown


@desk_page(VIEW_SUBSCRIPTION, VIEW_CLIENT)
def verb(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """A verb of one subscription: its form, its question, its effect."""
    row = as_it_stands(pk)
    if row is None or name not in VERBS:
        raise Http404(_("There is no subscription %(number)s.") % {"number": pk})
    if missing := missing_for(request.user, VERBS[name].needs):
        return _back(request, missing, "subscription", pk)
    # A second sending of its question is answered, however the subscription stands by now.
    if asking.CONFIRM not in request.POST:
        verbs = offered(row, book_clock(), request.user.has_perm)
        if name not in verbs:
            return _back(
                request, _("It does not stand so that this can be done."), "subscription", pk
            )
    return asking.answer(request, OneVerb(name, row, author(request.user)))


@desk_page(VIEW_SUBSCRIPTION, VIEW_CLIENT, VIEW_SERVICE, VIEW_PLAN, ADD_SUBSCRIPTION)
def add(request: HttpRequest, pk: int) -> HttpResponse:
    """A new subscription of a client: its form, its question, its effect."""
    client = get_object_or_404(Client, pk=pk)
    may_negotiate = request.user.has_perm(SET_PRICE_STATE)
    return asking.answer(request, Adding(client, author(request.user), may_negotiate))


def _back(request: HttpRequest, why: str, page: str, pk: int) -> HttpResponse:
    messages.error(request, why)
    return HttpResponseRedirect(reverse(f"desk:{page}", args=[pk]))


# --- Fields that move no price: saved at once ----------------------------------------------------


@desk_page(VIEW_SUBSCRIPTION, VIEW_CLIENT, CHANGE_SUBSCRIPTION)
def edit_subscription(request: HttpRequest, pk: int) -> HttpResponse:
    one = get_object_or_404(Subscription, pk=pk)
    names = ("comment", "source", "external_id")
    form = SubscriptionForm(request.POST or None, initial={n: getattr(one, n) for n in names})

    def save(values: Mapping[str, Any]) -> str:
        refuse_unseen(form, values, held(Subscription.objects.filter(pk=pk), *names))
        given = values_of(subscriptions.FIELDS, values, changing=True)
        subscriptions.change(pk, given, author(request.user))
        return reverse("desk:subscription", args=[pk])

    title = _("Comment and external id of subscription %(number)s") % {"number": pk}
    address = reverse("desk:subscription", args=[pk])
    return saved(request, form, title, save, address, f"edit-subscription-{pk}")


@desk_page(VIEW_CLIENT, CHANGE_CLIENT)
def edit_client(request: HttpRequest, pk: int) -> HttpResponse:
    client = get_object_or_404(Client.objects.select_related("user"), pk=pk)
    names = ("company_name", "full_address", "source", "external_id")
    initial = {name: getattr(client, name) for name in names} | {"email": client.user.email}
    form = ClientForm(request.POST or None, initial=initial)

    def save(values: Mapping[str, Any]) -> str:
        given = values_of(clients.FIELDS, values, changing=True)
        clients.lock_email(given.get("email", ""))
        now = held(Client.objects.filter(pk=pk), *names, email=F("user__email"))
        refuse_unseen(form, values, now)
        clients.change(pk, given)
        return reverse("desk:client", args=[pk])

    title = _("Edit %(name)s") % {"name": client.company_name}
    return saved(request, form, title, save, reverse("desk:client", args=[pk]), f"edit-client-{pk}")


@desk_page(VIEW_CLIENT, ADD_CLIENT)
def add_client(request: HttpRequest) -> HttpResponse:
    def save(values: Mapping[str, Any]) -> str:
        given = values_of(clients.FIELDS, values)
        return reverse("desk:client", args=[clients.create(given)])

    form = ClientForm(request.POST or None)
    return saved(request, form, _("Add a client"), save, reverse("desk:clients"), "add-client")


@dataclass
class Unseen(Exception):
    """Fields that somebody else has changed since the form was opened, with what they are now."""

    now: dict[str, str]


def held(records: QuerySet[Any], *names: str, **named: F) -> dict[str, Any]:
    """The values of one record, locked up to the end of the transaction; empty if it is gone."""
    rows = records.select_for_update(of=("self",), no_key=True)
    return rows.values(*names, **named).first() or {}


def refuse_unseen(form: forms.Form, given: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to write over a value that this person was not shown. Raises Unseen."""
    unseen = {
        name: now[name] or ""
        for name, value in given.items()
        if name in now and (now[name] or "") not in (form.initial[name] or "", value or "")
    }
    if unseen:
        raise Unseen(unseen)


def saved(
    request: HttpRequest,
    form: forms.Form,
    title: str,
    save: Callable[[Mapping[str, Any]], str],
    address: str,
    keep: str,
) -> HttpResponse:
    """The page of a form that moves no price: what was touched is saved at once.

    Sent twice, it is saved once, so two clicks add one record. The form brings along what it has
    shown: a value that nobody touched is not written, so it stays what others have made of it
    meanwhile, and one that others have touched too is asked for again.
    """
    shown = {
        name: request.POST.get(f"{SHOWN}{name}", value) for name, value in form.initial.items()
    }
    form.initial = shown
    if request.method == "POST" and form.is_valid():
        given = {
            name: value
            for name, value in form.cleaned_data.items()
            if not form.initial or name in form.changed_data
        }
        try:
            with transaction.atomic():
                sent = sent_form(request)
                if sent is not None and sent.done is not None:
                    say_done_before(request, sent.differs)
                    return HttpResponseRedirect(sent.done)
                to = save(given) if given else address
                if sent is not None:
                    sent.has_led_to(to)
        except Refusal as refusal:
            name = refusal.about.get("parameter")
            form.add_error(name if name in form.fields else None, refusal.detail)
        except Unseen as unseen:
            for field, now in unseen.now.items():
                told = _(
                    "Somebody has changed it since you opened this page: it is “%(value)s” now."
                    " Nothing was saved. Save again to have yours in its place."
                )
                form.add_error(field, told % {"value": now})
            shown |= unseen.now
        else:
            messages.success(request, _("Saved.") if given else _("Nothing differed."), keep)
            return HttpResponseRedirect(to)
    return show(
        request,
        "edit",
        title,
        form=form,
        address=address,
        keep=keep,
        token=new_token(),
        shown=[(f"{SHOWN}{name}", value or "") for name, value in shown.items()],
    )
