"""How PostgreSQL runs a statement: its plan, and how many rows it had in its hands."""

import json
from collections import Counter
from typing import Any

from django.db import connection, transaction


def explained(statement: str) -> str:
    """The plan of a statement, which is run and rolled back."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, BUFFERS OFF) {statement}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
        transaction.set_rollback(True)
    return plan


def nodes(sql: str, params: tuple[Any, ...] | None = None) -> list[dict[str, Any]]:
    """The nodes of the plan of a statement, which is run."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params)
        (document,) = cursor.fetchone()
    found = [(json.loads(document) if isinstance(document, str) else document)[0]["Plan"]]
    for node in found:
        found.extend(node.get("Plans", []))
    return found


def rows_by_relation(sql: str, params: tuple[Any, ...]) -> Counter[str]:
    """How many rows a statement, which is run, reads from each index, and from tables at large."""
    found: Counter[str] = Counter()
    for node in nodes(sql, params):
        if name := node.get("Index Name") or node.get("Relation Name"):
            found[name] += round(node["Actual Rows"] * node["Actual Loops"])
    return found


def compared_in_vain(sql: str, params: tuple[Any, ...]) -> int:
    """How many pairs of rows a statement, which is run, puts side by side that don't belong."""
    return sum(
        round(node.get("Rows Removed by Join Filter", 0) * node["Actual Loops"])
        for node in nodes(sql, params)
    )


def most_rows(sql: str, params: tuple[Any, ...] | None = None) -> float:
    """The most rows that one node of the plan of a statement, which is run, has read."""
    return max(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes(sql, params)
    )
