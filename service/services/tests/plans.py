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


def rows_by_relation(sql: str, params: tuple[Any, ...]) -> Counter[str]:
    """How many rows a statement, which is run, reads from each index, and from tables at large."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params)
        (document,) = cursor.fetchone()
    found: Counter[str] = Counter()

    def walk(node: dict[str, Any]) -> None:
        name = node.get("Index Name") or node.get("Relation Name")
        if name:
            found[name] += round(node["Actual Rows"] * node["Actual Loops"])
        for inner in node.get("Plans", []):
            walk(inner)

    walk((json.loads(document) if isinstance(document, str) else document)[0]["Plan"])
    return found
