"""Every door that moves a price, tried by everybody who can come to it, under each limit.

`DOORS` has a row for each door and caller. `outcome` tries one, and says what has become of it:

    done     the price has moved, or the change is approved
    waits    nothing has moved, and a plan waits for another person
    refused  nothing has moved, and nothing waits
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from tempfile import NamedTemporaryFile
from typing import Any

from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from django.urls import reverse
from rest_framework.test import APIClient

from desk.tests.asking import confirmed
from keys import verbs as keys
from keys.tests.asking import with_key
from keys.verbs import Maker
from price_changes.models import PriceChange
from price_changes.planning import definition
from price_changes.running import lifecycle, starting
from pricebook.kit import authors
from pricebook.kit.scopes import SCOPES
from pricebook.tests.pages import OpenedForm
from services import jobs, price_state, repricing
from services.models import Correction, Job, Plan, Service, Subscription
from services.moves import NeedsAnotherPerson
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.transfer.importing import import_book

# The settings that are set, under the name that the table of docs/limits.md has for them. A move
# here is of one or two prices of 100.00, by 50 per cent.
LIMITS: dict[str, dict[str, Any]] = {
    "none": {},
    "enough": {"ROWS": Decimal(9), "PERCENT": Decimal(90), "AMOUNT": Decimal(900)},
    "rows": {"ROWS": Decimal(0)},
    "per cent": {"PERCENT": Decimal(49)},
    "amount": {"AMOUNT": Decimal("29.99")},
    "zero": {"BY_ANOTHER": True},
}


@dataclass
class Book:
    """Two followers at 100.00, one locked at 60.00, one negotiated at 66.00, and two people."""

    service: Service
    plan: Plan
    follower: Subscription
    locked: Subscription
    negotiated: Subscription
    ann: User
    bob: User

    @classmethod
    def made(cls) -> Book:
        service, plan = a_service(100, "Fibre"), a_plan(0)
        rows = [a_subscription(a_client(), service, plan) for _ in range(4)]
        price_state.negotiate(rows[2].pk, Decimal(60), "x", "setup")
        price_state.lock(rows[2].pk, None, "x", "setup")
        price_state.negotiate(rows[3].pk, Decimal(66), "x", "setup")
        ann, bob = (User.objects.create_superuser(name) for name in ("ann", "bob"))
        return cls(service, plan, rows[0], rows[2], rows[3], ann, bob)

    def session(self, user: User) -> APIClient:
        client = APIClient()
        client.force_login(user)
        return client

    def key(self, user: User) -> APIClient:
        scopes = [scope for scope in SCOPES if scope != "keys:manage"]
        return with_key(keys.make("erp", scopes, Maker.of(user))[1])

    def browser(self, user: User) -> Browser:
        browser = Browser()
        browser.force_login(user)
        return browser

    def stands(self) -> Any:
        values = Subscription.objects.in_force().order_by("pk")
        return list(values.values_list("price", "price_state"))


Try = Callable[..., Any]


@dataclass(frozen=True)
class Door:
    """A door, and a caller at it. `before` makes what is there; `attempt` moves a price."""

    name: str
    who: str
    attempt: Try
    before: Try = lambda book: None


def outcome(door: Door, limit: str, settings: Any, book: Book) -> str:
    """Try a door of a book, which is as it was made, under a limit."""
    made = door.before(book)
    scheduled = PriceChange.objects.exclude(approval=None).count()
    stood = book.stands()
    for name, value in LIMITS[limit].items():
        is_by = name == "BY_ANOTHER"
        setattr(settings, f"APPROVAL_{name}" if is_by else f"APPROVAL_LIMIT_{name}", value)
    if made is not None and made.status == "planned":  # its preview is of the limits of now
        made = lifecycle.preview(made.pk)
    door.attempt(book) if made is None else door.attempt(book, made)
    repricing.reprice()
    waits = PriceChange.objects.filter(status="planned").exclude(needs_another="")
    for change in waits:
        assert change.fingerprint, "it can be approved as it is"
    if book.stands() != stood or (PriceChange.objects.exclude(approval=None).count() != scheduled):
        assert not waits.exists(), "it was done, and waits too"
        return "done"
    return "waits" if waits.exists() else "refused"


# --- Direct edits -------------------------------------------------------------------------------

VERBS: dict[str, tuple[str, dict[str, Any]]] = {
    "negotiate": ("follower", {"price": "150.00", "reason": "x"}),
    "lock": ("follower", {"reason": "x"}),
    "release": ("locked", {}),
    "follow": ("negotiated", {}),
}


def by_form(model: str, **changes: Any) -> Try:
    def attempt(book: Book) -> None:
        record = book.service if model == "service" else book.plan
        page = reverse(f"admin:services_{model}_change", args=[record.pk])
        OpenedForm(book.browser(book.ann), page).send(**changes)

    return attempt


def by_page(verb: str) -> Try:
    row, given = VERBS[verb]

    def attempt(book: Book) -> None:
        args = [getattr(book, row).pk, verb]
        page = reverse("admin:services_subscription_price", args=args)
        assert book.browser(book.ann).post(page, given).status_code == 302

    return attempt


def by_desk(page: str, record: str, *args: str, **given: Any) -> Try:
    """A form of the desk whose question is confirmed, as far as that can be."""

    def attempt(book: Book) -> None:
        given_now = {**given, "service": book.service.pk, "plan": a_plan(50).pk}
        args_of_page = [getattr(book, record).pk, *args]
        answer = confirmed(
            book.browser(book.ann), reverse(f"desk:{page}", args=args_of_page), given_now
        )
        assert answer.status_code in (200, 302)

    return attempt


def by_request(verb: str, caller: str) -> Try:
    row, given = VERBS[verb]

    def attempt(book: Book) -> None:
        client = getattr(book, caller)(book.ann)
        answer = client.post(f"/api/subscriptions/{getattr(book, row).pk}/{verb}/", given)
        waiting = PriceChange.objects.exclude(needs_another="").first()
        assert answer.status_code == (200 if waiting is None else 202), answer.content
        if waiting is not None:
            assert answer.headers["Location"] == f"/api/price-changes/{waiting.pk}/"

    return attempt


def by_patch(model: str, caller: str, **changes: Any) -> Try:
    """Other fields of the request are written with the value, or not at all."""

    def attempt(book: Book) -> None:
        record = book.service if model == "service" else book.plan
        given = changes | {"source": "crm", "external_id": "1"}
        address = f"/api/{model}s/{record.pk}/"
        seen = getattr(book, caller)(book.ann).get(address)["ETag"]
        answer = getattr(book, caller)(book.ann).patch(address, given, headers={"If-Match": seen})
        waiting = PriceChange.objects.exclude(needs_another="").first()
        assert answer.status_code == (200 if waiting is None else 202), answer.content
        record.refresh_from_db()
        assert (record.source == "crm") == (waiting is None)
        if waiting is not None:
            assert answer.headers["Location"] == f"/api/price-changes/{waiting.pk}/"

    return attempt


def by_command(*words: str) -> None:
    """Run a command, which may fail for want of another person alone."""
    try:
        call_command(*words, stdout=io.StringIO(), stderr=io.StringIO())
    except CommandError as error:
        if "needs_another_person" not in str(error) or not error.returncode:
            raise
    else:
        assert not PriceChange.objects.exclude(needs_another="").exists(), "it said that it is done"


def by_price_state(verb: str) -> Try:
    row, given = VERBS[verb]

    def attempt(book: Book) -> None:
        words = ["price_state", verb, *([given["price"]] if "price" in given else [])]
        words += [str(getattr(book, row).pk), "--author", "ann"]
        by_command(*words, *(["--reason", "x"] if "reason" in given else []))

    return attempt


FILE = "company_name,email,service,full_price,plan_type,discount_percent,started_at\n"
STARTED = "2026-01-01T00:00:00Z"


def by_import(book: Book) -> None:
    line = f"New,new@example.com,Fibre,150.00,full,0,{STARTED}\n"
    with suppress(NeedsAnotherPerson):
        import_book(io.BytesIO((FILE + line).encode()), update=True)
    is_there = User.objects.filter(email="new@example.com").exists()
    assert is_there == (Service.objects.get().full_price == 150), "all of it or nothing"


def by_import_of_state(verb: str) -> Callable[[Book], None]:
    """An import that says the price state of one subscription, found by its id."""
    state, price, row = {
        "negotiate": ("negotiated", "150.00", "follower"),
        "lock": ("locked", "100.00", "follower"),
        "follow": ("follows", "", "negotiated"),
    }[verb]

    def do(book: Book) -> None:
        found = getattr(book, row)
        client = found.client
        reason = "" if state == "follows" else "deal"
        line = (
            f"{client.company_name},{client.user.email},Fibre,100.00,full,0,"
            f"{found.started_at.isoformat()},{price},{state},,{reason},{found.pk}\n"
        )
        content = FILE.strip() + ",price,price_state,locked_until,price_reason,id\n" + line
        with suppress(NeedsAnotherPerson):
            import_book(io.BytesIO(content.encode()), update=True)

    return do


# --- Approvals ----------------------------------------------------------------------------------


def planned_by_ann(book: Book) -> PriceChange:
    values: dict[str, Any] = {"kind": "set", "filter": {"price_state": "follows"}}
    values |= {"adjustment": "percent", "operand": 50}
    ann = authors.person(book.ann.pk, "ann")
    return lifecycle.preview(definition.plan(values, ann).pk)


def approved_by_bob(book: Book) -> PriceChange:
    change = planned_by_ann(book)
    return lifecycle.approve(change.pk, change.fingerprint, authors.person(book.bob.pk, "bob"))


def applied(book: Book) -> PriceChange:
    change = approved_by_bob(book)
    repricing.reprice()
    change.refresh_from_db()
    assert change.status == "applied"
    return change


def begun(book: Book) -> PriceChange:
    values = {"kind": "list_price", "service": book.service.pk, "new_value": 150}
    change = lifecycle.preview(definition.plan(values, authors.person(book.ann.pk, "ann")).pk)
    bob = authors.person(book.bob.pk, "bob")
    lifecycle.approve(change.pk, change.fingerprint, bob, "current")
    assert starting.start_due()
    change.refresh_from_db()
    assert change.status == "applying"
    return change


def verb_by_request(name: str, caller: str, user: str, **body: Any) -> Any:
    def attempt(book: Book, change: PriceChange) -> None:
        client = getattr(book, caller)(getattr(book, user))
        given = body | ({"fingerprint": change.fingerprint} if name == "approve" else {})
        answer = client.post(f"/api/price-changes/{change.pk}/{name}/", given)
        assert answer.status_code in (200, 202, 403), answer.content
        if answer.status_code != 200:
            assert answer.json()["code"] == "needs_another_person"

    return attempt


def verb_by_page(name: str, user: str) -> Any:
    def attempt(book: Book, change: PriceChange) -> None:
        browser = book.browser(getattr(book, user))
        page = reverse(f"admin:price_changes_pricechange_{name}", args=[change.pk])
        given = {"fingerprint": change.fingerprint, "when_moved": "hold"}
        assert browser.post(page, given if name == "approve" else {}).status_code == 302

    return attempt


def verb_in_the_desk(name: str, user: str) -> Any:
    """As a person does it: the page is opened, and its button pressed, if it has one."""

    def attempt(book: Book, change: PriceChange) -> None:
        browser = book.browser(getattr(book, user))
        page = OpenedForm(browser, reverse("desk:change_verb", args=[change.pk, name]))
        assert page.ask().status_code == 200

    return attempt


def verb_by_command(name: str, *words: str) -> Any:
    def attempt(book: Book, change: PriceChange) -> None:
        more = [change.fingerprint] if name == "approve" else []
        by_command("price_change", name, str(change.pk), *more, *words, "--author", "bob")

    return attempt


def by_another_plan(book: Book) -> None:
    half = a_plan(50)
    page = reverse("admin:services_subscription_change", args=[book.follower.pk])
    answer = OpenedForm(book.browser(book.ann), page).send(plan=half.pk)
    moved = Subscription.objects.get(pk=book.follower.pk).plan_id == half.pk
    said = " ".join(map(str, answer.context["messages"]))
    assert moved == (not re.search("Nothing was saved|Ничего не сохранено", said))


def moved_by_request(caller: str) -> Try:
    def attempt(book: Book) -> None:
        client = getattr(book, caller)(book.ann)
        half = a_plan(50)
        answer = client.post(f"/api/subscriptions/{book.follower.pk}/move/", {"plan": half.pk})
        moved = Subscription.objects.get(pk=book.follower.pk).plan_id == half.pk
        assert answer.status_code == (200 if moved else 403), answer.content
        assert moved or answer.json()["code"] == "needs_another_person"

    return attempt


def moved_in_bulk(on_error: str) -> Try:
    """The line that moves a price is refused; another one is written if it is not to stop."""

    def attempt(book: Book) -> None:
        known = {"source": "crm", "external_id": "1"}
        Subscription.objects.filter(pk=book.follower.pk).update(**known)
        named = {"client": book.follower.client_id, "service": book.service.pk}
        lines = [
            known | {"plan": a_plan(50).pk},
            known | {"external_id": "2", "plan": book.plan.pk, "comment": "new"} | named,
        ]
        address = f"/api/subscriptions/bulk/?on_error={on_error}"
        answer = book.key(book.ann).post(address, {"lines": lines}, format="json")
        moved = Subscription.objects.get(pk=book.follower.pk).plan_id != book.plan.pk
        is_new = Subscription.objects.filter(comment="new").exists()
        assert is_new == (moved or on_error == "skip")
        assert answer.status_code == (200 if is_new else 403), answer.content
        said = str(answer.json()) if answer.status_code == 403 else answer.getvalue().decode()
        assert moved or "needs_another_person" in said
        Subscription.objects.filter(comment="new").delete()  # it is no move

    return attempt


def moved_by_a_job(on_error: str) -> Try:
    """A bulk whose caller does not wait."""

    def attempt(book: Book) -> None:
        known = {"source": "crm", "external_id": "1"}
        Subscription.objects.filter(pk=book.follower.pk).update(**known)
        job = job_of(book, [known | {"plan": a_plan(50).pk}], on_error)
        moved = Subscription.objects.get(pk=book.follower.pk).plan_id != book.plan.pk
        said = str(job.error) if on_error == "stop" else "".join(each.results for each in job.all)
        assert ("needs_another_person" in said) != moved

    return attempt


def corrected_by_request(caller: str, of_list: bool) -> Try:
    def attempt(book: Book) -> None:
        row = book.follower
        line = {"since": row.started_at.isoformat(), "price": "150.00"}
        address = f"/api/subscriptions/{row.pk}/correct/"
        body: dict[str, Any] = line | {"reason": "x"}
        if of_list:
            address = "/api/subscriptions/correct/"
            body = {"lines": [line | {"subscription": row.pk}], "reason": "x"}
        answer = getattr(book, caller)(book.ann).post(address, body, format="json")
        is_there = Correction.objects.exists()
        assert answer.status_code == (200 if is_there else 403), answer.content
        assert is_there or answer.json()["code"] == "needs_another_person"

    return attempt


def job_of(book: Book, lines: list[dict[str, Any]], on_error: str = "stop") -> Any:
    """The job of a bulk, when a worker is done with it; `all` are its results."""
    address = f"/api/subscriptions/bulk/?on_error={on_error}"
    headers = {"Prefer": "respond-async"}
    client = book.key(book.ann)
    answer = client.post(address, {"lines": lines}, format="json", headers=headers)
    assert answer.status_code == 202, answer.content
    assert jobs.run() == 1
    job: Any = Job.objects.get(pk=answer.json()["id"])
    job.all = list(job.results.all())
    return job


def job_that_moved(book: Book) -> Any:
    """It has moved one from 50.00 to 100.00."""
    known = {"source": "crm", "external_id": "1", "plan": a_plan(50).pk}
    job_of(book, [known | {"client": book.follower.client_id, "service": book.service.pk}])
    return job_of(book, [known | {"plan": book.plan.pk}])


def undo_of_a_job(book: Book, job: Any) -> None:
    answer = book.key(book.ann).post(f"/api/jobs/{job.pk}/undo/")
    assert answer.status_code == 202, answer.content
    assert jobs.run() == 1
    undo = Job.objects.get(pk=answer.json()["id"])
    assert undo.counts in ({"changed": 1}, {"left": 1})
    assert ("needs_another_person" in undo.results.get().results) == ("left" in undo.counts)


def job_of_a_file(book: Book, content: str) -> Any:
    """The job of a file that moves what differs, when a worker is done with it."""
    answer = book.key(book.ann).generic(
        "POST", "/api/imports/?update=true", FILE + content, "text/csv"
    )
    assert answer.status_code == 202, answer.content
    assert jobs.run() == 1
    return Job.objects.get(pk=answer.json()["id"])


def imported_by_a_job(book: Book) -> None:
    job = job_of_a_file(book, f"New,new@example.com,Fibre,150.00,full,0,{STARTED}\n")
    is_there = User.objects.filter(email="new@example.com").exists()
    assert is_there == (Service.objects.get().full_price == 150), "all of it or nothing"
    assert is_there or job.error["code"] == "needs_another_person"


def import_that_moved(book: Book) -> Any:
    """It has moved the list price from 100.00 to 60.00."""
    client, start = book.follower.client, book.follower.started_at.isoformat()
    job = job_of_a_file(
        book, f"{client.company_name},{client.user.email},Fibre,60.00,full,0,{start}\n"
    )
    assert job.counts == {"changed": 1}, job.error
    repricing.reprice()
    return job


def undo_of_an_import(book: Book, job: Any) -> None:
    answer = book.key(book.ann).post(f"/api/jobs/{job.pk}/undo/")
    assert answer.status_code == 202, answer.content
    assert jobs.run() == 1
    undo = Job.objects.get(pk=answer.json()["id"])
    said = "".join(each.results for each in undo.results.all())
    assert ("needs_another_person" in said) == (Service.objects.get().full_price == 60)


def corrected_by_command(book: Book) -> None:
    row = book.follower
    with NamedTemporaryFile("w", suffix=".csv") as file:
        file.write(f"subscription,since,price\n{row.pk},{row.started_at.isoformat()},150\n")
        file.flush()
        by_command("correct", file.name, "--reason", "x", "--author", "ann")


DOORS = [
    Door("form of a service", "a person", by_form("service", full_price="150.00")),
    Door("form of a plan", "a person", by_form("plan", discount_percent="50")),
    Door("form of a subscription: another plan", "a person", by_another_plan),
    *(Door(f"page: {verb}", "a person", by_page(verb)) for verb in VERBS),
    Door("desk: list price", "a person", by_desk("change_list_price", "service", value="150")),
    Door("desk: negotiate", "a person",
         by_desk("subscription_verb", "follower", "negotiate", price="150", reason="x")),
    Door("desk: move to another plan", "a person",
         by_desk("subscription_verb", "follower", "move")),
    Door("API: list price", "a person", by_patch("service", "session", full_price="150.00")),
    Door("API: list price", "a key", by_patch("service", "key", full_price="150.00")),
    Door("API: discount", "a person", by_patch("plan", "session", discount_percent=50)),
    Door("API: discount", "a key", by_patch("plan", "key", discount_percent=50)),
    *(Door(f"API: {verb}", "a person", by_request(verb, "session")) for verb in VERBS),
    *(Door(f"API: {verb}", "a key", by_request(verb, "key")) for verb in VERBS),
    Door("API: move to another plan", "a person", moved_by_request("session")),
    Door("API: move to another plan", "a key", moved_by_request("key")),
    Door("API: bulk, another plan", "a key", moved_in_bulk("stop")),
    Door("API: bulk, another plan, on_error=skip", "a key", moved_in_bulk("skip")),
    Door("API: job of a bulk, another plan", "a key", moved_by_a_job("stop")),
    Door("API: job of a bulk, another plan, on_error=skip", "a key", moved_by_a_job("skip")),
    Door("API: undo of a job that moved one", "a key", undo_of_a_job, job_that_moved),
    Door("API: import, update=true", "a key", imported_by_a_job),
    Door("API: undo of an import that moved a list price", "a key", undo_of_an_import,
         import_that_moved),
    Door("API: correct", "a person", corrected_by_request("session", of_list=False)),
    Door("API: correct", "a key", corrected_by_request("key", of_list=False)),
    Door("API: correct a list", "a key", corrected_by_request("key", of_list=True)),
    *(Door(f"command: {verb}", "a claim", by_price_state(verb)) for verb in VERBS),
    Door("command: correct", "a claim", corrected_by_command),
    Door("import_book --update", "the import", by_import),
    *(Door(f"import_book --update: {verb}", "the import", by_import_of_state(verb))
      for verb in ("negotiate", "lock", "follow")),
    Door("page: approve", "the planner", verb_by_page("approve", "ann"), planned_by_ann),
    Door("page: approve", "another person", verb_by_page("approve", "bob"), planned_by_ann),
    Door("desk: approve", "the planner", verb_in_the_desk("approve", "ann"), planned_by_ann),
    Door("API: approve", "the planner", verb_by_request("approve", "session", "ann"),
         planned_by_ann),
    Door("API: approve", "another person", verb_by_request("approve", "session", "bob"),
         planned_by_ann),
    Door("API: approve", "a key of the planner", verb_by_request("approve", "key", "ann"),
         planned_by_ann),
    Door("API: approve", "a key of another person", verb_by_request("approve", "key", "bob"),
         planned_by_ann),
    Door("command: approve", "a claim", verb_by_command("approve"), planned_by_ann),
    Door("API: revert and approve", "a person",
         verb_by_request("revert", "session", "ann", approve=True), applied),
    Door("API: revert and approve", "a key",
         verb_by_request("revert", "key", "ann", approve=True), applied),
    Door("command: revert --yes", "a claim", verb_by_command("revert", "--yes"), applied),
    Door("page: cancel what is in force", "its approver", verb_by_page("cancel", "bob"), begun),
    Door("desk: cancel what is in force", "its approver", verb_in_the_desk("cancel", "bob"), begun),
    Door("page: cancel what is in force", "another person", verb_by_page("cancel", "ann"), begun),
    Door("API: cancel what is in force", "its approver",
         verb_by_request("cancel", "session", "bob"), begun),
    Door("API: cancel what is in force", "another person",
         verb_by_request("cancel", "session", "ann"), begun),
    Door("API: cancel what is in force", "a key of its approver",
         verb_by_request("cancel", "key", "bob"), begun),
    Door("command: cancel what is in force", "a claim", verb_by_command("cancel"), begun),
]  # fmt: skip


def table(outcomes: dict[tuple[str, str, str], str]) -> str:
    """The table of docs/limits.md."""
    head = ["door", "caller", *LIMITS]
    lines = [head, ["---"] * len(head)]
    for door in DOORS:
        cells = (outcomes[door.name, door.who, limit] for limit in LIMITS)
        lines.append([door.name, door.who, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
