"""`manage webhooks VERB`: the endpoints that are sent events, from the command line."""

from argparse import ArgumentParser
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from events import endpoints, queues
from events.given import LONGEST_OVERLAP_HOURS, OVERLAP_HOURS, checked_place
from events.models import Attempt, Endpoint
from events.serializers import DeliverySerializer, shown
from events.tasks import tell_events
from events.types import TYPES
from pricebook.kit import exact_json
from pricebook.kit.refusal import Refusal
from services.management import arguments
from services.management.table import shown_instant, table
from services.tasks import wake

MIGRATION = ("events", "0001_events")
OF_ONE = {
    "change": "give it another name, address or types",
    "rotate": "give it a new secret, and print it this once",
    "end_rotation": "sign with the new secret alone from now on",
    "enable": "send to it again, from the first event on that it has not had",
    "disable": "send it nothing more; events wait for it",
    "delete": "delete it with its log; the events stay",
    "test": "send it a test event",
    "replay": "send it events again, each with the webhook-id that it had",
    "deliveries": "its log: the attempts of the last 30 days, the newest first",
}
READING = ("list", "deliveries")


class Command(BaseCommand):
    help = (
        "Webhook endpoints: the addresses to which events are sent. A secret is printed once."
        f" The types are {', '.join(TYPES)}."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        listing = verbs.add_parser("list", help="all endpoints, and how far each is behind")
        listing.add_argument("--check", action="store_true", help="fail if one fails or is off")
        create = verbs.add_parser("create", help="make one, and print its secret this once")
        create.add_argument("name", help="of the program that receives")
        create.add_argument("url", help="https, to a public address")
        of_one = {name: verbs.add_parser(name, help=help) for name, help in OF_ONE.items()}
        for each in of_one.values():
            each.add_argument("id", type=arguments.number, help="of the endpoint, as list shows it")
        of_one["change"].add_argument("--name")
        of_one["change"].add_argument("--url")
        for each in (create, of_one["change"]):
            each.add_argument(
                "--type",
                dest="types",
                action="append",
                metavar="TYPE",
                help="a type of events, as often as needed (default: all)",
            )
        of_one["change"].add_argument("--all-types", action="store_true", help="no filter by type")
        of_one["rotate"].add_argument(
            "--overlap-hours",
            type=int,
            default=OVERLAP_HOURS,
            metavar="HOURS",
            help=f"how long the old secret signs too, 0 to {LONGEST_OVERLAP_HOURS}"
            f" (default: {OVERLAP_HOURS})",
        )
        of_one["disable"].add_argument("--reason", default="", help="it is shown")
        start = of_one["replay"].add_mutually_exclusive_group(required=True)
        start.add_argument("--from", dest="number", type=arguments.number, help="an event's number")
        start.add_argument("--place", help="of the ledger's feed: what stands behind it")
        start.add_argument("--since", type=arguments.instant, help="what was recorded from then on")
        of_one["deliveries"].add_argument("--limit", type=arguments.count, default=20)
        for name, each in verbs.choices.items():
            if name not in READING:
                arguments.add_author(each)
            each.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, verb: str, json: bool, **options: Any) -> None:
        if "author" in options:
            options["author"] = arguments.author_of(options["author"])
        self.json = json
        try:
            getattr(self, verb)(**options)
        except Refusal as error:
            raise CommandError(f"{error.detail} ({error.code})") from error
        if verb not in READING:
            wake(tell_events)

    def list(self, *, check: bool, **_: Any) -> None:
        if MIGRATION not in MigrationRecorder(connection).applied_migrations():
            raise CommandError("webhooks: not known before the pending migrations")
        if check:
            return self.check_all()
        found = queues.for_readers().order_by("id")
        if self.json:
            return self.write_json(map(shown, found))
        head = ("id", "name", "state", "behind", "failing since", "types", "address")
        rows = [
            (str(each.pk), each.name, queues.state_of(each), f"{queues.behind(each):,}",
             shown_instant(each.failing_since), ", ".join(each.types) or "all", each.url)
            for each in found
        ]  # fmt: skip
        self.stdout.write("\n".join(table("><<><<<", [head, *rows])))

    def check_all(self) -> None:
        if troubles := queues.troubled():
            raise CommandError(f"webhooks: {'; '.join(troubles)}")
        number = Endpoint.objects.count()
        self.stdout.write(f"webhooks: {number} endpoint{'s' * (number != 1)}, none of them fails")

    def create(
        self, *, name: str, url: str, types: Iterable[str] | None, author: str, **_: Any
    ) -> None:
        self.tell_secret(endpoints.create(name, url, types or [], author))

    def change(self, *, id: int, author: str, all_types: bool, **options: Any) -> None:
        given = {name: options[name] for name in ("name", "url", "types") if options[name]}
        if all_types:
            given["types"] = []
        if not given:
            raise CommandError("Say what to change: --name, --url, --type or --all-types.")
        self.tell(endpoints.change(id, author, **given), "changed")

    def rotate(self, *, id: int, overlap_hours: int, author: str, **_: Any) -> None:
        self.tell_secret(endpoints.rotate(id, author, overlap_hours))

    def end_rotation(self, *, id: int, author: str, **_: Any) -> None:
        self.tell(endpoints.end_rotation(id, author), "signed by its new secret alone")

    def enable(self, *, id: int, author: str, **_: Any) -> None:
        self.tell(endpoints.enable(id, author), "enabled")

    def disable(self, *, id: int, reason: str, author: str, **_: Any) -> None:
        self.tell(endpoints.disable(id, author, reason), "disabled")

    def delete(self, *, id: int, author: str, **_: Any) -> None:
        endpoints.delete(id, author)
        if not self.json:
            self.stdout.write(f"Endpoint {id} is deleted.")

    def test(self, *, id: int, author: str, **_: Any) -> None:
        self.tell(endpoints.test(id, author), "sent a test event soon: `deliveries` shows it")

    def replay(
        self,
        *,
        id: int,
        number: int | None,
        place: str | None,
        since: datetime | None,
        author: str,
        **_: Any,
    ) -> None:
        from_place = None if place is None else checked_place(place)
        replayed = endpoints.replay(id, author, number, from_place, since)
        self.tell(replayed, f"sent events from {replayed.delivered_through + 1} on")

    def deliveries(self, *, id: int, limit: int, **_: Any) -> None:
        endpoint = queues.found(id)
        log = Attempt.objects.filter(endpoint=endpoint).order_by("-id")[:limit]
        if self.json:
            return self.write_json(DeliverySerializer(log, many=True).data)
        head = ("event", "type", "at", "ms", "answer", "webhook-id", "error")
        rows = [
            ("test" if each.number is None else str(each.number), each.type,
             shown_instant(each.at), str(each.duration_ms), str(each.status_code or "none"),
             each.webhook_id, each.error or "delivered")
            for each in log
        ]  # fmt: skip
        self.stdout.write("\n".join(table("><<><<<", [head, *rows])))

    def tell(self, endpoint: Endpoint, done: str) -> None:
        if self.json:
            return self.write_json([shown(endpoint)])
        self.stdout.write(f"{endpoint.name} ({endpoint.pk}) is {done}.")

    def tell_secret(self, endpoint: Endpoint) -> None:
        if self.json:
            return self.write_json([{**shown(endpoint), "secret": endpoint.secret}])
        self.stderr.write(f"Endpoint {endpoint.pk}, {endpoint.name}: {endpoint.url}")
        if endpoint.previous_secret_until is not None:
            until = shown_instant(endpoint.previous_secret_until)
            self.stderr.write(f"The old secret signs too until {until}.")
        self.stderr.write("Its secret is shown this once:")
        self.stdout.write(endpoint.secret)

    def write_json(self, records: Iterable[Any]) -> None:
        for each in records:
            self.stdout.write(exact_json.encode(each).decode())
