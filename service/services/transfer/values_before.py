"""The values that an import is about to replace, and what it is about to make.

Its job keeps them with the results of the lines, so that an undo can give them back. Each statement
makes a temporary table, which is gone at the end of the import's transaction:

    new_service, new_plan, new_client                    of the file, and not in the book
    service_before, client_before, subscription_before   the records that differ from the file
"""

from __future__ import annotations

NEW_SERVICES = """
CREATE TEMP TABLE new_service ON COMMIT DROP AS
SELECT name FROM incoming_service
 WHERE NOT EXISTS (SELECT FROM services_service book WHERE book.name = incoming_service.name)
"""
NEW_PLANS = """
CREATE TEMP TABLE new_plan ON COMMIT DROP AS
SELECT plan_type, discount_percent FROM incoming_plan
 WHERE NOT EXISTS (SELECT FROM services_plan book
                    WHERE (book.plan_type, book.discount_percent) =
                          (incoming_plan.plan_type, incoming_plan.discount_percent))
"""
NEW_CLIENTS = """
CREATE TEMP TABLE new_client ON COMMIT DROP AS
SELECT key FROM incoming_client WHERE client_id IS NULL
"""
SERVICES_BEFORE = """
CREATE TEMP TABLE service_before ON COMMIT DROP AS
SELECT DISTINCT id, book.full_price
  FROM incoming_service JOIN services_service book USING (name)
 WHERE book.full_price <> incoming_service.full_price
"""
CLIENTS_BEFORE = """
CREATE TEMP TABLE client_before ON COMMIT DROP AS
SELECT id, book.company_name, book.full_address
  FROM incoming_client JOIN clients_client book ON book.id = client_id
 WHERE book.company_name <> incoming_client.company_name
    OR book.full_address <> incoming_client.full_address
"""
SUBSCRIPTIONS_BEFORE = """
CREATE TEMP TABLE subscription_before ON COMMIT DROP AS
SELECT id, client_id, service_id, plan_id, comment, stamp, started_at, ended_at, price, price_state,
       locked_until, price_reason
  FROM services_subscription WHERE id IN (SELECT subscription_id FROM difference)
"""
OF_CATALOGUE = (NEW_SERVICES, NEW_PLANS)
OF_DIFFERENCES = (SERVICES_BEFORE, CLIENTS_BEFORE, NEW_CLIENTS)
TABLES = (
    "new_service", "new_plan", "new_client", "service_before", "client_before",
    "subscription_before",
)  # fmt: skip
