"""Edits of the catalogue with an author and a comment to stamp."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def catalogue_edit(author: str = "", comment: str = "") -> Iterator[None]:
    """A transaction whose catalogue edits carry an author and a comment to stamp.

    The comment (up to 50 characters) is stamped on each active subscription that the edit
    concerns and that has no comment of a person's. Two queries besides the edits.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('pricebook.author', %s, true),"
            " set_config('pricebook.comment', %s, true)",
            [author, comment],
        )
        yield
        # The setting lasts as long as the transaction; an outer one that goes on is not this
        # edit's.
        cursor.execute(
            "SELECT set_config('pricebook.author', '', true),"
            " set_config('pricebook.comment', '', true)"
        )
