"""The entries of the desk's menu, for those who may see where they lead."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from pricebook.kit.scopes import VIEW_CHANGE, VIEW_CLIENT, VIEW_SUBSCRIPTION


@dataclass(frozen=True)
class Entry:
    """A place of the menu. `name`: the URL name below desk:; `needs`: permissions, all of them."""

    name: str
    label: str | Promise
    needs: tuple[str, ...] = ()


ENTRIES = (
    Entry("home", _("Home")),
    Entry("subscriptions", _("Subscriptions"), (VIEW_SUBSCRIPTION, VIEW_CLIENT)),
    Entry("clients", _("Clients"), (VIEW_CLIENT,)),
    Entry("services", _("Services"), ("services.view_service",)),
    Entry("plans", _("Plans"), ("services.view_plan",)),
    Entry("changes", _("Price changes"), (VIEW_CHANGE,)),
    Entry("then", _("Then and later"), (VIEW_SUBSCRIPTION,)),
    Entry("files", _("Import and export"), (VIEW_SUBSCRIPTION,)),
)


@dataclass(frozen=True)
class Place:
    url: str
    label: str
    is_here: bool


def menu_of(request: HttpRequest) -> list[Place]:
    """The places that this person may go to; the one that the page belongs to is marked."""
    if not (request.user.is_active and request.user.is_staff):
        return []
    found = []
    for entry in ENTRIES:
        if all(request.user.has_perm(each) for each in entry.needs):
            url = reverse(f"desk:{entry.name}")
            here = request.path == url if entry.name == "home" else request.path.startswith(url)
            found.append(Place(url, str(entry.label), here))
    return found
