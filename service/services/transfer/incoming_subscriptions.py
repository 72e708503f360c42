"""The statements by which an import checks its lines, and compares and writes subscriptions.

`matching` has those that find them.
"""

from __future__ import annotations

from services.transfer.csv_file import COLUMNS, BadBook
from services.transfer.formats import instant

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
HAS_OWN_PRICE = "coalesce(price_state IN ('locked', 'negotiated'), false)"
NOT_THE_RULE = f"""
SELECT line, 'price', price::text,
       format('is not the price of %s at %s %% off, which is %s; correct it, or leave it empty, or'
              ' say its price_state: locked or negotiated',
              full_price, discount_percent, price_rule(full_price, discount_percent))
  FROM incoming
 WHERE price <> price_rule(full_price, discount_percent) AND NOT {HAS_OWN_PRICE}
   AND (ended_at IS NULL OR ended_at > (SELECT book_now()))
"""  # noqa: S608 - constants
HALF_A_STATE = f"""
SELECT line, field, value, reason
  FROM incoming
 CROSS JOIN LATERAL (VALUES
       ('price', price IS NULL AND {HAS_OWN_PRICE}, '',
        format('is missing: a price that is %s is told', price_state)),
       ('locked_until', locked_until IS NOT NULL AND price_state IS DISTINCT FROM 'locked',
        locked_until::text, 'is the end of a lock, and goes with price_state locked alone'),
       ('locked_until', price_state = 'locked' AND locked_until <= least(
                (SELECT book_now()), ended_at - interval '1 microsecond'),
        locked_until::text, 'has passed, so it follows: give price_state follows and no price'),
       ('price_reason', price_reason <> '' AND NOT {HAS_OWN_PRICE},
        price_reason, 'goes with price_state locked or negotiated')
       ) half (field, is_wrong, value, reason)
 WHERE is_wrong
"""  # noqa: S608 - constants
# For what is active the book's own price is the right one. The price that a subscription ended with
# may not be copied yet: only another one is written.
IN_FORCE = "(SELECT price FROM subscription_in_force stands WHERE stands.id = book.id)"
HAS_ENDED = "incoming.ended_at <= (SELECT book_now())"
PRICE_IT_ENDED_WITH = f"""
CASE WHEN {HAS_ENDED} AND incoming.price <> {IN_FORCE} THEN incoming.price ELSE book.price END
"""
SUBSCRIPTIONS_DIFFER = """
CREATE TEMP TABLE difference ON COMMIT DROP AS
SELECT line, subscription_id, differing, here, there
  FROM known
  JOIN incoming USING (line)
  JOIN services_subscription book ON book.id = subscription_id
  JOIN services_service service ON service.id = book.service_id
  JOIN services_plan plan ON plan.id = book.plan_id
  JOIN clients_client client ON client.id = book.client_id
  JOIN auth_user login ON login.id = client.user_id
  {states}
 CROSS JOIN LATERAL (VALUES {values}) compared (differing, here, there)
 WHERE here IS DISTINCT FROM there
"""
HERE, THERE = (instant(f"{table}.{{0}}") for table in ("incoming", "book"))
COMPARED = {
    "email": (
        "incoming.email",
        "CASE WHEN lower(login.email) = lower(incoming.email) THEN incoming.email"
        " ELSE login.email END",
    ),
    "service": ("incoming.service", "service.name"),
    "plan_type": ("incoming.plan_type", "plan.plan_type"),
    "discount_percent": ("incoming.discount_percent::text", "plan.discount_percent::text"),
    "source": ("incoming.source", "book.source"),
    "external_id": ("incoming.external_id", "book.external_id"),
    "started_at": (HERE.format("started_at"), THERE.format("started_at")),
    "ended_at": (HERE.format("ended_at"), THERE.format("ended_at")),
    "comment": ("incoming.comment", "book.comment"),
    "stamp": ("incoming.stamp", "book.stamp"),
    "price": (
        f"(CASE WHEN {HAS_ENDED} THEN coalesce(incoming.price, {IN_FORCE}) END)::text",
        f"(CASE WHEN {HAS_ENDED} THEN {IN_FORCE} END)::text",
    ),
}
SAYS_OWN_PRICE = "incoming.price_state IN ('locked', 'negotiated')"
# Lines say the price of one that has not ended. If it has, the price alone is compared:
# its state is what the book has made of that, and is no fact that a line could change.
SAYS_STATE = f"incoming.price_state IS NOT NULL AND ({HAS_ENDED}) IS NOT TRUE"
HAS_NOT_ENDED = "(book.ended_at <= (SELECT book_now())) IS NOT TRUE"
STATES = {
    "price_state": ("incoming.price_state", "stands.price_state"),
    "locked_until": (HERE.format("locked_until"), instant("stands.locked_until")),
    "price_reason": ("incoming.price_reason", "stands.price_reason"),
    "price": (
        f"(CASE WHEN {SAYS_OWN_PRICE} THEN incoming.price END)::text",
        f"(CASE WHEN {SAYS_OWN_PRICE} THEN stands.price END)::text",
    ),
}
STANDS = "JOIN subscription_in_force stands ON stands.id = book.id"


