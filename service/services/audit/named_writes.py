"""Statements with which workers, requests and repairs write prices, ledger and totals."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from pricebook.kit.named_statements import NamedStatement
from services.audit import book_check_sql
from services.audit.book_examples import examples
from services.ledger import points
from services.models import RepricingStep, Subscription
from services.reading import total
from services.repricing import accounts, chunks, drain, followers, keeping, lock_ends, writes
from services.repricing.planning import SPLIT
from services.writing import subscriptions

REPRICE = "workers: reprice"


def named_writes() -> list[NamedStatement]:
    """All statements of this module (5 queries)."""
    example = examples()
    service_id, plan_id = example.pair
    ids, at = [example.middle.pk], example.middle.started_at
    chunk = Subscription.objects.filter(
        service_id=service_id, plan_id=plan_id, id__gt=0, id__lte=example.last_id
    )
    return [
        NamedStatement(
            "work that has fallen due",
            "whether anything waits to be started, released, planned or closed",
            REPRICE,
            *drain.fallen_due_sql(),
        ),
        NamedStatement(
            "claim a step",
            "the first step that no other worker holds, with its repricing",
            REPRICE,
            chunks.CLAIM,
            {
                "lane": RepricingStep.Lane.PRICE.value,
                "blocked": [],
                "number": 1,
                "rows": None,
                "up_to": None,
            },
            writes=True,
        ),
        NamedStatement(
            "plan a repricing",
            "a step for each (service, plan) that it concerns",
            REPRICE,
            SPLIT,
            {
                "repricing": 0,
                "service": service_id,
                "plan": None,
                "effective_at": at,
                "kinds": [RepricingStep.Lane.PRICE.value],
            },
            writes=True,
        ),
        NamedStatement(
            "entries due for a pair",
            "the changes whose entries its followers are owed, and the price of the last of them",
            REPRICE,
            followers.DUE,
            {"service": service_id, "plan": plan_id},
        ),
        NamedStatement(
            "move prices",
            "followers of a chunk to the rule's price, with their entries in the ledger",
            REPRICE,
            *writes.price_sql(chunk.following().exclude(price=1), Decimal(1)),
            writes=True,
        ),
        NamedStatement(
            "move prices by a change",
            "the same of a change of the catalogue, with one row for all of their entries",
            REPRICE,
            *writes.price_sql(chunk.following().exclude(price=1), Decimal(1), writes.MOVED),
            writes=True,
        ),
        NamedStatement(
            "move prices through several changes",
            "an entry for each change that fell due while no worker came",
            REPRICE,
            followers.THROUGH,
            {
                "position": [0],
                "change_id": [0],
                "effective_at": [at],
                "due": [True],
                "of_service": [True],
                "service": service_id,
                "plan": plan_id,
                "ids": ids,
                "keeps": [],
                "again": False,
            },
            writes=True,
        ),
        NamedStatement(
            "count a chunk",
            "the counts of a change of the catalogue: rows moved, and others by reason",
            REPRICE,
            accounts.COUNT,
            {
                "change": 0,
                "keeps": False,
                "at": at,
                "service": service_id,
                "plan": plan_id,
                "after": 0,
                "last": example.last_id,
            },
        ),
        NamedStatement(
            "close a repricing",
            "adds the rows that were moved for it and deleted before its own chunk came",
            REPRICE,
            accounts.CLOSE,
            {"repricing": 0},
            writes=True,
        ),
        NamedStatement(
            "correct a count",
            "for a change that had counted a row as skipped which it has moved",
            REPRICE,
            accounts.CORRECT,
            {"ids": ids, "after": 0},
            writes=True,
        ),
        NamedStatement(
            "take from a count",
            "for a change that had counted a row as moved which a late set has taken",
            REPRICE,
            accounts.TAKEN,
            {"ids": ids, "after": 0},
            writes=True,
        ),
        NamedStatement(
            "keep prices, late",
            "locks rows with an entry since a change for new subscriptions, which followed at it",
            REPRICE,
            keeping.KEEP_LATE,
            {"ids": ids, "change": 0, "price": 1, "until": None, "why": "Price change 0"},
            writes=True,
        ),
        NamedStatement(
            "followers let go",
            "the rows that a revert of a change for new subscriptions lets follow again",
            REPRICE,
            keeping.FREED,
            {"ids": ids, "undone": 0, "change": 0, "at": at},
        ),
        NamedStatement(
            "keep prices again",
            "restores the locks of a change for new subscriptions, whose revert is reverted",
            REPRICE,
            keeping.KEEP_AGAIN,
            {"ids": ids, "undone": 0, "change": 0, "at": at},
            writes=True,
        ),
        NamedStatement(
            "release locks that have ended",
            "entries of the prices since the lock's end",
            REPRICE,
            lock_ends.RELEASED,
            {"until": at, "ids": ids, "change": None},
            writes=True,
        ),
        NamedStatement(
            "forget points that hold no more",
            "after something was recorded that counts from an earlier instant on",
            "workers: make_points, every 5 s",
            points.FORGET,
            writes=True,
        ),
        NamedStatement(
            "make the next point",
            "the sums paid at an instant, from the point before it and the facts since",
            "workers: make_points, every 5 s",
            *points.make_sql(at, at - timedelta(days=1)),
            writes=True,
        ),
        NamedStatement(
            "create a subscription",
            "with the price of the rule, if its client, service and plan are there",
            "POST /api/subscriptions/",
            subscriptions.INSERT,
            dict.fromkeys(("source", "external_id", "started_at", "ended_at"))
            | {"author": "", "request": "", "comment": "", "client": example.middle.client_id}
            | {"service": service_id, "plan": plan_id},
            writes=True,
        ),
        NamedStatement(
            "whether a subscription has paid",
            "by all that was said of its start, up to now",
            "DELETE /api/subscriptions/ID/",
            subscriptions.HAVE_PAID,
            {"ids": ids, "now": at},
        ),
        NamedStatement(
            "fold the total",
            "merges the rows that triggers have appended to it",
            "workers: fold_total, every 5 s",
            total.FOLD,
            writes=True,
        ),
        NamedStatement(
            "fold starts and ends to come",
            "merges those that triggers have appended, of one service, plan and instant",
            "workers: fold_total, every 5 s",
            total.FOLD_AHEAD,
            ["1:00:00"],
            writes=True,
        ),
        NamedStatement(
            "repair the total",
            "appends what is missing from it",
            "check_book --repair",
            book_check_sql.MEND_TOTAL,
            writes=True,
        ),
        NamedStatement(
            "repair the ledger",
            "an entry for each row that bypassed it",
            "check_book --repair",
            book_check_sql.MEND_LEDGER,
            [ids],
            writes=True,
        ),
    ]
