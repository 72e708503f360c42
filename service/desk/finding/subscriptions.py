"""The list of subscriptions: who pays what, as the API's list reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from clients.models import Client
from desk.back import with_back
from desk.finding import form
from desk.finding.asked import Asked, asked, has_empty, without_empty
from desk.finding.page import head, refused, sheets, show_list, sizes
from desk.finding.words import PENDING, PLAN_TYPES, PRICE_STATES, STATES
from price_changes.models import PriceChange
from price_changes.planning.pending import TooManyScheduled, pending_of_page, waiting_for
from pricebook.kit import figures
from pricebook.kit.errors import BadParameter
from pricebook.kit.scopes import PLAN as MAY_PLAN
from services.models import Plan, Service, Subscription, book_clock
from services.parsing import BadValue
from services.reading import pages, parameters
from services.reading.access_paths import NotServed
from services.reading.filters import FILTERS, LASTING, BookFilter
from services.reading.ordering import ORDERINGS, Ordering, key_of_subscriptions

FIRST = ("q", "service", "plan", "state", "price_state")
MORE = (
    "price_from",
    "price_to",
    "started_from",
    "started_to",
    "ended_from",
    "ended_to",
    "pending",
    "plan_type",
    "email",
    "source",
    "external_id",
    "comment",
    "comment_prefix",
)
USUAL = Ordering("id", descending=True)
API = "/api/subscriptions/"


def subscriptions(request: HttpRequest) -> HttpResponse:
    """The page of subscriptions that an address asks for.

    Seven queries beside those of the person; one more for a client and for each of the changes
    that have come, two more while changes are scheduled.
    """
    choices = _choices()
    make_form = partial(form.form_of, without_empty(request.GET), FIRST, MORE, choices)
    title = _("Subscriptions")
    try:
        wanted = asked(request, list(FILTERS), ORDERINGS, USUAL, _key)
        if has_empty(request.GET):
            return redirect(wanted.here)
        book_filter = BookFilter(**wanted.values)
        said = _words(choices)
        if missing := _missing(wanted, said):
            return show_list(request, title, 404, form=make_form(), problem=missing)
        page = pages.page(book_filter, wanted.cursor, wanted.size, wanted.ordering)
    except BadParameter as error:
        wrong = str(error.about["parameter"])
        return show_list(request, title, 400, form=make_form(wrong=wrong), problem=refused(error))
    except BadValue as error:
        problem = refused(parameters.bad_parameter(error))
        return show_list(request, title, 400, form=make_form(), problem=problem)
    except NotServed:
        return show_list(
            request,
            title,
            400,
            form=make_form(kept=wanted.texts),
            problem=_(
                "This would have to read too many subscriptions, one by one. Add a filter, such as"
                " a service, a client's e-mail or a source, or take the usual order."
            ),
            instead=wanted.address(ordering=None) if wanted.ordering != USUAL else "",
        )
    return show_list(
        request,
        title,
        form=make_form(kept=wanted.texts),
        kept_order=str(wanted.ordering) if wanted.ordering != USUAL else "",
        size=wanted.size,
        chips=form.chips_of(wanted, said),
        figures=_figures(page),
        heads=_heads(wanted),
        rows=_rows(wanted, page.result),
        empty=_("No subscription matches.") if not page.result else "",
        sizes=sizes(wanted),
        next=wanted.at(page.next),
        previous=wanted.at(page.previous),
        sheets=[*sheets(API, book_filter.as_json()), _csv(book_filter)],
        plan=_plan(request, wanted),
        waiting=waiting_for(None) if page.waits else [],
    )


def _key(values: dict[str, Any], ordering: Ordering) -> bytes:
    return key_of_subscriptions(BookFilter(**values), ordering)


def _choices() -> dict[str, form.Choices]:
    """The values of the fields that have few. Two queries."""
    services = Service.objects.order_by("name").values_list("pk", "name")
    return {
        "service": [(str(pk), name) for pk, name in services[: form.MOST_CHOICES + 1]],
        "plan": [(str(each.pk), str(each)) for each in Plan.objects.all()],
        "plan_type": [*PLAN_TYPES.items()],
        "state": [*STATES.items()],
        "price_state": [*PRICE_STATES.items()],
        "pending": [*PENDING.items()],
    }


def _words(choices: dict[str, form.Choices]) -> dict[str, Callable[[Any], str]]:
    """By filter, the words of a value; empty for an id that there is not."""

    def chosen(name: str) -> Callable[[Any], str]:
        known = dict(choices[name])
        return lambda value: str(known.get(str(value), ""))

    def service(pk: int) -> str:
        name = Service.objects.filter(pk=pk).values_list("name", flat=True)
        return chosen("service")(pk) or name.first() or ""

    def client(pk: int) -> str:
        return Client.objects.filter(pk=pk).values_list("company_name", flat=True).first() or ""

    def subscription(pk: int) -> str:
        return str(pk) if Subscription.objects.filter(pk=pk).exists() else ""

    def pending(value: Any) -> str:
        if str(value) in PENDING:
            return str(PENDING[str(value)])
        change = PriceChange.objects.filter(pk=int(str(value))).first()
        return "" if change is None else _("moved by “%(change)s”") % {"change": change}

    return {
        "service": service,
        "client": client,
        "except_client": client,
        "subscription": subscription,
        "pending": pending,
        **{name: chosen(name) for name in ("plan", "plan_type", "state", "price_state")},
    }


def _missing(wanted: Asked, said: dict[str, Callable[[Any], str]]) -> str:
    """A sentence about an id that no record has; empty if there is none."""
    for name in ("service", "plan", "client", "except_client", "subscription", "pending"):
        if (value := wanted.values.get(name)) is not None and not said[name](value):
            kinds = {
                "service": _("There is no service %(id)s."),
                "plan": _("There is no plan %(id)s."),
                "client": _("There is no client %(id)s."),
                "except_client": _("There is no client %(id)s."),
                "subscription": _("There is no subscription %(id)s."),
                "pending": _("There is no price change %(id)s."),
            }
            return kinds[name] % {"id": value}
    return ""


def _figures(page: pages.Page) -> list[tuple[str, str, str]]:
    """The number found, its part that is paid, and the sum of all where it is another one."""
    paid, total = page.paid, page.total
    found = [
        (
            _("Found"),
            figures.grouped(total.subscriptions),
            _("%(rows)s on this page") % {"rows": figures.grouped(len(page.result))},
        ),
        (
            _("Paid now"),
            figures.money(paid.amount),
            _("by %(rows)s that have begun and not ended")
            % {"rows": figures.grouped(paid.subscriptions)},
        ),
    ]
    if total != paid:
        others = total.subscriptions - paid.subscriptions
        found.append(
            (
                _("With those that do not pay"),
                figures.money(total.amount),
                _("%(rows)s have ended or not begun") % {"rows": figures.grouped(others)},
            )
        )
    return found


def _heads(wanted: Asked) -> list[Any]:
    return [
        head(wanted, _("Number"), "id"),
        head(wanted, _("Client"), "client_name"),
        head(wanted, _("Service")),
        head(wanted, _("Price"), "price", is_number=True),
        head(wanted, _("Plan")),
        head(wanted, _("Since"), "started_at"),
        head(wanted, _("Coming")),
        head(wanted, _("Comment, external id")),
    ]


ROW = (
    '<tr{ended}><th scope="row"><a href="{url}">{id}</a></th><td><a href="{client_url}">{client}'
    '</a></td><td>{service}</td><td class="number">{price}</td><td class="plan">{plan}</td>'
    "<td>{since}</td><td>{coming}</td><td>{comment}</td></tr>\n"
)


def _rows(wanted: Asked, rows: Sequence[dict[str, Any]]) -> SafeString:
    """The rows of the table. Made here, because a template takes several times as long."""
    now = book_clock()
    url, end = with_back(reverse("desk:subscription", args=[0]), wanted.here).split("/0/")
    client_url = reverse("desk:client", args=[0]).replace("/0/", "/{}/")
    amount, day = _remembered(figures.amount), _remembered(figures.day)
    plan = _remembered(lambda each: escape(Plan(plan_type=each[0], discount_percent=each[1])))
    coming = _coming([row["id"] for row in rows])
    states = {name: str(label) for name, label in PRICE_STATES.items()}
    said_ended, said_from = _("ended %(day)s"), _("from %(day)s")
    until = _("until %(day)s")

    def since(row: dict[str, Any]) -> str:
        started, ended = row["started_at"], row["ended_at"]
        text = day(started)
        if started > now:
            text = f'<span class="badge">{said_from % {"day": text}}</span>'
        if ended is not None:
            said = said_ended if ended <= now else until
            text += f' <span class="badge">{said % {"day": day(ended)}}</span>'
        return text

    def price(row: dict[str, Any]) -> str:
        text, state = amount(row["price"]), row["price_state"]
        if state == "follows":
            return text
        said = states[state]
        if row["locked_until"] is not None:
            said = f"{said} {until % {'day': day(row['locked_until'])}}"
        return f'<span class="badge">{said}</span> {text}'

    def comment(row: dict[str, Any]) -> str:
        text = str(escape(row["comment"]))
        if row["source"] is None:
            return text
        known = escape(f"{row['source']} {row['external_id']}")
        return f'{text} <span class="soft">{known}</span>'

    return mark_safe(  # noqa: S308 - each text is escaped
        "".join(
            [
                ROW.format(
                    ended=' class="ended"' if (row["ended_at"] or now) < now else "",
                    url=f"{url}/{row['id']}/{escape(end)}",
                    id=row["id"],
                    client_url=client_url.format(row["client_id"]),
                    client=escape(row["client_name"]),
                    service=escape(row["service"]["name"]),
                    plan=plan((row["plan"]["plan_type"], row["plan"]["discount_percent"])),
                    price=price(row),
                    since=since(row),
                    coming=coming.get(row["id"], ""),
                    comment=comment(row),
                )
                for row in rows
            ]
        )
    )


def _remembered(says: Callable[[Any], str]) -> Callable[[Any], str]:
    """The function, which says each value once: few are many rows'."""
    known: dict[Any, str] = {}

    def call(value: Any) -> str:
        if value not in known:
            known[value] = says(value)
        return known[value]

    return call


