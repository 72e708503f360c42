"""The price of one subscription in the admin: its explanation, its history, and decisions about it.

`SubscriptionAdmin` shows it around its form. The verbs are those of `price_decisions`; each has a
page whose form asks for its values (GET), and shows what it would do or does it (POST).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.widgets import UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

from pricebook.kit.access import author
from pricebook.kit.amount_field import AmountField
from pricebook.kit.refusal import Refusal
from services import ledger, price_decisions, price_state
from services.ledger.entries import NEWEST
from services.models import Subscription, WholeLedger, book_clock
from services.moves import WaitingPlan

State = Subscription.PriceState
FOLLOWS, LOCKED, NEGOTIATED = State.FOLLOWS, State.LOCKED, State.NEGOTIATED

HISTORY = 10  # entries on a page


@dataclass(frozen=True)
class Verb:
    """A decision about a price: the states that offer it, what it asks for, what it means."""

    label: str | Promise
    means: str | Promise
    states: tuple[str, ...]
    asks: tuple[str, ...]
    done: str | Promise


VERBS = {
    "lock": Verb(
        _lazy("Lock"),
        _lazy("It keeps the price that it has now, whatever the catalogue and price changes do."),
        (FOLLOWS, LOCKED, NEGOTIATED),
        ("until", "reason"),
        _lazy("Locked at its price."),
    ),
    "release": Verb(
        _lazy("Release"),
        _lazy("It follows the catalogue again, at the rule's price now."),
        (LOCKED,),
        (),
        _lazy("Released: it follows the catalogue."),
    ),
    "negotiate": Verb(
        _lazy("Negotiate"),
        _lazy("It gets a price of its own, which no change of the catalogue moves."),
        (FOLLOWS, LOCKED, NEGOTIATED),
        ("price", "reason"),
        _lazy("It has a price of its own now."),
    ),
    "follow": Verb(
        _lazy("Follow the catalogue"),
        _lazy("It gives up its own price and gets the rule's."),
        (NEGOTIATED,),
        (),
        _lazy("It follows the catalogue."),
    ),
}


class PriceForm(forms.Form):
    """The values that a verb asks for; `price_state` says what is wrong with them."""

    def __init__(self, verb: Verb, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zone = timezone.get_current_timezone_name()
        until = UnfoldAdminSplitDateTimeWidget()
        for part, name in zip(until.widgets, (_("Until: date"), _("Until: time")), strict=True):
            part.attrs["aria-label"] = name
        fields = {
            "price": AmountField(label=_lazy("Price")),
            "until": forms.SplitDateTimeField(
                label=_lazy("Until"),
                required=False,
                widget=until,
                help_text=_("Empty: until it is released. Time zone: %(zone)s.") % {"zone": zone},
            ),
            "reason": forms.CharField(
                label=_lazy("Reason"),
                max_length=price_state.LONGEST_REASON,
                widget=UnfoldAdminTextInputWidget,
            ),
        }
        for name in verb.asks:
            self.fields[name] = fields[name]


class PricePages:
    """A mixin for the admin of subscriptions: parts around its form, and the verbs' pages."""

    change_form_outer_before_template = "services/subscription_price.html"
    change_form_outer_after_template = "services/subscription_history.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.price_view)  # type: ignore[attr-defined]
        route = path("<int:object_id>/price/<slug:name>/", view, name="services_subscription_price")
        return [route, *super().get_urls()]  # type: ignore[misc]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        subscription = context.get("original")
        if subscription is not None:
            context |= {
                "subscription": subscription,
                "why": ledger.explain(subscription.pk),
                "price_verbs": _verbs(subscription) if _may(request) else {},
                "pending": ledger.pending_changes(subscription.pk),
                **_history(subscription.pk, request.GET.get("before", "")),
            }
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]

    def price_view(self, request: HttpRequest, object_id: int, name: str) -> HttpResponse:
        subscription = Subscription.objects.in_force().filter(pk=object_id).first()
        verb = VERBS.get(name)
        if subscription is None or verb is None:
            raise Http404(_("There is no such subscription, or no such action on its price."))
        if not _may(request):
            raise PermissionDenied
        page = reverse("admin:services_subscription_change", args=[object_id])
        shown = None
        form = PriceForm(verb, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            asked = (name, object_id, author(request.user))
            try:
                if "_show" in request.POST:
                    shown = price_decisions.show(*asked, **form.cleaned_data)
                else:
                    done = price_decisions.decide(*asked, **form.cleaned_data)
            except Refusal as error:
                if (field := error.about.get("parameter")) not in form.fields:
                    messages.error(
                        request, _("Nothing was done. %(detail)s") % {"detail": error.detail}
                    )
                    return HttpResponseRedirect(page)
                form.add_error(field, error.detail)
            else:
                if shown is None:
                    _tell(request, verb, done)
                    return HttpResponseRedirect(page)
        return TemplateResponse(
            request,
            "services/price_verb.html",
            {
                **self.admin_site.each_context(request),  # type: ignore[attr-defined]
                "opts": Subscription._meta,
                "original": subscription,
                "title": f"{verb.label}: {subscription}",
                "verb": verb,
                "form": form,
                "shown": shown,
                "why": ledger.explain(object_id),
                "page": page,
                "media": self.media + form.media,  # type: ignore[attr-defined]
            },
        )


def _tell(request: HttpRequest, verb: Verb, done: Subscription | WaitingPlan) -> None:
    if not isinstance(done, WaitingPlan):
        return messages.success(request, str(verb.done))
    messages.warning(
        request,
        format_html(
            '{} <a class="underline" href="{}">{}</a>',
            done.detail,
            reverse("admin:price_changes_pricechange_change", args=[done.id]),
            _("Price change %(id)s") % {"id": done.id},
        ),
    )
    return None


def _may(request: HttpRequest) -> bool:
    return request.user.has_perm("services.set_price_state")  # as for the API


def _verbs(subscription: Subscription) -> dict[str, Verb]:
    if subscription.ended_at is not None and subscription.ended_at <= book_clock():
        return {}
    return {name: verb for name, verb in VERBS.items() if subscription.price_state in verb.states}


def _history(subscription_id: int, before: str) -> dict[str, Any]:
    """A page of entries older than entry `before`, newest first, by keyset. One query."""
    limit = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    found = list(
        WholeLedger.objects.raw(
            NEWEST, {"id": subscription_id, "before": limit, "limit": HISTORY + 1}
        )
    )
    more = len(found) > HISTORY
    return {
        "history": found[:HISTORY],
        "older": found[HISTORY - 1].pk if more else None,
        "newer": bool(before),
    }
