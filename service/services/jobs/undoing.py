"""Takes back what a job has written: a bulk whose lines are the values from before.

    the results of a job, 2,000 lines at a time ─▶ their records, locked
      → gone, or another fingerprint than the job left: left as it is
      → changed by the job: a line with the fields that it changed, as they were
      → created by it: deleted if it was never used; a subscription that has begun is ended now
      → and from there on as any bulk: compared, judged, written, a result a line

So the rules, the locks, the policy and the words are those of bulks.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping

from django.utils.translation import gettext as _

from pricebook.kit.refusal import Refusal
from services.bulk.catalogue import PlanSteps, ServiceSteps
from services.bulk.clients import ClientSteps
from services.bulk.steps import BY_ID_ELSEWHERE, Steps
from services.bulk.subscriptions import SubscriptionSteps
from services.models import Plan, Service, Subscription
from services.moves import Move
from services.repricing.locks import GIVE_WAY
from services.transfer.moved_prices import FIGURES, LINES, MovedPrices
from services.writing import catalogue, clients, subscriptions
from services.writing.catalogue import Kind

# Lines of an import have the columns of a file: the fields from before are in `states`. A line that
# only named another list price, or a client, has written no subscription.
JOB_LINES = """
CREATE TEMP TABLE job_line ON COMMIT DROP AS
SELECT line, (said->>'id')::bigint AS id, said->>'outcome' = 'created' AS made,
       coalesce(states->line::text->'fields', said->'changes') AS changes,
       left_as[row_number() OVER (ORDER BY line)] AS left_as,
       states->line::text AS state, false AS deletes
  FROM (SELECT left_as, states, said, (said->>'line')::bigint AS line
          FROM services_jobresult result,
               regexp_split_to_table(rtrim(results, E'\\n'), E'\\n') text,
               LATERAL (SELECT text::jsonb AS said) parsed
         WHERE result.id = %s
           AND (said->>'outcome' = 'created' OR said->>'outcome' = 'changed'
                AND (result.kind <> 'subscriptions' OR states ? (said->>'line')))) written
"""
HELD = """
CREATE TEMP TABLE bulk_held ON COMMIT DROP AS
SELECT id FROM (SELECT book.id FROM {records}
                 WHERE book.id IN (SELECT id FROM job_line)
                 ORDER BY book.id {lock}) held
"""
OF_ID = "ALTER TABLE bulk_line ADD of_id bigint"
TAKE_BACK = """
INSERT INTO bulk_line (line, of_id, source, external_id, {columns})
SELECT line, job_line.id, book.source, book.external_id, {values}
  FROM job_line LEFT JOIN {records} ON book.id = job_line.id
"""
LEFT = """
SELECT line, job_line.id, book.id IS NULL
  FROM job_line LEFT JOIN {records} ON book.id = job_line.id
 WHERE book.id IS NULL OR {seen} IS DISTINCT FROM left_as
