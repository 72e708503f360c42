"""The options of `price_change plan`, and the values of a plan that they give."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet

from price_changes.errors import ChangeError
from services.models import Plan, Service
from services.reading.filters import LASTING

# The plan's fields, as `definition` names them, and the options that give them.
OPTIONS = {
    "service": "--service",
    "plan": "--plan",
    "new_value": "--to",
    "for_new_only": "--new-only",
    "locked_until": "--until",
    "filter": "--filter",
    "floor": "--floor",
    "ceiling": "--ceiling",
    "rounding_step": "--step",
    "effective_at": "--at",
    "time_zone": "--zone",
    "title": "--title",
    "reason": "--reason",
    "comment": "--comment",
}
AMOUNTS = {"amount": "a new price", "add": "plus or minus an amount", "percent": "plus or minus %%"}
STATES = {
    "lock": "lock each at the price it has",
    "release": "end their locks: they follow the catalogue again",
    "follow": "negotiated ones follow the catalogue again",
}
ALSO = (
    "floor",
    "ceiling",
    "rounding_step",
    "effective_at",
    "time_zone",
    "title",
    "reason",
    "comment",
)


def add_to(parser: ArgumentParser) -> None:
    def option(field: str, metavar: str, help: str) -> None:
        parser.add_argument(OPTIONS[field], dest=field, metavar=metavar, help=help)

    option(
        "service", "SERVICE", "name or id: its list price moves; for a set, only its subscriptions"
    )
    option(
        "plan", "PLAN", '"student 10" or id: its discount moves; for a set, only its subscriptions'
    )
    option("new_value", "VALUE", "the new list price, or the new discount in per cent")
    parser.add_argument(
        "--new-only",
        dest="for_new_only",
        action="store_true",
        help="only for new subscriptions: existing ones keep their price",
    )
    option("locked_until", "INSTANT", "when the locks of --new-only or --lock end (default: never)")
    parser.add_argument(
        "--filter",
        dest="filter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"a set of subscriptions; all given ones must match. NAME: {', '.join(LASTING)}",
    )
    parser.add_argument("--all", action="store_true", help="the set of all subscriptions")
    how = parser.add_mutually_exclusive_group()
    for word, help in AMOUNTS.items():
        how.add_argument(f"--{word}", metavar="NUMBER", help=f"{help}, for the set")
    for word, help in STATES.items():
        how.add_argument(f"--{word}", action="store_true", help=help)
    option("floor", "PRICE", "no price of the set goes below it")
    option("ceiling", "PRICE", "no price of the set goes above it")
    option("rounding_step", "PRICE", "round to multiples of it, half up")
    option(
        "effective_at",
        "INSTANT",
        "from when it is in force, with offset or --zone (default: at once)",
    )
    add_zone(parser)
    option("title", "TEXT", "the name by which people will know it")
    option("reason", "TEXT", "the reason for it")
    option("comment", "TEXT", "stamped on the subscriptions that it moves")


def add_zone(parser: ArgumentParser) -> None:
    parser.add_argument(
        OPTIONS["time_zone"],
        dest="time_zone",
        metavar="ZONE",
        help="as America/Vancouver: --at is a local time there, 2027-01-15T00:00, and stored so",
    )


def values(options: dict[str, Any]) -> dict[str, Any]:
    """The values of the plan; CommandError with exit status 2 for options that don't combine."""
    given = {name: options[name] for name in ALSO if options[name] is not None}
    if options["locked_until"] is not None:
        given["locked_until"] = options["locked_until"]
    adjustments = {word: options[word] for word in AMOUNTS if options[word] is not None}
    adjustments |= {word: None for word in STATES if options[word]}
    if adjustments:
        [(adjustment, operand)] = adjustments.items()
        return given | _of_a_set(options, adjustment, operand)
    if options["filter"] or options["all"]:
        raise _usage(f"How should the set change? Give one of {_list([*AMOUNTS, *STATES])}.")
    return given | _of_the_catalogue(options)


