"""The pages of a client and of a subscription: what is paid, why, what is coming, what was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from clients.models import Client
from desk.charts import Chart, Number, chart
from desk.clients import history
from desk.clients.standing import (
    as_it_stands,
    plan_name,
    product,
    state_at,
    state_words,
    why_words,
)
from desk.clients.verbs import Verb, offered
from desk.page import desk_page, show
from pricebook.kit import figures
from pricebook.kit.read_timeout import long_read
from pricebook.kit.scopes import VIEW_CLIENT, VIEW_SUBSCRIPTION
from services import ledger
from services.hooks import PendingChange, price_changes
from services.ledger.explanation import Rule
from services.ledger.paid_by_client import paid_by_client
from services.ledger.paid_since import paid_since
from services.models import book_clock
from services.reading.filters import STATES
from services.reading.of_client import Part, of_client

SHOWN = 20  # subscriptions on a page
OTHERS = 10  # of those that have ended, or not begun
# Subscriptions up to which a client's page has the history of its total at once: each of them is
# looked up at each instant at which its price may have changed.
DRAWN = 40
MONTHS = timedelta(days=731)
POINTS = 60
AHEAD, TO_COME = timedelta(days=366), 6  # the totals to come that are shown


@dataclass(frozen=True)
class Line:
    """A subscription on its client's page."""

    row: Mapping[str, Any]
    product: str
    state: str
    since: datetime | None
    why: str
    coming: list[str]
    verbs: dict[str, Verb]


@desk_page(VIEW_CLIENT, VIEW_SUBSCRIPTION)
@require_safe
def client(request: HttpRequest, pk: int) -> HttpResponse:
    """A client: what it pays in total, each subscription, what is coming, the total's history.

    Eight queries, one more for each price change that has decided a price, and three while changes
    are scheduled; without the reader's own. The history of more than
    DRAWN subscriptions is computed where it is asked for (`?history=1`).
    """
    found = Client.objects.select_related("user").filter(pk=pk).first()
    if found is None:
        raise Http404(_("There is no client %(number)s.") % {"number": pk})
    parts = of_client(
        pk,
        {state: _after(request, state) for state in STATES},
        {"active": SHOWN, "upcoming": OTHERS, "ended": OTHERS},
    )
    paid, upcoming, ended = parts["active"], parts["upcoming"], parts["ended"]
    now = book_clock()
    all = sum(each.total.subscriptions for each in parts.values())
    drawn, coming = None, []
    if all <= DRAWN or "history" in request.GET:
        with long_read():
            drawn = _of_client(pk, now) if all else None
            coming = paid_by_client(pk, now, now + AHEAD)[1:] if all else []
    lines = _lines(request, [*paid.rows, *upcoming.rows], now)
    return show(
        request,
        "clients/client",
        found.company_name,
        client=found,
        total=paid.total,
        lines=lines[: len(paid.rows)],
        later=lines[len(paid.rows) :],
        ended=[{"row": row, "product": product(row)} for row in ended.rows],
        counts={"all": all, "later": upcoming.total, "ended": ended.total},
        links={state: _links(request, state, part) for state, part in parts.items()},
        chart=drawn,
        coming=coming[:TO_COME],
        not_drawn=drawn is None and all > 0,
        months=24,
        may_add=request.user.has_perm("services.add_subscription"),
        may_edit=request.user.has_perm("clients.change_client"),
    )


