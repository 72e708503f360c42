"""The routes of the API, the callers that there are, and what each caller may do on each route."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.urls import URLPattern, get_resolver
from rest_framework.test import APIClient

from keys.tests.asking import with_key
from keys.tests.making import a_key, a_member_of_staff
from pricebook.kit.scopes import (
    PLAN,
    SCOPES,
    VIEW_CHANGE,
    VIEW_CLIENT,
    VIEW_SUBSCRIPTION,
    permissions_of,
    scopes_for,
)

# They show no data, or answer what there is not.
OPEN = {"schema", "docs", None}
METHODS = ("get", "post", "put", "patch", "delete")
NO_ID = 2**62


@dataclass(frozen=True)
class Route:
    """A method of a path, and the groups of permissions of which it takes one each."""

    method: str
    path: str
    needs: tuple[tuple[str, ...], ...]
    never_open: bool
    itself: bool  # a key may do it to itself without a scope

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"

    def lets_in(self, permissions: frozenset[str]) -> bool:
        return all(permissions.intersection(group) for group in self.needs)

    def answer(self, client: APIClient, **extra: Any) -> Any:
        path = self.path.replace("{id}", str(extra.get("id", NO_ID)))
        return getattr(client, self.method)(path, {} if self.method == "post" else None)


def patterns(resolver: Any = None) -> Iterator[URLPattern]:
    for each in (resolver or get_resolver()).url_patterns:
        if isinstance(each, URLPattern):
            yield each
        elif "admin" not in str(each.pattern):
            yield from patterns(each)


def routes() -> list[Route]:
    """Each method of each path below /api/ that shows or writes something."""
    found = []
    for pattern in patterns():
        path = "/" + str(pattern.pattern).lstrip("^").rstrip("$")
        path = path.replace("(?P<pk>[0-9]+)", "{id}").replace("\\Z", "")
        if not path.startswith("/api/") or pattern.name in OPEN:
            continue
        view = vars(pattern.callback)["cls"]
        actions = getattr(pattern.callback, "actions", None) or {
            method: method for method in METHODS if hasattr(view, method)
        }
        for method, action in actions.items():
            if method == "head":
                continue
            within = getattr(view, "asked_by_verbs", {}).get(action)
            found.append(
                Route(
                    method,
                    path,
                    tuple(within or view.needs[action]),
                    getattr(view, "never_open", False),
                    within is not None,
                )
            )
    return sorted(found, key=lambda route: (route.path, route.method))


@dataclass(frozen=True)
class Caller:
    """A caller: its name in the tests, its client, and the permissions that it has."""

    name: str
    client: APIClient
    permissions: frozenset[str] = field(default=frozenset())
    refusal: int = 403  # of a route whose permissions it lacks


def callers() -> list[Caller]:
    """Nobody, people and programs: one for each permission, one for each scope, and some more."""

    def person(name: str, *permissions: str, **columns: Any) -> Caller:
        client = APIClient()
        client.force_login(a_member_of_staff(name, *permissions, **columns))
        return Caller(f"staff with {permissions or 'nothing'}", client, frozenset(permissions))

    def program(*scopes: str) -> Caller:
        _, text = a_key("program", *scopes)
        return Caller(f"key with {scopes}", with_key(text), permissions_of(scopes))

    everything = permissions_of(SCOPES)
    root, outsider = APIClient(), APIClient()
    root.force_login(User.objects.create_superuser("root"))
    # The login of a client of the company, with every permission by mistake.
    outsider.force_login(User.objects.create_user("outsider", is_superuser=True))
    key, text = a_key("narrow")
    type(key).objects.filter(pk=key.pk).update(scopes=[])
    gone, of_gone = a_key("of somebody who is not there any more", *SCOPES)
    type(gone).objects.filter(pk=gone.pk).update(made_by="bob (person 1)")
    return [
        Caller("nobody", APIClient(), refusal=401),
        Caller("not staff", outsider),
        person("nothing"),
        *(person(f"person {n}", each) for n, each in enumerate(sorted(everything))),
        person("rows", VIEW_CHANGE, VIEW_SUBSCRIPTION),
        person("notices", VIEW_CHANGE, VIEW_CLIENT),
        person("teller", VIEW_CHANGE, VIEW_CLIENT, PLAN),
        Caller("superuser", root, everything),
        Caller("key without scopes", with_key(text)),
        Caller("key of somebody who is not there any more", with_key(of_gone)),
        *(program(scope) for scope in SCOPES),
        program("price_changes:read", "subscriptions:read"),
        program(*SCOPES),
    ]


def table(of: list[Route]) -> str:
    """The table of docs/api.md."""

    def together(groups: list[list[str]]) -> str:
        said = [" or ".join(f"`{each}`" for each in group) for group in groups]
        return " and ".join(dict.fromkeys(said))

    lines = ["| request | permission of a person | scope of a key |", "|---|---|---|"]
    for route in of:
        people = together([list(group) for group in route.needs])
        keys = together(
            [[scope for each in group for scope in scopes_for(each)] for group in route.needs]
        )
        keys += ", or none for itself" if route.itself else ""
        lines.append(f"| `{route}` | {people} | {keys} |")
    return "\n".join(lines)
