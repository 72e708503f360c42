"""A bulk does what single writes of its lines would do, and refuses what they would refuse."""

import json
import random
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from clients.models import Client
from pricebook.tests.tiers import examples
from services import price_state
from services.audit import book_check
from services.models import Subscription
from services.tests.factories import a_client, a_plan, a_service
from services.tests.programs import a_writer

pytestmark = pytest.mark.django_db

SHOWN = (
    "client_id",
    "service_id",
    "plan_id",
    "price",
    "price_state",
    "price_reason",
    "comment",
    "started_at",
    "ended_at",
)


class Refused(Exception):
    pass


def asked(answer):
    if answer.status_code not in (200, 201):
        raise Refused(answer.json()["code"])


def alone(erp, line):
    """The outcome that single writes have for a line, or the code of their refusal."""
    one = Subscription.objects.filter(
        source=line["source"], external_id=line["external_id"]
    ).first()
    before = None if one is None else [getattr(one, name) for name in SHOWN]
    # An end before its start, or the reverse: whatever is possible.
    for order in (["say", "end", "move"], ["end", "say", "move"]):
        try:
            with transaction.atomic():
                if one is None:
                    asked(erp.post("/api/subscriptions/", line))
                    return "created"
                for step in order:
                    STEPS[step](erp, one, line)
        except Refused as error:
            if str(error) != "ends_before_start":
                return str(error)
            refusal = str(error)
        else:
            one.refresh_from_db()
            same = [getattr(one, name) for name in SHOWN] == before
            return "unchanged" if same else "changed"
    return refusal


def say(erp, one, line):
    given = {name: line[name] for name in ("comment", "started_at") if name in line}
    if given:
        asked(erp.patch(f"/api/subscriptions/{one.pk}/", given))


def end(erp, one, line):
    one.refresh_from_db()
    at = line.get("ended_at", ...)
    if at is ... or at == (one.ended_at and one.ended_at.isoformat()):
        return
    now = timezone.now().isoformat()
    ended = one.ended_at is not None and one.ended_at.isoformat() <= now
    verb = "restart" if at is None or (ended and at > now) else "end"
    asked(erp.post(f"/api/subscriptions/{one.pk}/{verb}/", {"ended_at": at}))


def move(erp, one, line):
    named = {name: line[name] for name in ("client", "service", "plan") if name in line}
    differing = {name: id for name, id in named.items() if getattr(one, f"{name}_id") != id}
    if differing:
        asked(erp.post(f"/api/subscriptions/{one.pk}/move/", differing))


STEPS = {"say": say, "end": end, "move": move}


def same(alone, outcome):
    """Whether two outcomes are equal; of several faults of a line either may name any."""
    written = {"created", "changed", "unchanged"}
    return alone == outcome or not written & {alone, outcome}


def bulk(erp, lines):
    body = {"lines": lines}
    answer = erp.post("/api/subscriptions/bulk/?on_error=skip", body)
    results = json.loads(answer.getvalue())["lines"]
    return [line.get("code", line["outcome"]) for line in results]


def drawn(random, source, records, instants):
    """Lines of which some name what is not there, or say what can't be."""
    lines = []
    for number in random.sample(range(10), 8):
        line = {"source": source, "external_id": str(number)}
        sure = random.random() < 0.5
        for name, ids in records.items():
            if sure or random.random() < 0.5:
                line[name] = random.choice(ids * 6 + [2**40])
        if random.random() < 0.4:
            line["comment"] = random.choice(["", "one", "two", "x" * 60])
        if random.random() < 0.3:
            line["started_at"] = random.choice(instants)
        if random.random() < 0.4:
            line["ended_at"] = random.choice([None, *instants])
        lines.append(line)
    return lines


def states(source):
    found = Subscription.objects.filter(source=source).order_by("external_id")
    return list(found.values_list("external_id", *SHOWN))


@pytest.mark.parametrize("seed", range(examples(4)))
def test_subscriptions_are_as_if_each_line_came_alone(seed):
    erp, dice = a_writer(), random.Random(seed)
    records = {
        "client": [a_client().pk for _ in range(2)],
        "service": [a_service(80).pk, a_service(33).pk],
        "plan": [a_plan().pk, a_plan(30).pk],
    }
    now = timezone.now().replace(microsecond=0)
    instants = [(now + timedelta(days=days)).isoformat() for days in (-90, -30, -2, 2, 30)]
    seen = set()
    for _ in range(8):
        lines = drawn(dice, "bulk", records, instants)
        together = bulk(erp, lines)
        for line, outcome in zip(lines, together, strict=True):
            given = line | {"source": "single"}
            assert same(alone(erp, given), outcome), given
        assert without_now(states("bulk"), now) == without_now(states("single"), now)
        for one in Subscription.objects.filter(external_id=str(dice.randrange(10))):
            if one.ended_at is None:
                price_state.negotiate(one.pk, price=5, reason="won", author="ann")
        seen |= set(together)
    assert seen >= {"created", "changed", "unchanged", "not_found", "missing"}
    assert not book_check.check().differs


def without_now(states, now):
    """The states, with one word for a start that was the moment of the creation."""
    return [
        [
            "now" if column == "started_at" and abs(value - now) < timedelta(hours=1) else value
            for column, value in zip(("external_id", *SHOWN), state, strict=True)
        ]
        for state in states
    ]


CLIENTS = [
    {"company_name": "Ann", "email": "ann@example.com"},
    {"company_name": "Ann", "email": None, "full_address": "Here"},
    {"email": "bob@example.com"},
    {"company_name": "Bob"},
    {"company_name": "", "email": ""},
    {"company_name": "Cy", "email": "BOB@example.com"},
    {"email": "x"},
]


@pytest.mark.parametrize("seed", range(examples(2)))
def test_clients_are_as_if_each_line_came_alone(seed):
    """Each request has one line of an e-mail: more are judged by the book before them all."""
    erp, dice = a_writer(), random.Random(seed)
    seen = set()
    for _ in range(30):
        number, given = str(dice.randrange(5)), dice.choice(CLIENTS)
        answer = erp.post(
            "/api/clients/bulk/?on_error=skip",
            {"lines": [{"source": "bulk", "external_id": number, **given}]},
        )
        [line] = json.loads(answer.getvalue())["lines"]
        outcome = line.get("code", line["outcome"])
        apart = dict(given)
        if apart.get("email"):  # another client's e-mails are another's
            apart["email"] = apart["email"].replace("example.com", "single.example.com")
        line = {"source": "single", "external_id": number, **apart}
        assert same(client_alone(erp, line), outcome), line
        seen.add(outcome)
        assert clients("bulk") == clients("single")
    assert seen >= {"created", "changed", "unchanged", "email_taken"}


def client_alone(erp, line):
    known = {"source": line["source"], "external_id": line["external_id"]}
    one = Client.objects.select_related("user").filter(**known).first()
    if one is None:
        answer = erp.post("/api/clients/", line)
        return "created" if answer.status_code == 201 else answer.json()["code"]
    before = clients(line["source"])
    answer = erp.patch(f"/api/clients/{one.pk}/", line)
    if answer.status_code != 200:
        return answer.json()["code"]
    return "unchanged" if clients(line["source"]) == before else "changed"


def clients(source):
    return [
        (
            one.external_id,
            one.company_name,
            one.full_address,
            one.user.email.replace("single.example.com", "example.com"),
            one.user.has_usable_password(),
        )
        for one in Client.objects.filter(source=source)
        .select_related("user")
        .order_by("external_id")
    ]
