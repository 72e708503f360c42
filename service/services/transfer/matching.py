"""The statements that find which line of an import is which subscription of the book.

    its id in the book      if the subscription is, or once was, the line's client's, and of the
                            line's service or start: ids of another book mean nothing here
    source, external_id
    equality                of the lines without these: in client, service, start and all that the
                            file has; of several equal ones any, because nothing differs
    what is left over       one line and one subscription of a client, service and start

A line that is still without one is new, unless a subscription is left that it may have been before
somebody edited what it is known by. Such a line is unclear.

They run only where the book has subscriptions; `known` and `unknown` are temporary tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from services.transfer.look_alikes import IDS_ALIKE, IDS_ALIKE_IN_BOOK

KNOWN = """
CREATE TEMP TABLE known ON COMMIT DROP AS
SELECT line, book.id AS subscription_id
  FROM incoming JOIN services_subscription book USING (source, external_id)
"""
# The lines with an id that means this book's subscription.
MEANT = """
  FROM incoming
  JOIN services_subscription book ON book.id = incoming.id
  JOIN services_service service ON service.id = book.service_id
  JOIN clients_client client ON client.id = book.client_id
  JOIN auth_user login ON login.id = client.user_id
 {known}
 WHERE (lower(login.email) = lower(incoming.email)
        OR client.company_name = incoming.company_name
        OR EXISTS (SELECT FROM services_ledgerentry JOIN incoming_client USING (client_id)
                    WHERE subscription_id = book.id AND key = lower(incoming.email)))
   AND (service.name = incoming.service
        OR book.started_at = incoming.started_at
        OR EXISTS (SELECT FROM services_ledgerentry entry
                     JOIN services_service once ON once.id = entry.service_id
                    WHERE subscription_id = book.id
                      AND (once.name = incoming.service
                           OR entry.started_at = incoming.started_at)))
"""
# Behind `KNOWN`: its id finds a subscription whose ids elsewhere have been changed since.
BY_ID = f"""
INSERT INTO known SELECT line, book.id {MEANT.format(known="LEFT JOIN known USING (line)")}
   AND known.line IS NULL
"""
ID_OF_ANOTHER = f"""
SELECT line, 'id', incoming.id::text,
       format('is not the subscription of this source and external id, which is %s; correct one of'
              ' them', subscription_id) {MEANT.format(known="JOIN known USING (line)")}
   AND subscription_id <> incoming.id
"""
TWO_OF_ONE = """
SELECT line, 'id', subscription_id::text,
       format('is the subscription of line %s too; a line stands for one subscription', first_line)
  FROM (SELECT line, subscription_id,
               min(line) OVER (PARTITION BY subscription_id) AS first_line FROM known) found
 WHERE line > first_line
"""
# Left over so far; services that the file brings are there by now.
UNKNOWN = """
CREATE TEMP TABLE unknown ON COMMIT DROP AS
SELECT incoming.*, client_id, book.id AS service_id, plan.id AS plan_id, given.is_new AS new_service
  FROM incoming
  JOIN incoming_client ON key = lower(incoming.email)
  JOIN incoming_service given ON given.name = incoming.service
  JOIN services_service book ON book.name = incoming.service
  JOIN services_plan plan USING (plan_type, discount_percent)
 WHERE NOT EXISTS (SELECT FROM known WHERE known.line = incoming.line)
"""
LEFT_OVER = """
SELECT count(*) FROM unknown WHERE NOT EXISTS (SELECT FROM known WHERE known.line = unknown.line)
"""
# The subscriptions that an unknown line without ids elsewhere may be, in force, and without a line.
LEFT = """
SELECT book.id, client_id, service_id, plan_id, book.started_at, book.ended_at, comment,
       price_state, locked_until, price_reason, price
  FROM subscription_in_force book
 WHERE (client_id, service_id, book.started_at) IN (
       SELECT client_id, service_id, started_at FROM unknown WHERE source IS NULL)
   AND NOT EXISTS (SELECT FROM known WHERE subscription_id = book.id)
