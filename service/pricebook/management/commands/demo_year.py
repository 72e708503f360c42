"""A year for the demo's book: people, the past as files of the past, and price changes.

Nothing is written past the book's own doors. The prices of the past are brought in by
`import_history`, so they are corrections, with a title and an author; the price changes are decided
by the people whom this makes: admin plans, approver approves. Where the demo has set the book's
clock back (`demo_clock`), they have days of their own, one of them last Tuesday; else all are
today's.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Permission, User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from price_changes import verbs
from price_changes.models import PriceChange
from pricebook.kit import authors
from pricebook.kit.scopes import (
    ADD_CLIENT,
    ADD_SUBSCRIPTION,
    APPROVE,
    CHANGE_CLIENT,
    CHANGE_SUBSCRIPTION,
    PLAN,
    PULL_BRAKE,
    READ_SCOPES,
    SET_PRICE_STATE,
    permissions_of,
)
from pricebook.management.commands.demo_clock import (
    is_behind,
    machine_clock,
    refuse_others,
    set_back,
)
from services import corrections, jobs, price_decisions, repricing
from services.bulk.bodies import NDJSON
from services.bulk.running import Wanted
from services.corrections import Line
from services.models import Job, Plan, Service, Subscription, book_clock
from services.pricing import rule_price
from services.writing import catalogue

PATIENCE = 90  # seconds for what workers do
READS = permissions_of(READ_SCOPES)
DECIDES = (
    PLAN, APPROVE, PULL_BRAKE, SET_PRICE_STATE,
    ADD_SUBSCRIPTION, CHANGE_SUBSCRIPTION, ADD_CLIENT, CHANGE_CLIENT,
)  # fmt: skip
PEOPLE = {"approver": READS | {*DECIDES}, "reader": READS}


@dataclass(frozen=True)
class Past:
    """A list price that was another one, from one month on to another (months ago)."""

    title: str
    service: str
    price: Decimal
    since: int | None  # None: since the start of each subscription
    until: int
    plan: str = ""  # of this type only


PAST = (
    Past("Phone, prices of spring", "Phone", Decimal("18.50"), None, 8),
    Past("Streaming TV: new channels", "Streaming TV", Decimal("9.00"), None, 11),
    Past("Device protection becomes cheaper", "Device protection", Decimal("5.50"), None, 5),
    Past("Fibre: 10 % off in winter", "Fiber optic internet", Decimal("45.00"), 10, 7, "discount"),
    Past("Multiple lines: new supplier", "Multiple lines", Decimal("4.50"), None, 3),
)
TUESDAY = 1
SOON = timedelta(seconds=5)  # long enough to be planned and approved before
ENDED_OF = 40  # every so manieth of the older subscriptions has ended in the year


class Command(BaseCommand):
    help = (
        "Give the demo's book a year: its past, and price changes of today and to come. Standard"
        " input has the passwords of approver and reader, as JSON."
    )

    def handle(self, **options: Any) -> None:
        refuse_others()
        for name, password in json.loads(input()).items():
            a_person(name, password, PEOPLE[name])
        admin = User.objects.get(username="admin")
        approver = User.objects.get(username="approver")
        year = Year(author(admin), author(approver), machine_clock(), is_behind())
        for step in (
            year.ends, year.held, year.past, year.changes, year.of_one, year.to_come,
        ):  # fmt: skip
            step()
        until("what has moved is applied", lambda: not due())
        until("a change is held", held)
        self.stdout.write(f"{Job.objects.count()} jobs, {PriceChange.objects.count()} changes")


def a_person(name: str, password: str, permissions: Iterable[str]) -> None:
    """Staff with these permissions alone."""
    user, _ = User.objects.get_or_create(username=name, defaults={"is_staff": True})
    user.set_password(password)
    user.save()
    for each in permissions:
        app, _, codename = each.partition(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )


def author(user: User) -> str:
    return authors.person(user.pk, user.get_username())


def due() -> bool:
    repricing.reprice()
    repricing.stamp()
    return PriceChange.objects.filter(status__in=["applying"]).exists()


def held() -> bool:
    due()  # beside the workers
    return PriceChange.objects.filter(status=PriceChange.Status.HELD).exists()


def until(what: str, done: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > ends:
            raise CommandError(f"After {PATIENCE} s it is not so that {what}.")
        time.sleep(0.05)


class Year:
    """The year before `now`. `admin` and `approver` are authors; `behind`: the clock is."""

    def __init__(self, admin: str, approver: str, now: datetime, behind: bool) -> None:
        self.admin, self.approver, self.now, self.behind = admin, approver, now, behind
        # Days since last Tuesday: a week, if today is one.
        self.tuesday = timedelta(days=(timezone.localtime(now).weekday() - TUESDAY - 1) % 7 + 1)

    def month(self, ago: int) -> datetime:
        """The beginning of a month, so many months ago (negative: to come)."""
        today = timezone.localtime(self.now)
        months = today.year * 12 + today.month - 1 - ago
        first = date(months // 12, months % 12 + 1, 1)
        return timezone.make_aware(datetime(first.year, first.month, first.day))

    # --- The past ---------------------------------------------------------------------------------

    def ends(self) -> None:
        """Let some of the older subscriptions have ended, spread over the year: a bulk."""
        older = Subscription.objects.filter(started_at__lt=self.month(13), ended_at=None)
        rows = older.order_by("pk").values_list("source", "external_id")[::ENDED_OF]
        lines = []
        for number, (source, external_id) in enumerate(rows):
            at = self.month(11 - number % 11) + timedelta(days=number % 27)
            line = {"source": source, "external_id": external_id, "ended_at": at.isoformat()}
            lines.append(json.dumps(line) + "\n")
        body = io.BytesIO("".join(lines).encode())
        self.done(jobs.ask("subscriptions", body, NDJSON, Wanted(self.admin)))

    def past(self) -> None:
        """Bring in what was paid before: a file of the past for each price."""
        for number, past in enumerate(PAST):
            file = io.BytesIO(self.file_of(past).encode())
            by = Wanted(self.approver if number % 2 else self.admin)
            name = f"{past.service.lower().replace(' ', '-')}.csv"
            self.done(jobs.ask("history", file, "text/csv", by, {}, kept_as=name))

    def file_of(self, past: Past) -> str:
        ended = self.month(past.until)
        since = None if past.since is None else self.month(past.since)
        rows = Subscription.objects.filter(service__name=past.service, started_at__lt=ended)
        if since is not None:
            rows = rows.filter(started_at__lte=since)
        if past.plan:
            rows = rows.filter(plan__plan_type=past.plan)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["subscription", "effective_at", "until", "price", "comment"])
        for row in rows.values_list("pk", "started_at", "ended_at").order_by("pk"):
            pk, started_at, ended_at = row
            ends = ended if ended_at is None else min(ended, ended_at)
            begins = started_at if since is None else since
            if begins < ends:
                writer.writerow([pk, begins.isoformat(), ends.isoformat(), past.price, past.title])
        return text.getvalue()

    def done(self, job: Job) -> None:
        def ended() -> bool:
            jobs.run()
            job.refresh_from_db()
            return job.status not in Job.DUE

        until(f"{job} has ended", ended)
        if job.status != Job.Status.DONE:
            raise CommandError(f"{job} is {job.status}: {job.error}")

    # --- Changes ----------------------------------------------------------------------------------

    def days_ago(self, behind: timedelta) -> None:
        """Let the book's clock come nearer to now, where it is behind."""
        if self.behind:
            set_back(behind)

    def planned(self, title: str, reason: str, **values: Any) -> PriceChange:
        change = verbs.plan({"title": title, "reason": reason, **values}, self.admin)
        return verbs.preview(change.pk)

    def approved(self, title: str, reason: str, **values: Any) -> PriceChange:
        change = self.planned(title, reason, **values)
        return verbs.approve(change.pk, change.fingerprint, self.approver)

    def applied(self, title: str, reason: str, **values: Any) -> PriceChange:
        change = self.approved(title, reason, **values)

        def is_applied() -> bool:
            due()
            change.refresh_from_db()
            return change.status == PriceChange.Status.APPLIED

        until(f"“{title}” is applied", is_applied)
        return change

    def held(self) -> None:
        """One that will be held, when its instant comes: while the rest of the year is made."""
        backup = service("Online backup")
        soon = book_clock() + SOON
        self.approved(
            "Online backup: more room", "Twice the room for each client.",
            kind="list_price", service=backup.pk, new_value="5.80",
            effective_at=soon.isoformat(),
        )  # fmt: skip
        # Somebody edits the list price meanwhile: it is not the one that the approver saw.
        with transaction.atomic():
            catalogue.change("service", backup.pk, {"full_price": Decimal("5.10")}, self.admin)

    def changes(self) -> None:
        """A list price, a set with rows that it skips, and a discount that is taken back."""
        security, support = service("Online security"), service("Tech support")
        self.days_ago(self.tuesday + timedelta(days=4))
        self.applied(
            "Online security: new provider", "The provider asks for 8 % more.",
            kind="list_price", service=security.pk, new_value="5.40",
        )  # fmt: skip
        self.days_ago(self.tuesday)
        locked = subscriptions_of(support)[:15]
        for each in locked:
            self.decide("lock", each.pk, reason="Promised until the contract ends", until=None)
        self.applied(
            "Tech support: 4 % more", "Wages.",
            kind="set", filter={"service": support.pk}, adjustment="percent", operand="4",
            rounding_step="0.05",
        )  # fmt: skip
        self.days_ago(self.tuesday / 2)
        plan = Plan.objects.get(plan_type="discount")
        wrong = self.applied(
            "Discount 12 %", "As the contracts say.",
            kind="discount", plan=plan.pk, new_value=12,
        )  # fmt: skip
        self.days_ago(self.tuesday / 3)
        verbs.revert(wrong.pk, self.approver, approve_too=True)
        until("the discount is taken back", lambda: not due())
        self.days_ago(timedelta(0))

    def of_one(self) -> None:
        """Negotiated prices, locks that end soon, and a correction."""
        fibre, movies = service("Fiber optic internet"), service("Streaming movies")
        for number, each in enumerate(subscriptions_of(fibre)[:12]):
            price = rule_price(Decimal(50), 0) - 3 - number % 4
            self.decide("negotiate", each.pk, price=price, reason="Three years")
        for number, each in enumerate(subscriptions_of(movies)[:8]):
            ends = self.now + timedelta(days=5 + 3 * number)
            self.decide("lock", each.pk, until=ends, reason="Until the end of the campaign")
        wrong = subscriptions_of(service("DSL internet"))[3]
        since = max(wrong.started_at, self.month(2))
        line = Line(wrong.pk, since, wrong.price - 2, since + timedelta(days=20))
        corrections.correct([line], "The outage of three weeks", self.approver)

    def decide(self, verb: str, subscription: int, **values: Any) -> None:
        price_decisions.decide(verb, subscription, self.admin, **values)

    def to_come(self) -> None:
        """Two changes that are scheduled, and one that waits for its approval."""
        streaming, dsl = service("Streaming TV"), service("DSL internet")
        self.approved(
            "Streaming TV: prices of the new year", "More channels.",
            kind="list_price", service=streaming.pk, new_value="10.50",
            effective_at=self.month(-2).isoformat(),
        )  # fmt: skip
        self.approved(
            "DSL: 4 % more for long contracts", "The lines are rented at a higher price.",
            kind="set", filter={"service": dsl.pk}, adjustment="percent", operand="4",
            rounding_step="0.10", effective_at=self.month(-3).isoformat(),
        )  # fmt: skip
        self.planned(
            "Phone: 23", "Waits for somebody who approves it.",
            kind="list_price", service=service("Phone").pk, new_value="23.00",
        )  # fmt: skip


def service(name: str) -> Service:
    return Service.objects.get(name=name)


def subscriptions_of(of: Service) -> list[Subscription]:
    """Those that pay and follow the catalogue, the oldest first."""
    rows = Subscription.objects.in_force().filter(
        service_id=of.pk, ended_at=None, price_state="follows"
    )
    return list(rows.order_by("started_at", "pk")[:50])
