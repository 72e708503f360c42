"""LOG_SQL shows statements, and nobody's e-mail unless it is told to."""

import subprocess
import sys

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError, connection

from pricebook.kit.sql_log import log_statement
from pricebook.tests.servers import on_this_database

EMAIL = "andrey@example.com"


@pytest.mark.django_db
class TestLogStatement:
    def test_shows_no_parameters_by_default(self, settings, caplog):
        settings.LOG_SQL = "statements"
        with caplog.at_level("DEBUG"), connection.execute_wrapper(log_statement):
            User.objects.filter(email=EMAIL).exists()
            User.objects.bulk_create([User(username="andrey", email=EMAIL)])

        select, insert = caplog.messages
        assert '"auth_user"."email" = %s' in select
        assert "INSERT INTO" in insert
        assert EMAIL not in caplog.text

    def test_shows_parameters_where_they_are_asked_for(self, settings, caplog):
        settings.LOG_SQL = "parameters"
        with caplog.at_level("DEBUG"), connection.execute_wrapper(log_statement):
            User.objects.filter(email=EMAIL).exists()

        assert EMAIL in caplog.text

    def test_shows_a_statement_that_fails(self, settings, caplog):
        settings.LOG_SQL = "statements"
        with (
            caplog.at_level("DEBUG"),
            connection.execute_wrapper(log_statement),
            pytest.raises(DatabaseError),
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT\n  no_such_column, %s", [EMAIL])

        assert caplog.messages[0].endswith("SELECT no_such_column, %s")
        assert EMAIL not in caplog.text


QUESTION = f"""
from django.contrib.auth.models import User
print(User.objects.filter(email={EMAIL!r}).exists())
"""


@pytest.mark.django_db
class TestSetting:
    """In a process of its own, as a person turns it on."""

    def log(self, **environment):
        result = subprocess.run(
            [sys.executable, "service/manage.py", "shell", "-v", "0", "-c", QUESTION],
            cwd=settings.BASE_DIR.parent,
            env=on_this_database() | {"SECRET_KEY": "x" * 50} | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return result.stderr

    @pytest.mark.parametrize("debug", ["0", "1"])
    def test_works_with_and_without_debug(self, debug):
        log = self.log(DEBUG=debug, LOG_SQL="statements", LOG_LEVEL="DEBUG")
        assert '"auth_user"."email" = %s' in log
        assert EMAIL not in log

    @pytest.mark.parametrize("debug", ["0", "1"])
    def test_is_off_by_default(self, debug):
        assert "SELECT" not in self.log(DEBUG=debug, LOG_SQL="off", LOG_LEVEL="DEBUG")