"""
KEY = ("client_id", "service_id", "started_at", "plan_id")
ENDED = "ended_at <= (SELECT book_now())"
OWN = f"coalesce(price_state <> 'follows' AND ({ENDED}) IS NOT TRUE, false)"
# The values that an unknown line has beside its key, as text, so that nothing is null.
SAYS = {
    "ended_at": "coalesce(ended_at::text, '')",
    "comment": "comment",
    "price": f"coalesce(CASE WHEN {ENDED} THEN price END::text, '')",
}
# One that has ended has no other state than its price.
SAYS_OF_STATE = {
    "price_state": f"CASE WHEN {OWN} THEN price_state ELSE '' END",
    "locked_until": f"CASE WHEN {OWN} THEN coalesce(locked_until::text, '') ELSE '' END",
    "price_reason": f"CASE WHEN {OWN} THEN price_reason ELSE '' END",
    "price": f"coalesce(CASE WHEN {ENDED} OR {OWN} THEN price END::text, '')",
}
EQUAL = """
INSERT INTO known
SELECT line, there.id
  FROM (SELECT line, row_number() OVER (PARTITION BY {here} ORDER BY line) AS nth, {here_as}
          FROM unknown
         WHERE source IS NULL
           AND NOT EXISTS (SELECT FROM known WHERE known.line = unknown.line)) here
  JOIN (SELECT id, row_number() OVER (PARTITION BY {here} ORDER BY id) AS nth, {here_as}
          FROM ({left}) book) there USING (nth, {columns})
"""
# One line and one subscription that are alike.
ALONE = """
INSERT INTO known
SELECT here.line, there.id
  FROM (SELECT {columns}, min(line) AS line FROM unknown
         WHERE source IS NULL
           AND NOT EXISTS (SELECT FROM known WHERE known.line = unknown.line)
         GROUP BY {columns} HAVING count(*) = 1) here
  JOIN (SELECT {columns}, min(id) AS id FROM ({left}) book
         GROUP BY {columns} HAVING count(*) = 1) there USING ({columns})
"""


def by_equality(columns: list[str]) -> list[str]:
    """The statements that match the lines without ids elsewhere, of a file with these columns."""
    says = SAYS | SAYS_OF_STATE if "price_state" in columns else SAYS
    said = {name: text for name, text in says.items() if name in columns}
    here = ", ".join([*KEY, *said.values()])
    here_as = ", ".join([*KEY, *(f"{text} AS says_{name}" for name, text in said.items())])
    names = ", ".join([*KEY, *(f"says_{name}" for name in said)])
    return [
        EQUAL.format(here=here, here_as=here_as, columns=names, left=LEFT),
        *(ALONE.format(columns=", ".join(key), left=LEFT) for key in (KEY, KEY[:3])),
    ]


# A line that is known says a service that the book has not: it was renamed since, or is to be new.
RENAMED = """
SELECT incoming.line, 'service', incoming.service,
       format('is no service of the book, where subscription %s has %L: write that name, or add the'
              ' service first', subscription_id, service.name)
  FROM incoming_service given
  JOIN incoming ON incoming.service = given.name
  JOIN known ON known.line = incoming.line
  JOIN services_subscription book ON book.id = subscription_id
  JOIN services_service service ON service.id = book.service_id
 WHERE is_new
"""
# The subscriptions that an unknown line may have been: by what the book knows of its past, too.
# Ids elsewhere tell apart what has ids of the same source.
MAY_BE = """
SELECT line, book.id
  FROM unknown
  JOIN services_subscription book
       ON book.client_id = unknown.client_id AND book.service_id = unknown.service_id
      AND (unknown.source IS NULL OR book.started_at = unknown.started_at)
      AND (book.ended_at <= unknown.started_at) IS NOT TRUE
 UNION
