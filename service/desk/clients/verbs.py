"""The verbs of one subscription: each a form, its question, and its effect (`desk.asking`).

They are those of the API: `services.writing.subscriptions`, `price_decisions` and `corrections`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.db import transaction
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from desk.asking import Asking, Done, Question, Rows, fingerprint
from desk.clients import forms as forms_of
from desk.clients.standing import (
    Effect,
    Row,
    amount_figure,
    as_it_stands,
    paid_by,
    pays,
    product,
    state_at,
    state_words,
    version,
)
from pricebook.kit import figures
from pricebook.kit.scopes import CHANGE_SUBSCRIPTION, SET_PRICE_STATE
from services import corrections, price_decisions
from services.corrections import Line, LinesRefused
from services.models import Subscription, book_clock
from services.moves import NeedsAnotherPerson, WaitingPlan
from services.writing import subscriptions
from services.writing.refusals import not_there

Given = dict[str, Any]
NOW = ("active", "upcoming")


@dataclass(frozen=True)
class Verb:
    """A verb: the states by which it is offered, its words, its form, and the permission.

    `at`: the instant from which it counts, of what was given and how the row stands. `plans`: it
    becomes a plan that waits where its author may not do it alone.
    """

    label: str | Promise
    means: str | Promise
    says: str | Promise  # when it is done
    form: type[forms.Form]
    needs: str
    states: tuple[str, ...]
    price_states: tuple[str, ...] = ("follows", "locked", "negotiated")
    plans: bool = False
    at: Callable[[Row, Given], datetime | None] = lambda row, given: None

    def is_offered(self, row: Row, now: datetime) -> bool:
        return state_at(row, now) in self.states and row["price_state"] in self.price_states


def _end_of(row: Row, given: Given) -> datetime | None:
    end: datetime | None = row["ended_at"]
    return end


VERBS: dict[str, Verb] = {
    "move": Verb(
        pgettext_lazy("verb", "Move"),
        gettext_lazy(
            "It gets another service or plan from now on, at the price of the rule. That ends a"
            " lock and a negotiated price."
        ),
        gettext_lazy("Moved."),
        forms_of.MoveForm,
        CHANGE_SUBSCRIPTION,
        NOW,
    ),
    "lock": Verb(
        pgettext_lazy("verb", "Lock"),
        gettext_lazy(
            "It keeps the price that it has now, whatever the catalogue and price changes do."
        ),
        gettext_lazy("Locked."),
        forms_of.LockForm,
        SET_PRICE_STATE,
        NOW,
        plans=True,
    ),
    "release": Verb(
        pgettext_lazy("verb", "Release"),
        gettext_lazy("Its lock ends now: it follows the catalogue again, at the rule's price."),
        gettext_lazy("Released: it follows the catalogue."),
        forms.Form,
        SET_PRICE_STATE,
        NOW,
        ("locked",),
        plans=True,
    ),
    "follow": Verb(
        gettext_lazy("Follow the catalogue"),
        gettext_lazy("It gives up its own price and gets the rule's."),
        gettext_lazy("It follows the catalogue."),
        forms.Form,
        SET_PRICE_STATE,
        NOW,
        ("negotiated",),
        plans=True,
    ),
    "negotiate": Verb(
        pgettext_lazy("verb", "Negotiate"),
        gettext_lazy("It gets a price of its own, which no change of the catalogue moves."),
        gettext_lazy("It has a price of its own."),
        forms_of.NegotiateForm,
        SET_PRICE_STATE,
        NOW,
        plans=True,
    ),
    "correct": Verb(
        pgettext_lazy("verb", "Correct"),
        gettext_lazy(
            "It should have paid another price since an instant that has passed. Without an end"
            " the price counts up to its next move; if none has come, it goes on from now."
        ),
        gettext_lazy("Corrected."),
        forms_of.CorrectForm,
        SET_PRICE_STATE,
        ("active", "ended"),
    ),
    "start": Verb(
        gettext_lazy("Move its start"),
        gettext_lazy(
            "It pays from another instant on. One that has passed, or passes by it, changes what it"
            " has paid until now, at the prices of then."
        ),
        gettext_lazy("Its start is moved."),
        forms_of.StartForm,
        CHANGE_SUBSCRIPTION,
        ("active", "upcoming", "ended"),
        at=lambda row, given: min(row["started_at"], given["started_at"]),
    ),
    "end": Verb(
        pgettext_lazy("verb", "End"),
        gettext_lazy(
            "It pays nothing from then on. An end that has passed takes back what it has paid"
            " since; one to come can be taken back until then."
        ),
        gettext_lazy("Its end is set."),
        forms_of.EndForm,
        CHANGE_SUBSCRIPTION,
        ("active", "upcoming", "ended"),
        at=lambda row, given: given.get("ended_at"),
    ),
    "restart": Verb(
        pgettext_lazy("verb", "Restart"),
        gettext_lazy("Its end is taken back. It pays from now on, and nothing for the gap."),
        gettext_lazy("Its end is taken back."),
        forms_of.RestartForm,
        CHANGE_SUBSCRIPTION,
        ("active", "ended"),
        at=_end_of,
    ),
}


def offered(row: Row, now: datetime, may: Callable[[str], bool]) -> dict[str, Verb]:
    """The verbs that a person may use on a subscription as it stands."""
    return {
        name: verb
        for name, verb in VERBS.items()
        if may(verb.needs)
        and verb.is_offered(row, now)
        and (name != "restart" or row["ended_at"] is not None)
    }


class OneVerb(Asking):
    """A verb of a subscription, as a person uses it."""

    def __init__(self, name: str, row: Row, author: str) -> None:
        self.name, self.row, self.author = name, row, author
        self.verb, self.id = VERBS[name], row["id"]
        self.title = f"{self.verb.label}: {product(row)}"
        self.means = self.verb.means
        self.keep = f"{name}-{self.id}"
        self.address = reverse("desk:subscription", args=[self.id])
        self.place = f"{row['client_name']}: {product(row)}"
        self.stands = _("Now: %(price)s, %(state)s") % {
            "price": figures.money(row["price"]),
            "state": state_words(row["price_state"], row["locked_until"]),
        }

    def form(self, data: Any = None) -> forms.Form:
        initial = {"service": self.row["service"]["id"], "plan": self.row["plan_id"]}
        return self.verb.form(data, initial=initial if self.name == "move" else None)

    def lock(self) -> None:
        Subscription.objects.select_for_update(no_key=True).filter(pk=self.id).first()

    def look(self, given: Given) -> Question:
        if self.name == "correct":
            return self._look_at_correction(given)
        before, total = self._row(), paid_by(self.row["client_id"])
        seen = version(self.id)
        needs = ""
        with transaction.atomic():
            try:
                self._write(given)
            except NeedsAnotherPerson as refusal:
                needs, after = refusal.detail, self._as_if(before, refusal.after)
            else:
                after = self._row()
            transaction.set_rollback(True)
        now = book_clock()  # after the write, so that an end now has passed
        at = max(self.verb.at(before, given) or now, now)
        if self.name != "start":
            at = max(at, before["started_at"])
        effect = Effect(before, after, at, at > now, total)
        at_once = ["ended_at"] if self.name == "end" and given["ended_at"] is None else []
        return Question(
            [str(self.verb.means)],
            effect.figures(),
            fingerprint(self.name, self.id, given, seen, needs, *effect.seen(*at_once)),
            self.verb.label,
            effect.tables(),
            needs,
            not needs or self.verb.plans,
        )

    def do(self, given: Given) -> Done:
        if self.verb.plans:
            done = price_decisions.decide(self.name, self.id, self.author, **given)
            if isinstance(done, WaitingPlan):
                return Done(done.detail, reverse("desk:change", args=[done.id]), is_plan=True)
        else:
            self._write(given)
        row = self._row()
        says = _("%(done)s %(product)s: %(price)s, %(state)s.") % {
            "done": self.verb.says,
            "product": product(row),
            "price": figures.money(row["price"]),
            "state": state_words(row["price_state"], row["locked_until"]),
        }
        return Done(says, self.address)

    def _write(self, given: Given) -> None:
        if self.verb.plans:
            price_decisions.VERBS[self.name](self.id, author=self.author, **given)
        elif self.name == "correct":
            try:
                corrections.correct([self._line(given)], given["reason"], self.author)
            except LinesRefused as refused:
                raise refused.refusals[0] from None
        elif self.name == "move":
            to = {name: given[name].pk for name in ("service", "plan")}
            subscriptions.move(self.id, to, self.author)
        elif self.name == "start":
            subscriptions.change(self.id, given, self.author)
        elif self.name == "end":
            subscriptions.end(self.id, given["ended_at"] or book_clock(), self.author)
        else:
            subscriptions.restart(self.id, given["ended_at"], self.author)

    def _line(self, given: Given) -> Line:
        return Line(self.id, given["since"], given["price"], given["until"])

    def _look_at_correction(self, given: Given) -> Question:
        row, total, seen = self._row(), paid_by(self.row["client_id"]), version(self.id)
        try:
            [done], needs = corrections.show([self._line(given)], given["reason"], self.author)
        except LinesRefused as refused:
            raise refused.refusals[0] from None
        rows = [
            (
                figures.instant(part.since),
                figures.instant(part.until) if part.until else _("now, and goes on"),
                figures.amount(part.old_price),
                figures.amount(part.new_price),
                figures.difference(part.new_price - part.old_price),
            )
            for part in done.intervals
        ]
        headings = (_("Paid from"), _("Until"), _("Before"), _("After"), _("Difference"))
        table = Rows(_("Prices paid"), headings, rows, frozenset({2, 3, 4}))
        says, shown = [str(self.verb.means)], []
        if not done.moves:
            says.append(_("It has paid this price all along: nothing would be written."))
        if done.goes_on:
            now = done.price - row["price"] if pays(row, book_clock()) else 0
            shown = [
                amount_figure(_("Price from now on"), row["price"], done.price),
                amount_figure(_("The client's total"), total, total + now),
            ]
        else:
            says.append(_("Its price from now on, and the client's total, stay as they are."))
        mark = fingerprint("correct", self.id, given, seen, needs, rows, dict(row), total)
        may = not needs and done.moves
        return Question(says, shown, mark, self.verb.label, [table], needs, may)

    def _row(self) -> Row:
        row = as_it_stands(self.id)
        if row is None:
            raise not_there("subscription", self.id)
        return row

    def _as_if(self, before: Row, after: Subscription) -> Row:
        """The row as it would have become, if another person had let it."""
        service, plan = after.service, after.plan
        return {
            **before,
            "price": after.price,
            "price_state": after.price_state,
            "locked_until": after.locked_until,
            "price_reason": after.price_reason,
            "service": {"id": service.pk, "name": service.name, "full_price": service.full_price},
            "plan": {
                "id": plan.pk,
                "plan_type": plan.plan_type,
                "discount_percent": plan.discount_percent,
            },
        }
