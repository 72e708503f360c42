"""Each address of the desk, and what it shows and does for each kind of person."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client as Browser
from django.urls import URLPattern, reverse
from django.utils import timezone

from desk.tests.test_files import looked_at, of_service
from desk.urls import urlpatterns
from keys.tests.making import a_member_of_staff
from price_changes.models import PriceChange
from price_changes.tests.changes import approved, planned
from pricebook.kit import scopes
from pricebook.kit.scopes import (
    ADD_CLIENT,
    ADD_PLAN,
    ADD_SERVICE,
    ADD_SUBSCRIPTION,
    APPROVE,
    CHANGE_CLIENT,
    CHANGE_PLAN,
    CHANGE_SERVICE,
    CHANGE_SUBSCRIPTION,
    PLAN,
    PULL_BRAKE,
    SET_PRICE_STATE,
    VIEW_CHANGE,
    VIEW_CLIENT,
    VIEW_LEDGER,
    VIEW_PLAN,
    VIEW_SERVICE,
    VIEW_SUBSCRIPTION,
)
from services import repricing
from services.tests.factories import a_client, a_service, a_subscription

pytestmark = pytest.mark.django_db

ALL = scopes.permissions_of(scopes.SCOPES)
VIEWS = frozenset(each for each in ALL if ".view_" in each)
TO_IMPORT = (
    ADD_CLIENT,
    CHANGE_CLIENT,
    ADD_SERVICE,
    CHANGE_SERVICE,
    ADD_PLAN,
    CHANGE_PLAN,
    ADD_SUBSCRIPTION,
    CHANGE_SUBSCRIPTION,
)
OPEN = "open to everybody"
CLIENT, TITLE, REASON, FILE = "Secretive GmbH", "Hushed title", "Hushed reason", "hushed.csv"


@dataclass(frozen=True)
class Page:
    """An address: the permissions that it takes, all of them (a tuple in it: one of these).

    `args` and `query` may name records of the story. `turns_back`: who lacks `more` is led back
    with a message. `by_api`: it answers as the API does, which names the client of a subscription.
    `explains`: it says which change has decided a price, and why, as the API does.
    """

    name: str
    needs: tuple[Any, ...] = ()
    args: tuple[Any, ...] = ()
    query: str = ""
    posted: dict[str, Any] = field(default_factory=dict)
    turns_back: tuple[str, ...] = ()
    by_api: bool = False
    explains: bool = False
    opens: str = ""

    @property
    def asked(self) -> set[str]:
        """All permissions that it asks for."""
        found = {*self.turns_back}
        for each in self.needs:
            found |= {each} if isinstance(each, str) else {*each}
        return found

    def lets_in(self, permissions: frozenset[str]) -> bool:
        return all(
            permissions & set(each) if isinstance(each, tuple) else each in permissions
            for each in self.needs
        )


OF_BOOK = (VIEW_SUBSCRIPTION, VIEW_CLIENT)
VERBS = {
    "move": CHANGE_SUBSCRIPTION,
    "start": CHANGE_SUBSCRIPTION,
    "end": CHANGE_SUBSCRIPTION,
    "lock": SET_PRICE_STATE,
    "negotiate": SET_PRICE_STATE,
}
SET = {"where_client": "{client}", "adjustment": "percent", "operand": "5"}
TOLD = {"does": "ticked", "client": "{client}", "told_on": "2026-01-05"}
PAGES = [
    Page("home", opens=OPEN),
    Page("log_in", opens=OPEN),
    Page("log_out", opens=OPEN),
    Page("language", opens=OPEN),
    Page("search", query="q=Secretive&part=suggestions"),
    Page("search", query="q=Hushed"),
    Page("search", query="q={client}"),
    Page("subscriptions", OF_BOOK),
    Page("clients", (VIEW_CLIENT,)),
    Page("services", (VIEW_SERVICE,)),
    Page("plans", (VIEW_PLAN,)),
    Page("add_client", (VIEW_CLIENT, ADD_CLIENT), posted={"company_name": "New"}),
    Page("client", OF_BOOK, ("client",), explains=True),
    Page("edit_client", (VIEW_CLIENT, CHANGE_CLIENT), ("client",), posted={"company_name": "New"}),
    Page(
        "add_subscription",
        (*OF_BOOK, VIEW_SERVICE, VIEW_PLAN, ADD_SUBSCRIPTION),
        ("client",),
        posted={"service": "{service}", "plan": "{plan}", "_confirm": "1"},
    ),
    Page("subscription", (VIEW_SUBSCRIPTION,), ("subscription",), explains=True),
    Page(
        "edit_subscription",
        (*OF_BOOK, CHANGE_SUBSCRIPTION),
        ("subscription",),
        posted={"comment": "new"},
    ),
    *(
        Page(
            "subscription_verb",
            OF_BOOK,
            ("subscription", name),
            posted={"price": "1", "reason": "x", "started_at_0": "2026-01-01", "_confirm": "1"},
            turns_back=(needs,),
        )
        for name, needs in VERBS.items()
    ),
    Page("service", (VIEW_SERVICE, VIEW_PLAN, VIEW_SUBSCRIPTION), ("service",)),
    Page("plan", (VIEW_SERVICE, VIEW_PLAN, VIEW_SUBSCRIPTION), ("plan",)),
    Page("add_service", (VIEW_SERVICE, ADD_SERVICE), posted={"name": "New", "full_price": "1"}),
    Page("add_plan", (VIEW_PLAN, ADD_PLAN), posted={"plan_type": "student"}),
    Page("edit_service", (VIEW_SERVICE, CHANGE_SERVICE), ("service",), posted={"name": "New"}),
    Page("edit_plan", (VIEW_PLAN, CHANGE_PLAN), ("plan",), posted={"plan_type": "student"}),
    Page("change_list_price", (VIEW_SERVICE, CHANGE_SERVICE), ("service",), posted={"value": "1"}),
    Page("change_discount", (VIEW_PLAN, CHANGE_PLAN), ("plan",), posted={"value": "5"}),
    Page("changes", (VIEW_CHANGE,)),
    Page("new_change", (VIEW_CHANGE, PLAN)),
    Page("change_clients", (PLAN, VIEW_CLIENT), query="q=Secretive"),
    Page(
        "plan_change", (VIEW_CHANGE, PLAN), ("set",), query="where_client={client}", posted=SET
    ),
    Page("change_count", (PLAN,), ("set",), query="where_client=Secretive+GmbH&whole_book=on"),
    Page("brake", ((VIEW_CHANGE, APPROVE, PULL_BRAKE),), posted={"does": "pull", "reason": "x"}),
    Page("change", (VIEW_CHANGE,), ("of_client",)),
    Page("change", (VIEW_CHANGE,), ("titled",)),
    Page("change_rows", (VIEW_CHANGE, *OF_BOOK), ("of_client",)),
    Page("notices", (VIEW_CHANGE, VIEW_CLIENT), ("scheduled",)),
    Page("notices_file", (VIEW_CHANGE, VIEW_CLIENT), ("scheduled",)),
    Page("mark_told", (VIEW_CHANGE, VIEW_CLIENT, (PLAN, APPROVE)), ("scheduled",), posted=TOLD),
    Page("upload_told", (VIEW_CHANGE, VIEW_CLIENT, (PLAN, APPROVE)), ("scheduled",)),
    Page("clone_change", (VIEW_CHANGE, PLAN), ("of_client",)),
    Page("rest_of_change", (VIEW_CHANGE, PLAN), ("applied",)),
    Page("change_verb", (VIEW_CHANGE, APPROVE), ("of_client", "approve")),
    Page("change_verb", (VIEW_CHANGE, APPROVE), ("of_client", "reject"), posted={"reason": "x"}),
    Page("change_verb", (VIEW_CHANGE, APPROVE), ("titled", "cancel")),
    Page("change_verb", (VIEW_CHANGE, (PLAN, APPROVE)), ("of_client", "preview")),
    Page("files", (VIEW_SUBSCRIPTION,)),
    Page("upload", TO_IMPORT),
    Page("forget_mapping", TO_IMPORT),
    Page("exports", (VIEW_SUBSCRIPTION,)),
    Page("export", (VIEW_SUBSCRIPTION,), ("subscriptions",), by_api=True),
    Page("export", (VIEW_SUBSCRIPTION, VIEW_CLIENT), ("clients",)),
    Page("export", (VIEW_SUBSCRIPTION, VIEW_CHANGE, VIEW_CLIENT), ("changes",),
         "number={of_client}"),
    Page("export", (VIEW_SUBSCRIPTION, VIEW_CLIENT, VIEW_LEDGER), ("history",)),
    Page("imports", (VIEW_SUBSCRIPTION,)),
    Page("import", (VIEW_SUBSCRIPTION, *TO_IMPORT), ("job",)),
    Page("import_problems", (VIEW_SUBSCRIPTION, *TO_IMPORT), ("job",)),
    Page("do_import", (VIEW_SUBSCRIPTION, *TO_IMPORT), ("job",), posted={"do": "apply"}),
    Page("then", (VIEW_SUBSCRIPTION,), query="client={client}&at={later}"),
    Page("then", (VIEW_SUBSCRIPTION,), query="subscription={subscription}", explains=True),
    Page("bridge", (VIEW_SUBSCRIPTION,), query="by=client&from=2020-01-01&to={later}"),
    Page("bridge", (VIEW_SUBSCRIPTION,), query="client={client}"),
    Page("bridge_rows", (VIEW_SUBSCRIPTION,), query="kind=started&from=2020-01-01"),
    Page("bridge_rows", (VIEW_SUBSCRIPTION,),
         query="kind=change&change={applied}&from=2020-01-01"),
    Page("evidence", (VIEW_SUBSCRIPTION, VIEW_CHANGE), query="month={month}"),
    Page("evidence_file", (VIEW_SUBSCRIPTION, VIEW_CHANGE, VIEW_LEDGER, VIEW_CLIENT)),
]  # fmt: skip


@dataclass
class Person:
    """A person, asked for all pages, or those that `only` picks. `posts`: also by POST."""

    name: str
    browser: Browser
    permissions: frozenset[str] = frozenset()
    lacks: str = ""
    posts: bool = False

    def asks_for(self, page: Page) -> bool:
        """All but one permission: the pages that take this one, and those with secrets."""
        if self.name.startswith("only"):
            return page.lets_in(self.permissions)
        return self.lacks in ("", VIEW_CLIENT, VIEW_CHANGE) or self.lacks in page.asked


def people() -> Iterator[Person]:
    """Nobody, a client's log-in, and staff: without rights, with one, with all but one."""

    def staff(name: str, permissions: Iterable[str], **more: Any) -> Person:
        person = Person(name, Browser(), frozenset(permissions), **more)
        user = a_member_of_staff(name)
        codenames = [each.partition(".")[2] for each in permissions]
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        person.browser.force_login(user)
        return person

    outsider = Person("a client", Browser(), posts=True)
    # With every permission by mistake.
    outsider.browser.force_login(User.objects.create_user("client", is_superuser=True))
    yield Person("nobody", Browser(), posts=True)
    yield outsider
    yield staff("nothing", (), posts=True)
    for one in sorted(VIEWS):
        yield staff(f"only {one}", [one])
    for one in sorted(set().union(*(page.asked for page in PAGES))):
        yield staff(f"all but {one}", ALL - {one}, lacks=one)
    yield staff("reader", VIEWS, posts=True)


