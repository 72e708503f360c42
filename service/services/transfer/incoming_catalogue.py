"""The statements by which an import finds and writes services, plans and clients."""

from __future__ import annotations

SERVICES = """
CREATE TEMP TABLE incoming_service ON COMMIT DROP AS
SELECT *, NOT EXISTS (SELECT FROM services_service book WHERE book.name = given.name) AS is_new
  FROM (SELECT min(line) AS line, service AS name, full_price
          FROM incoming GROUP BY service, full_price) given
"""
MISSING_SERVICES = """
SELECT count(*) FROM incoming_service
 WHERE NOT EXISTS (SELECT FROM services_service book WHERE book.name = incoming_service.name)
"""
INSERT_SERVICES = """
INSERT INTO services_service (name, full_price)
SELECT name, full_price FROM incoming_service ORDER BY line
ON CONFLICT DO NOTHING
"""
PLANS = """
CREATE TEMP TABLE incoming_plan ON COMMIT DROP AS
SELECT min(line) AS line, plan_type, discount_percent
  FROM incoming GROUP BY plan_type, discount_percent
"""
IN_NO_COPY = """NOT EXISTS (SELECT FROM services_plan book
                    WHERE (book.plan_type, book.discount_percent) =
                          (incoming_plan.plan_type, incoming_plan.discount_percent))"""
