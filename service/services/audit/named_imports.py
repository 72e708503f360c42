"""The statements of `import_book`: tables that it makes of a file, checks, counts and writes.

They work on temporary tables, which are created empty when a statement is explained.
"""

from __future__ import annotations

from typing import Any

from pricebook.kit.named_statements import NamedStatement, Params
from services.transfer import (
    importing,
    incoming_catalogue,
    incoming_subscriptions,
    look_alikes,
    matching,
    moved_prices,
    outcomes,
)
from services.transfer.csv_file import COLUMNS

KEY = "lower(email)"


def contradiction(column: str, key: str) -> str:
    return incoming_subscriptions.CONTRADICTION.format(column=column, key=key)


# Each makes a table from the file and the tables before it.
MAKES: list[tuple[str, str, str, Params]] = [
    ("services of the file", "each with its list price", incoming_catalogue.SERVICES, None),
    ("plans of the file", "each with its discount", incoming_catalogue.PLANS, None),
    ("clients of the file", "each with its e-mail", incoming_catalogue.CLIENTS, None),
    (
        "differences of the catalogue",
        "each list price, name and address that differs from the book",
        incoming_catalogue.CATALOGUE_DIFFERENCE,
        None,
    ),
    ("known lines", "which line is which subscription, by ids elsewhere", matching.KNOWN, None),
    ("unknown lines", "those that are left over", matching.UNKNOWN, None),
    (
        "differences",
        "each value of a known line that differs from the book",
        incoming_subscriptions.subscriptions_differ(list(COLUMNS)),
        None,
    ),
    (
        "prices before",
        "the prices of the subscriptions that differ (--update)",
        moved_prices.KEEP_BEFORE.format(ids=moved_prices.OF_IMPORT),
        None,
    ),
]
# The lines that are wrong, or differ from the book.
FINDS = [
    (
        "half a key",
        "lines with a source or an external id alone",
        incoming_subscriptions.HALF_A_KEY,
    ),
    ("twice", "lines of one external id", incoming_subscriptions.TWICE),
    (
        "end before start",
        "lines that end before they start",
        incoming_subscriptions.ENDS_BEFORE_START,
    ),
    (
        "two list prices",
        "lines that name another list price for a service than an earlier one",
        contradiction("full_price", "service"),
    ),
    (
        "two names",
        "lines that name a client in another way than an earlier one",
        contradiction("company_name", KEY),
    ),
    (
        "half a state",
        "lines that say a price state without what goes with it",
        incoming_subscriptions.HALF_A_STATE,
    ),
    (
        "no reason",
        "lines that would lock or negotiate without a reason",
        incoming_subscriptions.NO_REASON,
    ),
    ("id of another", "lines of two subscriptions", matching.ID_OF_ANOTHER),
    ("two of one", "lines of one subscription", matching.TWO_OF_ONE),
    ("renamed", "known lines that name a service that is not there", matching.RENAMED),
    ("unclear", "unknown lines that may be subscriptions edited since", matching.UNCLEAR),
    ("services alike", "new ones that look like others", look_alikes.SERVICES_ALIKE),
    ("sources alike", "new ones that look like others", look_alikes.SOURCES_ALIKE),
    ("ids alike", "external ids that look like others", look_alikes.IDS_ALIKE),
    (
        "ids alike in the book",
        "those that look like others of the book",
        look_alikes.IDS_ALIKE_IN_BOOK,
    ),
    ("not the rule", "lines whose price is not the rule's", incoming_subscriptions.NOT_THE_RULE),
    ("e-mail of several", "clients that the book can't tell apart", incoming_catalogue.SAME_EMAIL),
    (
        "login that is taken",
        "clients whose e-mail is another's login",
        incoming_catalogue.LOGIN_TAKEN,
    ),
    (
        "other list prices and clients",
        "their differences from the book, in words",
        incoming_catalogue.CATALOGUE_DIFFERS,
    ),
    (
        "other subscriptions",
        "the differences from the book, in words",
        incoming_subscriptions.DIFFERENCES,
    ),
]
COUNTS: list[Any] = [
    ("left over", "how many lines have no subscription yet", matching.LEFT_OVER),
    ("missing services", "how many are to be made", incoming_catalogue.MISSING_SERVICES),
    ("missing plans", "how many are to be made", incoming_catalogue.MISSING_PLANS),
    (
        "approved plans",
        "the missing ones that another plan will be",
        incoming_catalogue.PLANS_APPROVED,
    ),
    ("missing clients", "how many are to be made", incoming_catalogue.MISSING_CLIENTS),
    (
        "moving list prices",
        "the services whose list price moves (--update)",
        moved_prices.SERVICES_THAT_DIFFER,
    ),
    (
        "prices by list prices",
        "the followers that move with them, in figures",
        moved_prices.BY_LIST_PRICES,
        [[1]],
    ),
    (
        "prices by subscriptions",
        "the subscriptions that moved to another price, in figures",
        moved_prices.BY_SUBSCRIPTIONS,
    ),
    (
        "changes of list prices",
        "the changes that were recorded of them",
        moved_prices.CHANGES,
        [[1]],
    ),
]
WRITES = [
    ("known by id", "finds the subscriptions of the book's own ids", matching.BY_ID),
    *(
        (name, "finds those of lines without ids elsewhere", sql)
        for name, sql in zip(
            ("equal lines", "alone with a plan", "alone"),
            matching.by_equality(list(COLUMNS)),
            strict=True,
        )
    ),
    (
        "equal lines of an older file",
        "the same, where it has no price states",
        matching.by_equality([name for name in COLUMNS if name != "price_state"])[0],
    ),
    (
        "write price states",
        "locks, negotiates and releases what differs (--update)",
        incoming_subscriptions.UPDATE_STATES,
    ),
    ("services", "makes those that are missing", incoming_catalogue.INSERT_SERVICES),
    ("plans", "makes those that are missing", incoming_catalogue.INSERT_PLANS),
    ("lock the plans", "shared locks on the plans of the file", incoming_catalogue.LOCK_PLANS),
    ("late list prices", "copies what is in force", incoming_catalogue.COPY_SERVICES),
    ("late discounts", "copies what is in force", incoming_catalogue.COPY_PLANS),
    (
        "find the clients",
        "gives the file's clients their ids in the book",
        incoming_catalogue.FIND_CLIENTS,
    ),
    (
        "e-mails",
        "fills in that of a login whose name it is",
        incoming_catalogue.FILL_EMAILS,
    ),
    ("list prices", "moves those that differ (--update)", incoming_catalogue.UPDATE_SERVICES),
    ("names", "writes those that differ (--update)", incoming_catalogue.UPDATE_CLIENTS),
    ("logins", "makes those of new clients", incoming_catalogue.INSERT_LOGINS),
    ("clients", "makes those that are missing", incoming_catalogue.INSERT_CLIENTS),
]