@pytest.fixture
def story() -> dict[str, Any]:
    """A client, its subscription, changes of it, and a file, of which not everybody may know."""
    client, service = a_client(CLIENT), a_service(full_price=100)
    one = a_subscription(client=client, service=service)
    later = timezone.now() + timedelta(days=3)
    of_client = planned(kind="set", adjustment="percent", operand=5, filter={"client": client.pk})
    titled, applied = (
        planned(kind="list_price", service=service.pk, title=TITLE, reason=REASON, **more)
        for more in ({"new_value": 120, "effective_at": later}, {"new_value": 110})
    )
    approved(titled)
    approved(applied)
    repricing.reprice()
    scheduled = approved(planned(kind="set", adjustment="add", operand=1,
                                 filter={"client": client.pk}, effective_at=later))  # fmt: skip
    root = Browser()
    root.force_login(User.objects.create_superuser("root"))
    job = looked_at(root, of_service(), FILE)
    return {
        "client": client.pk,
        "service": service.pk,
        "plan": one.plan_id,
        "subscription": one.pk,
        "of_client": of_client.pk,
        "titled": titled.pk,
        "applied": applied.pk,
        "scheduled": scheduled.pk,
        "job": job.pk,
        "later": (later + timedelta(days=1)).date().isoformat(),
        "month": f"{timezone.now():%Y-%m}",
    }


