"""The question of an address of these pages: a service, plan or client, a page of a list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, QueryDict
from django.utils.translation import gettext as _

from clients.models import Client
from services.ledger.bridge import FILTERS
from services.models import Plan, Service
from services.parsing import BadValue, identifier
from services.reading.filters import BookFilter

MODELS: dict[str, Any] = {"service": Service, "plan": Plan, "client": Client}


@dataclass(frozen=True)
class Asked:
    """The filter of an address, with the names of what it names."""

    ids: Mapping[str, int]
    names: Mapping[str, str]

    @property
    def book_filter(self) -> BookFilter:
        given: dict[str, Any] = dict(self.ids)
        return BookFilter(**given)

    @property
    def title(self) -> str:
        return ", ".join(self.names.values())


def asked_for(query: QueryDict, names_clients: bool) -> Asked:
    """The filter that an address gives. 404 for one that does not exist. A query for each.

    `names_clients`: whether the reader may see the names of clients; else one is its number.
    """
    ids, names = {}, {}
    for name in FILTERS:
        if query.get(name, "").strip():
            ids[name] = number(query, name)
            one = MODELS[name].objects.filter(pk=ids[name]).first()
            if one is None:
                raise Http404(not_there(name, ids[name]))
            if name != "client":
                names[name] = str(one)
            elif names_clients:
                names[name] = one.company_name
            else:
                names[name] = _("client %(id)s") % {"id": one.pk}
    return Asked(ids, names)


def number(query: QueryDict, name: str, default: int | None = None) -> int:
    """An id, or a place in a list; 404 for anything else."""
    text = query.get(name, "").strip()
    if not text and default is not None:
        return default
    try:
        return identifier(name, text)
    except BadValue:
        raise Http404(not_there(name, text[:100])) from None


def not_there(name: str, value: object) -> str:
    said = {
        "service": _("There is no service %(value)s."),
        "plan": _("There is no plan %(value)s."),
        "client": _("There is no client %(value)s."),
        "subscription": _("There is no subscription %(value)s."),
        "change": _("There is no price change %(value)s."),
    }
    return said.get(name, _("“%(value)s” is no place in this list.")) % {"value": value}


def address(**given: object) -> str:
    """The query of an address, without what is empty."""
    return "?" + urlencode(
        {name: value for name, value in given.items() if value not in (None, "")}
    )
