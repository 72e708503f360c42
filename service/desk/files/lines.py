"""The results of a job's lines, as a page shows them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from clients.models import Client
from desk.files import words
from desk.numbers import whole_number
from pricebook.kit import figures
from pricebook.kit.scopes import VIEW_CLIENT
from services.jobs.results import OUTCOMES, lines
from services.models import Job, Plan, Service, Subscription
from services.models.catalogue import stored_name_shown
from services.pricing import rule_price
from services.transfer.sheets.headings import WORDS

PAGE = 50
AMOUNTS = ("price", "full_price")
INSTANTS = ("started_at", "ended_at", "locked_until")


@dataclass(frozen=True)
class Change:
    column: str
    before: str
    after: str


@dataclass(frozen=True)
class Line:
    number: int  # 0: a record that several lines of a file name
    outcome: str
    word: str
    badge: str
    what: str  # the record, in words
    url: str
    detail: str
    changes: tuple[Change, ...]


@dataclass
class Lines:
    """A page of lines; `older` and `newer` are the query strings of its neighbours."""

    lines: list[Line] = field(default_factory=list)
    outcome: str = ""
    next: str = ""
    previous: str = ""
    unknown: str = ""


SERVICES_NAMED, SERVICES_READ = 10, 1_000
BADGES = {"refused": "alarm", "changed": "warn", "created": "good", "deleted": "warn", "left": ""}


def lines_of(request: HttpRequest, job: Job) -> Lines:
    """The page of results that the address names. Up to six queries."""
    outcome = request.GET.get("outcome") or ""
    if outcome and outcome not in OUTCOMES:
        return Lines(unknown=_("There is no outcome “%(value)s”.") % {"value": outcome[:50]})
    place, backward = 0, False
    for name in ("after", "before"):
        if (text := request.GET.get(name)) is not None:
            number = whole_number(text)
            if number is None:
                return Lines(unknown=_("“%(value)s” is no line.") % {"value": text[:50]})
            place, backward = number, name == "before"
    found = lines(job, outcome or None, place, PAGE + 1, backward)
    more, page = len(found) > PAGE, found[:PAGE]
    if backward:
        page.reverse()
    query = f"outcome={outcome}&" if outcome else ""
    said = Lines(outcome=outcome)
    if page and (more or backward):
        said.next = f"?{query}after={page[-1]['line']}#lines"
    if page and (more if backward else place):
        said.previous = f"?{query}before={page[0]['line']}#lines"
    said.lines = _in_words(request, job, page)
    return said


@dataclass(frozen=True)
class NewService:
    """A service that a file makes, and one of the book that is spelled almost so."""

    name: str
    like: str


def new_services(job: Job) -> list[NewService]:
    """The services that a file would make, up to SERVICES_NAMED: most are misspelt. Two queries."""
    parts = job.results.filter(kind="services", counts__has_key="created").order_by("first_line")
    told = map(json.loads, (parts.values_list("results", flat=True).first() or "").splitlines())
    names = sorted(each["values"]["name"] for each in told if each["outcome"] == "created")
    if not names:
        return []
    known = list(Service.objects.order_by("pk").values_list("name", flat=True)[:SERVICES_READ])
    return [
        NewService(name, "".join(get_close_matches(name, known, 1, 0.8)))
        for name in names[:SERVICES_NAMED]
    ]


def _in_words(request: HttpRequest, job: Job, page: list[dict[str, Any]]) -> list[Line]:
    names = Names(request, job, page)
    made = []
    for each in page:
        kind = each.get("kind", "")
        what, url = names.of(each)
        changes = tuple(
            Change(words.column(name), shown(name, values["before"]), shown(name, values["after"]))
            for name, values in (each.get("changes") or {}).items()
        )
        made.append(
            Line(
                0 if kind else each["line"],
                each["outcome"],
                str(words.OUTCOMES[each["outcome"]]),
                BADGES.get(each["outcome"], ""),
                what,
                url,
                words.kept_by_undo(each) if each["outcome"] in ("left", "refused") else "",
                changes,
            )
        )
    return made


def shown(name: str, value: Any) -> str:
    """A value of a record or of a file, as people read it."""
    if value is None or value == "":
        return _("nothing")
    if name in AMOUNTS:
        return figures.amount(Decimal(str(value)))
    if name in INSTANTS and isinstance(value, str) and (at := parse_datetime(value)):
        return figures.instant(at) if at.tzinfo else value
    if name in WORDS:
        return str(WORDS[name].get(value, value))
    return str(value)


class Names:
    """The names of the records that a page of lines is about. Up to five queries."""

    def __init__(self, request: HttpRequest, job: Job, page: list[dict[str, Any]]) -> None:
        self.shows_clients = request.user.has_perm(VIEW_CLIENT)
        self.of_job = "subscription" if job.kind in (*Job.OF_FILES, "subscriptions") else ""
        self.of_job = self.of_job or job.kind.removesuffix("s")
        ids: dict[str, set[int]] = {}
        for each in page:
            if each.get("id"):
                ids.setdefault(self.kind(each), set()).add(each["id"])
        self.names: dict[tuple[str, int], str] = {}
        for kind, numbers in ids.items():
            self.names |= {(kind, pk): name for pk, name in self.read(kind, numbers)}

    def kind(self, line: dict[str, Any]) -> str:
        return line.get("kind") or self.of_job

    def read(self, kind: str, ids: set[int]) -> list[tuple[int, str]]:
        if kind == "client":
            names = Client.objects.filter(pk__in=ids).values_list("pk", "company_name")
            return list(names) if self.shows_clients else []
        if kind == "service":
            return list(Service.objects.filter(pk__in=ids).values_list("pk", "name"))
        if kind == "plan":
            return [(plan.pk, str(plan)) for plan in Plan.objects.filter(pk__in=ids)]
        rows = Subscription.objects.filter(pk__in=ids).values_list(
            "pk", "client__company_name", "service__name"
        )
        return [(pk, self.pair(client, service)) for pk, client, service in rows]

    def pair(self, client: str, service: str) -> str:
        return f"{client} · {service}" if self.shows_clients else service

    def of(self, line: dict[str, Any]) -> tuple[str, str]:
        """The record of a line, in words, and the page of it."""
        kind, pk = self.kind(line), line.get("id")
        values = line.get("values")
        if values and kind == "subscription":
            return self.of_new(values), reverse("desk:subscription", args=[pk]) if pk else ""
        label = str(words.RECORDS.get(kind, "")) if line.get("kind") else ""
        name = self.names.get((kind, pk or 0), "")
        if values and not name and (kind != "client" or self.shows_clients):
            return f"{label} {stored_name_shown(values['name'])}", ""
        url = reverse(f"desk:{kind}", args=[pk]) if name else ""
        if not name and pk:
            name = _("number %(number)s") % {"number": pk}
        return " ".join(part for part in (label, name) if part), url

    def of_new(self, values: dict[str, Any]) -> str:
        price = values.get("price")
        amount = (
            Decimal(price)
            if price
            else rule_price(Decimal(values["full_price"]), int(values["discount_percent"]))
        )
        what = self.pair(values["company_name"], values["service"])
        return _("%(what)s, %(price)s from %(start)s") % {
            "what": what,
            "price": figures.money(amount),
            "start": shown("started_at", values["started_at"]),
        }