def address(page: Page, story: dict[str, Any]) -> str:
    path = reverse(f"desk:{page.name}", args=[story.get(each, each) for each in page.args])
    return f"{path}?{page.query.format(**story)}"


def state_of_the_book() -> Any:
    """All that a POST could write, in short."""
    tables = (
        "clients_client", "services_service", "services_plan", "services_subscription",
        "services_ledgerentry", "services_job", "price_changes_pricechange",
        "price_changes_brake", "services_importmapping", "price_changes_told",
    )  # fmt: skip
    asked = " UNION ALL ".join(f"SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM {table} t"
                               for table in tables)  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(asked)
        return cursor.fetchall()


def names() -> Iterator[str]:
    for resolver in urlpatterns:
        for pattern in resolver.url_patterns:
            assert isinstance(pattern, URLPattern)
            assert pattern.name
            yield pattern.name


def test_every_address_is_in_the_table():
    assert {page.name for page in PAGES} == set(names())


def test_nobody_sees_or_does_what_that_person_may_not(story, caplog):
    caplog.set_level(logging.CRITICAL, "django.request")
    before = state_of_the_book()
    wrong = []
    for person in people():
        for page in filter(person.asks_for, PAGES):
            wrong += [f"{page.name} {page.args} {page.query}, {person.name}: {each}"
                      for each in faults(page, person, story)]  # fmt: skip
    assert not wrong, "\n".join(wrong)
    assert state_of_the_book() == before
    assert PriceChange.objects.get(pk=story["of_client"]).status == "planned"


