"""Services and plans in bulk: the statements that find, judge and write them.

A new one gets its list price or discount from its line. Later that moves the prices of many, so a
line whose value is not the one in force is refused, and says what moves it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from pricebook.kit.refusal import Refusal
from services.bulk.lines import Record, fields_of_lines
from services.bulk.steps import BY_ID_ELSEWHERE, SET_IDS, Steps, fingerprint
from services.repricing.locks import GIVE_WAY, WAIT_AGAIN
from services.writing.bodies import missing
from services.writing.catalogue import FIELDS, Kind
from services.writing.refusals import (
    WriteRefused,
    alike,
    name_taken,
    needs_price_change,
    plan_exists,
)

# As an import, which sees all or none of them. The second lock lets bulks of the catalogue go one
# by one: two that bring the same names in another order would wait in a circle.
LOCK_CATALOGUE = """
SELECT pg_advisory_xact_lock_shared('clients_client'::regclass::oid::int, 0),
       pg_advisory_xact_lock('services_service'::regclass::oid::int, -1)
"""
HELD = """
CREATE TEMP TABLE bulk_held ON COMMIT DROP AS
SELECT id FROM (SELECT book.id FROM bulk_line line JOIN services_{kind} book ON {by_id}
                 WHERE refusal IS NULL AND line.{name} <> book.{name}
                 ORDER BY book.id {lock}) held
"""
FOUND = """
CREATE TEMP TABLE bulk_found ON COMMIT DROP AS
SELECT line.line, book.id, book.id IS NULL AS is_new,
       coalesce(line.{name} <> book.{name}, false) AS differs,
       CASE WHEN line.{name} <> book.{name}
            THEN jsonb_build_object('{name}', jsonb_build_object('before', book.{name},
                                                                 'after', line.{name}))
            END AS changes,
       coalesce(line.{name}, book.{name}) AS {name},
       coalesce(line.{value}, in_force.{value}) AS {value},
       coalesce(line.{value} <> in_force.{value}, false) AS moves
  FROM bulk_line line
  LEFT JOIN services_{kind} book ON {by_id}
  LEFT JOIN {kind}_in_force in_force ON in_force.id = book.id
 WHERE refusal IS NULL
"""
NOT_ALLOWED = """
SELECT line, {name} IS NULL, {value} IS NULL, moves FROM bulk_found
 WHERE {name} IS NULL OR {value} IS NULL OR moves
"""
# One that is there already, or that an earlier line makes, or one that looks like it.
SAME_NAME = """
SELECT line, other.id, first_line, given.name, coalesce(other.name, first_name)
  FROM (SELECT *, first_value(line) OVER same AS first_line,
               first_value(name) OVER same AS first_name
          FROM bulk_found WHERE is_new OR differs
        WINDOW same AS (PARTITION BY alike(name) ORDER BY line)) given
  LEFT JOIN LATERAL (
       SELECT id, name FROM services_service book
        WHERE alike(book.name) = alike(given.name) AND book.id IS DISTINCT FROM given.id
        ORDER BY book.name <> given.name LIMIT 1) other ON true
 WHERE other.id IS NOT NULL OR line > first_line
"""
SAME_DISCOUNT = """
SELECT line, other, first_line, NULL, NULL
  FROM (SELECT *, min(line) OVER (PARTITION BY plan_type, discount_percent) AS first_line,
               plan_with_discount(plan_type, ARRAY[discount_percent]::numeric[], id) AS other
          FROM bulk_found WHERE is_new OR differs) given
 WHERE other IS NOT NULL OR line > first_line
"""
CHANGE = """
UPDATE services_{kind} book SET {name} = found.{name}
  FROM bulk_found found WHERE book.id = found.id AND differs
