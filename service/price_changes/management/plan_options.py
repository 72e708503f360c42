"""The options of `price_change plan`, and the values of a plan that they give."""

from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from price_changes.errors import ChangeError
from price_changes.kinds import TO_PLAN
from price_changes.kinds.adjustments import ADJUSTMENTS
from price_changes.kinds.plan_fields import COMMON, PlanField
from price_changes.models import PriceChange
from services.models import Plan, Service
from services.reading.filter_kinds import Input

# The fields of a plan that have an option of their own.
FIELDS = {
    field.name: field
    for field in (*(field for kind in TO_PLAN.values() for field in kind.fields), *COMMON)
    if field.option
}


def add_to(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--kind",
        choices=[*TO_PLAN],
        help="which kind of change it is (default: what the other options say)",
    )
    for field in FIELDS.values():
        if field.input == Input.FILTER:
            _add_set(parser, field)
        elif field.input == Input.FLAG:
            parser.add_argument(
                field.option, dest=field.name, action="store_true", help=field.option_help
            )
        else:
            _add(parser, field)


def add_zone(parser: ArgumentParser) -> None:
    _add(parser, FIELDS["time_zone"])


def _add(parser: ArgumentParser, field: PlanField) -> None:
    parser.add_argument(
        field.option, dest=field.name, metavar=field.metavar, help=field.option_help
    )


def _add_set(parser: ArgumentParser, field: PlanField) -> None:
    """The options of a set: its filter, and its adjustment."""
    parser.add_argument(
        field.option,
        dest=field.name,
        action="append",
        default=[],
        metavar=field.metavar,
        help=field.option_help,
    )
    parser.add_argument("--all", action="store_true", help="the set of all subscriptions")
    how = parser.add_mutually_exclusive_group()
    for word, adjustment in ADJUSTMENTS.items():
        if adjustment.metavar:
            help = f"{adjustment.option_help}, for the set"
            how.add_argument(f"--{word}", metavar=adjustment.metavar, help=help)
        else:
            how.add_argument(f"--{word}", action="store_true", help=adjustment.option_help)


def values(options: dict[str, Any]) -> dict[str, Any]:
    """The values of the plan; CommandError with exit status 2 for options that don't combine."""
    adjustments = {
        word: options[word] for word in ADJUSTMENTS if options[word] not in (None, False)
    }
    kind = options["kind"] or _kind_by(options, [*adjustments])
    fields = {field.name for field in TO_PLAN[kind].fields}
    given = {
        name: options[name]
        for name in FIELDS
        if name != "filter" and options[name] not in (None, False)
    }
    if "filter" in fields:
        of_filter = BY_NAME.keys() - fields
        given = {name: value for name, value in given.items() if name not in of_filter}
        given["filter"] = _filter(options, of_filter)
    elif options["filter"] or options["all"] or adjustments:
        raise _usage(_("--filter, --all and the adjustments are for a set."))
    if "adjustment" in fields:
        given |= _adjustment(given, adjustments)
    for name, id_of in BY_NAME.items():
        if name in given:
            given[name] = id_of(given[name])
    return {"kind": kind, **given}


def _kind_by(options: dict[str, Any], adjustments: list[str]) -> str:
    """The kind that the given options say, if none is given by its name."""
    if adjustments:
        return PriceChange.Kind.SET.value
    if options["filter"] or options["all"]:
        raise _usage(
            _("How should the set change? Give one of %(list)s.") % {"list": _list(ADJUSTMENTS)}
        )
    service, plan = options["service"], options["plan"]
    if (service is None) == (plan is None) or options["new_value"] is None:
        raise _usage(
            _(
                "Give --service or --plan with --to; or a set (--filter, --service, --plan,"
                " --all) with one of %(list)s."
            )
            % {"list": _list(ADJUSTMENTS)}
        )
    return PriceChange.Kind.DISCOUNT.value if service is None else PriceChange.Kind.LIST_PRICE.value


def _adjustment(given: dict[str, Any], adjustments: dict[str, Any]) -> dict[str, Any]:
    """The adjustment of a set, with its operand if it takes one."""
    if "new_value" in given:
        raise _usage(_("--to is for a change of the catalogue; a set takes --amount."))
    if "for_new_only" in given:
        raise _usage(_("--new-only is for a change of the catalogue; a set takes --lock."))
    if not adjustments:
        raise _usage(
            _("How should the set change? Give one of %(list)s.") % {"list": _list(ADJUSTMENTS)}
        )
    [(word, operand)] = adjustments.items()
    return {"adjustment": word} | ({"operand": operand} if ADJUSTMENTS[word].metavar else {})


def _filter(options: dict[str, Any], of_it: Iterable[str]) -> dict[str, Any]:
    """The filter of a set; the options `of_it` belong to it too. Empty with --all."""
    pairs = [text.partition("=") for text in options["filter"]]
    for name in sorted(of_it, reverse=True):
        if options[name] is not None:
            pairs.append((name, "=", options[name]))
    which: dict[str, Any] = {}
    for name, equals, value in pairs:
        if not equals:
            raise _usage(_("--filter %(name)s is not NAME=VALUE.") % {"name": repr(name)})
        if name in which:
            raise _usage(
                _("The filter %(name)s is given twice; a subscription has one.") % {"name": name}
            )
        which[name] = BY_NAME[name](value) if name in BY_NAME else value
    if bool(which) == options["all"]:
        raise _usage(
            _("--all and a filter contradict each other.")
            if which
            else _("Which subscriptions? Give --filter NAME=VALUE, --service, --plan, or --all.")
        )
    return which


def in_options(error: ChangeError) -> str:
    """The text of an error, with the options that were typed in place of fields."""
    field = str(error.about.get("parameter", ""))
    option = FIELDS[field].option if field in FIELDS else ""
    if error.code == "unknown_field" and "allowed" in error.about:
        return _("%(value)s does not belong to this kind of change: leave it out.") % {
            "value": option or field
        }
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


BY_NAME = {"service": service_id, "plan": plan_id}


def _one(what: str, text: str, named: QuerySet, known: QuerySet, name: Callable[[Any], str]) -> int:
    """The id of a service or plan by its name; else the number as an id, if there is such one."""
    found = named.values_list("pk", flat=True).first()
    if found is None and text.isascii() and text.isdigit() and len(text) < 19:
        found = known.filter(pk=int(text)).values_list("pk", flat=True).first()
    if found is None:
        there_are = ", ".join(map(name, known[:20])) or _("none yet")
        raise CommandError(
            _("There is no %(what)s %(text)s; there are %(there_are)s.")
            % {"what": _(what), "text": repr(text), "there_are": there_are}
        )
    return int(found)


def _list(words: Iterable[str]) -> str:
    return ", ".join(f"--{word}" for word in words)


def _usage(text: str) -> CommandError:
    return CommandError(text, returncode=2)
