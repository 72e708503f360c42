"""`manage brake on|off|show`: hold every start of a price change, and let them come again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.forms.models import model_to_dict
from django.utils.translation import gettext as _

from price_changes import verbs
from price_changes.errors import ChangeError
from price_changes.models import Brake
from price_changes.running.brake import said
from pricebook.kit import exact_json
from services.management import arguments

MIGRATION = ("price_changes", "0018_brake")


class Command(BaseCommand):
    help = (
        "The brake: while it is on, no price change starts, whatever is approved. `on` pulls it,"
        " `off` releases it, `show` says how it stands (exit status 1 with --check if it is on)."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        for name, help in (("on", "pull it"), ("off", "release it")):
            one = actions.add_parser(name, help=help)
            one.add_argument("--reason", required=True, help="why; everybody sees it")
            arguments.add_author(one)
            one.add_argument("--json", action="store_true", help="for programs")
        show = actions.add_parser("show", help="say whether it is on, and who has pulled it before")
        show.add_argument("--check", action="store_true", help="fail if it is on")
        show.add_argument("--limit", type=arguments.count, default=20, help="of the brakes before")
        show.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, action: str, **options: Any) -> None:
        try:
            getattr(self, action)(**options)
        except ChangeError as error:
            raise CommandError(f"{error.detail} ({error.code})") from error

    def on(self, *, reason: str, author: str | None, json: bool, **options: Any) -> None:
        verbs.pull_brake(arguments.author_of(author), reason)
        self.tell(json, 0)

    def off(self, *, reason: str, author: str | None, json: bool, **options: Any) -> None:
        verbs.release_brake(arguments.author_of(author), reason)
        self.tell(json, 1)

    def show(self, *, check: bool, limit: int, json: bool, **options: Any) -> None:
        if MIGRATION not in MigrationRecorder(connection).applied_migrations():
            raise CommandError(_("the brake: not known before the pending migrations"))
        if check and (state := verbs.brake_state()).brake is not None:
            raise CommandError(said(state.brake))
        self.tell(json, 0 if check else limit)

    def tell(self, json: bool, limit: int) -> None:
        """Print the state, and the brakes before it."""
        state = verbs.brake_state()
        before = Brake.objects.exclude(released_at=None).order_by("-pk")[:limit]
        if json:
            told = {
                "on": state.on,
                "brake": state.brake and model_to_dict(state.brake),
                "to_come": state.to_come,
                "under_way": state.under_way,
                "history": [model_to_dict(brake) for brake in before],
            }
            self.stdout.write(exact_json.encode(told).decode())
            return
        self.stdout.write(said(state.brake) if state.brake else _("The brake is off."))
        for text, ids in (
            (_("  to come, held if it is on by then: price changes %(ids)s"), state.to_come),
            (_("  under way, not stopped by it: price changes %(ids)s"), state.under_way),
        ):
            if state.brake and ids:
                self.stdout.write(text % {"ids": ", ".join(map(str, ids))})
        for brake in before:
            self.stdout.write(_("  before: %(said)s") % {"said": said(brake)})
