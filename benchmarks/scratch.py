"""A book for one run: a database made for it beside the user's, filled, and dropped after it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection


def shape(subscriptions: int) -> tuple[int, int]:
    """The numbers of services and plans: as in the real book of 29,202 rows, or a big company's."""
    return (10, 2) if subscriptions < 100_000 else (50, 8)


@contextmanager
def scratch_book(
    name: str, subscriptions: int, services_and_plans: tuple[int, int] | None = None
) -> Iterator[None]:
    """Connect Django to a migrated database with so many subscriptions."""
    with scratch_database(name):
        fill(subscriptions, services_and_plans)
        yield


@contextmanager
def scratch_database(name: str) -> Iterator[None]:
    """Connect Django to a migrated database without rows."""
    before = connection.settings_dict["NAME"]
    with connection._nodb_cursor() as guard:
        # Databases of killed runs are dropped; those of running ones are kept.
        guard.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [f"bench_{name}"])
        if guard.fetchone() != (True,):
            sys.exit(f"pricebook bench: {name} runs already on this server; let it end first.")
        try:
            connection.settings_dict["TEST"]["NAME"] = f"bench_{name}"
            connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
            try:
                yield
            finally:
                connection.creation.destroy_test_db(before, verbosity=0)
        finally:
            # The server ends a closed session a moment later: the next run would find it locked.
            guard.execute("SELECT pg_advisory_unlock(hashtext(%s))", [f"bench_{name}"])


@contextmanager
def copy_of_the_book() -> Iterator[None]:
    """Copy the book into new files, which one run changes and the next one does not see."""
    original = connection.settings_dict["NAME"]
    copy = f"{original}_copy"
    connection.close()
    on_server(f'DROP DATABASE IF EXISTS "{copy}"')
    on_server(f'CREATE DATABASE "{copy}" TEMPLATE "{original}" STRATEGY file_copy')
    connection.settings_dict["NAME"] = copy
    try:
        # Hint bits are set once; the copying itself ends with a checkpoint.
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(price) FROM services_subscription")
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = original
        # Waits for the session of a worker that was killed. (WITH (FORCE) doesn't, but may not end
        # an autovacuum, which the plain one may.)
        on_server(f'DROP DATABASE "{copy}"')


def outside() -> psycopg.Connection[Any]:
    """A connection to the database outside Django, like that of psql."""
    parameters = connection.get_connection_params()
    names = ("dbname", "user", "password", "host", "port")
    return psycopg.connect(
        **{name: parameters[name] for name in names if name in parameters}, autocommit=True
    )


def environment_of_the_book() -> dict[str, str]:
    """The environment with which another process of ours finds this connection's database."""
    database = connection.settings_dict
    return {name: os.environ[name] for name in os.environ if name != "DATABASE_URL"} | {
        "DB_HOST": database["HOST"],
        "DB_NAME": database["NAME"],
        "DB_USER": database["USER"],
        "DB_PASS": database["PASSWORD"],
        "PGPORT": str(database["PORT"] or os.environ.get("PGPORT", "")),
    }


def on_server(statement: str) -> None:
    with connection._nodb_cursor() as cursor:
        cursor.execute(statement)


def fill(subscriptions: int, services_and_plans: tuple[int, int] | None = None) -> None:
    """Insert rows as years of business leave them: client, service and plan in no order.

    Five subscriptions a client, four of each source, and the same book in each run.
    """
    services, plans = services_and_plans or shape(subscriptions)
    say(f"a book of {subscriptions:,} subscriptions to {services} services by {plans} plans…")
    with connection.cursor() as cursor:
        cursor.execute("SELECT setseed(0.5)")
        cursor.execute(
            """
            WITH login AS (
                INSERT INTO auth_user (username, email, password, first_name, last_name,
                                       is_superuser, is_staff, is_active, date_joined)
                SELECT 'client ' || n, 'client-' || n || '@example.com', '!', '', '',
                       false, false, true, now()
                  FROM generate_series(1, greatest(1, %s / 5)) n
                RETURNING id
            )
            INSERT INTO clients_client (user_id, company_name, full_address)
            SELECT id, 'Company ' || id, '' FROM login
            """,
            [subscriptions],
        )
        cursor.execute(
            "INSERT INTO services_service (name, full_price)"
            " SELECT 'Service ' || n, 100 + n FROM generate_series(1, %s) n",
            [services],
        )
        cursor.execute(
            "INSERT INTO services_plan (plan_type, discount_percent)"
            " SELECT 'discount', 5 * n FROM generate_series(0, %s) n",
            [plans - 1],
        )
        cursor.execute(
            """
            INSERT INTO services_subscription
                   (client_id, service_id, plan_id, price, comment, source, external_id)
            SELECT client_id, service.id, plan.id,
                   price_rule(service.full_price, plan.discount_percent::int),
                   'row ' || n, 'source ' || n %% greatest(1, %(rows)s / 4), n
              FROM (SELECT n,
                           (SELECT min(id) FROM clients_client)
                               + floor(random() * greatest(1, %(rows)s / 5))::int AS client_id,
                           (SELECT min(id) FROM services_service)
                               + floor(random() * %(services)s)::int AS service_id,
                           (SELECT min(id) FROM services_plan)
                               + floor(random() * %(plans)s)::int AS plan_id
                      FROM generate_series(1, %(rows)s) n) row
              JOIN services_service service ON service.id = row.service_id
              JOIN services_plan plan ON plan.id = row.plan_id
             ORDER BY n
            """,
            {"rows": subscriptions, "services": services, "plans": plans},
        )
        cursor.execute("VACUUM ANALYZE")


def say(message: str) -> None:
    """Print progress to standard error; the result goes to standard output."""
    print(message, file=sys.stderr, flush=True)
