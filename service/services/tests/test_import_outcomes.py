"""What each line of an import does to the book, with the values that differ."""

import io

import pytest

from services.models import Subscription
from services.tests.test_import_export import as_csv, lines, read
from services.transfer import outcomes as module
from services.transfer.importing import import_book
from services.transfer.outcomes import LineOutcome, outcomes

pytestmark = pytest.mark.django_db


def outcomes_of(rows, **options):
    found: list[LineOutcome] = []
    import_book(
        io.BytesIO(as_csv(rows)),
        look=lambda cursor, imported: found.extend(outcomes(cursor)),
        **options,
    )
    return found


@pytest.mark.parametrize("dry_run", [False, True])
def test_each_line_says_what_it_does(dry_run, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 2)
    monkeypatch.setattr("services.transfer.importing.CHUNK", 2)
    read(lines({}, {}, {"service": "DSL", "comment": "old"}))
    there = list(Subscription.objects.order_by("id").values_list("id", flat=True))
    found = outcomes_of(
        [
            *lines({}, {}, {"service": "DSL", "comment": "new", "full_price": "22"}, {}),
            *[line | {"external_id": f"1{line['external_id']}"} for line in lines({}, {})],
        ],
        update=True,
        dry_run=dry_run,
    )
    made = [None] * 3
    if not dry_run:
        made = list(Subscription.objects.order_by("id").values_list("id", flat=True)[3:])
        assert list(Subscription.objects.filter(id__in=made).order_by("id").values_list(
            "external_id", flat=True)) == ["4", "11", "12"]  # fmt: skip
    assert found == [
        LineOutcome(2, "unchanged", there[0], {}),
        LineOutcome(3, "unchanged", there[1], {}),
        LineOutcome(
            4, "changed", there[2], {"full_price": ("20.00", "22.00"), "comment": ("old", "new")}
        ),
        *[LineOutcome(line, "created", id, {}) for line, id in enumerate(made, start=5)],
    ]
