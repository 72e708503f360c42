"""Takes back what an import has written: subscriptions first, then services, plans and clients.

Results of an import have the kind of their records, and what was there before in `states`, as the
lines of a file say it in other words. Two things are of an import alone: it moves list prices, and
it writes price states.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from pricebook.kit.refusal import Refusal
from services.bulk.steps import fingerprint
from services.bulk.subscriptions import LINES_THAT_MOVE
from services.catalogue_subject import CatalogueSubject
from services.counted_moves import counted_edit
from services.hooks import price_changes
from services.jobs.undoing import (
    IS_GIVEN_BACK,
    Undo,
    UndoClients,
    UndoPlans,
    UndoServices,
    UndoSubscriptions,
)
from services.models import Service
from services.moves import NOTHING, Move, one_after_the_other
from services.transfer.formats import instant
from services.transfer.moved_prices import FIGURES, MovedPrices

# A list price that somebody has moved since is not moved back.
SERVICES = "(services_service book JOIN service_in_force in_force USING (id))"
SERVICES_SEEN = fingerprint(
    "book.name", "book.source", "book.external_id", "in_force.full_price::text"
)
PRICES_DIFFER = """
UPDATE bulk_found
   SET differs = true,
       changes = jsonb_build_object('full_price', jsonb_build_object(
                     'before', in_force.full_price::text, 'after', bulk_found.full_price::text))
  FROM service_in_force in_force
 WHERE in_force.id = bulk_found.id AND moves
"""
MOVED_SERVICES = "SELECT id, full_price FROM bulk_found WHERE moves ORDER BY id"


class UndoImportedServices(UndoServices):
    """List prices as they were, each as an edit of its own."""

    records = SERVICES
    seen = SERVICES_SEEN
    moving = LINES_THAT_MOVE

    def find(self) -> None:
        super().find()
        self.execute(PRICES_DIFFER)

    def judgements(self) -> Iterator[dict[int, Refusal]]:
        yield self.of_the_same()

    def would_move(self) -> Move:
        together = NOTHING
        for subject, price in self._moved():
            move = price_changes().would_move(subject, price, self.author).move
            together = one_after_the_other(together, move)
        return together

    def write(self) -> None:
        for subject, price in self._moved():
            subject.lock()
            with counted_edit(subject, price, self.author):
                Service.objects.filter(pk=subject.id).update(full_price=price)
        super().write()

    def _moved(self) -> list[tuple[CatalogueSubject, Decimal]]:
        self.execute(MOVED_SERVICES)
        return [(CatalogueSubject("service", id), price) for id, price in self.cursor.fetchall()]


# A state of another kind than the record has; or a price of its own, which is another one.
OTHER_STATE = """
NOT made AND state IS NOT NULL
   AND ((book.price_state, book.locked_until, book.price_reason, book.stamp)
        IS DISTINCT FROM (state->>'price_state', (state->>'locked_until')::timestamptz,
                          state->>'price_reason', state->>'stamp')
        OR (state->>'price_state' <> 'follows' OR book.ended_at <= (SELECT book_now()))
           AND book.price <> (state->>'price')::numeric)"""
FIND_STATES = "ALTER TABLE bulk_found ADD restates boolean DEFAULT false"
GIVEN_BACK = {
    "price_state": ("state->>'price_state'", "'follows'"),
    "locked_until": ("(state->>'locked_until')::timestamptz", "NULL"),
    "price_reason": ("state->>'price_reason'", "''"),
}
AFTER = {
    name: f"CASE WHEN {IS_GIVEN_BACK} THEN {is_back} ELSE {of_follower} END"
    for name, (is_back, of_follower) in GIVEN_BACK.items()
}
IS_OF_FOLLOWER = f"""
{AFTER["price_state"]} = 'follows' AND (book.ended_at <= (SELECT book_now())) IS NOT TRUE"""
STATES_DIFFER = f"""
UPDATE bulk_found
   SET differs = true, restates = true,
       changes = coalesce(bulk_found.changes, '{{}}') || coalesce((
           SELECT jsonb_object_agg(name, jsonb_build_object('before', before, 'after', after))
             FROM (VALUES ('price_state', book.price_state, {AFTER["price_state"]}),
                          ('locked_until', {instant("book.locked_until")},
                           {instant(f"({AFTER['locked_until']})")}),
                          ('price_reason', book.price_reason, {AFTER["price_reason"]}),
                          ('price', book.price::text,
                           CASE WHEN {IS_OF_FOLLOWER} THEN book.price::text
                                ELSE state->>'price' END)) field (name, before, after)
            WHERE before IS DISTINCT FROM after), '{{}}')
  FROM job_line JOIN services_subscription book USING (id)
 WHERE job_line.line = bulk_found.line AND {OTHER_STATE}
"""  # noqa: S608 - constants
# From here on it is written as what moves to another service or plan.
STATES_MOVE = "UPDATE bulk_found SET moves = true WHERE restates"
GIVE_STATES_BACK = f"""
UPDATE services_subscription book
   SET {", ".join(f"{name} = {after}" for name, after in AFTER.items())},
       price = (state->>'price')::numeric, stamp = state->>'stamp'
  FROM job_line JOIN bulk_found USING (line)
 WHERE book.id = job_line.id AND moves AND {OTHER_STATE}
"""  # noqa: S608 - constants
WOULD_MOVE = FIGURES.format(
    rows=f"""
SELECT book.price AS before,
       CASE WHEN NOT restates
             AND (found.service_id, found.plan_id) = (book.service_id, book.plan_id)
            THEN book.price
            ELSE coalesce((SELECT (state->>'price')::numeric FROM job_line
                            WHERE job_line.line = found.line AND {IS_GIVEN_BACK}
                              AND state->>'price_state' <> 'follows'),
                          price_rule(service.full_price, plan.discount_percent)) END AS after
  FROM bulk_found found
  JOIN subscription_in_force book USING (id)
  JOIN service_in_force service ON service.id = found.service_id
  JOIN plan_in_force plan ON plan.id = found.plan_id
 WHERE moves AND (book.ended_at IS NULL OR book.ended_at > (SELECT book_now()))"""  # noqa: S608
)


class UndoImportedSubscriptions(UndoSubscriptions):
    """Subscriptions as they were, with the price states that the import itself has written."""

    def find(self) -> None:
        super().find()
        self.execute(FIND_STATES)
        self.execute(STATES_DIFFER)

    def judgements(self) -> Iterator[dict[int, Refusal]]:
        yield from super().judgements()
        self.execute(STATES_MOVE)

    def would_move(self) -> Move:
        return MovedPrices(self.cursor, self.author).by_lines(WOULD_MOVE)

    def give_states_back(self) -> None:
        self.execute(GIVE_STATES_BACK)


UNDO: dict[str, type[Undo]] = {
    "subscriptions": UndoImportedSubscriptions,
    "services": UndoImportedServices,
    "plans": UndoPlans,
    "clients": UndoClients,
}