MISSING_PLANS = f"SELECT count(*) FROM incoming_plan WHERE {IN_NO_COPY}"  # noqa: S608 - constants
PLANS_APPROVED = f"""
SELECT line, 'discount_percent', discount_percent::text,
       format('is in no plan of the book: plan %s (%s) will have it by what is approved, and there'
              ' can''t be two', other, plan_type)
  FROM (SELECT *, plan_with_discount(plan_type, ARRAY[discount_percent::numeric], NULL) AS other
          FROM incoming_plan WHERE {IN_NO_COPY}) missing
 WHERE other IS NOT NULL
"""  # noqa: S608 - constants
INSERT_PLANS = """
INSERT INTO services_plan (plan_type, discount_percent)
SELECT plan_type, discount_percent FROM incoming_plan ORDER BY line
ON CONFLICT DO NOTHING
"""
# All locks that the writes below will need, in the order that every writer keeps. The catalogue is
# compared after this, so the result stays true until the commit.
LOCK_SERVICES = """
SELECT lock_service(id, for_change)
  FROM (SELECT id, copy.full_price <> book.full_price
                   OR %s AND book.full_price <> incoming_service.full_price AS for_change
          FROM incoming_service
          JOIN service_in_force book USING (name)
          JOIN services_service copy USING (id) ORDER BY id) ascending
"""
# A value that is in force and not copied yet is copied here, as a worker would copy it: a late copy
# must not differ from a file that has what is in force, nor be equal to one that has not.
LATE_SERVICES = """
SELECT id, book.full_price
  FROM incoming_service
  JOIN service_in_force book USING (name)
  JOIN services_service copy USING (id)
 WHERE copy.full_price <> book.full_price
"""
COPY_SERVICES = f"""
UPDATE services_service service SET full_price = late.full_price
  FROM ({LATE_SERVICES}) late WHERE service.id = late.id
"""  # noqa: S608 - constants
# The plans that the file names by what is in force, or by a late copy.
NAMED_PLANS = """
services_plan copy JOIN plan_in_force book USING (id, plan_type)
 WHERE EXISTS (SELECT FROM incoming_plan
                WHERE plan_type = copy.plan_type
                  AND discount_percent IN (copy.discount_percent, book.discount_percent))
"""
LOCK_PLANS = f"""
SELECT lock_plan(id, for_change)
  FROM (SELECT id, copy.discount_percent <> book.discount_percent AS for_change
          FROM {NAMED_PLANS} ORDER BY id) ascending
"""  # noqa: S608 - constants
# Not where it would be a second such plan: the worker holds that change, and says why.
LATE_PLANS = f"""
SELECT id, discount_percent
  FROM (SELECT id, plan_type, book.discount_percent FROM {NAMED_PLANS}
           AND copy.discount_percent <> book.discount_percent) late
 WHERE NOT EXISTS (
       SELECT FROM services_plan copy JOIN plan_in_force book USING (id, plan_type)
        WHERE id <> late.id AND plan_type = late.plan_type
          AND late.discount_percent IN (copy.discount_percent, book.discount_percent))
"""  # noqa: S608 - constants
COPY_PLANS = f"""
UPDATE services_plan plan SET discount_percent = late.discount_percent
  FROM ({LATE_PLANS}) late WHERE plan.id = late.id
"""  # noqa: S608 - constants
UPDATE_SERVICES = """
UPDATE services_service book SET full_price = incoming_service.full_price
  FROM incoming_service
 WHERE book.name = incoming_service.name AND book.full_price <> incoming_service.full_price
"""
CLIENTS = """
CREATE TEMP TABLE incoming_client ON COMMIT DROP AS
SELECT min(line) AS line, lower(email) AS key, (array_agg(email ORDER BY line))[1] AS email,
       min(company_name) AS company_name, min(full_address) AS full_address,
       NULL::bigint AS client_id
  FROM incoming GROUP BY lower(email)
"""
SAME_EMAIL = """
SELECT line, 'email', incoming_client.email,
       format('is the e-mail of clients %s of the book; give each its own first',
              string_agg(client.id::text, ', ' ORDER BY client.id))
  FROM incoming_client
  JOIN auth_user login ON lower(login.email) = key
  JOIN clients_client client ON client.user_id = login.id
 GROUP BY line, incoming_client.email HAVING count(*) > 1
"""
FIND_CLIENTS = """
UPDATE incoming_client SET client_id = client.id
  FROM auth_user login JOIN clients_client client ON client.user_id = login.id
 WHERE lower(login.email) = key AND client_id IS NULL
"""
# The logins that a new client of the file may have: those of its e-mail, and those of that name
# without an e-mail.
LOGINS = """
SELECT line, key, incoming_client.email, login.id, username, is_staff OR is_superuser AS is_staff
  FROM incoming_client JOIN auth_user login ON lower(login.email) = key
 WHERE client_id IS NULL
 UNION ALL
SELECT line, key, incoming_client.email, login.id, username, is_staff OR is_superuser
  FROM incoming_client JOIN auth_user login ON lower(login.username) = key AND login.email = ''
 WHERE client_id IS NULL
"""
LOGIN_TAKEN = f"""
SELECT line, 'email', incoming_client.email,
       format('is the login name of a user with another e-mail, %L; change one of them',
              login.email)
  FROM incoming_client JOIN auth_user login ON lower(login.username) = key
 WHERE client_id IS NULL AND login.email <> '' AND lower(login.email) <> key
 UNION ALL
SELECT line, 'email', email,
       format('is the login of %L, who is of the staff, and would become that of a client; give the'
              ' client another e-mail, or add a client for this user first', username)
  FROM ({LOGINS}) login WHERE is_staff AND NOT EXISTS (
       SELECT FROM clients_client client WHERE client.user_id = login.id)
 UNION ALL
SELECT line, 'email', email,
       format('is the login of several users, %s; give each its own e-mail first',
              string_agg(quote_literal(username), ', ' ORDER BY username))
  FROM ({LOGINS}) login GROUP BY line, email HAVING count(*) > 1
"""  # noqa: S608 - constants
UNMAILED = f"""
SELECT id, named.email FROM ({LOGINS}) named JOIN auth_user login USING (id) WHERE login.email = ''
"""  # noqa: S608 - constants
# An empty e-mail is no other e-mail.
FILL_EMAILS = f"""
UPDATE auth_user login SET email = named.email
  FROM ({UNMAILED}) named WHERE login.id = named.id
"""  # noqa: S608 - constants
MISSING_CLIENTS = "SELECT count(*) FROM incoming_client WHERE client_id IS NULL"
# One that no password fits, as Django writes it.
NO_PASSWORD = "'!' || replace(gen_random_uuid()::text, '-', '')"  # noqa: S105 - it is none
INSERT_LOGINS = f"""
INSERT INTO auth_user (username, email, password, first_name, last_name,
                       is_superuser, is_staff, is_active, date_joined)
SELECT email, email, {NO_PASSWORD}, '', '', false, false, true, now()
  FROM incoming_client
 WHERE client_id IS NULL AND NOT EXISTS (SELECT FROM auth_user login WHERE lower(login.email) = key)
 ORDER BY line
"""  # noqa: S608 - a constant
INSERT_CLIENTS = """
INSERT INTO clients_client (user_id, company_name, full_address)
SELECT login.id, company_name, coalesce(full_address, '')
  FROM incoming_client JOIN auth_user login ON lower(login.email) = key
 WHERE client_id IS NULL ORDER BY line
"""
# The list prices, and the names and addresses of clients, that differ from the book's.
CATALOGUE_DIFFERENCE = """
CREATE TEMP TABLE catalogue_difference ON COMMIT DROP AS
SELECT line, 'full_price' AS differing, incoming_service.full_price::text AS here,
       book.full_price::text AS there, format('service %s', name) AS whose
  FROM incoming_service JOIN services_service book USING (name)
 WHERE book.full_price <> incoming_service.full_price
 UNION ALL
SELECT line, differing, here, there, format('client %s', email)
  FROM incoming_client
  JOIN clients_client book ON book.id = client_id
 CROSS JOIN LATERAL (VALUES
       ('company_name', incoming_client.company_name, book.company_name),
       ('full_address', incoming_client.full_address, book.full_address)
       ) compared (differing, here, there)
 WHERE here <> there
"""
CATALOGUE_DIFFERS = """
SELECT line, differing, here, format('differs from the book''s %L of %s', there, whose)
  FROM catalogue_difference
"""
UPDATE_CLIENTS = """
UPDATE clients_client book
   SET company_name = incoming_client.company_name,
       full_address = coalesce(incoming_client.full_address, book.full_address)
  FROM incoming_client
 WHERE book.id = client_id
   AND (book.company_name <> incoming_client.company_name
        OR book.full_address <> incoming_client.full_address)
"""
