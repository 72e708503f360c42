"""Each kind of price change, each adjustment and each price state says all that is asked of it."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from price_changes.kinds import KINDS, OF_CATALOGUE, OF_ROWS, TO_PLAN
from price_changes.kinds.adjustments import ADJUSTMENTS
from price_changes.kinds.plan_fields import COMMENT, COMMON
from price_changes.kinds.words import Names
from price_changes.management.plan_options import FIELDS
from price_changes.models import PriceChange
from price_changes.planning import definition
from price_changes.planning.fingerprint import DEFINITION
from price_changes.showing.sentences import sentence
from services.about_price_states import ABOUT
from services.models import Subscription
from services.reading.filter_kinds import Input
from services.reading.row import JOINED, OF_SUBSCRIPTION, BookRow
from services.tests.factories import a_plan, a_reader, a_service, a_subscription

pytestmark = pytest.mark.django_db

# A plan of each kind, and of each adjustment of a set, with what is said of it.
PLANS = {
    "list_price": ({"service": 1, "new_value": "9"}, "List price of Fibre: 10.00 → 9.00 USD"),
    "discount": ({"plan": 1, "new_value": "5"}, "Discount of plan discount -10 %: 10 → 5 %"),
    "set": ({"filter": {}, "adjustment": "lock"}, "All subscriptions: locked at the price"),
}
SETS = {
    "amount": ("9", "a price of 9.00 USD"),
    "add": ("-9", "minus 9.00 USD"),
    "percent": ("5", "plus 5 %"),
    "lock": (None, "locked at the price they have"),
    "release": (None, "released from their lock"),
    "follow": (None, "to follow the catalogue"),
}


def test_every_kind_is_one_of_the_model_and_of_one_family():
    assert [*KINDS] == PriceChange.Kind.values
    assert sorted(KINDS) == sorted([*OF_CATALOGUE, *OF_ROWS])
    assert [*TO_PLAN] == [*PLANS], "a kind that can be planned has an example here"


@pytest.mark.parametrize("name", TO_PLAN)
def test_a_kind_is_planned_with_its_fields_and_has_its_words(name):
    plan = a_plan(10)
    service = a_service(10, name="Fibre")
    a_subscription(service=service, plan=plan)
    given, says = PLANS[name]
    ids = {"service": service.pk, "plan": plan.pk}
    change = definition.plan(
        {"kind": name} | {field: ids.get(field, value) for field, value in given.items()}, "ann"
    )
    assert sentence(change, Names.of_changes([change])).startswith(says)


@pytest.mark.parametrize("name", TO_PLAN)
def test_a_kind_is_planned_on_the_command_line_by_its_name(name):
    plan = a_plan(10)
    service = a_service(10, name="Fibre")
    a_subscription(service=service, plan=plan)
    ids = {"service": service.pk, "plan": plan.pk}
    options = ["--kind", name]
    for field, value in PLANS[name][0].items():
        if field == "adjustment":
            options.append(f"--{value}")
        else:
            given = "--all" if value == {} else str(ids.get(field, value))
            options += [given] if value == {} else [FIELDS[field].option, given]
    call_command("price_change", "plan", *options, "--author", "ann", stdout=StringIO())
    assert PriceChange.objects.get().kind == name


def test_the_command_line_refuses_what_is_not_of_the_kind():
    a_subscription(service=a_service(10, name="Fibre"))
    for options, says in [
        (("--kind", "discount", "--service", "Fibre", "--to", "5"), "--service does not belong"),
        (("--kind", "list_price", "--all", "--to", "5"), "are for a set"),
        (("--kind", "list_price", "--lock", "--service", "Fibre", "--to", "5"), "are for a set"),
        (("--kind", "set", "--all"), "How should the set change?"),
    ]:
        with pytest.raises(CommandError, match=says):
            call_command("price_change", "plan", *options, "--author", "ann")
    assert not PriceChange.objects.exists()


@pytest.mark.parametrize("kind", TO_PLAN.values(), ids=str)
def test_a_form_shows_all_fields_of_a_kind_that_have_a_label_each_once(kind):
    shown = [name for _, names in kind.sections for name in names]
    assert sorted(shown) == sorted(
        each.name for each in (*COMMON, *kind.fields) if each.label or each.input == Input.FILTER
    )


def test_a_field_has_the_same_option_and_help_in_every_kind():
    for kind in TO_PLAN.values():
        for each in kind.fields:
            if each.option:
                same = FIELDS[each.name]
                assert (each.option, each.help) == (same.option, same.help)
            else:
                # The options of the adjustments give them.
                assert each.name in ("adjustment", "operand")


def test_the_schema_has_every_field_of_a_plan():
    schema = a_reader().get(reverse("schema"), {"format": "json"}).json()
    body = schema["components"]["schemas"]["NewPriceChange"]["properties"]
    fields = [*COMMON, *(each for kind in TO_PLAN.values() for each in kind.fields)]
    assert body.keys() == {"kind", *(each.name for each in fields)}


@pytest.mark.parametrize("word", PriceChange.Adjustment.values)
def test_an_adjustment_is_planned_and_has_its_words(word):
    operand, says = SETS[word]
    given = {"kind": "set", "filter": {}, "adjustment": word, "operand": operand}
    change = definition.plan(given, "ann")
    assert ADJUSTMENTS[word].word == word
    assert sentence(change, Names.of_changes([change])) == f"All subscriptions: {says}"


def test_of_every_price_state_something_is_said_and_only_one_is_moved_by_the_catalogue():
    assert [*ABOUT] == [*Subscription.PriceState]
    assert [state for state, about in ABOUT.items() if about.reason is None] == ["follows"]
    assert [state for state, about in ABOUT.items() if not about.explained] == ["follows"]


def test_the_fingerprint_stands_for_every_field_that_decides_the_rows():
    fields = [each for kind in TO_PLAN.values() for each in kind.fields]
    columns = {PriceChange._meta.get_field(each.name).attname for each in (*fields, COMMENT)}
    assert columns | {"kind", "reverts_id"} == {*DEFINITION}


def test_the_columns_of_a_row_of_the_book_begin_with_those_of_the_subscription():
    assert BookRow._fields == (*OF_SUBSCRIPTION, *JOINED)
