"""The way back to the list that a page was opened from: `?back=` with the list's own address.

A list keeps its place in its address (filters, order, position), so its rows carry that address,
and pages that are opened from it lead back to it, also after a form was sent.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from django.http import HttpRequest
from django.urls import Resolver404, resolve

LONGEST = 2_000


def back_of(request: HttpRequest) -> str:
    """The list's address that a request names; empty if there is none, or none of ours.

    Only a path of the desk, with its query, is ours: never another site, nor a path that does
    something.
    """
    address = request.GET.get("back", "")
    if len(address) > LONGEST or not address.startswith("/desk/") or "\\" in address:
        return ""
    if any(not character.isprintable() for character in address):
        return ""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or parts.fragment:
        return ""
    try:
        found = resolve(parts.path)
    except Resolver404:
        return ""
    return address if found.app_name == "desk" and found.url_name in LISTS else ""


LISTS = ("subscriptions", "clients", "services", "plans", "search", "changes", "change_rows")


def with_back(url: str, back: str) -> str:
    """The address of a page, with the way back to a list; as it is if that is empty."""
    if not back:
        return url
    return f"{url}{'&' if '?' in url else '?'}back={quote(back, safe='')}"
