"""Factories for tests: a call makes one valid record, together with all that it needs.

Names are never used twice, so a test may call any of them as often as it likes. Prices are never
given: the database knows them.
"""

from decimal import Decimal
from itertools import count

from django.contrib.auth.models import User
from django.db import connection
from rest_framework.test import APIClient

from clients.models import Client
from services.models import Plan, Service, Subscription, SubscriptionQuerySet

numbers = count(1)


def a_client(company_name: str = "", email: str = "", **fields: object) -> Client:
    number = next(numbers)
    user = User.objects.create(
        username=f"client {number}", email=email or f"client-{number}@example.com"
    )
    return Client.objects.create(
        user=user, company_name=company_name or f"Client {number} Ltd", **fields
    )


def a_service(full_price: Decimal | int | str = 250, name: str = "") -> Service:
    return Service.objects.create(
        name=name or f"Service {next(numbers)}", full_price=Decimal(full_price)
    )


def a_plan(discount_percent: int = 0, plan_type: str = "") -> Plan:
    """The plan of this discount, the one that is there already if there is one."""
    plan_type = plan_type or (Plan.Type.DISCOUNT if discount_percent else Plan.Type.FULL)
    return Plan.objects.get_or_create(plan_type=plan_type, discount_percent=discount_percent)[0]


def a_subscription(
    client: Client | None = None,
    service: Service | None = None,
    plan: Plan | None = None,
    **fields: object,
) -> Subscription:
    return Subscription.objects.create(
        client=client or a_client(), service=service or a_service(), plan=plan or a_plan(), **fields
    )


def a_reader() -> APIClient:
    """An API client that may read. Its authentication costs no query, so queries can be counted."""
    reader = APIClient()
    reader.force_authenticate(User(username="reader", is_staff=True, is_superuser=True))
    return reader


def a_book(
    subscriptions: int, services: int = 3, plans: int = 2, clients: int = 10
) -> SubscriptionQuerySet:
    """Many subscriptions, spread evenly over new services, plans and clients, and no two alike.

    Comments are "row 1", "row 2"…, external ids likewise, of one source for each call. Made by a
    few statements whatever the number, and analysed, so that plans are those of a live book
    (with the fixture `empty_files`: of this one alone).
    """
    number = next(numbers)
    made_services = [a_service(full_price=100 + 10 * n) for n in range(services)]
    made_plans = [a_plan(discount_percent=5 * n % 101) for n in range(plans)]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH login AS (
                INSERT INTO auth_user (username, email, password, first_name, last_name,
                                       is_superuser, is_staff, is_active, date_joined)
                SELECT format('book %%s client %%s', %(book)s, n),
                       format('client-%%s@book-%%s.example.com', n, %(book)s),
                       '!', '', '', false, false, true, now()
                  FROM generate_series(1, %(clients)s) n
                RETURNING id
            )
            INSERT INTO clients_client (user_id, company_name, full_address)
            SELECT id, format('Company %%s', id), '' FROM login
            RETURNING id
            """,
            {"book": number, "clients": clients},
        )
        client_ids = [id for (id,) in cursor.fetchall()]
        cursor.execute(
            """
            INSERT INTO services_subscription
                   (client_id, service_id, plan_id, price, comment, source, external_id)
            SELECT (%(clients)s::bigint[])[1 + n %% %(client_count)s], service.id, plan.id,
                   price_rule(service.full_price, plan.discount_percent::int),
                   format('row %%s', n), %(source)s, n
              FROM generate_series(1, %(subscriptions)s) n
              JOIN services_service service
                ON service.id = (%(services)s::bigint[])[1 + n %% %(service_count)s]
              JOIN services_plan plan
                ON plan.id = (%(plans)s::bigint[])[1 + n / %(service_count)s %% %(plan_count)s]
             ORDER BY n
            """,
            {
                "clients": client_ids,
                "client_count": clients,
                "services": [service.pk for service in made_services],
                "service_count": services,
                "plans": [plan.pk for plan in made_plans],
                "plan_count": plans,
                "source": f"book {number}",
                "subscriptions": subscriptions,
            },
        )
        cursor.execute(
            "ANALYZE services_subscription, services_service, services_plan, services_subtotal,"
            " services_ledgerentry, clients_client, auth_user"
        )
    return Subscription.objects.filter(source=f"book {number}")