def _coming(ids: Sequence[int]) -> dict[int, str]:
    """The prices that scheduled changes will give these rows, in words, by their ids."""
    try:
        scheduled = pending_of_page(ids)
    except TooManyScheduled:
        return dict.fromkeys(ids, str(escape(_("many changes: see it"))))
    return {id: _change_said(*changes[0], len(changes) - 1) for id, changes in scheduled.items()}


def _change_said(change: PriceChange, price: Decimal, others: int) -> str:
    at: datetime | None = change.effective_at
    text = f"{figures.day(at)}: {figures.amount(price)}"
    url = reverse("desk:change", args=[change.pk])
    more = f" +{others}" if others else ""
    return f'<a href="{url}">{escape(text)}</a>{more}'


def _csv(book_filter: BookFilter) -> tuple[str, str]:
    return _("CSV of the book"), f"{API}?{urlencode({**book_filter.as_json(), 'format': 'csv'})}"


def _plan(request: HttpRequest, wanted: Asked) -> dict[str, str]:
    """The address of the form that plans a change of these, or why no change can be of them."""
    if not request.user.has_perm(MAY_PLAN):
        return {}
    unfit = [name for name in wanted.values if name not in LASTING]
    if unfit:
        reasons = {
            "q": _(
                "A change can't be of what a search finds: it also finds what is only like the"
                " word. Choose a client, a service or a comment."
            ),
            "pending": _(
                "A change can't be of what other scheduled changes would move: that would depend"
                " on itself."
            ),
        }
        return {"why_not": reasons.get(unfit[0]) or str(FILTERS[unfit[0]].not_for_a_change)}
    which = BookFilter(**wanted.values).as_json()
    query = urlencode({f"where_{name}": value for name, value in which.items()})
    address = reverse("desk:plan_change", args=["set"])
    return {"url": f"{address}?{query}" if query else address}
