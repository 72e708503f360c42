"""A new list price or discount that a form would write: what it moves, and who has seen that."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from pricebook.kit import figures
from pricebook.kit.access import author
from pricebook.kit.book_admin import BookAdmin
from services.admin import questions
from services.catalogue_subject import CatalogueSubject
from services.hooks import price_changes
from services.moves import Effect, Move, NeedsAnotherPerson

SAYS = _lazy(
    "Saving it moves these prices at once. To see each row first, or to set an instant, plan a"
    " price change instead. The total is that of all its subscriptions."
)


@dataclass(frozen=True)
class ValueEdit:
    """A new list price or discount that a form would write, and the other fields it would save."""

    subject: CatalogueSubject
    name: str
    old_value: Decimal | int
    value: Decimal | int
    comment: str
    author: str
    others: list[str]

    @property
    def said(self) -> str:
        if self.subject.role == "plan":
            return f"{self.old_value} → {figures.percent(self.value)}"
        return f"{figures.amount(self.old_value)} → {figures.money(Decimal(self.value))}"

    def effect(self) -> Effect:
        return price_changes().would_move(self.subject, Decimal(self.value), self.author)

    def confirmation(self, move: Move) -> str:
        """The figures that the question shows, which its button sends back."""
        return f"{self.old_value} {self.value} {move.rows} {move.before} {move.after}"

    def is_confirmed(self, given: str, move: Move) -> bool:
        """Whether a person has seen these figures, or such as differ by up to APPROVAL_DRIFT: in a
        busy book they move all the time."""
        old, value, *seen = given.split(" ")[:5] if given.count(" ") == 4 else ("", "")
        if (old, value) != (str(self.old_value), str(self.value)):
            return False
        if not all(re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,4})?", each, re.ASCII) for each in seen):
            return False
        shown = [Decimal(each) for each in seen]
        now = (Decimal(move.rows), move.before, move.after)
        return all(
            abs(is_now - was) * 100 <= was * settings.APPROVAL_DRIFT
            for was, is_now in zip(shown, now, strict=True)
        )


class AsksFirst(BookAdmin):
    """A page whose form asks before it moves prices, and plans what is beyond the limits."""

    role: str  # "service" or "plan": the name of the relation

    def _changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None,
        form_url: str,
        extra_context: dict[str, Any] | None,
    ) -> HttpResponse:
        """The form; if saving it moves prices, a page with what would move first, which asks.

        Beyond the limits of the person it plans the new value, and writes nothing else.
        """
        edit = self.edit_of(request, object_id)
        if edit is None:
            return super()._changeform_view(request, object_id, form_url, extra_context)
        effect = edit.effect()
        needs = price_changes().beyond(edit.author, effect.move)
        seen = request.POST.get(questions.CONFIRMED, "")
        if needs is None and effect.move.rows and not edit.is_confirmed(seen, effect.move):
            title, seen = f"{edit.name}: {edit.said}", edit.confirmation(effect.move)
            return questions.ask(request, self, edit.name, title, str(SAYS), effect, seen)
        if needs is None:
            try:
                with transaction.atomic():
                    return super()._changeform_view(request, object_id, form_url, extra_context)
            except NeedsAnotherPerson as refusal:  # by what the same person has moved meanwhile
                needs = refusal
        return self.planned(request, edit, needs)

    def edit_of(self, request: HttpRequest, object_id: str | None) -> ValueEdit | None:
        """The edit of the value that a request would save; None if it would not, or is wrong."""
        if request.method != "POST" or object_id is None:
            return None
        record = self.get_object(request, unquote(object_id))
        if record is None or not self.has_change_permission(request, record):
            return None
        form = self.get_form(request, record, change=True)(
            request.POST, request.FILES, instance=record
        )
        if not form.is_valid() or not form.moves():
            return None
        return ValueEdit(
            CatalogueSubject(self.role, record.pk),  # type: ignore[arg-type]
            str(record),
            form.initial[form.moves_prices],
            form.cleaned_data[form.moves_prices],
            form.cleaned_data.get("stamp", ""),
            author(request.user),
            [name for name in form.changed_data if name not in (form.moves_prices, "stamp")],
        )

    def planned(
        self, request: HttpRequest, edit: ValueEdit, needs: NeedsAnotherPerson
    ) -> HttpResponse:
        plan = price_changes().plan_value(
            edit.subject, Decimal(edit.value), edit.comment, edit.author, needs.detail
        )
        plan = replace(plan, unwritten=tuple(edit.others))
        address = reverse("admin:price_changes_pricechange_change", args=[plan.id])
        messages.warning(
            request,
            format_html(
                '{} <a class="underline" href="{}">{}</a>',
                plan.detail,
                address,
                _("Price change %(id)s") % {"id": plan.id},
            ),
        )
        return HttpResponseRedirect(request.get_full_path())
