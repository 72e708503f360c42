"""Statements of the seals of the ledger, and of places in it."""

from __future__ import annotations

from pricebook.kit.named_statements import NamedStatement
from services import lives
from services.ledger.seals import blocks, sealing, verifying
from services.ledger.seals.rows import TABLES

TASK = "workers: seal_ledger, each minute"
COMMAND = "verify_ledger"
FEED = "GET /api/ledger/"
PARTED = "GET /api/ledger/, a place of another history"
PLACE = {"xact": 0, "id": 0, "most": sealing.MOST}
SPAN = {"after_xact": -1, "after_id": 0, "last_xact": 1, "last_id": 0}


def named_seals() -> list[NamedStatement]:
    """All statements of this module. No query."""
    return [
        NamedStatement("newest block", "the head, with its place", TASK, blocks.HEAD),
        NamedStatement("last block", "where the next one begins", TASK, sealing.LAST),
        NamedStatement(
            "end of a block",
            "behind 10,000 rows, or what no open transaction can precede",
            TASK,
            sealing.END,
            PLACE,
        ),
        NamedStatement("life of the database", "the server and its timeline", TASK, sealing.LIFE),
        *(
            NamedStatement(f"sealed, {table.name}", "as COPY sends it", TASK, table.sql, SPAN)
            for table in TABLES
        ),
        NamedStatement(
            "not sealed yet",
            "how many rows, and since when",
            "readiness, metrics, doctor",
            blocks.UNSEALED_ROWS,
            PLACE,
        ),
        NamedStatement(
            "blocks to verify", "a stretch of the chain", COMMAND, verifying.BLOCKS, [1, 500]
        ),
        NamedStatement(
            "block before", "whose hash the first one names", COMMAND, verifying.BEFORE, [0]
        ),
        NamedStatement(
            "checks of a block", "which name a row that was changed", COMMAND, verifying.CHECKS, [1]
        ),
        NamedStatement(
            "size of the chain", "for the progress", COMMAND, verifying.SIZE, {"first": 1}
        ),
        NamedStatement(
            "block of a head", "that was kept elsewhere", COMMAND, verifying.OF_HEAD, ["00" * 32]
        ),
        NamedStatement(
            "undone values", "beside the facts that undo them", COMMAND, verifying.UNDONE
        ),
        NamedStatement(
            "proof of a place",
            "the block before it, how many rows lie between, and the lives of the database",
            FEED,
            lives.PROOF,
            {"xact": 1, "id": 1, "block": None},
        ),
        NamedStatement("block of a place", "where it ends, and its hash", PARTED, lives.BLOCK, [1]),
        NamedStatement("beginning of a life", "and the block before it", PARTED, lives.FORK, [2]),
        NamedStatement(
            "transactions before a life",
            "the first that was not committed, behind the block before it",
            PARTED,
            lives.ABORTED,
            {"after": 0, "before": 1, "offset": 0},
        ),
        NamedStatement(
            "last row before a life", "of the feed", PARTED, lives.LAST_BEFORE, {"xact": 1}
        ),
    ]