def _of_a_set(options: dict[str, Any], adjustment: str, operand: str | None) -> dict[str, Any]:
    if options["new_value"] is not None:
        raise _usage("--to is for a change of the catalogue; a set takes --amount.")
    if options["for_new_only"]:
        raise _usage("--new-only is for a change of the catalogue; a set takes --lock.")
    kept = _filter(options)
    if bool(kept) == options["all"]:
        raise _usage(
            "--all and a filter contradict each other."
            if kept
            else "Which subscriptions? Give --filter NAME=VALUE, --service, --plan, or --all."
        )
    values: dict[str, Any] = {"kind": "set", "adjustment": adjustment, "filter": kept}
    if operand is not None:
        values["operand"] = operand
    return values


def _of_the_catalogue(options: dict[str, Any]) -> dict[str, Any]:
    service, plan = options["service"], options["plan"]
    if (service is None) == (plan is None) or options["new_value"] is None:
        raise _usage(
            "Give --service or --plan with --to; or a set (--filter, --service, --plan, --all)"
            f" with one of {_list([*AMOUNTS, *STATES])}."
        )
    values: dict[str, Any] = {"new_value": options["new_value"]}
    if options["for_new_only"]:
        values["for_new_only"] = True
    if service is not None:
        return values | {"kind": "list_price", "service": service_id(service)}
    return values | {"kind": "discount", "plan": plan_id(plan)}


def _filter(options: dict[str, Any]) -> dict[str, Any]:
    pairs = [text.partition("=") for text in options["filter"]]
    for name in ("service", "plan"):
        if options[name] is not None:
            pairs.append((name, "=", options[name]))
    kept: dict[str, Any] = {}
    for name, equals, value in pairs:
        if not equals:
            raise _usage(f"--filter {name!r} is not NAME=VALUE.")
        if name in kept:
            raise _usage(f"The filter {name} is given twice; a subscription has one.")
        by_name = {"service": service_id, "plan": plan_id}.get(name)
        kept[name] = by_name(value) if by_name else value
    return kept


def in_options(error: ChangeError) -> str:
    """The text of an error, with the options that were typed in place of fields."""
    field = str(error.about.get("parameter", ""))
    if error.code == "unknown_field" and "allowed" in error.about:
        return f"{OPTIONS.get(field, field)} does not belong to this kind of change: leave it out."
    option = OPTIONS.get(field)
    if option and error.detail.startswith(f"{field} "):
        return option + error.detail.removeprefix(field)
    return error.detail


# --- The catalogue by name --------------------------------------------------------------------


def service_id(text: str) -> int:
    return _one(
        "service",
        text,
        Service.objects.filter(name=text),
        Service.objects.order_by("name"),
        str,
    )


def plan_id(text: str) -> int:
    plan_type, _, percent = text.removesuffix("%").removesuffix(" ").partition(" ")
    named = Plan.objects.none()
    if percent.isascii() and percent.isdigit() and len(percent) <= 3:
        named = Plan.objects.filter(plan_type=plan_type, discount_percent=int(percent))
    elif plan_type == Plan.Type.FULL and not percent:
        named = Plan.objects.filter(plan_type=plan_type, discount_percent=0)
    return _one(
        "plan",
        text,
        named,
        Plan.objects.order_by("plan_type", "discount_percent"),
        lambda plan: f'"{plan.plan_type} {plan.discount_percent}"',
    )


def _one(what: str, text: str, named: QuerySet, known: QuerySet, name: Callable[[Any], str]) -> int:
    """The id of a service or plan by its name; else the number as an id, if there is such one."""
    found = named.values_list("pk", flat=True).first()
    if found is None and text.isascii() and text.isdigit() and len(text) < 19:
        found = known.filter(pk=int(text)).values_list("pk", flat=True).first()
    if found is None:
        there_are = ", ".join(map(name, known[:20])) or "none yet"
        raise CommandError(f"There is no {what} {text!r}; there are {there_are}.")
    return int(found)


def _list(words: list[str]) -> str:
    return ", ".join(f"--{word}" for word in words)


def _usage(text: str) -> CommandError:
    return CommandError(text, returncode=2)
