"""The clock of the book: the database's, and never behind what the book has recorded.

The SQL function `book_clock` tells the time (migration `0019_one_clock`), and a test that needs
another time replaces it. No host's clock, and no `now()`, decides what is in force, due, ended or
past.
"""

from datetime import datetime

from django.db import connection, models
from django.db.models import Func


class Clock(Func):
    """The instant at which it is evaluated: for writers, who ask for it after their locks."""

    function = "book_clock"
    output_field = models.DateTimeField()


class BookNow(Func):
    """The instant of the statement, the same in all of its rows: for readers."""

    function = "book_now"
    template = "(SELECT %(function)s())"  # once a statement, and not for each row that it reads
    output_field = models.DateTimeField()


def book_clock() -> datetime:
    """The book's time now. One query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT book_clock()")
        (instant,) = cursor.fetchone()
    found: datetime = instant
    return found


# Stores the newest instant that was recorded before this start of the server.
RENEW = """
WITH gone AS (
    DELETE FROM services_clockfloor WHERE life <> pg_postmaster_start_time()
)
INSERT INTO services_clockfloor (life, floor)
SELECT pg_postmaster_start_time(),
       coalesce(greatest(
                (SELECT recorded_at FROM services_ledgerentry ORDER BY id DESC LIMIT 1),
                (SELECT recorded_at FROM services_movedfollowers ORDER BY id DESC LIMIT 1),
                (SELECT recorded_at FROM services_correctedentry ORDER BY id DESC LIMIT 1)),
                pg_postmaster_start_time())
 WHERE NOT EXISTS (SELECT FROM services_clockfloor WHERE life = pg_postmaster_start_time())
ON CONFLICT DO NOTHING
"""


def renew_clock() -> bool:
    """Store the newest recorded instant for this run of the server, if it is not stored yet.

    Returns whether it did so. One query, which writes nothing from the second time on.
    """
    with connection.cursor() as cursor:
        cursor.execute(RENEW)
        return bool(cursor.rowcount)