SELECT line, book.id
  FROM unknown
  JOIN services_subscription book
       ON book.client_id = unknown.client_id AND book.started_at = unknown.started_at
 WHERE new_service
 UNION
SELECT line, book.id
  FROM unknown
  JOIN clients_client client USING (company_name)
  JOIN services_subscription book
       ON book.client_id = client.id AND book.service_id = unknown.service_id
      AND book.started_at = unknown.started_at
 WHERE unknown.client_id IS NULL
 UNION
SELECT line, subscription_id
  FROM unknown
  JOIN services_ledgerentry entry
       ON entry.client_id = unknown.client_id AND entry.service_id = unknown.service_id
      AND entry.started_at = unknown.started_at
  JOIN services_subscription book ON book.id = subscription_id
"""
# The parameter that settles a line that may be new, or may not.
IF_ADDED = {"code": "unclear", "answers": ("add=true",)}
UNCLEAR = f"""
SELECT line, '', concat_ws(' / ', unknown.email, unknown.service, unknown.started_at,
                           nullif(unknown.external_id, '')),
       format('may be what the book has as %s%s, or new. Give the id of the subscription in the'
              ' column id; or say that lines which are no subscription of the book are new'
              ' (add=true; import_book: --add)',
              string_agg(format('subscription %s (%s / %s / %s / %s -%s %%)', book.id, login.email,
                                service.name, book.started_at, plan.plan_type,
                                plan.discount_percent), ', ' ORDER BY book.id)
                  FILTER (WHERE nth <= 3),
              CASE WHEN max(nth) > 3 THEN format(' and %s more', max(nth) - 3) END)
  FROM (SELECT line, id, row_number() OVER (PARTITION BY line ORDER BY id) AS nth
          FROM ({MAY_BE}) may_be (line, id)
          JOIN (SELECT line, source FROM unknown) unknown USING (line)
          JOIN (SELECT id, source FROM services_subscription) book USING (id)
         WHERE (unknown.source = book.source) IS NOT TRUE
           AND NOT EXISTS (SELECT FROM known WHERE known.line = may_be.line)
           AND NOT EXISTS (SELECT FROM known WHERE subscription_id = id)) candidate
  JOIN unknown USING (line)
  JOIN services_subscription book ON book.id = candidate.id
  JOIN services_service service ON service.id = book.service_id
  JOIN services_plan plan ON plan.id = book.plan_id
  JOIN clients_client client ON client.id = book.client_id
  JOIN auth_user login ON login.id = client.user_id
 GROUP BY line, unknown.email, unknown.service, unknown.started_at, unknown.external_id
"""  # noqa: S608 - constants


class Run(NamedTuple):
    """The import: it sends a statement, reads a number, adds what it finds to its problems."""

    execute: Callable[[str], None]
    number: Callable[[str], int]
    check: Callable[..., None]


def find_known(run: Run, columns: list[str], add: bool) -> None:
    """Make `known`, and refuse the lines that are unclear, unless these are new (`add`)."""
    if run.number("SELECT count(*) FROM (SELECT FROM services_subscription LIMIT 1) one"):
        _match(run, columns, add)
    else:
        run.execute(f"{KNOWN} WITH NO DATA")
    if "source" in columns and not add:
        run.check(IDS_ALIKE, **IF_ADDED)


def _match(run: Run, columns: list[str], add: bool) -> None:
    run.execute(KNOWN)
    run.execute("ANALYZE known")
    if "id" in columns:
        run.execute(BY_ID)
        run.check(ID_OF_ANOTHER)
    run.execute(UNKNOWN)
    run.execute("ANALYZE unknown")
    for statement in by_equality(columns):
        if run.number(LEFT_OVER):
            run.execute(statement)
            run.execute("ANALYZE known")
    run.check(TWO_OF_ONE)
    run.check(RENAMED)
    if not add and run.number(LEFT_OVER):
        run.check(IDS_ALIKE_IN_BOOK, **IF_ADDED)
        run.check(UNCLEAR, **IF_ADDED)
