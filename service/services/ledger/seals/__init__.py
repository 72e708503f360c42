"""Seals of the ledger: blocks of what was recorded, each with a hash that the next one names.

    rows        what is sealed: the tables, their columns, and the bytes that are hashed
    blocks      a block, its hash, and the newest one (`head`), with what waits (`unsealed`)
    sealing     a task makes blocks of what no open transaction can precede
    verifying   walks the chain, and names the first block that does not fit

A change of what is sealed is found by the chain alone. An owner of the database could seal
everything anew: that is found by a head that was kept elsewhere. docs/decisions/0043-seals.md
"""

from services.ledger.seals.blocks import Head, Unsealed, head, unsealed
from services.ledger.seals.sealing import seal
from services.ledger.seals.verifying import Broken, Report, verify

__all__ = ["Broken", "Head", "Report", "Unsealed", "head", "seal", "unsealed", "verify"]
