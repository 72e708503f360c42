"""`manage price_state lock|release|negotiate|follow|explain|history|as_of`.

docs/price-changes.md is its guide.
"""

from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from pricebook.kit.exact_json import encode
from pricebook.kit.figures import grouped
from pricebook.kit.refusal import Refusal
from pricebook.words import stored
from services import ledger, price_decisions
from services.hooks import price_changes
from services.management import arguments, question
from services.management.entry_cells import entry_cells, state_of
from services.management.table import shown_amount, shown_instant, table, words_of
from services.models import Subscription
from services.moves import WaitingPlan
from services.reading.filters import STATES, BookFilter

VERBS = {
    "lock": "keep the price that it has",
    "release": "end its lock: it follows the catalogue again",
    "negotiate": "give it a price of its own",
    "follow": "let it follow the catalogue, whatever its state",
    "explain": "why it pays what it pays",
    "history": "every price that it ever had",
}
FIELDS = (
    "id", "client_id", "service_id", "plan_id", "price", "price_state", "locked_until",
    "price_reason",
)  # fmt: skip


class Command(BaseCommand):
    help = (
        "Decide about the price of one subscription (lock, release, negotiate, follow), and read "
        "its past (explain, history) or everybody's (as_of). The guide: docs/price-changes.md"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        one = {verb: verbs.add_parser(verb, help=help) for verb, help in VERBS.items()}
        one["negotiate"].add_argument("price", help="in the currency of the book")
        for verb_parser in one.values():
            verb_parser.add_argument(
                "subscription", type=arguments.number, nargs="?", help="its id; or --external-id"
            )
            verb_parser.add_argument("--source", help="the system that it comes from")
            verb_parser.add_argument("--external-id", help="its id there")
        for verb in ("lock", "negotiate"):
            one[verb].add_argument("--reason", required=True)
        one["lock"].add_argument(
            "--until",
            type=arguments.instant,
            metavar="INSTANT",
            help="with time zone (default: until it is released)",
        )
        one["explain"].add_argument("--at", type=arguments.instant, metavar="INSTANT")
        _add_known_at(one["explain"])
        one["history"].add_argument(
            "--after", type=arguments.number, default=0, metavar="ENTRY", help="start after it"
        )
        one["history"].add_argument("--limit", type=arguments.count)
        as_of = verbs.add_parser("as_of", help="the prices paid at an instant, and the total")
        as_of.add_argument("instant", type=arguments.instant, help="with time zone")
        for name in ("subscription", "service", "plan", "client"):
            as_of.add_argument(f"--{name}", type=arguments.number, metavar="ID")
        as_of.add_argument(
            "--state", choices=STATES, help="those that had ended, or had not begun (default: paid)"
        )
        as_of.add_argument("--limit", type=arguments.count, default=20, help="rows to print")
        _add_known_at(as_of)
        for verb in ("lock", "release", "negotiate", "follow"):
            arguments.add_author(one[verb])
            question.add_to(one[verb])
        for verb_parser in verbs.choices.values():
            verb_parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, verb: str, **options: Any) -> None:
        if "author" in options:
            options["author"] = arguments.author_of(options["author"])
        if verb != "as_of":
            options["subscription"] = _subscription(options)
        if (known_at := options.get("known_at")) is not None:
            try:
                ledger.refuse_incomplete(known_at)
            except ledger.Incomplete as error:
                raise CommandError(f"{error.detail} ({error.code})") from None
        try:
            getattr(self, verb)(**options)
        except Refusal as error:
            raise CommandError(f"{error.detail} ({error.code})") from error

    # --- Deciding -------------------------------------------------------------------------

    def lock(self, *, until: datetime | None, reason: str, **options: Any) -> None:
        self.decide("lock", given={"until": until, "reason": reason}, **asked_of(options))

    def release(self, **options: Any) -> None:
        self.decide("release", given={}, **asked_of(options))

    def negotiate(self, *, price: str, reason: str, **options: Any) -> None:
        self.decide("negotiate", given={"price": price, "reason": reason}, **asked_of(options))

    def follow(self, **options: Any) -> None:
        self.decide("follow", given={}, **asked_of(options))

    def decide(
        self,
        name: str,
        *,
        subscription: int,
        author: str,
        dry_run: bool,
        yes: bool,
        json: bool,
        given: dict[str, Any],
    ) -> None:
        """Do it; with `dry_run` show it alone, and on a terminal ask first, unless `yes`."""
        asked = (name, subscription, author)

        def show() -> None:
            shown = price_decisions.show(*asked, **given)
            if json:
                return self.write_json([asdict(shown)])
            return self.write(_before_after(shown))

        if not question.goes_on(show, dry_run=dry_run, quiet=yes or json):
            return None
        done = price_decisions.decide(*asked, **given)
        if isinstance(done, WaitingPlan):
            raise question.waits(done)
        self.tell(done, json)
        return None

    def tell(self, subscription: Subscription, json: bool) -> None:
        if json:
            return self.write_json([{name: getattr(subscription, name) for name in FIELDS}])
        self.explain(subscription=subscription.pk, at=None, json=False)

    # --- Reading --------------------------------------------------------------------------

    def explain(
        self,
        *,
        subscription: int,
        at: datetime | None,
        json: bool,
        known_at: datetime | None = None,
        **options: Any,
    ) -> None:
        at = at or known_at
        why = ledger.explain(subscription, at, known_at)
        if why is None:
            raise CommandError(
                _("There was no subscription %(subscription)s at %(shown_instant)s%(known)s.")
                % {
                    "subscription": subscription,
                    "shown_instant": shown_instant(at),
                    "known": _known(known_at),
                }
                if at
                else _("There is no subscription %(subscription)s.")
                % {"subscription": subscription}
            )
        if json:
            return self.write_json([asdict(why)])
        state = words_of(why.price_state) if why.price is not None else _("deleted")
        if why.locked_until:
            state += _(" until %(shown_instant)s") % {
                "shown_instant": shown_instant(why.locked_until)
            }
        facts = [
            (
                _("price"),
                f"{shown_amount(why.price)} {settings.CURRENCY}" if why.price is not None else "",
            ),
            (_("state"), state),
            (_("reason"), stored.shown(why.price_reason)),
            (_("rule"), why.rule.arithmetic if why.rule else ""),
            (_("since"), shown_instant(why.since)),
            (_("by"), why.author),
            (_("price change"), str(why.change.id) if why.change else ""),
        ]
        self.stdout.write(
            _("Subscription %(subscription)s: %(text)s")
            % {"subscription": subscription, "text": why.text}
        )
        self.write(table("<<", [(name, value) for name, value in facts if value]))

    def history(
        self, *, subscription: int, after: int, limit: int | None, json: bool, **options: Any
    ) -> None:
        entries = ledger.history(subscription, after, limit)
        if not entries and not after:
            raise CommandError(
                _("There was never a subscription %(subscription)s.")
                % {"subscription": subscription}
            )
        if json:
            return self.write_json(entries)
        head = (
            _("entry"),
            _("in force from"),
            _("price"),
            _("state"),
            _("paid"),
            _("change"),
            _("by"),
            _("recorded"),
        )
        self.write(table("><><<><<", [head, *map(entry_cells, entries)]))

    def as_of(
        self,
        *,
        instant: datetime,
        subscription: int | None,
        limit: int,
        json: bool,
        known_at: datetime | None,
        **options: Any,
    ) -> None:
        given = {name: options[name] for name in ledger.AS_OF_FILTERS if options[name]}
        sql, params = ledger.as_of(instant, BookFilter.of(given), subscription, known_at)
        with connection.cursor() as cursor:
            # One snapshot for the rows that are printed and for the total of all.
            cursor.execute(
                "SELECT row.*, count(*) OVER () AS subscriptions, sum(price) OVER () AS total"  # noqa: S608 - ours
                f"  FROM ({sql}) row ORDER BY subscription_id LIMIT %s",
                [*params, limit],
            )
            names = [column.name for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        for waits in price_changes().waiting_for(instant, known_at):
            title = f" “{waits.title}”" if waits.title else ""
            self.stderr.write(
                _(
                    "Not, or not fully, in these figures: price change %(id)s%(title)s, due"
                    " at %(shown_instant)s. They will include it when it is applied."
                )
                % {
                    "id": waits.id,
                    "title": title,
                    "shown_instant": shown_instant(waits.effective_at),
                }
            )
        if json:
            return self.write_json(rows)
        state = given.get("state", "active")
        then = f"{shown_instant(instant)}{_known(known_at)}"
        if not rows:
            self.stdout.write(
                _("Nobody pays anything at %(then)s.") % {"then": then}
                if state == "active"
                else _("There is none %(without_paying)s at %(then)s.")
                % {"without_paying": WITHOUT_PAYING[state], "then": then}
            )
            return
        head = (_("subscription"), _("client"), _("service"), _("plan"), _("price"), _("state"))
        lines = [
            (str(row["subscription_id"]), str(row["client_id"]), str(row["service_id"]),
             str(row["plan_id"]), shown_amount(row["price"]), state_of(row))
            for row in rows
        ]  # fmt: skip
        self.write(table(">>>>><", [head, *lines]))
        subscriptions, total = rows[0]["subscriptions"], rows[0]["total"]
        if subscriptions > len(rows):
            self.stdout.write(
                _("  … and %(value)s more (--limit)")
                % {"value": grouped(subscriptions - len(rows))}
            )
        amount = f"{shown_amount(total)} {settings.CURRENCY}"
        self.stdout.write(
            _("At %(then)s: %(subscriptions)s subscriptions, %(amount)s together.")
            % {"then": then, "subscriptions": grouped(subscriptions), "amount": amount}
            if state == "active"
            else _(
                "At %(then)s: %(subscriptions)s subscriptions %(without_paying)s, of"
                " %(amount)s, of which nothing was paid."
            )
            % {
                "then": then,
                "subscriptions": grouped(subscriptions),
                "without_paying": WITHOUT_PAYING[state],
                "amount": amount,
            }
        )

    # --- Printing -------------------------------------------------------------------------

    def write(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stdout.write(line)

    def write_json(self, records: Iterable[dict[str, Any]]) -> None:
        for record in records:
            self.stdout.write(encode(record).decode())


WITHOUT_PAYING = {"ended": _lazy("that had ended"), "upcoming": _lazy("that had not begun")}


def asked_of(options: dict[str, Any]) -> dict[str, Any]:
    names = ("subscription", "author", "dry_run", "yes", "json")
    return {name: options[name] for name in names}


def _before_after(shown: price_decisions.Shown) -> Iterable[str]:
    yield (
        _(
            "Subscription %(subscription)s: %(shown_amount)s (%(price_state)s) →"
            " %(shown_amount2)s (%(new_state)s) %(currency)s"
        )
        % {
            "subscription": shown.subscription,
            "shown_amount": shown_amount(shown.old_price),
            "price_state": words_of(shown.price_state),
            "shown_amount2": shown_amount(shown.new_price),
            "new_state": words_of(shown.new_state),
            "currency": settings.CURRENCY,
        }
    )
    if shown.needs_another:
        yield _("%(needs_another)s So it would be planned, and wait for another person.") % {
            "needs_another": shown.needs_another
        }


def _add_known_at(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--known-at",
        type=arguments.instant,
        metavar="INSTANT",
        help="by what was recorded by then (default: by all that is recorded)",
    )


def _known(known_at: datetime | None) -> str:
    return (
        _(", as was known at %(shown_instant)s") % {"shown_instant": shown_instant(known_at)}
        if known_at
        else ""
    )


def _subscription(options: dict[str, Any]) -> int:
    source, external_id = options.pop("source"), options.pop("external_id")
    given: int | None = options["subscription"]
    if (source is None) != (external_id is None):
        raise CommandError(_("--source and --external-id belong together."), returncode=2)
    if (given is None) == (source is None):
        raise CommandError(
            _("Which subscription? Give its id, or --source and --external-id."), returncode=2
        )
    if given is not None:
        return given
    try:
        found = Subscription.objects.in_force().filter(source=source, external_id=external_id)
        pk = found.values_list("pk", flat=True).first()
    except UnicodeEncodeError:
        pk = None
    if pk is None:
        raise CommandError(
            _("There is no subscription %(external_id)s of source %(source)s.")
            % {"external_id": repr(external_id), "source": repr(source)}
        )
    return int(pk)
