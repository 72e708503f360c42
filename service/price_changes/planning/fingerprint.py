"""The fingerprint of a preview: the definition of the change, and each of its rows.

A row counts with what it pays, what it is to pay, or why it does not move. To approve the
fingerprint is to approve these rows. It can't be forged: the digest of the rows has a secret seed
(docs/decisions/0011-seeded-fingerprint.md).
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b

import msgspec

from price_changes.models import PriceChange

# Hashes everything that an approval depends on in each row; by XOR, so that no order is needed. XOR
# is linear: somebody who knew the seed could solve for rows that leave the digest as it is.
HASH = (
    "bit_xor(hash_record_extended(ROW(id, service_id, plan_id, price, price_state, locked_until,"
    " new_price, new_state, new_until, reason), (SELECT coalesce(preview_seed, 0)"
    " FROM price_changes_pricechange WHERE id = {change})))"
)

# The fields of a plan that decide its rows or what is written on them. Their order is part of each
# fingerprint.
DEFINITION = (
    "kind",
    "service_id",
    "plan_id",
    "new_value",
    "for_new_only",
    "filter",
    "adjustment",
    "operand",
    "floor",
    "ceiling",
    "rounding_step",
    "locked_until",
    "comment",
    "reverts_id",
)


def fingerprint(
    change: PriceChange,
    digest: int,
    rows: int,
    moves: int,
    total_before: Decimal,
    total_after: Decimal,
) -> str:
    """32 hexadecimal digits for the definition, the rows and their totals.

    A preview from before there were seeds has the old formula, without the totals: a change that
    was approved by it is still compared by it.
    """
    definition = [*(getattr(change, name) for name in DEFINITION), digest, rows, moves]
    if change.notice_days is not None:  # others keep the fingerprint that they have
        definition.append(change.notice_days)
    if change.preview_seed is not None:
        definition += [total_before, total_after]
    plain = [str(each.normalize()) if isinstance(each, Decimal) else each for each in definition]
    return blake2b(msgspec.json.encode(plain), digest_size=16).hexdigest()
