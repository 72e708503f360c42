"""Statements of the desk's pages of a client, a subscription, a service and a plan."""

from __future__ import annotations

from pricebook.kit.named_statements import NamedStatement
from services.audit.book_examples import examples
from services.catalogue_subject import CatalogueSubject
from services.ledger import entries, explanation, last_move, paid_by_client
from services.reading import catalogue_history, of_client, one


def named_pages() -> list[NamedStatement]:
    """All statements of this module (a few queries)."""
    row = examples().middle
    service = CatalogueSubject("service", row.service_id)
    of_service = {"id": row.service_id}
    return [
        NamedStatement(
            "client's page, by state",
            "its subscriptions: the totals, and a page of each state",
            "/desk/clients/ID/",
            of_client.OF_CLIENT,
            {"client": row.client_id, "after": "{}", "most": 21},
            why="All of the client, by the foreign key.",
        ),
        NamedStatement(
            "client's page, rows",
            "the subscriptions of the page",
            "/desk/clients/ID/",
            one.THOSE,
            [[row.pk]],
        ),
        NamedStatement(
            "client's page, explanations",
            "why each subscription of a page pays what it pays",
            "/desk/clients/ID/",
            explanation.EACH,
            [[row.pk], None],
        ),
        NamedStatement(
            "client's page, last moves",
            "when the catalogue last moved the price of each of them",
            "/desk/clients/ID/",
            last_move.EACH,
            [[1], [row.service_id], [row.plan_id], [row.started_at], [row.started_at]],
        ),
        NamedStatement(
            "client's page, history",
            "the total at each instant at which it may have changed",
            "/desk/clients/ID/",
            paid_by_client.PAID,
            {"client": row.client_id, "since": row.started_at, "upto": row.started_at},
            why="By the entries of each subscription that the client ever had.",
        ),
        NamedStatement(
            "subscription's page, history",
            "its entries, the last first",
            "/desk/subscriptions/ID/, the admin",
            entries.NEWEST,
            {"id": row.pk, "before": None, "limit": 20},
        ),
        NamedStatement(
            "service's page, course",
            "its list prices, past and to come; a plan's discounts likewise",
            "/desk/services/ID/",
            catalogue_history.course_of(service),
            {**of_service, "most": 60},
        ),
        NamedStatement(
            "service's page, by plan",
            "those that follow, and others, with what they pay; a plan's by service likewise",
            "/desk/services/ID/",
            catalogue_history.PAIRS.format(column=service.column),
            of_service,
        ),
        NamedStatement(
            "service's page, by state",
            "its subscriptions, counted one by one",
            "/desk/services/ID/?count=1",
            catalogue_history.BY_STATE.format(column=service.column),
            of_service,
            why="All of this service, by the index, where somebody asks for it.",
        ),
    ]