"""
MADE = """
SELECT line, id FROM job_line JOIN bulk_line USING (line) WHERE made AND refusal IS NULL
"""
DELETES = "UPDATE job_line SET deletes = true WHERE line = ANY (%s)"
TO_DELETE = "SELECT id FROM job_line JOIN bulk_found USING (line, id) WHERE deletes"
OUTCOME = """
CASE WHEN line IN (SELECT line FROM job_line WHERE deletes) THEN 'deleted'
     WHEN differs THEN 'changed' ELSE 'unchanged' END"""


NO_KIND = re.compile(rb'^(\{"line":[0-9]+,"outcome":"[a-z]+")', re.MULTILINE)


class Undo(Steps):
    """The steps of a kind of bulk, over the results of a job in the place of a body."""

    of_result: int  # the id of the JobResult that is taken back
    has_lines = True  # else the job had no lines of these records, and results say what they are
    lock = "FOR UPDATE OF book"  # some are deleted
    outcome = OUTCOME
    refused_as = "left"

    def __init_subclass__(cls) -> None:
        cls.held = HELD.format(records=cls.records, lock="{lock}")
        # Records of an import need no id elsewhere.
        cls.found = cls.found.replace(BY_ID_ELSEWHERE, "book.id = line.of_id")

    def copy(self, pieces: Iterable[bytes]) -> None:
        super().copy(pieces)
        self.execute(OF_ID)
        self.execute("DROP TABLE IF EXISTS pg_temp.job_line")
        self.execute(JOB_LINES, [self.of_result])
        self.execute("CREATE UNIQUE INDEX ON job_line (line)")
        self.execute("ANALYZE job_line")

    def results(self) -> Iterator[bytes]:
        with_kind = rb'\1,"kind":"%s"' % self.record.kind.encode()
        for text in super().results():
            yield text if self.has_lines else NO_KIND.sub(with_kind, text)

    def when_held(self) -> None:
        self.execute(self.take_back_sql())
        self.execute(LEFT.format(records=self.records, seen=self.seen))
        left = {
            line: self.gone(id) if gone else self.touched(id)
            for line, id, gone in self.cursor.fetchall()
        }
        self.mark_refused(left)
        self.execute(MADE)
        made = dict(self.cursor.fetchall())
        if made:
            used = self.used(made.values())
            self.mark_refused({line: used[id] for line, id in made.items() if id in used})
            kept = self.kept(made.values())
            deleted = [line for line, id in made.items() if id not in used and id not in kept]
            self.execute(DELETES, [deleted])

    @classmethod
    def take_back_sql(cls) -> str:
        columns = [name for name in cls.record.columns if name not in ("source", "external_id")]
        values = [f"(changes->'{name}'->>'before')::{cls.record.columns[name]}" for name in columns]
        for name, field in cls.record.given.items():
            columns.append(name)
            values.append(f"coalesce(changes ? '{field}', false)")
        return TAKE_BACK.format(
            columns=", ".join(columns), values=", ".join(values), records=cls.records
        )

    def gone(self, id: int) -> Refusal:
        return Refusal(
            "deleted_since",
            _("%(capitalize)s %(id)s has been deleted since.")
            % {"capitalize": self.record.kind.capitalize(), "id": id},
            409,
        )

    def touched(self, id: int) -> Refusal:
        return Refusal(
            "touched_since",
            _("%(capitalize)s %(id)s is not as the job has left it: somebody has changed it since.")
            % {"capitalize": self.record.kind.capitalize(), "id": id},
            409,
        )

    @abstractmethod
    def used(self, ids: Collection[int]) -> Mapping[int, Refusal]:
        """Those of the created records that stay as they are, and why."""

    def kept(self, ids: Collection[int]) -> Collection[int]:
        """Those of the others that are not deleted: something else was done about them."""
        return ()

    def deleted(self) -> list[int]:
        self.execute(TO_DELETE)
        return [id for (id,) in self.cursor.fetchall()]


class UndoClients(Undo, ClientSteps):
    """Clients as they were; those that never had a subscription are deleted with their log-ins."""

    def used(self, ids: Collection[int]) -> Mapping[int, Refusal]:
        return {id: clients.in_use(id) for id in clients.used(ids)}

    def write(self) -> None:
        clients.remove(self.deleted())
        super().write()


# The lock that those hold who insert a subscription of it.
LOCK_VALUES = """
SELECT count(lock_{kind}(id, true)) FROM (SELECT unnest(%s::bigint[]) AS id ORDER BY id) ascending
"""


def used_of_catalogue(undo: Undo, kind: Kind, ids: Collection[int]) -> Mapping[int, Refusal]:
    """Those that are used, as `catalogue.delete()` finds them, and under its locks.

    The rows let foreign keys be checked until the DELETE, so nobody who is inserting has to give
    way: the undo does, and begins anew.
    """
    if not undo.dry_run:
        undo.execute(GIVE_WAY)
        undo.execute(LOCK_VALUES.format(kind=kind), [list(ids)])
    return catalogue.used(kind, ids)


class UndoServices(Undo, ServiceSteps):
    """Services as they were; those that were never sold, nor moved by a price change, are gone."""

    lock = ServiceSteps.lock

    def used(self, ids: Collection[int]) -> Mapping[int, Refusal]:
        return used_of_catalogue(self, "service", ids)

    def delete(self) -> None:
        Service.objects.filter(pk__in=self.deleted()).delete()


class UndoPlans(Undo, PlanSteps):
    """Plans, likewise."""

    lock = PlanSteps.lock

    def used(self, ids: Collection[int]) -> Mapping[int, Refusal]:
        return used_of_catalogue(self, "plan", ids)

    def delete(self) -> None:
        Plan.objects.filter(pk__in=self.deleted()).delete()


# A subscription that has begun pays, and is ended from now on.
BEGUN = """
UPDATE bulk_line SET ended_at = %(now)s, gives_end = true
  FROM job_line JOIN services_subscription book USING (id)
 WHERE job_line.line = bulk_line.line AND made AND refusal IS NULL
   AND book.started_at <= %(now)s AND (book.ended_at IS NULL OR book.ended_at > %(now)s)
RETURNING id
"""
PAIRS = """
SELECT lock_pairs(array_agg(DISTINCT service_id), array_agg(DISTINCT plan_id))
  FROM bulk_found JOIN job_line USING (line) WHERE differs OR deletes
"""
# A lock that has ended since is not given back.
IS_GIVEN_BACK = """
state IS NOT NULL
   AND coalesce((state->>'locked_until')::timestamptz > (SELECT book_now()), true)
"""
GIVE_STATES_BACK = f"""
UPDATE services_subscription book
   SET price_state = state->>'price_state', price = (state->>'price')::numeric,
       locked_until = (state->>'locked_until')::timestamptz, price_reason = state->>'price_reason'
  FROM job_line JOIN bulk_found USING (line)
 WHERE book.id = job_line.id AND moves AND price_state = 'follows' AND {IS_GIVEN_BACK}
"""  # noqa: S608 - constants
WOULD_MOVE = FIGURES.format(
    rows=LINES.format(
        given_back=f"""(
            SELECT (state->>'price')::numeric FROM job_line
             WHERE job_line.line = found.line AND {IS_GIVEN_BACK})"""  # noqa: S608 - constants
    )
)


class UndoSubscriptions(Undo, SubscriptionSteps):
    """Subscriptions as they were, with the price states that their moves have ended."""

    pairs = PAIRS

    def used(self, ids: Collection[int]) -> Mapping[int, Refusal]:
        """Those that have ended, or were said to have begun: bills may name them."""
        now = self.one("SELECT book_clock()")
        self.execute(BEGUN, {"now": now})
        self._ended = {id for (id,) in self.cursor.fetchall()}
        rest = [id for id in ids if id not in self._ended]
        return {id: subscriptions.has_paid(id) for id in subscriptions.have_paid(rest, now)}

    def kept(self, ids: Collection[int]) -> Collection[int]:
        return self._ended

    def delete(self) -> None:
        Subscription.objects.filter(pk__in=self.deleted()).delete()

    def would_move(self) -> Move:
        return MovedPrices(self.cursor, self.author).by_lines(WOULD_MOVE)

    def give_states_back(self) -> None:
        self.execute(GIVE_STATES_BACK)
