"""Tells the database which request writes: each entry of the ledger keeps that (`request_id`).

    request ─▶ first statement of a transaction that may write entries
                 └─ before it: set_config('pricebook.request', its id), until the transaction ends
                                 └─ ledger_request(), the default of the column

So no writer has to think of it. Workers and commands have no request, and their entries none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.db.transaction import Atomic
from django.http import HttpRequest, HttpResponse

from pricebook.kit.request_id import current_id

SETTING = "pricebook.request"
NOTE = f"SELECT set_config('{SETTING}', %s, true)"
# Triggers on subscriptions write entries, and so do a few statements themselves.
MAY_WRITE_ENTRIES = re.compile(
    r"\s*(?:WITH\b.*\b)?(?:INSERT|UPDATE|DELETE)\b.*\bservices_(?:subscription|ledgerentry)\b",
    re.DOTALL | re.IGNORECASE,
)


class NotedRequestsMiddleware:
    """Behind `RequestIdMiddleware`, which has the id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with connection.execute_wrapper(Noting(current_id() or "")):
            return self.get_response(request)


class Noting:
    """For `connection.execute_wrapper`: notes the id once a transaction, before its first write."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.noted_in: Atomic | None = None

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        blocks = context["connection"].atomic_blocks
        # A savepoint that was undone has taken the note with it. Outside of a transaction it would
        # not last until the write.
        if blocks and self.noted_in not in blocks:
            if SETTING in sql:  # the statement does it itself
                self.noted_in = blocks[-1]
            elif MAY_WRITE_ENTRIES.match(sql):
                execute(NOTE, [self.id], False, context)
                self.noted_in = blocks[-1]
        return execute(sql, params, many, context)
