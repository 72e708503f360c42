#!/usr/bin/env python
import os
import signal
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pricebook.settings")
    import psycopg.errors
    from django.core.management import execute_from_command_line
    from django.db import ProgrammingError

    try:
        execute_from_command_line(sys.argv)
    except ProgrammingError as error:
        # A statement may ask a function of ours before it reads a table.
        missing = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction)
        if not isinstance(error.__cause__, missing):
            raise
        reason = str(error).partition("\n")[0]
        sys.exit(f"The database is not ready ({reason}). First: ./pricebook manage migrate")
    except BrokenPipeError:
        # `… | head`: nobody reads on, and nothing is wrong. Python's last flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