def faults(page: Page, person: Person, story: dict[str, Any]) -> Iterator[str]:
    url, allowed = address(page, story), page.lets_in(person.permissions)
    is_staff = person.name not in ("nobody", "a client")
    if page.opens:
        if page.name == "home":
            yield from told(page, person, person.browser.get(url))
        return
    answer = person.browser.get(url)
    if person.name == "nobody":
        if answer.status_code != 302 or "/log-in/" not in answer["Location"]:
            yield f"GET {answer.status_code}"
    elif not (allowed and is_staff):
        if answer.status_code != 403:
            yield f"GET {answer.status_code}"
    elif answer.status_code == 403 or answer.status_code >= 500:
        yield f"GET {answer.status_code}"
    yield from told(page, person, answer)
    if not person.posts or (allowed and is_staff and not page.posted):
        return
    posted = {name: value.format(**story) for name, value in page.posted.items()}
    answer = person.browser.post(url, posted)
    if answer.status_code not in (403, 405) and not (allowed and page.turns_back):
        yield f"POST {answer.status_code}"
    yield from told(page, person, answer)


def told(page: Page, person: Person, answer: Any) -> Iterator[str]:
    """The secrets that an answer tells."""
    content = b"".join(answer) if answer.streaming else answer.content
    text = html.unescape(content.decode(errors="replace")) + str(answer.headers)
    may = person.permissions
    if CLIENT in text and VIEW_CLIENT not in may and not page.by_api:
        yield "names the client"
    is_change_named = TITLE in text or REASON in text
    if is_change_named and VIEW_CHANGE not in may and not page.explains:
        yield "has the title or the reason of a change"
    if FILE in text and not may >= set(TO_IMPORT):
        yield "names the file of another person"
