"""The reasons that statements give for the lines of a file: they write English, and here are their
texts to be looked up.

A test reads them from the statements, so none is missing.
"""

from django.utils.translation import pgettext_lazy

TEXTS = (
    pgettext_lazy(
        "file",
        "is in no plan of the book: plan %(plan)s (%(type)s) will have it by what is approved, and"
        " there can't be two",
    ),
    pgettext_lazy(
        "file", "is the e-mail of clients %(clients)s of the book; give each its own first"
    ),
    pgettext_lazy(
        "file", "is the login name of a user with another e-mail, %(email)s; change one of them"
    ),
    pgettext_lazy(
        "file",
        "is the login of %(name)s, who is of the staff, and would become that of a client; give the"
        " client another e-mail, or add a client for this user first",
    ),
    pgettext_lazy(
        "file", "is the login of several users, %(names)s; give each its own e-mail first"
    ),
    pgettext_lazy("file", "contradicts line %(line)s, which gives %(value)s for %(key)s"),
    pgettext_lazy(
        "file",
        "is on line %(line)s too (source %(source)s); an external id stands for one subscription",
    ),
    pgettext_lazy("file", "does not go with source %(source)s; give both or neither"),
    pgettext_lazy(
        "file", "is not after the start, %(start)s; a subscription ends after it has started"
    ),
    pgettext_lazy(
        "file",
        "is not the price of %(list_price)s at %(percent)s %% off, which is %(price)s; correct it,"
        " or leave it empty, or say its price_state: locked or negotiated",
    ),
    pgettext_lazy("file", "is missing: a price that is %(state)s is told"),
    pgettext_lazy("file", "is the end of a lock, and goes with price_state locked alone"),
    pgettext_lazy("file", "has passed, so it follows: give price_state follows and no price"),
    pgettext_lazy("file", "goes with price_state locked or negotiated"),
    pgettext_lazy("file", "is empty; a locked or negotiated price has a reason"),
    pgettext_lazy("file", "differs from the book's %(value)s of subscription %(subscription)s"),
    pgettext_lazy("file", "differs from the book's %(value)s of %(whose)s"),
    pgettext_lazy(
        "file",
        "is not the subscription of this source and external id, which is %(subscription)s; correct"
        " one of them",
    ),
    pgettext_lazy(
        "file", "is the subscription of line %(line)s too; a line stands for one subscription"
    ),
    pgettext_lazy(
        "file",
        "is no service of the book, where subscription %(subscription)s has %(service)s: write that"
        " name, or add the service first",
    ),
    pgettext_lazy(
        "file",
        "may be what the book has as %(candidates)s, or new. Give the id of the subscription in the"
        " column id; or say that lines which are no subscription of the book are new"
        " (add=true; import_book: --add)",
    ),
    pgettext_lazy(
        "file",
        "differs in case or blanks alone from service %(name)s, of the book or an earlier line;"
        " write that",
    ),
    pgettext_lazy(
        "file",
        "differs in case or blanks alone from source %(name)s, of the book or an earlier line;"
        " write that",
    ),
    pgettext_lazy(
        "file",
        "differs in case or blanks alone from %(id)s on line %(line)s; correct one of them, or say"
        " that they are two (add=true; import_book: --add)",
    ),
    pgettext_lazy(
        "file",
        "differs in case or blanks alone from %(id)s, of subscription %(subscription)s; correct one"
        " of them, or say that they are two (add=true; import_book: --add)",
    ),
    # --- The past
    pgettext_lazy(
        "file", "is no external id of %(source)s in the book; import the book before its past"
    ),
    pgettext_lazy(
        "file",
        "has no subscription of %(service)s that starts at %(start)s; import the book before its"
        " past",
    ),
    pgettext_lazy("file", "is no subscription of the book; import the book before its past"),
    pgettext_lazy(
        "file",
        "fits subscriptions %(ids)s of the book; say which one in the column subscription, or in"
        " alike, as 1 of 2",
    ),
    pgettext_lazy("file", "is on line %(line)s too; give one price for it"),
    pgettext_lazy("file", "is before the start, %(start)s"),
    pgettext_lazy("file", "is not before the end, %(end)s"),
    pgettext_lazy("file", "has not passed; plan a price change for an instant to come"),
    pgettext_lazy("file", "is not after effective_at, %(since)s"),
    pgettext_lazy("file", "is after the next line begins, %(next)s"),
    pgettext_lazy("file", "is after the end, %(end)s"),
    pgettext_lazy("file", "has not passed; leave it out"),
    pgettext_lazy("file", "is in a time for which the subscription does not pay"),
    pgettext_lazy(
        "file",
        "is the last one, and does not meet the price in force, %(price)s; say its end in until, or"
        " let a line with that price follow",
    ),
)