def named_imports() -> list[NamedStatement]:
    """All statements of an import, under names that begin with "import". No query."""
    tables: list[tuple[str, Params]] = [
        (incoming_subscriptions.INCOMING, None),
        (outcomes.MADE, None),
    ]

    def named(
        name: str, purpose: str, sql: str, params: Params = None, writes: bool = False
    ) -> NamedStatement:
        return NamedStatement(
            f"import, {name}",
            purpose,
            "import_book",
            sql,
            params,
            writes=writes,
            needs=tuple(tables),
        )

    made = []
    for name, purpose, sql, params in MAKES:
        made.append(named(name, purpose, sql, params, writes=True))
        tables.append((f"{sql} WITH NO DATA", params))
    assignments = incoming_subscriptions.assignments(list(COLUMNS))
    return [
        *made,
        *[
            named(name, purpose, incoming_subscriptions.first_of(sql))
            for name, purpose, sql in FINDS
        ],
        *[named(*each) for each in COUNTS],
        *[named(*each, writes=True) for each in WRITES],
        named(
            "lock the services",
            "locks on the services of the file, exclusive where a list price moves",
            incoming_catalogue.LOCK_SERVICES,
            [False],
            writes=True,
        ),
        named(
            "change subscriptions",
            "writes what differs (--update)",
            incoming_subscriptions.UPDATE_SUBSCRIPTIONS.format(assignments=assignments),
            writes=True,
        ),
        named(
            "subscriptions",
            "makes those of 50,000 lines that are new, at the rule's price",
            outcomes.KEEP_IDS.format(incoming_subscriptions.INSERT_SUBSCRIPTIONS),
            [0, importing.CHUNK],
            writes=True,
        ),
        named("outcomes", "what each line does, with its differences", outcomes.OUTCOMES),
    ]
