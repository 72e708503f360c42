"""Statements that are planned once a connection: what is kept, and what becomes of it."""

from datetime import UTC

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction

from clients.models import Client
from pricebook.kit import prepared
from pricebook.kit.prepared import prepared_cursor
from services.models import Subscription
from services.tests.factories import a_client, a_reader, a_subscription

NAME = "SELECT company_name FROM clients_client WHERE id = %s"


def read(statement, *params):
    with prepared_cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall()


def kept():
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [statement for (statement,) in cursor.fetchall()]


@pytest.mark.django_db
class TestPreparedCursor:
    def test_keeps_one_plan_for_all_values(self):
        clients = [a_client(), a_client()]
        names = [read(NAME, client.pk) for client in clients]
        assert names == [[(client.company_name,)] for client in clients]
        assert kept() == [NAME.replace("%s", "$1")]

    def test_leaves_other_statements_alone(self):
        read(NAME, 1)
        for _ in range(10):
            list(Client.objects.filter(pk=1))
        assert len(kept()) == 1

    def test_keeps_nothing_where_the_server_behind_may_change(self, settings):
        settings.PREPARED_STATEMENTS = False
        client = a_client()
        assert read(NAME, client.pk) == [(client.company_name,)]
        assert kept() == []

    def test_reads_instants_as_django_does(self):
        a_subscription()
        [(instant,)] = Subscription.objects.values_list("started_at")
        [(read_here,)] = read("SELECT started_at FROM services_subscription")
        assert read_here == instant
        assert read_here.tzinfo is instant.tzinfo is UTC

    def test_passes_on_in_a_transaction_that_a_column_was_altered(self):
        """The transaction has failed with the statement, and its owner must know."""
        read(NAME, 1)
        altered(Client, "company_name")
        with pytest.raises(DatabaseError, match="cached plan must not change result type"):
            read(NAME, 1)


@pytest.fixture
def shared(monkeypatch):
    """Another one's session, as a pooler hands it out: psycopg does not know of it."""
    monkeypatch.setattr(prepared, "_sessions_are_shared", False)
    client = a_client()
    read(NAME, client.pk)  # psycopg has a plan for each size of whole numbers
    connection.connection.pgconn.exec_(b"DEALLOCATE ALL")
    return client


@pytest.mark.django_db(transaction=True)
class TestSharedSessions:
    def test_are_answered_and_nothing_more_is_prepared_and_the_log_says_why(self, shared, caplog):
        for _ in range(2):
            assert read(NAME, shared.pk) == [(shared.company_name,)]
        assert kept() == []
        [said] = [each.getMessage() for each in caplog.records]
        assert "DB_STARTUP_OPTIONS= (empty)" in said

    def test_are_lost_connections_in_a_transaction(self, shared):
        with pytest.raises(OperationalError), transaction.atomic():
            read(NAME, shared.pk)


def altered(model, name, longer=1):
    """As by a migration in another session: psycopg forgets its plans at an ALTER that it sees."""
    length = model._meta.get_field(name).max_length + longer
    alter = f"ALTER TABLE {model._meta.db_table} ALTER {name} TYPE varchar({length})"
    result = connection.connection.pgconn.exec_(alter.encode())
    assert not result.error_message


@pytest.mark.django_db(transaction=True)
class TestAlteredColumn:
    """A migration while the web server runs."""

    @pytest.fixture(autouse=True)
    def as_before(self):
        yield
        altered(Client, "company_name", longer=0)

    def test_is_planned_for_anew(self):
        client = a_client()
        assert read(NAME, client.pk) == [(client.company_name,)]
        altered(Client, "company_name")
        assert read(NAME, client.pk) == [(client.company_name,)]
        assert len(kept()) == 1

    def test_is_no_error_of_the_list(self):
        subscription = a_subscription()
        reader = a_reader()
        for _ in range(2):
            answer = reader.get("/api/subscriptions/")
            assert [row["id"] for row in answer.data["result"]] == [subscription.pk]
            altered(Client, "company_name")
