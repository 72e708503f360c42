"""The statements by which an import checks its lines, and finds and writes subscriptions."""

from __future__ import annotations

from services.transfer.csv_file import COLUMNS, BadBook

INCOMING = f"""
CREATE TEMP TABLE incoming (
    line bigint, {", ".join(f"{name} {column.type}" for name, column in COLUMNS.items())}
) ON COMMIT DROP
"""
CONTRADICTION = """
SELECT line, '{column}', value,
       format('contradicts line %s, which gives %s for %s', first_line, first_value, key)
  FROM (SELECT *, first_value(line) OVER same AS first_line,
               first_value(value) OVER same AS first_value
          FROM (SELECT min(line) AS line, {key} AS key, {column}::text AS value
                  FROM incoming GROUP BY {key}, {column}) named
        WINDOW same AS (PARTITION BY key ORDER BY line)) compared
 WHERE value <> first_value
"""
TWICE = """
SELECT line, 'external_id', external_id,
       format('is on line %s too (source %s); an external id stands for one subscription',
              first_line, source)
  FROM incoming
  JOIN (SELECT source, external_id, min(line) AS first_line FROM incoming
         WHERE source IS NOT NULL GROUP BY source, external_id HAVING count(*) > 1) twice
       USING (source, external_id)
 WHERE line > first_line
"""
HALF_A_KEY = """
SELECT line, 'external_id', coalesce(external_id, ''),
       format('does not go with source %s; give both or neither', quote_nullable(source))
  FROM incoming WHERE (source IS NULL) <> (external_id IS NULL)
"""
ENDS_BEFORE_START = """
SELECT line, 'ended_at', ended_at::text,
       format('is not after the start, %s; a subscription ends after it has started', started_at)
  FROM incoming WHERE ended_at <= started_at
"""
NOT_THE_RULE = """
SELECT line, 'price', price::text,
       format('is not the price of %s at %s %% off, which is %s; correct it, or leave it empty',
              full_price, discount_percent, price_rule(full_price, discount_percent))
  FROM incoming
 WHERE price <> price_rule(full_price, discount_percent)
   AND (ended_at IS NULL OR ended_at > (SELECT book_now()))
"""
KNOWN = """
CREATE TEMP TABLE known ON COMMIT DROP AS
SELECT line, book.id AS subscription_id
  FROM incoming JOIN services_subscription book USING (source, external_id)
 UNION ALL
SELECT line, book.id
  FROM (SELECT incoming.line, client_id, service.id AS service_id, started_at,
               row_number() OVER (PARTITION BY client_id, service.id, started_at
                   ORDER BY plan_type, discount_percent, ended_at, comment, incoming.line
               ) AS nth
          FROM incoming
          JOIN incoming_client ON key = lower(incoming.email)
          JOIN services_service service ON service.name = service
         WHERE incoming.source IS NULL) here
  JOIN (SELECT book.id, client_id, service_id, started_at,
               row_number() OVER (PARTITION BY client_id, service_id, started_at
                   ORDER BY plan_type, discount_percent, ended_at, comment, book.id) AS nth
          FROM services_subscription book JOIN services_plan plan ON plan.id = plan_id
         WHERE book.source IS NULL) book
       USING (client_id, service_id, started_at, nth)
"""
# For what is active the book's own price is the right one. The price that a subscription ended with
# may not be copied yet: only another one is written.
IN_FORCE = "(SELECT price FROM subscription_in_force stands WHERE stands.id = book.id)"
HAS_ENDED = "incoming.ended_at <= (SELECT book_now())"
PRICE_IT_ENDED_WITH = f"""
CASE WHEN {HAS_ENDED} AND incoming.price <> {IN_FORCE} THEN incoming.price ELSE book.price END
"""
SUBSCRIPTIONS_DIFFER = f"""
CREATE TEMP TABLE difference ON COMMIT DROP AS
SELECT line, subscription_id, differing, here, there
  FROM known
  JOIN incoming USING (line)
  JOIN services_subscription book ON book.id = subscription_id
  JOIN services_service service ON service.id = book.service_id
  JOIN services_plan plan ON plan.id = book.plan_id
  JOIN clients_client client ON client.id = book.client_id
  JOIN auth_user login ON login.id = client.user_id
 CROSS JOIN LATERAL (VALUES
       ('email', lower(incoming.email), lower(login.email)),
       ('service', incoming.service, service.name),
       ('plan_type', incoming.plan_type, plan.plan_type),
       ('discount_percent', incoming.discount_percent::text, plan.discount_percent::text),
       ('started_at', incoming.started_at::text, book.started_at::text),
       ('ended_at', incoming.ended_at::text, book.ended_at::text),
       ('comment', incoming.comment, book.comment),
       ('stamp', incoming.stamp, book.stamp),
       ('price', (CASE WHEN {HAS_ENDED} THEN coalesce(incoming.price, {IN_FORCE}) END)::text,
                 (CASE WHEN {HAS_ENDED} THEN {IN_FORCE} END)::text)
       ) compared (differing, here, there)
 WHERE here IS DISTINCT FROM there AND differing = ANY (%s)
"""  # noqa: S608 - a constant, no input
DIFFERENCES = """
SELECT line, differing, coalesce(here, ''),
       format('differs from the book''s %L of subscription %s', coalesce(there, ''),
              subscription_id)
  FROM difference
"""
UPDATE_SUBSCRIPTIONS = """
UPDATE services_subscription book
   SET client_id = incoming_client.client_id, service_id = service.id, plan_id = plan.id,
       started_at = incoming.started_at {assignments}
  FROM incoming
  JOIN incoming_client ON key = lower(incoming.email)
  JOIN services_service service ON service.name = incoming.service
  JOIN services_plan plan USING (plan_type, discount_percent)
  JOIN (SELECT DISTINCT line, subscription_id FROM difference) changed
    ON changed.line = incoming.line
 WHERE book.id = subscription_id
"""
ASSIGNMENTS = {
    "ended_at": "incoming.ended_at",
    "comment": "incoming.comment",
    "stamp": "incoming.stamp",
    "price": PRICE_IT_ENDED_WITH,
}


