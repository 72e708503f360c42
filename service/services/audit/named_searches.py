"""The statements of the search over everything, on the desk and in the admin."""

from __future__ import annotations

from pricebook.kit.named_statements import NamedStatement
from services.audit.book_examples import examples
from services.reading import breakdown_sql, found, search

RUN_BY = "the desk's search, and the admin's lists and pickers"
MOST = 10


def named_searches() -> list[NamedStatement]:
    """All statements of this module (5 queries)."""
    example = examples()
    words = (example.client_name or "company")[:100]
    middle = example.middle
    return [
        NamedStatement(
            "clients found",
            "the likest by name, and those of an id, an e-mail or an external id",
            RUN_BY,
            *found.statement("client", words, MOST),
        ),
        NamedStatement(
            "services found",
            "the same of services",
            RUN_BY,
            *found.statement("service", words, MOST),
        ),
        NamedStatement(
            "subscriptions found",
            "those of an id, and of an external id in any source",
            RUN_BY,
            *found.statement_of_subscriptions(example.external_id, MOST),
        ),
        NamedStatement(
            "sources found",
            "the sources of subscriptions, by a step along their index for each, that are like it",
            RUN_BY,
            *found.statement_of_sources(words),
        ),
        NamedStatement(
            "plans found",
            "the names of all plans that are like the words",
            RUN_BY,
            *search.statement_of_texts(words, ["full 0 %", "student 10 %"]),
        ),
        NamedStatement(
            "records of a search",
            "what was found, with what each pays",
            "the desk's search",
            *breakdown_sql.some_statement("client", [middle.client_id]),
        ),
    ]