def subscriptions_differ(columns: list[str]) -> str:
    """The statement that compares known lines with the book, for a file that has these columns."""
    values = [
        f"('{name}', {here}, {there})"
        for name, (here, there) in COMPARED.items()
        if name in columns
    ]
    if "price_state" in columns:
        says = SAYS_STATE if "ended_at" in columns else f"{SAYS_STATE} AND {HAS_NOT_ENDED}"
        values += [
            f"('{name}', CASE WHEN {says} THEN {here} END, CASE WHEN {says} THEN {there} END)"
            for name, (here, there) in STATES.items()
        ]
    stands = STANDS if "price_state" in columns else ""
    return SUBSCRIPTIONS_DIFFER.format(states=stands, values=", ".join(values))


# As the verbs refuse it. A file may bring it for a new one, as it may stand in a book.
NO_REASON = """
SELECT DISTINCT line, 'price_reason', '', 'is empty; a locked or negotiated price has a reason'
  FROM difference JOIN incoming USING (line)
 WHERE price_state IN ('locked', 'negotiated') AND price_reason = ''
   AND (differing IN ('price_state', 'locked_until', 'price_reason')
        OR differing = 'price' AND (ended_at <= (SELECT book_now())) IS NOT TRUE)
"""
IF_UPDATED = {"code": "differs", "answers": ("update=true",)}
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
    "source": "incoming.source",
    "external_id": "incoming.external_id",
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


# As the verbs of `price_state` write them: a follower is given the rule's price, no end, no reason.
# It comes after the other values, because a move to another service or plan ends a state.
UPDATE_STATES = f"""
UPDATE services_subscription book
   SET price_state = incoming.price_state,
       locked_until = incoming.locked_until,
       price_reason = incoming.price_reason,
       price = CASE WHEN {SAYS_OWN_PRICE} THEN incoming.price END
  FROM incoming
  JOIN (SELECT DISTINCT line, subscription_id FROM difference) changed USING (line)
  JOIN subscription_in_force stands ON stands.id = subscription_id
 WHERE book.id = subscription_id AND {SAYS_STATE} AND {HAS_NOT_ENDED}
   AND ((stands.price_state, stands.locked_until)
        IS DISTINCT FROM (incoming.price_state, incoming.locked_until)
        OR {SAYS_OWN_PRICE} AND (stands.price, stands.price_reason)
           <> (incoming.price, incoming.price_reason))
"""  # noqa: S608 - constants

# The rule's price is written here, so that the trigger that keeps the rule has nothing to fix. In
# the order of the file: neighbours then have different services, and a repricing of one finds room
# on every page (HOT).
INSERT_SUBSCRIPTIONS = f"""
INSERT INTO services_subscription (client_id, service_id, plan_id, price, price_state, locked_until,
                                   price_reason, comment, stamp, source, external_id, started_at,
                                   ended_at)
SELECT client_id, service.id, plan.id,
       CASE WHEN {SAYS_OWN_PRICE}
              OR incoming.ended_at <= (SELECT book_now()) AND incoming.price IS NOT NULL
            THEN incoming.price
            ELSE price_rule(service.full_price, incoming.discount_percent) END,
       coalesce(incoming.price_state, 'follows'), incoming.locked_until,
       coalesce(incoming.price_reason, ''), coalesce(comment, ''), stamp, incoming.source,
       incoming.external_id, started_at, ended_at
  FROM incoming
  JOIN incoming_client ON key = lower(incoming.email)
  JOIN services_service service ON service.name = service
  JOIN services_plan plan USING (plan_type, discount_percent)
 WHERE incoming.line > %s AND incoming.line <= %s
   AND NOT EXISTS (SELECT FROM known WHERE known.line = incoming.line)
 ORDER BY incoming.line
"""  # noqa: S608 - constants


def first_of(problems: str) -> str:
    """The first problems by line, each with the number of all."""
    return (
        f"SELECT *, count(*) OVER () FROM ({problems}) problem (line)"  # noqa: S608 - constants
        f" ORDER BY line LIMIT {BadBook.LIMIT}"
    )
