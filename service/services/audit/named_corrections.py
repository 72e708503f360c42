"""Statements of corrections."""

from __future__ import annotations

from pricebook.kit.named_statements import NamedStatement
from services import correction_lines, corrections
from services.audit.book_examples import examples
from services.ledger import entries, paid_since

CORRECT = "POST …/correct/, correct"


def named_corrections() -> list[NamedStatement]:
    """All statements of this module (a few queries)."""
    row = examples().middle
    return [
        NamedStatement(
            "correct, subscriptions",
            "those that lines name by source and external id",
            CORRECT,
            correction_lines.ELSEWHERE,
            [["crm"], ["1"]],
        ),
        NamedStatement(
            "correct, what was paid",
            "the price at each instant at which there may be another one",
            CORRECT,
            paid_since.TOLD,
            {
                "numbers": [0],
                "ids": [row.pk],
                "since": [row.started_at],
                "upto": [row.started_at],
            },
        ),
        NamedStatement(
            "correct, entries",
            "the corrected price in the feed, and what follows at its end",
            CORRECT,
            corrections.ENTER,
            {"ids": [0], "going_on": [0]},
            writes=True,
        ),
        NamedStatement(
            "feed, reasons of corrections",
            "of a page of entries",
            "GET /api/ledger/, histories",
            entries.REASONS,
            [[0]],
        ),
    ]