def assignments(columns: list[str]) -> str:
    """The assignments of UPDATE_SUBSCRIPTIONS for a file that has these columns."""
    return "".join(
        f", {column} = {value}" for column, value in ASSIGNMENTS.items() if column in columns
    )


# The rule's price is written here, so that the trigger that keeps the rule has nothing to fix. In
# the order of the file: neighbours then have different services, and a repricing of one finds room
# on every page (HOT).
INSERT_SUBSCRIPTIONS = """
INSERT INTO services_subscription (client_id, service_id, plan_id, price, comment, stamp,
                                   source, external_id, started_at, ended_at)
SELECT client_id, service.id, plan.id,
       CASE WHEN incoming.ended_at <= (SELECT book_now()) AND incoming.price IS NOT NULL
            THEN incoming.price
            ELSE price_rule(service.full_price, incoming.discount_percent) END,
       coalesce(comment, ''), stamp, incoming.source, incoming.external_id, started_at, ended_at
  FROM incoming
  JOIN incoming_client ON key = lower(incoming.email)
  JOIN services_service service ON service.name = service
  JOIN services_plan plan USING (plan_type, discount_percent)
 WHERE incoming.line > %s AND incoming.line <= %s
   AND NOT EXISTS (SELECT FROM known WHERE known.line = incoming.line)
 ORDER BY incoming.line
"""


def first_of(problems: str) -> str:
    """The first problems by line, each with the number of all."""
    return (
        f"SELECT *, count(*) OVER () FROM ({problems}) problem (line)"  # noqa: S608 - constants
        f" ORDER BY line LIMIT {BadBook.LIMIT}"
    )
