"""Clients in bulk: the statements that find, judge and write them, with their log-ins.

An e-mail is compared with those that the book has before the first line is written.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext as _

from pricebook.kit.refusal import Refusal
from services.bulk.lines import Record, fields_of_lines
from services.bulk.steps import BY_ID_ELSEWHERE, SET_IDS, Steps, fingerprint
from services.repricing.locks import GIVE_WAY, WAIT_AGAIN
from services.transfer.incoming_catalogue import NO_PASSWORD
from services.writing import clients
from services.writing.bodies import missing

RECORD = Record(
    kind="client",
    fields=fields_of_lines(clients.FIELDS),
    columns=dict.fromkeys(
        ("source", "external_id", "company_name", "email", "full_address"), "text"
    ),
)
# As an import: nobody else gives a client an e-mail before the end of the transaction.
LOCK_EMAILS = "SELECT pg_advisory_xact_lock('clients_client'::regclass::oid::int, 0)"
BOOK = f"""bulk_line line {{join}} (clients_client book JOIN auth_user login ON login.id = user_id)
       ON {BY_ID_ELSEWHERE}"""
SAYS = """(line.company_name <> book.company_name OR line.full_address <> book.full_address)"""
NEW_EMAIL = "(line.email <> login.email)"
HELD = f"""
CREATE TEMP TABLE bulk_held ON COMMIT DROP AS
SELECT id FROM (SELECT book.id FROM {BOOK.format(join="JOIN")}
                 WHERE refusal IS NULL AND ({SAYS} OR {NEW_EMAIL})
                 ORDER BY book.id {{lock}}) held
"""  # noqa: S608 - constants
CHANGES = """
(SELECT jsonb_object_agg(name, jsonb_build_object('before', before, 'after', after))
   FROM (VALUES ('company_name', book.company_name, line.company_name),
                ('email', login.email, line.email),
                ('full_address', book.full_address, line.full_address)
        ) field (name, before, after)
  WHERE before <> after)"""
FOUND = f"""
CREATE TEMP TABLE bulk_found ON COMMIT DROP AS
SELECT line, id, is_new, coalesce(says, false) AS says,
       coalesce(gets_email, false) AS gets_email,
       coalesce(says OR gets_email, false) AS differs,
       CASE WHEN says OR gets_email THEN changes END AS changes,
       company_name, full_address, email, user_id, of_staff,
       'client-' || replace(gen_random_uuid()::text, '-', '') AS username
  FROM (SELECT line.line, book.id, book.id IS NULL AS is_new, {SAYS} AS says,
               {NEW_EMAIL} AS gets_email,
               CASE WHEN {SAYS} OR {NEW_EMAIL} THEN {CHANGES} END AS changes,
               coalesce(line.company_name, book.company_name) AS company_name,
               coalesce(line.full_address, book.full_address, '') AS full_address,
               coalesce(line.email, login.email, '') AS email,
               user_id, coalesce(is_staff OR is_superuser, false) AS of_staff
          FROM {BOOK.format(join="LEFT JOIN")}
         WHERE refusal IS NULL) compared
"""  # noqa: S608 - constants
NOT_ALLOWED = """
SELECT line, found.id, company_name, gets_email AND of_staff, other.id
  FROM bulk_found found
  LEFT JOIN LATERAL (
       SELECT client.id
         FROM auth_user login JOIN clients_client client ON client.user_id = login.id
        WHERE upper(login.email) = upper(found.email) AND client.id IS DISTINCT FROM found.id
        LIMIT 1) other ON email <> '' AND (is_new OR gets_email)
 WHERE company_name IS NULL OR gets_email AND of_staff OR other.id IS NOT NULL
"""
SAME_EMAIL = """
SELECT line, first_line
  FROM (SELECT line, min(line) OVER (PARTITION BY upper(email)) AS first_line
          FROM bulk_found WHERE email <> '' AND (is_new OR gets_email)) given
 WHERE line > first_line
"""
SAY = """
UPDATE clients_client book
   SET company_name = found.company_name, full_address = found.full_address
  FROM bulk_found found WHERE book.id = found.id AND says
"""
GIVE_EMAIL = """
UPDATE auth_user login SET email = found.email
  FROM bulk_found found WHERE login.id = user_id AND gets_email
"""
INSERT_LOGINS = f"""
INSERT INTO auth_user (username, email, password, first_name, last_name,
                       is_superuser, is_staff, is_active, date_joined)
SELECT username, email, {NO_PASSWORD}, '', '', false, false, true, now()
  FROM bulk_found WHERE is_new ORDER BY line
"""  # noqa: S608 - a constant
INSERT = f"""
WITH made AS (
    INSERT INTO clients_client (user_id, company_name, full_address, source, external_id)
    SELECT login.id, found.company_name, found.full_address, source, external_id
      FROM bulk_found found
      JOIN bulk_line USING (line)
      JOIN auth_user login USING (username)
     WHERE is_new
     ORDER BY line
    RETURNING id, source, external_id
)
{SET_IDS}
"""  # noqa: S608 - constants


class ClientSteps(Steps):
    record = RECORD
    held = HELD
    found = FOUND
    records = "(clients_client book JOIN auth_user login ON login.id = book.user_id)"
    seen = fingerprint(
        "book.company_name",
        "book.full_address",
        "login.email",
        "book.source",
        "book.external_id",
    )

    def lock_before(self) -> None:
        self.execute(LOCK_EMAILS)

    def judgements(self) -> Iterator[dict[int, Refusal]]:
        self.execute(NOT_ALLOWED)
        refusals: dict[int, Refusal] = {}
        for line, id, company_name, of_staff, other in self.cursor:
            if company_name is None:
                refusals[line] = missing("company_name")
            elif of_staff:
                refusals[line] = clients.email_of_staff(id)
            else:
                refusals[line] = clients.email_taken(_("Client %(id)s") % {"id": other})
        yield refusals
        self.execute(SAME_EMAIL)
        yield {
            line: clients.email_taken(_("The client of line %(line)s") % {"line": first})
            for line, first in self.cursor
        }

    def write(self) -> None:
        if self.one("SELECT EXISTS (SELECT FROM bulk_found WHERE says)"):
            self.execute(SAY)
        if self.one("SELECT EXISTS (SELECT FROM bulk_found WHERE gets_email)"):
            self.execute(GIVE_EMAIL)
        if self.one("SELECT EXISTS (SELECT FROM bulk_found WHERE is_new)"):
            self.execute(GIVE_WAY)
            self.execute(INSERT_LOGINS)
            self.execute("ANALYZE bulk_found")
            self.execute(INSERT)
            self.execute(WAIT_AGAIN)
