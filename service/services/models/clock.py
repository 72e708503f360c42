"""The clock of the book: the database's, and never behind what the book has recorded.

The SQL function `book_clock` decides (migration `0019_one_clock`), and a test that needs another
time replaces it. No host's clock, and no `now()`, says what is in force, due, ended or past.
"""

from datetime import datetime

from django.db import connection, models
from django.db.models import Func


class Clock(Func):
    """The instant at which it is evaluated: a writer's, who asks for it after its locks."""

    function = "book_clock"
    output_field = models.DateTimeField()


class BookNow(Func):
    """The instant of the statement, the same in all of its rows: a reader's."""

    function = "book_now"
    template = "(SELECT %(function)s())"  # once a statement, and not for each row that it reads
    output_field = models.DateTimeField()


def book_clock() -> datetime:
    """The instant at which it is asked. One query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT book_clock()")
        (instant,) = cursor.fetchone()
    found: datetime = instant
    return found


# The newest instant that was recorded before this life of the server.
RENEW = """
WITH gone AS (
    DELETE FROM services_clockfloor WHERE life <> pg_postmaster_start_time()
)
INSERT INTO services_clockfloor (life, floor)
SELECT pg_postmaster_start_time(),
       coalesce(greatest(
                (SELECT recorded_at FROM services_ledgerentry ORDER BY id DESC LIMIT 1),
                (SELECT recorded_at FROM services_movedfollowers ORDER BY id DESC LIMIT 1)),
                pg_postmaster_start_time())
 WHERE NOT EXISTS (SELECT FROM services_clockfloor WHERE life = pg_postmaster_start_time())
ON CONFLICT DO NOTHING
"""


def renew_clock() -> bool:
    """Note the newest recorded instant for this life of the server, where it is not noted yet.

    Tells whether it was. One query, which writes nothing from the second time on.
    """
    with connection.cursor() as cursor:
        cursor.execute(RENEW)
        return bool(cursor.rowcount)
