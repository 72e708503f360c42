"""`manage bridge --from 2026-09-01 --to 2026-10-01`: why one total is not the other."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.http import QueryDict
from django.utils.translation import gettext as _

from desk.then.moments import BadMoment, moment
from desk.then.steps import group_lines, kinds_of, lines_of
from desk.then.words import STEPS
from price_changes.bridge_views import shown
from price_changes.showing.bridges import changes_of, names_of
from pricebook.kit import exact_json, figures
from services.ledger.bridge import FILTERS, GROUPS, bridge
from services.management import arguments
from services.management.table import table
from services.models import book_clock
from services.reading.filters import BookFilter


class Command(BaseCommand):
    help = (
        "The total at two instants, and the steps from one to the other, to the cent: who started"
        " and ended, each price change by its number, moves, locks, negotiated prices, corrections."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from", required=True, help="a date (its midnight), a local time, or with an offset"
        )
        parser.add_argument("--to", default="", help="likewise; past or future (default: now)")
        parser.add_argument("--by", choices=list(GROUPS), help="the same for each of them")
        for name in FILTERS:
            parser.add_argument(f"--{name}", type=arguments.number, help="only of this one (id)")
        parser.add_argument("--json", action="store_true", help="as the API answers")

    def handle(self, *, by: str | None, json: bool, **options: Any) -> None:
        given = QueryDict(mutable=True)
        given.update({name: options[name] for name in ("from", "to")})
        try:
            since, until = moment(given, "from"), moment(given, "to") or book_clock()
        except BadMoment as error:
            raise CommandError(str(error)) from None
        if since is None or until <= since:
            raise CommandError(_("--to is not after --from."))
        wanted = BookFilter(**{name: options[name] for name in FILTERS if options[name]})
        found = bridge(since, until, wanted, by)
        changes, names = changes_of(found), names_of(found, by)
        if json:
            self.stdout.write(exact_json.encode(shown(found, changes, names)).decode())
            return
        lines = [
            (figures.instant(since), "", figures.money(found.total_since.amount), ""),
            *(
                (
                    line.label,
                    figures.grouped(line.rows),
                    figures.difference(line.amount),
                    line.says,
                )
                for line in lines_of(found.steps, changes)
            ),
            (figures.instant(until), "", figures.money(found.total_until.amount), ""),
        ]
        for text in table("<>><", lines, indent=0):
            self.stdout.write(text)
        if by:
            kinds = kinds_of(found)
            heads = [_("From"), *(str(STEPS[kind]) for kind in kinds), _("To")]
            rows = [
                [
                    figures.amount(group.since),
                    *("" if each is None else figures.difference(each) for each in group.amounts),
                    figures.amount(group.until),
                    group.name,
                ]
                for group in group_lines(found, names)
            ]
            self.stdout.write("")
            align = ">" * len(heads) + "<"
            for text in table(align, [[*heads, ""], *rows], indent=0):
                self.stdout.write(text)
