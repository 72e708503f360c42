"""The notes that are stored with price changes: in English, and shown in the reader's language.

`pricebook.words.stored` shows them, by these texts.
"""

from django.utils.translation import gettext_noop

from pricebook.words.stored import known

# --- Why a change is held, or waits, or what its worker found.
HELD_BY_BRAKE = known(
    gettext_noop(
        "The brake was on at its instant: %(by)s had pulled it at %(at)s (%(reason)s). Preview it"
        " again, and approve or cancel."
    )
)
HELD_BY_NOTICE = known(
    gettext_noop(
        "%(left)s of %(total)s clients were not told by %(by)s: preview it again, and approve or"
        " cancel."
    )
)
TOLD_CANT_COME = known(
    gettext_noop("All its clients are told, and it can't come any more: %(refused)s.")
)
CANT_COME = known(gettext_noop("The brake was released, and it can't come any more: %(refused)s."))
FOUND_ANOTHER = known(
    gettext_noop(
        "It found %(found)s, and its approver had seen %(seen)s: preview it again, and approve or"
        " cancel."
    )
)
ROWS_MOVED = known(
    gettext_noop("Rows have moved since the approval: preview it again, and approve or cancel.")
)
WAITS_FOR = known(gettext_noop("It waits for %(writer)s."))
SERVICE_DELETED = known(gettext_noop("The service was deleted."))
PLAN_DELETED = known(gettext_noop("The plan was deleted."))
NOT_STARTED = known(gettext_noop("It could not be started: %(reason)s"))
PLAN_THERE = known(
    gettext_noop(
        "there is a plan %(to)s already, and there can't be two. Cancel it, and move the"
        " subscriptions of one to the other; or give the other plan another discount, preview"
        " this one again and approve it."
    )
)
WRITTEN_BETWEEN = known(
    gettext_noop("%(rows)s of its subscriptions were written between the preview and the start.")
)
WITHOUT_IT = known(gettext_noop("The value in force without it is %(value)s, not %(expected)s."))
OTHER_BEFORE = known(gettext_noop("The value before it was %(before)s, not %(expected)s."))
SUPERSEDED = known(gettext_noop("Superseded from the start by price change %(number)s."))
IN_FORCE_ALREADY = known(gettext_noop("The value in force was %(value)s already."))
NONE_MOVED = known(gettext_noop("It has moved no subscription: the outcome says why."))
NONE_FOUND = known(gettext_noop("It has moved no subscription: its filter finds none."))

# --- The reason that a lock by a change has.
BY_CHANGE = known(gettext_noop("Price change %(number)s"))

# --- Why a change takes another person.
NOBODY_ALONE = known(gettext_noop("Nobody moves prices alone here (APPROVAL_BY_ANOTHER)."))
ONE_ROW = known(
    gettext_noop("It moves %(rows)s row; alone one may move up to %(allowed)s in 24 hours.")
)
ROWS = known(
    gettext_noop("It moves %(rows)s rows; alone one may move up to %(allowed)s in 24 hours.")
)
ONE_ROW_ON_TOP = known(
    gettext_noop(
        "It moves %(rows)s row, on top of %(moved)s that the same person moved alone in 24 hours;"
        " alone one may move up to %(allowed)s in 24 hours."
    )
)
ROWS_ON_TOP = known(
    gettext_noop(
        "It moves %(rows)s rows, on top of %(moved)s that the same person moved alone in 24 hours;"
        " alone one may move up to %(allowed)s in 24 hours."
    )
)
AMOUNT = known(
    gettext_noop(
        "Its rises and falls come to %(amount)s; alone one may move up to %(allowed)s in 24 hours."
    )
)
AMOUNT_ON_TOP = known(
    gettext_noop(
        "Its rises and falls come to %(amount)s, on top of %(moved)s that the same person moved"
        " alone in 24 hours; alone one may move up to %(allowed)s in 24 hours."
    )
)
PERCENT = known(
    gettext_noop(
        "It moves a price by %(percent)s; alone one may move up to %(allowed)s in 24 hours."
    )
)
PERCENT_TOGETHER = known(
    gettext_noop(
        "It moves a price by %(percent)s, %(together)s with what the same person moved alone in 24"
        " hours; alone one may move up to %(allowed)s in 24 hours."
    )
)
PER_CENT = known(gettext_noop("%(value)s per cent"))
BEYOND_PER_CENT = known(gettext_noop("more than any per cent says (from 0)"))

# --- Why an approver is no second person.
DECIDED_BEFORE = known(
    gettext_noop(
        "%(approver)s decided on price change %(number)s before; somebody else has to approve it."
    )
)
NOBODY_KNOWN = known(
    gettext_noop(
        "Nobody knows which person %(approver)s is, so price change %(number)s has no second one:"
        " approve it in the admin, or over the API with a key that a person made there."
    )
)
ONE_PERSON = known(
    gettext_noop("%(planner)s and %(approver)s are one person; somebody else has to approve it.")
)
OF_ONE_NAME = known(
    gettext_noop(
        "Price change %(number)s was decided under the name %(planner)s, which is that of"
        " %(approver)s too; somebody else has to approve it."
    )
)
CANCELLED_BY_ANOTHER = known(gettext_noop("Pause it, and have it cancelled by somebody else."))
