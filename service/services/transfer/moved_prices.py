"""The prices that an import with `update` moves: counted for the policy, and shown by a dry run.

    a list price that differs     its followers, by the rule, before the list price is written
    a subscription that differs   the price in force and its state before it is written, and after

A row that both move counts twice.
"""

from __future__ import annotations

from django.db.backends.utils import CursorWrapper

from services.hooks import price_changes
from services.moves import NOTHING, Move

AUTHOR = "import"
FIGURES = """
SELECT count(*), coalesce(sum(before), 0), coalesce(sum(after), 0),
       coalesce(sum(abs(after - before)), 0),
       max(CASE WHEN before = 0 THEN 'Infinity' ELSE abs(after - before) * 100 / before END)
  FROM ({rows}) moved WHERE before <> after"""
SERVICES_THAT_DIFFER = """
SELECT id FROM services_service JOIN incoming_service USING (name)
 WHERE line IN (SELECT line FROM catalogue_difference WHERE differing = 'full_price')
"""
BY_LIST_PRICES = FIGURES.format(
    rows="""
SELECT price_rule(book.full_price, discount_percent::integer) AS before,
       price_rule(incoming_service.full_price, discount_percent::integer) AS after
  FROM services_subscription subscription
  JOIN services_service book ON book.id = service_id
  JOIN incoming_service USING (name)
  JOIN services_plan plan ON plan.id = plan_id
 WHERE service_id = ANY (%s) AND price_state = 'follows'
   AND (ended_at IS NULL OR ended_at > (SELECT book_now()))"""
)
KEEP_BEFORE = """
CREATE TEMP TABLE price_before ON COMMIT DROP AS
SELECT id, price AS before, price_state AS state_before, locked_until AS until_before
  FROM subscription_in_force WHERE id IN ({ids})
"""
OF_IMPORT = "SELECT subscription_id FROM difference"
# A lock moves no price, and counts as a row: as the verbs of one subscription do.
BY_SUBSCRIPTIONS = (FIGURES + " OR state_moves").format(
    rows="""
SELECT before, price AS after,
       (state_before, until_before) IS DISTINCT FROM (price_state, locked_until) AS state_moves
  FROM price_before JOIN subscription_in_force USING (id)""",
)
# The moves of a bulk's lines: another service or plan gives the rule's price, unless something is
# given back.
LINES = """
SELECT book.price AS before,
       CASE WHEN (found.service_id, found.plan_id) = (book.service_id, book.plan_id)
            THEN book.price
            ELSE coalesce({given_back}, price_rule(service.full_price, plan.discount_percent))
            END AS after
  FROM bulk_found found
  JOIN subscription_in_force book USING (id)
  JOIN service_in_force service ON service.id = found.service_id
  JOIN plan_in_force plan ON plan.id = found.plan_id
 WHERE moves"""
BY_LINES = FIGURES.format(rows=LINES.format(given_back="NULL"))
CHANGES = """
SELECT max(change_id) FROM services_repricing WHERE service_id = ANY (%s) GROUP BY service_id
"""


class MovedPrices:
    """The figures of what an import or a bulk moves. A few statements, over the rows it moves."""

    def __init__(self, cursor: CursorWrapper, author: str = AUTHOR) -> None:
        self.cursor = cursor
        self.author = author
        self.services: list[int] = []
        self.move = NOTHING

    def before_list_prices(self) -> None:
        """Call it before list prices are written."""
        self.cursor.execute(SERVICES_THAT_DIFFER)
        self.services = [pk for (pk,) in self.cursor.fetchall()]
        if self.services:
            self._add(BY_LIST_PRICES, [self.services])

    def before_subscriptions(self, ids: str = OF_IMPORT) -> None:
        """Call it before subscriptions are written, and `after_subscriptions` then.

        `ids`: SQL for the ids of those whose prices may move.
        """
        self.cursor.execute("DROP TABLE IF EXISTS pg_temp.price_before")
        self.cursor.execute(KEEP_BEFORE.format(ids=ids))

    def after_subscriptions(self) -> None:
        self._add(BY_SUBSCRIPTIONS, [])

    def by_lines(self, statement: str = BY_LINES) -> Move:
        """The prices that a bulk's lines would move; it writes and locks nothing. One query."""
        self._add(statement, [])
        return self.move

    def ask(self) -> None:
        """Count it for the policy, when all is written; raises NeedsAnotherPerson."""
        if not price_changes().has_limits() or (not self.move.rows and not self.services):
            return
        self.cursor.execute(CHANGES, [self.services])
        changes = [pk for (pk,) in self.cursor.fetchall() if pk is not None]
        price_changes().moved_alone(self.author, self.move, *changes)

    def _add(self, statement: str, parameters: list[list[int]]) -> None:
        self.cursor.execute(statement, parameters)
        rows, before, after, movement, percent = self.cursor.fetchone()
        if not rows:
            return
        so_far = self.move
        finite = percent.is_finite() and so_far.percent is not None
        self.move = Move(
            so_far.rows + rows,
            so_far.before + before,
            so_far.after + after,
            so_far.movement + movement,
            max(so_far.percent, percent) if finite else None,
        )