def _after(request: HttpRequest, state: str) -> int:
    """The id behind which a page of this state begins, which the address says; 0 for the first."""
    text = request.GET.get(state, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Http404(
            _("“%(place)s” is no place in this list: begin at its first page.")
            % {"place": text[:40]}
        )
    return int(text)


def _links(request: HttpRequest, state: str, part: Part) -> dict[str, str]:
    """The addresses of the first page and the next one of a state; the other states stay."""
    found = {}
    for way, place in (("first", None), ("next", part.following)):
        query = request.GET.copy()
        if way == "next" and place is not None:
            query[state] = str(place)
        elif way == "next" or state not in request.GET:
            continue
        else:
            del query[state]
        found[way] = f"?{query.urlencode()}#{state}"
    return found


def _lines(
    request: HttpRequest, rows: list[dict[str, Any]], now: datetime, with_verbs: bool = True
) -> list[Line]:
    """The subscriptions with why they pay what they pay, and what is coming. Two queries, and those
    of the price changes."""
    ids = [row["id"] for row in rows]
    why = ledger.explain_each(ids)
    pending = price_changes().pending_of_each(ids)
    may = request.user.has_perm
    return [
        Line(
            row,
            product(row),
            state_words(row["price_state"], row["locked_until"]),
            why[row["id"]].since if row["id"] in why else None,
            why_words(why[row["id"]]) if row["id"] in why else "",
            coming_of(row, pending[row["id"]], now),
            offered(row, now, may) if with_verbs else {},
        )
        for row in rows
    ]


def coming_of(row: Mapping[str, Any], pending: Iterable[PendingChange], now: datetime) -> list[str]:
    """All that will move a subscription, by now, in the order of the instants."""
    found: list[tuple[datetime, str]] = []
    for change in pending:
        title = change.title or _("price change %(number)s") % {"number": change.id}
        says = _("%(price)s by “%(title)s”") % {
            "price": figures.money(change.new_price),
            "title": title,
        }
        if change.will_be_held:
            says += _(" (the brake or its notice will hold it, unless that changes before)")
        found.append((change.effective_at, says))
    if row["locked_until"] is not None and row["locked_until"] > now:
        found.append((row["locked_until"], _("its lock ends, and it follows the catalogue")))
    if row["started_at"] > now:
        found.append((row["started_at"], _("it begins")))
    if row["ended_at"] is not None and row["ended_at"] > now:
        found.append((row["ended_at"], _("it ends")))
    found.sort()
    return [f"{figures.instant(at)}: {says}" for at, says in found]


def _of_client(pk: int, now: datetime) -> Chart | None:
    steps = [(step.at, step.amount) for step in paid_by_client(pk, now - MONTHS, now)]
    if steps and not steps[0][1]:  # it had not begun to pay
        steps = steps[1:]
    return stepped("paid", _("Total paid"), steps, now)


def stepped(
    id: str,
    title: str,
    steps: Sequence[tuple[datetime, Decimal | None]],
    now: datetime,
    shown: Callable[[Number], str] = figures.amount,
) -> Chart | None:
    """A stepped line of amounts, up to now; None if there is none."""
    if not steps:
        return None
    steps = steps[-POINTS:]
    days = Counter(figures.day(at) for at, _amount in steps)
    rows = [
        (figures.day(at) if days[figures.day(at)] == 1 else figures.instant(at), [amount])
        for at, amount in steps
    ]
    rows.append((_("now"), [steps[-1][1]]))
    return chart(id, "line", title, _("From"), [_("Amount")], rows, shown, is_stepped=True)


@desk_page(VIEW_SUBSCRIPTION)
@require_safe
def subscription(request: HttpRequest, pk: int) -> HttpResponse:
    """A subscription: its price, why, what is coming, and all that it has been.

    Twelve queries, and more while changes are scheduled; without the reader's own.
    """
    row = as_it_stands(pk)
    if row is None:
        raise Http404(_("There is no subscription %(number)s.") % {"number": pk})
    now = book_clock()
    may = request.user.has_perm
    pending = [PendingChange(**each) for each in row["pending_changes"]]
    why = ledger.explain(pk)
    [told] = paid_since([(pk, row["started_at"])], now)
    steps = [(each.at, each.price if each.pays else None) for each in told]
    steps = [each for n, each in enumerate(steps) if n == 0 or each[1] != steps[n - 1][1]]
    return show(
        request,
        "clients/subscription",
        product(row),
        row=row,
        plan=plan_name(row),
        names_client=may(VIEW_CLIENT),
        period=state_at(row, now),
        state=state_words(row["price_state"], row["locked_until"]),
        why=why,
        why_words=why_words(why) if why else "",
        rule_sign=_sign(why.rule) if why and why.rule else "",
        coming=coming_of(row, pending, now),
        verbs=offered(row, now, may) if may(VIEW_CLIENT) else {},
        may_edit=may("services.change_subscription") and may(VIEW_CLIENT),
        chart=stepped("prices", _("Prices paid"), steps, now),
        history=history.page_of(pk, request.GET.get("before", ""), may(VIEW_CLIENT)),
        list_address=reverse("desk:subscriptions"),
    )


def _sign(rule: Rule) -> str:
    """The sign between the arithmetic and its price, which is rounded."""
    exact = rule.list_price * (100 - rule.discount_percent) / 100
    return "=" if exact == rule.price else "≈"
