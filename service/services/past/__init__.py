"""The past of a book: what its subscriptions paid before it was brought in.

    importing    a file of the past → corrections: effective then, recorded now
    exporting    such a file, from what the ledger tells

docs/decisions/0027 has the reasons.
"""