"""
INSERT = """
WITH made AS (
    INSERT INTO services_{kind} ({name}, {value}, source, external_id)
    SELECT found.{name}, found.{value}, line.source, line.external_id
      FROM bulk_found found JOIN bulk_line line USING (line)
     WHERE is_new ORDER BY line
    RETURNING id, source, external_id
)
{set_ids}
"""


@dataclass(frozen=True)
class Statements:
    """The statements of a kind, whose columns are its name and its value."""

    name: str
    value: str
    held: str
    found: str
    not_allowed: str
    same: str
    change: str
    insert: str

    @classmethod
    def of(cls, kind: Kind, name: str, value: str, same: str) -> Statements:
        columns = {"kind": kind, "name": name, "value": value, "set_ids": SET_IDS}
        columns |= {
            "lock": "{lock}",
            "by_id": BY_ID_ELSEWHERE,
        }  # the lock as the transaction has it
        templates = (HELD, FOUND, NOT_ALLOWED, same, CHANGE, INSERT)
        return cls(name, value, *(each.format(**columns) for each in templates))


OF_SERVICES = Statements.of("service", "name", "full_price", SAME_NAME)
OF_PLANS = Statements.of("plan", "plan_type", "discount_percent", SAME_DISCOUNT)


class CatalogueSteps(Steps):
    """The steps of services, or of plans."""

    of: Statements

    def lock_before(self) -> None:
        self.execute(LOCK_CATALOGUE)

    def judgements(self) -> Iterator[dict[int, Refusal]]:
        name, value = self.of.name, self.of.value
        self.execute(self.of.not_allowed)
        yield {
            line: missing(name) if no_name else missing(value) if no_value
            else needs_price_change(value)
            for line, no_name, no_value, _other in self.cursor.fetchall()
        }  # fmt: skip
        yield self.of_the_same()

    def of_the_same(self) -> dict[int, Refusal]:
        """The refusals of names or discounts that another record has. One query."""
        self.execute(self.of.same)
        return {
            line: self.taken(self.of_line(first) if other is None else None)
            if name == there
            else alike("name", name, there)
            for line, other, first, name, there in self.cursor.fetchall()
        }

    def of_line(self, line: int) -> str:
        named = _("The service of line %(line)s"), _("The plan of line %(line)s")
        return named[self.record.kind == "plan"] % {"line": line}

    @abstractmethod
    def taken(self, by: str | None) -> WriteRefused:
        """The refusal of a name or discount that another record has; `by`: an earlier line."""

    def delete(self) -> None:
        """Delete what an undo deletes, before the others are written."""

    def write(self) -> None:
        self.execute("SELECT set_config('pricebook.author', %s, true)", [self.author])
        self.delete()
        if self.one("SELECT EXISTS (SELECT FROM bulk_found WHERE differs)"):
            self.execute(self.of.change)
        if self.one("SELECT EXISTS (SELECT FROM bulk_found WHERE is_new)"):
            self.execute(GIVE_WAY)
            self.execute(self.of.insert)
            self.execute(WAIT_AGAIN)
        self.execute("SELECT set_config('pricebook.author', '', true)")


class ServiceSteps(CatalogueSteps):
    record = Record(
        kind="service",
        fields=fields_of_lines(FIELDS["service"]),
        columns={
            "source": "text", "external_id": "text", "name": "text", "full_price": "numeric",
        },
    )  # fmt: skip
    of = OF_SERVICES
    held, found = OF_SERVICES.held, OF_SERVICES.found
    records = "services_service book"
    seen = fingerprint("book.name", "book.source", "book.external_id")

    def taken(self, by: str | None) -> WriteRefused:
        return name_taken(by or _("Another service"))


class PlanSteps(CatalogueSteps):
    record = Record(
        kind="plan",
        fields=fields_of_lines(FIELDS["plan"]),
        columns={
            "source": "text", "external_id": "text", "plan_type": "text",
            "discount_percent": "integer",
        },
    )  # fmt: skip
    of = OF_PLANS
    held, found = OF_PLANS.held, OF_PLANS.found
    records = "services_plan book"
    seen = fingerprint("book.plan_type", "book.source", "book.external_id")

    def taken(self, by: str | None) -> WriteRefused:
        return plan_exists()
