"""Bulks beside all who write: nobody's write ends in a deadlock, and the book stays right."""

import json
import random
import threading
import time
from collections import Counter
from contextlib import suppress

import psycopg
import pytest
from django.db import connection

from keys.tests.making import a_key
from pricebook.kit.scopes import SCOPES
from pricebook.tests.servers import until
from services import jobs, repricing
from services.audit import book_check
from services.bulk.running import Wanted
from services.jobs import JobRefused
from services.models import Service, Subscription
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import a_person, in_background
from services.tests.programs import a_writer
from services.tests.test_jobs import ndjson
from services.views import bulk as bulk_view

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]

SECONDS = 3
IDS = 60


class Book:
    def __init__(self, seed):
        self.seed = seed
        self.clients = [a_client().pk for _ in range(4)]
        self.services = [a_service(n).pk for n in (10, 20, 30, 40)]
        self.plans = [a_plan(n).pk for n in (0, 10, 20)]
        for number in range(0, IDS, 3):
            a_subscription(source="crm", external_id=str(number))
        _, self.key = a_key("erp", *SCOPES)
        self.ends = time.monotonic() + SECONDS
        self.seen = Counter()

    def line(self, dice, number):
        return {
            "source": "crm",
            "external_id": str(number),
            "client": dice.choice(self.clients),
            "service": dice.choice(self.services),
            "plan": dice.choice(self.plans),
            "comment": f"{dice.random():.6f}",
            "ended_at": dice.choice([None, "9000-01-01T00:00:00Z"]),
        }

    def rounds(self, name):
        dice = random.Random(f"{self.seed} {name}")
        while time.monotonic() < self.ends:
            yield dice

    def bulks(self, mode):
        erp = a_writer(self.key)
        for dice in self.rounds(f"{mode} {threading.get_ident()}"):
            lines = [self.line(dice, number) for number in dice.sample(range(IDS), 40)]
            answer = erp.post(f"/api/subscriptions/bulk/?on_error={mode}", {"lines": lines})
            content = answer.getvalue() if answer.streaming else answer.content
            if answer.status_code == 200:
                assert len(json.loads(content)["lines"]) == 40
            self.seen["bulk", answer.status_code] += 1

    def singles(self):
        erp = a_writer(self.key)
        for dice in self.rounds("singles"):
            line = self.line(dice, dice.randrange(IDS))
            one = Subscription.objects.filter(source="crm", external_id=line["external_id"]).first()
            if one is None:
                status = erp.post("/api/subscriptions/", line).status_code
            elif dice.random() < 0.5:
                named = {name: line[name] for name in ("service", "plan")}
                status = erp.post(f"/api/subscriptions/{one.pk}/move/", named).status_code
            else:
                given = {"comment": line["comment"]}
                status = erp.patch(f"/api/subscriptions/{one.pk}/", given).status_code
            self.seen["single", status] += 1

    def edits(self):
        """Several list prices in one transaction, in the order of ids."""
        for dice in self.rounds("edits"):
            with a_person() as ann:
                for id in sorted(dice.sample(self.services, 2)):
                    ann.execute(
                        "UPDATE services_service SET full_price = %s WHERE id = %s",
                        [dice.randrange(1, 99), id],
                    )
                ann.commit()
            self.seen["edit", 200] += 1
            time.sleep(0.01)

    def deletes(self):
        """Somebody deletes by SQL, in no order."""
        for dice in self.rounds("deletes"):
            with a_person() as ann:
                ann.execute(
                    "DELETE FROM services_subscription WHERE source = 'crm' AND external_id = %s",
                    [str(dice.randrange(IDS))],
                )
                ann.commit()
            self.seen["delete", 200] += 1
            time.sleep(0.05)

    def jobs(self):
        """Jobs, each taken back; some of their lines have not begun, and are deleted then."""
        for dice in self.rounds("jobs"):
            lines = [self.line(dice, number) for number in dice.sample(range(IDS), 30)]
            lines += [
                self.line(dice, number)
                | {"source": "job", "started_at": "8000-01-01T00:00:00Z", "ended_at": None}
                for number in range(5)
            ]
            wanted = Wanted("erp (key 1)", skip=True)
            job = jobs.ask("subscriptions", ndjson(lines), "application/x-ndjson", wanted)
            jobs.run()
            with suppress(JobRefused):
                undo = jobs.undo(job.pk, "erp (key 1)", dry_run=False)
                jobs.run()
                undo.refresh_from_db()
                self.seen.update({("undo", each): n for each, n in undo.counts.items()})

    def works(self):
        for _ in self.rounds("works"):
            repricing.reprice()


@pytest.mark.parametrize("seed", range(2))
def test_nobody_s_write_ends_in_a_deadlock(seed, monkeypatch):
    monkeypatch.setattr(bulk_view, "begun", threading.BoundedSemaphore(9))
    book = Book(seed)
    before = deadlocks()
    others = [
        in_background(book.bulks, "stop"),
        in_background(book.bulks, "skip"),
        in_background(book.bulks, "stop"),
        in_background(book.singles),
        in_background(book.edits),
        in_background(book.deletes),
        in_background(book.works),
        in_background(book.jobs),
    ]
    for each in others:
        each.result(SECONDS + 20)
    assert {key for key in book.seen if key[0] != "undo" and key[1] >= 500} <= {("bulk", 503)}, (
        book.seen
    )
    assert book.seen["bulk", 200] > 20 * book.seen["bulk", 503]
    assert min(book.seen[who] for who in (("single", 200), ("edit", 200), ("delete", 200))) > 5
    assert min(book.seen["undo", each] for each in ("changed", "deleted", "left")) > 5
    assert deadlocks() == before
    repricing.reprice()
    assert not book_check.check().differs


def test_what_a_row_leaves_is_locked_with_what_it_comes_to():
    """Else an edit of both, in their order, and the bulk would each wait for the other."""
    left, come_to = a_service(10).pk, a_service(20).pk
    row = a_subscription(service=Service.objects.get(pk=left), source="crm", external_id="1")
    line = {"source": "crm", "external_id": "1", "service": come_to, "comment": "moved"}
    line |= {"client": row.client_id, "plan": row.plan_id}
    erp, before = a_writer(a_key("erp", *SCOPES)[1]), deadlocks()
    with a_person() as ann:
        ann.execute(EDIT, [11, left])
        bulk = in_background(erp.post, "/api/subscriptions/bulk/", {"lines": [line]})
        until(waits_for_a_lock)
        ann.execute("SET lock_timeout = '10s'")
        ann.execute(EDIT, [21, come_to])
        assert bulk.running
        ann.commit()
    assert bulk.result().status_code == 200
    row.refresh_from_db()
    assert (row.service_id, row.comment) == (come_to, "moved")
    assert deadlocks() == before


EDIT = "UPDATE services_service SET full_price = %s WHERE id = %s"


def waits_for_a_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return cursor.fetchone()[0]


def deadlocks():
    """How many of them PostgreSQL has resolved."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
    parameters = connection.get_connection_params()
    with psycopg.connect(**parameters) as fresh:
        found = fresh.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert found is not None
    return found[0]
