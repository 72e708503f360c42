"""Each line of an import says what it does to the book, with the values that differ."""

import io
import json

import pytest
from django.core.management import call_command

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


def test_a_dry_run_shows_the_first_differences(tmp_path):
    read(lines(*[{}] * 23))
    edited = lines(*[{"comment": "said"}] * 22, {}, {})
    file = tmp_path / "book.csv"
    file.write_bytes(as_csv(edited))

    def run(*options):
        out = io.StringIO()
        call_command("import_book", file, "--update", "--dry-run", *options, stdout=out, stderr=out)
        return out.getvalue()

    first = Subscription.objects.order_by("id").first()
    printed = run()
    assert f"line 2, changed subscription {first.pk}: comment '' → 'said'\n" in printed
    assert "… and 2 more lines with differences (--all)" in printed
    assert "A dry run: nothing was written." in printed
    assert run("--all").count(": comment '' → 'said'") == 22
    told = json.loads(run("--json"))
    assert (told["outcomes"], told["lines_left_out"], told["total"]) == (
        {"changed": 22, "unchanged": 1, "created": 1}, 2, 480.0,
    )  # fmt: skip
    assert told["lines"][0]["differences"] == {"comment": {"before": "", "after": "said"}}
    assert set(Subscription.objects.values_list("comment", flat=True)) == {""}
