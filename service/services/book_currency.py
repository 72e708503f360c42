"""The minor unit that the database rounds by, and the setting: a start with two of them is refused.

The function `minor_unit` of the database has it, for the price rule and the constraints. `migrate`
sets it while the book is empty; a book with prices keeps it, because its history has amounts of it.
"""

from __future__ import annotations

import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection

from pricebook.kit.currency import minor_unit

EMPTY = """
SELECT NOT EXISTS (SELECT FROM services_service)
   AND NOT EXISTS (SELECT FROM services_cataloguevalue)
   AND NOT EXISTS (SELECT FROM services_ledgerentry)
"""
SET = """
CREATE OR REPLACE FUNCTION minor_unit() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN {digits}
"""


def settle() -> None:
    """Have the database of an empty book round by the unit of the setting; else refuse another.

    Nothing before the migration that makes the function. Two queries; six if it is set.
    """
    if not _is_there() or _of_the_database() == minor_unit():
        return
    with connection.cursor() as cursor:
        cursor.execute(EMPTY)
        (empty,) = cursor.fetchone()
        if empty:
            cursor.execute(SET.format(digits=minor_unit()))
            # No plan depends on a constant that it was made with. Those of this session and others
            # that have the rule in them are made anew if it is written anew.
            cursor.execute(
                "SELECT pg_get_functiondef('price_rule(numeric, integer)'::regprocedure)"
            )
            cursor.execute(*cursor.fetchone())
    refuse_another()


def refuse_another() -> None:
    """ImproperlyConfigured if the setting has another unit than the book. One query."""
    digits = _of_the_database()
    if digits != minor_unit():
        raise ImproperlyConfigured(
            f"CURRENCY={settings.CURRENCY} has {_decimals(minor_unit())}, and the prices of this"
            f" book are of a currency with {_decimals(digits)}: amounts can't be told apart once"
            " both are in it. Set CURRENCY to that one again, or begin another book, in a database"
            " of its own."
        )


def end_with_another() -> None:
    """End a web server or a worker, status 1, that would read the book with another unit.

    Called where one starts, which may be without `migrate`. Without a database that answers, or
    before its tables are made, there is nothing to compare. One query.
    """
    try:
        refuse_another()
    except ImproperlyConfigured as error:
        sys.exit(f"pricebook: {error}")
    except DatabaseError:
        return
    finally:
        connection.close()  # it is of the process that starts others


def _is_there() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regprocedure('minor_unit()') IS NOT NULL")
        return bool(cursor.fetchone()[0])


def _of_the_database() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT minor_unit()")
        return int(cursor.fetchone()[0])


def _decimals(digits: int) -> str:
    return f"{digits} decimals" if digits else "no decimals"
