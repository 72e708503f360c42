"""The clock of the demo's book, behind for a while, so that what is decided has days of its own.

The book's time is the database's, by its function `book_clock` (`services.models.clock`). This
replaces it in the database that the demo makes, and drops; the function as it was stays with it as
its comment, and is put back before anybody uses the book.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction

OF_DEMO = "pricebook_demo"  # the database that ./pricebook demo makes, and drops
FUNCTION = "book_clock(timestamptz)"
BEHIND = """
CREATE OR REPLACE FUNCTION book_clock(machine timestamptz) RETURNS timestamptz LANGUAGE sql STABLE
AS $$ SELECT machine - interval '{} seconds' $$
"""
BEFORE = """
SELECT pg_get_functiondef(%(name)s::regprocedure),
       obj_description(%(name)s::regprocedure, 'pg_proc')
"""


class Command(BaseCommand):
    help = "Set the clock of the demo's book back by so many days, before anything is in it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("days", type=int)

    def handle(self, *, days: int, **options: Any) -> None:
        refuse_others()
        set_back(timedelta(days=days))


def refuse_others() -> None:
    if connection.settings_dict["NAME"] != OF_DEMO:
        raise CommandError(f"This is for the database {OF_DEMO}, which the demo makes.")


def set_back(behind: timedelta) -> None:
    """Let the book's clock be so far behind; none: as it was made."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BEFORE, {"name": FUNCTION})
        found, kept = cursor.fetchone()
        if behind:
            cursor.execute(BEHIND.format(behind.total_seconds()))
            cursor.execute(f"COMMENT ON FUNCTION {FUNCTION} IS %s", [kept or found])
        elif kept:
            cursor.execute(kept)
            cursor.execute(f"COMMENT ON FUNCTION {FUNCTION} IS NULL")


def machine_clock() -> datetime:
    """The time of the database's machine."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found


def is_behind() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(BEFORE, {"name": FUNCTION})
        return cursor.fetchone()[1] is not None
