"""The subscriptions of one client by state: what they pay in total, and a page of each state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection

from services.reading.filters import STATES
from services.reading.one import those
from services.reading.total import NOTHING, PAYS, Total


@dataclass(frozen=True)
class Part:
    """The subscriptions of a client in a state: the total of all, and a page of them by their ids.

    `rows` are as the API shows them. `following`: the id behind which the next page begins, if
    there is one.
    """

    total: Total
    rows: list[dict[str, Any]]
    following: int | None


# All of the client are read at once, along the foreign key, and put in order then: for a page of
# rare ones in the order of ids the planner would walk the ids of the whole book.
OF_CLIENT = f"""
WITH own AS MATERIALIZED (
    SELECT id, price,
           CASE WHEN {PAYS.format(at="moment.at")} THEN 'active'
                WHEN started_at > moment.at THEN 'upcoming' ELSE 'ended' END AS state
      FROM subscription_in_force CROSS JOIN (SELECT book_clock() AS at) moment
     WHERE client_id = %(client)s
)
SELECT state, sum(price), count(*),
       (array_agg(id ORDER BY id)
        FILTER (WHERE id > coalesce((%(after)s::jsonb ->> state)::bigint, 0)))[1:%(most)s]
  FROM own GROUP BY state
"""  # noqa: S608 - constants


def of_client(client_id: int, after: Mapping[str, int], size: Mapping[str, int]) -> dict[str, Part]:
    """The client's subscriptions of each state: those after an id, so many of them. Two queries."""
    asked: dict[str, Any] = {
        "client": client_id,
        "after": json.dumps(after),
        "most": max(size.values()) + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(OF_CLIENT, asked)
        found = {state: (Total(sum, count), ids or []) for state, sum, count, ids in cursor}
    pages = {state: ids[: size[state]] for state, (_, ids) in found.items()}
    rows = those([id for page in pages.values() for id in page])
    return {
        state: Part(
            found[state][0],
            [rows[id] for id in pages[state] if id in rows],
            pages[state][-1] if len(found[state][1]) > size[state] else None,
        )
        if state in found
        else Part(NOTHING, [], None)
        for state in STATES
    }
