"""The fields of a plan: what each is called in the API, in a form, and on the command line."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _lazy

from services.reading.filter_kinds import Input


@dataclass(frozen=True)
class PlanField:
    """A field that a plan may have.

    - `help`: of the API
    - `label` and `hint`: of the form; without a label, no form has the field
    - `option`, `metavar` and `option_help`: of `price_change plan`
    - `required`, `choices`, `length`, `decimal_places`, `negative`: what the form takes. The kind
      of the change checks the value, wherever it was given.
    """

    name: str
    input: Input
    help: str = ""
    label: str | Promise = ""
    hint: str | Promise = ""
    option: str = ""
    metavar: str = ""
    option_help: str = ""
    required: bool = False
    choices: tuple[tuple[str, str | Promise], ...] = ()
    length: int = 0
    decimal_places: int | None = None  # those of the currency
    negative: bool = False


COMMENT = PlanField(
    "comment",
    Input.LINE,
    help="Stamped on the rows that it moves.",
    label=_lazy("Comment to stamp"),
    hint=_lazy("On rows it moves; never over a person's."),
    option="--comment",
    metavar="TEXT",
    option_help="stamped on the subscriptions that it moves",
    length=50,
)
LOCKED_UNTIL = PlanField(
    "locked_until",
    Input.INSTANT,
    help="The end of the locks of for_new_only or of lock.",
    label=_lazy("Until"),
    option="--until",
    metavar="INSTANT",
    option_help="when the locks of --new-only or --lock end (default: never)",
)
# A plan of any kind has these.
COMMON = (
    PlanField(
        "title",
        Input.LINE,
        label=_lazy("Title"),
        hint=_lazy("The name by which people will know it."),
        option="--title",
        metavar="TEXT",
        option_help="the name by which people will know it",
        length=100,
    ),
    PlanField(
        "reason",
        Input.TEXT,
        label=_lazy("Reason"),
        option="--reason",
        metavar="TEXT",
        option_help="the reason for it",
        length=1000,
    ),
    COMMENT,
    PlanField(
        "effective_at",
        Input.INSTANT,
        help="With an offset, in the future; if left out, at the approval.",
        label=_lazy("In force from"),
        hint=_lazy("Empty: when it is approved."),
        option="--at",
        metavar="INSTANT",
        option_help="from when it is in force, with offset or --zone (default: at once)",
    ),
    PlanField(
        "time_zone",
        Input.LINE,
        help="As America/Vancouver: effective_at is a local time there, without an offset, and is"
        " stored as it was given.",
        option="--zone",
        metavar="ZONE",
        option_help="as America/Vancouver: --at is a local time there, 2027-01-15T00:00, and"
        " stored so",
        length=64,
    ),
    PlanField(
        "notice_days",
        Input.DAYS,
        help="All clients whose price it moves are to be told so many days before its instant, 0 to"
        " 365; else it is held.",
        label=_lazy("Days of notice"),
        hint=_lazy("All its clients are to be told so many days before, else it is held."),
        option="--notice-days",
        metavar="DAYS",
        option_help="all clients whose price it moves are to be told so many days before, else it"
        " is held",
    ),
)
WHEN_AND_WHY = (_lazy("When and why"), ("effective_at", "notice_days", "title", "reason"))
