"""Blocks of the ledger that are sealed: what was recorded can be shown to be what is there."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from services.models.clock import Clock


class SealedBlock(models.Model):
    """A piece of the ledger, in the order of the feed, with a hash that the next block names.

    It covers all rows behind the last place of the block before it, up to its own last place: so
    nothing can be changed, deleted or slipped in behind it and its hash still fit.
    `services/ledger/seals` makes blocks, says exactly what is hashed, and verifies. Append-only.
    """

    number = models.BigIntegerField(primary_key=True)  # from 1, without a gap
    # Places of the feed. Facts that are no entries (id 0) stand before the entries of their
    # transaction.
    first_xact = models.BigIntegerField()
    first_id = models.BigIntegerField()
    last_xact = models.BigIntegerField()
    last_id = models.BigIntegerField()
    # The rows of each table, in the order of `rows.TABLES`; and their SHA-256.
    counts = ArrayField(models.BigIntegerField())
    digest = models.BinaryField()
    # The CRC-32 of each row, four bytes each: it names a row that was changed, and proves nothing.
    checks = models.BinaryField()
    previous = models.BinaryField()
    hash = models.BinaryField()
    # The database that sealed it: its system identifier and timeline.
    life = models.CharField(max_length=40)
    sealed_at = models.DateTimeField(db_default=Clock())

    class Meta:
        indexes = [
            models.Index(name="sealed_hash", fields=["hash"]),
            models.Index(name="sealed_end", fields=["last_xact", "last_id"]),
        ]

    def __str__(self) -> str:
        return f"block {self.number} of the ledger"
