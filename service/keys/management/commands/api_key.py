"""`manage api_key create|list|rotate|revoke`: keys for programs, from the command line."""

from argparse import ArgumentParser
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from keys import verbs
from keys.models import ApiKey
from keys.serializers import shown
from keys.verbs import KeyRefused, Maker
from pricebook.kit import authors
from pricebook.kit.content import JSONRenderer
from pricebook.kit.scopes import READ_SCOPES, SCOPES
from services.management import arguments
from services.management.table import shown_instant, table


class Command(BaseCommand):
    help = (
        "Make, list, rotate and revoke API keys of programs. A key is printed once. A key that is"
        " made here has no known person behind it, so it is no second person for an approval."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verb = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        create = verb.add_parser("create", help="make a key, and print it this once")
        create.add_argument("name", help="of the program that uses it")
        create.add_argument(
            "--scope",
            dest="scopes",
            action="append",
            choices=list(SCOPES),
            help="what it may do, as often as needed (default: all that read)",
        )
        create.add_argument(
            "--expires", type=arguments.instant, metavar="INSTANT", help="its end (default: none)"
        )
        verb.add_parser("list", help="all keys, the newest first, without their secrets")
        rotate = verb.add_parser("rotate", help="give a key a new secret, and print it this once")
        rotate.add_argument(
            "--overlap-hours",
            type=int,
            default=verbs.OVERLAP_HOURS,
            metavar="HOURS",
            help="how long the old secret is good beside the new one, 0 to"
            f" {verbs.LONGEST_OVERLAP_HOURS} (default: {verbs.OVERLAP_HOURS})",
        )
        revoke = verb.add_parser("revoke", help="end a key for ever, and those that it has made")
        for each in (rotate, revoke):
            each.add_argument("number", type=arguments.number, help="of the key, as list shows it")
        for name, each in verb.choices.items():
            if name != "list":
                arguments.add_author(each)
            each.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, verb: str, **options: Any) -> None:
        if "author" in options:
            claimed = arguments.author_of(options.pop("author"))
            options["by"] = Maker.operator(authors.parse(claimed).name)
        try:
            getattr(self, verb)(**options)
        except KeyRefused as error:
            raise CommandError(f"{error.detail} ({error.code})") from error

    def create(
        self,
        *,
        name: str,
        scopes: list[str] | None,
        expires: datetime | None,
        by: Maker,
        json: bool,
        **_: Any,
    ) -> None:
        made, text = verbs.make(name, scopes or READ_SCOPES, by, expires)
        self.tell(made, text, json)

    def rotate(self, *, number: int, overlap_hours: int, by: Maker, json: bool, **_: Any) -> None:
        key, text = verbs.rotate(number, by, overlap_hours)
        self.tell(key, text, json)

    def revoke(self, *, number: int, by: Maker, json: bool, **_: Any) -> None:
        key = verbs.revoke(number, by)
        if json:
            return self.write_json([shown(key)])
        self.stdout.write(f"{key} is revoked, and with it those that it has made.")

    def list(self, *, json: bool, **_: Any) -> None:
        keys = ApiKey.objects.select_related("made_with").order_by("-number")
        if json:
            return self.write_json(map(shown, keys))
        rows = [
            (str(key.number), key.name, key.state(), _instant(key.expiry_date),
             _instant(key.last_used_at), key.made_by or "nobody known", " ".join(key.scopes))
            for key in keys
        ]  # fmt: skip
        head = ("key", "name", "state", "ends", "last used", "made by", "scopes")
        self.stdout.write("\n".join(table("><<<<<<", [head, *rows])))

    def tell(self, key: ApiKey, text: str, json: bool) -> None:
        if json:
            return self.write_json([{**shown(key), "key": text}])
        self.stderr.write(f"{key}: {', '.join(key.scopes)}. It is shown this once:")
        if key.old_until is not None:
            self.stderr.write(f"The old secret is good until {shown_instant(key.old_until)}.")
        self.stdout.write(text)

    def write_json(self, records: Iterable[dict[str, Any]]) -> None:
        for each in records:
            self.stdout.write(JSONRenderer.encoder.encode(each).decode())


def _instant(at: datetime | None) -> str:
    return "" if at is None else shown_instant(at)
