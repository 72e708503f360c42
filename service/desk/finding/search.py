"""The one search: over clients, services, plans, subscriptions and price changes.

Names are found as the API's `q` finds them, so a typo is forgiven; exact ones come first.
A reader finds what that reader may see, and nothing else is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from desk.finding.words import PRICE_STATES
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.showing.finding import About, changes_found
from price_changes.showing.instants import in_force_from
from price_changes.showing.sentences import sentence
from pricebook.kit import figures
from pricebook.kit.scopes import (
    VIEW_CHANGE,
    VIEW_CLIENT,
    VIEW_PLAN,
    VIEW_SERVICE,
    VIEW_SUBSCRIPTION,
)
from services.models import Plan, Subscription
from services.reading import breakdown, found
from services.reading.found import Found

LONGEST = 100
SHORTEST = 3  # letters that the lists look for


@dataclass(frozen=True)
class Hit:
    """A record that was found: `says` is what tells it from others."""

    title: str
    says: str
    url: str
    is_exact: bool = False


@dataclass(frozen=True)
class Group:
    """The hits of one kind. `more`: there are others; `all`: the list that has them, if any."""

    name: str
    label: str | Promise
    hits: list[Hit] = field(default_factory=list)
    more: str = ""
    all: str = ""


@dataclass(frozen=True)
class Answer:
    """The groups that have hits, the kinds that were looked at, and why nothing was, if so."""

    words: str
    groups: list[Group]
    looked_in: list[str]
    problem: str = ""

    @property
    def hits(self) -> list[Hit]:
        return [hit for group in self.groups for hit in group.hits]


LABELS: dict[str, tuple[Promise, tuple[str, ...]]] = {
    "client": (gettext_lazy("Clients"), (VIEW_CLIENT,)),
    "service": (gettext_lazy("Services"), (VIEW_SERVICE,)),
    "plan": (gettext_lazy("Plans"), (VIEW_PLAN,)),
    "subscription": (gettext_lazy("Subscriptions"), (VIEW_SUBSCRIPTION, VIEW_CLIENT)),
    "change": (gettext_lazy("Price changes"), (VIEW_CHANGE,)),
}


def search(user: Any, words: str, most: int) -> Answer:
    """Up to `most` records of each kind that this person may see. Up to 16 queries."""
    words = " ".join(words.split())
    allowed = [name for name, (_label, needs) in LABELS.items() if user.has_perms(needs)]
    looked_in = [str(LABELS[name][0]) for name in allowed]
    if not words:
        return Answer("", [], looked_in)
    if "\0" in words or len(words) > LONGEST:
        shown = words.replace("\0", "\N{REPLACEMENT CHARACTER}")[:LONGEST]
        problem = _("“%(words)s” can't be looked for: give up to %(most)s letters.")
        return Answer(shown, [], looked_in, problem % {"words": shown, "most": LONGEST})
    ids: dict[str, Found] = {}
    for kind in ("client", "service"):
        if kind in allowed:
            ids[kind] = found.found(kind, words, most)
    groups = [_records(kind, words, ids[kind]) for kind in ids]
    plans: list[int] = []
    if "plan" in allowed:
        plans = found.plans(words)
        groups.append(_plans(plans, most))
    if "subscription" in allowed:
        groups.append(_subscriptions(words, most, any(each.ids for each in ids.values())))
    if "change" in allowed:
        about = About(
            services=ids["service"].ids if "service" in ids else (),
            plans=plans,
            clients=ids["client"].ids if "client" in ids else (),
        )
        groups.append(_changes(words, about, most, sees_clients="client" in allowed))
    groups = [group for group in groups if group.hits or group.more]
    groups.sort(key=lambda group: not any(hit.is_exact for hit in group.hits))
    return Answer(words, groups, looked_in)


def _records(kind: str, words: str, which: Found) -> Group:
    said = {"client": _client, "service": _service}[kind]
    rows = breakdown.some(kind, which.ids) if which.ids else []
    group = Group(kind, LABELS[kind][0], [said(row, words) for row in rows])
    if which.too_many:
        more = _("More than 1,000 names are like this: give more of the name.")
        return replace(group, more=more)
    if which.more:
        listed = f"{reverse(f'desk:{kind}s')}?{urlencode({'q': words})}"
        return replace(group, more=_("There are more."), all=listed if len(words) > 2 else "")
    return group


def _client(row: dict[str, Any], words: str) -> Hit:
    says = " · ".join(filter(None, [_pays(row), row["email"]]))
    exact = _is_exact(words, row["company_name"], row["id"], row["email"], row["external_id"])
    return Hit(row["company_name"], says, reverse("desk:client", args=[row["id"]]), exact)


def _service(row: dict[str, Any], words: str) -> Hit:
    price = _("list price %(price)s") % {"price": figures.money(row["full_price"])}
    exact = _is_exact(words, row["name"], row["id"], row["external_id"])
    url = reverse("desk:service", args=[row["id"]])
    return Hit(row["name"], f"{price} · {_pays(row)}", url, exact)


def _pays(row: dict[str, Any]) -> str:
    return ngettext(
        "%(count)s subscription pays %(amount)s",
        "%(count)s subscriptions pay %(amount)s",
        row["count"],
    ) % {"count": figures.grouped(row["count"]), "amount": figures.money(row["total_amount"])}


def _is_exact(words: str, *values: object) -> bool:
    return words.casefold() in [str(value).casefold() for value in values]


def _plans(plans: Sequence[int], most: int) -> Group:
    hits = [
        Hit(
            str(Plan(plan_type=row["plan_type"], discount_percent=row["discount_percent"])),
            _pays(row),
            reverse("desk:plan", args=[row["id"]]),
        )
        for row in breakdown.some("plan", plans[:most])
    ]
    more = len(plans) > most
    listed = reverse("desk:plans") if more else ""
    return Group("plan", LABELS["plan"][0], hits, _("There are more.") if more else "", listed)


def _subscriptions(words: str, most: int, has_names: bool) -> Group:
    """Those of this id or external id; those of a source; and the list of those by the names."""
    which = found.subscriptions(words, most)
    rows = Subscription.objects.in_force().select_related("client", "service", "plan")
    by_id = {row.pk: row for row in rows.filter(pk__in=which.ids)} if which.ids else {}
    hits = [_subscription(by_id[id]) for id in which.ids if id in by_id]
    listed = reverse("desk:subscriptions")
    if len(words) >= SHORTEST:
        for source in found.sources_like(words)[:most]:
            hits.append(
                Hit(
                    _("Source %(source)s") % {"source": source},
                    _("all subscriptions that came from it"),
                    f"{listed}?{urlencode({'source': source})}",
                )
            )
    group = Group("subscription", LABELS["subscription"][0], hits)
    if which.more:
        return replace(group, more=_("There are more of this external id: give their source."))
    if has_names and len(words) >= SHORTEST:
        more = _("Those of clients and services of such a name are in the list.")
        return replace(group, more=more, all=f"{listed}?{urlencode({'q': words})}")
    return group


def _subscription(row: Subscription) -> Hit:
    known = "" if row.source is None else f"{row.source} {row.external_id}"
    price = figures.money(row.price)
    if row.price_state != "follows":
        price = f"{price} ({PRICE_STATES[row.price_state]})"
    title = f"{row.pk} · {row.client.company_name}"
    says = " · ".join(filter(None, [str(row.service), str(row.plan), price, known]))
    return Hit(title, says, reverse("desk:subscription", args=[row.pk]), is_exact=True)


def _changes(words: str, about: About, most: int, sees_clients: bool) -> Group:
    changes = changes_found(words, about, most + 1)
    more = _("There are more: give more of the title.") if len(changes) > most else ""
    changes = changes[:most]
    status_now.refresh(changes)
    names = Names.of_changes(changes, sees_clients)
    return Group(
        "change",
        LABELS["change"][0],
        [
            Hit(
                change.title or sentence(change, names),
                _change(change, sentence(change, names)),
                reverse("desk:change", args=[change.pk]),
                _is_exact(words, change.title, change.pk),
            )
            for change in changes
        ],
        more,
    )


def _change(change: PriceChange, says: str) -> str:
    parts = [
        _("No. %(number)s") % {"number": change.pk},
        str(change.get_status_display()),
        in_force_from(change),
        says if change.title else "",
    ]
    return " · ".join(filter(None, parts))
