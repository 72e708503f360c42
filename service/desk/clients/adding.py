"""A new subscription of a client: its form, its question, and its effect."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from clients.models import Client
from desk.asking import Asking, Done, Question, fingerprint
from desk.clients.forms import AddForm
from desk.clients.standing import Effect, Row, as_it_stands, paid_by, product, state_words
from pricebook.kit import figures
from services import price_decisions, price_state
from services.models import book_clock
from services.moves import NeedsAnotherPerson, WaitingPlan
from services.writing import subscriptions

Given = dict[str, Any]


class Adding(Asking):
    """A subscription that a person adds to a client."""

    means = gettext_lazy(
        "It gets the price of the rule, and follows the catalogue; or a price of its own, which"
        " takes a reason."
    )

    def __init__(self, client: Client, author: str, may_negotiate: bool) -> None:
        self.client, self.author, self.may_negotiate = client, author, may_negotiate
        self.title = _("Add a subscription")
        self.place = client.company_name
        self.keep = f"add-{client.pk}"
        self.address = reverse("desk:client", args=[client.pk])

    def form(self, data: Any = None) -> AddForm:
        return AddForm(data, may_negotiate=self.may_negotiate)

    def lock(self) -> None:
        Client.objects.select_for_update(no_key=True).filter(pk=self.client.pk).first()

    def look(self, given: Given) -> Question:
        total, needs = paid_by(self.client.pk), ""
        with transaction.atomic():
            id = self._create(given)
            after = _found(id)
            if given.get("price") is not None:
                try:
                    self._negotiate(id, given)
                    after = _found(id)
                except NeedsAnotherPerson as refusal:
                    needs = refusal.detail
            transaction.set_rollback(True)
        now = book_clock()
        at = max(after["started_at"], now)
        effect = Effect(None, after, at, given["started_at"] is not None and at > now, total)
        says = [f"{product(after)}."]
        if needs:
            says.append(
                _("It is added at the price of the rule; its own price is planned, and waits.")
            )
        at_once = ["started_at"] if given["started_at"] is None else []
        seen = effect.seen("id", *at_once)
        return Question(
            says,
            effect.figures(),
            fingerprint("add", self.client.pk, given, needs, *seen),
            _("Add it"),
            effect.tables(),
            needs,
        )

    def do(self, given: Given) -> Done:
        id = self._create(given)
        waits = ""
        if given.get("price") is not None:
            done = price_decisions.decide(
                "negotiate", id, self.author, price=given["price"], reason=given["reason"]
            )
            waits = f" {done.detail}" if isinstance(done, WaitingPlan) else ""
        row = _found(id)
        return Done(_said(row) + waits, reverse("desk:subscription", args=[id]), bool(waits))

    def _create(self, given: Given) -> int:
        values = {
            "client": self.client.pk,
            "service": given["service"].pk,
            "plan": given["plan"].pk,
            "started_at": given["started_at"],
            "comment": given["comment"],
        }
        return subscriptions.create(values, self.author)

    def _negotiate(self, id: int, given: Given) -> None:
        price_state.negotiate(id, given["price"], given["reason"], self.author)


def _found(id: int) -> Row:
    row = as_it_stands(id)
    assert row is not None  # it was made in this transaction
    return row


def _said(row: Row) -> str:
    return _("Added %(product)s: %(price)s, %(state)s.") % {
        "product": product(row),
        "price": figures.money(row["price"]),
        "state": state_words(row["price_state"], row["locked_until"]),
    }
