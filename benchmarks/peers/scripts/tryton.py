"""Tryton with its subscriptions: a business suite, by its objects in this process.

A client is a party with one subscription, and each of ours is a line of it. Nothing links a list
price to running lines, so a loop moves them; and a line has no history, so none is counted.
"""

import csv
import os
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from trytond import config
from worker import Peer, serve

warnings.simplefilter("ignore")  # of its modules, about their own names

NAME = os.environ["DB_NAME"]
CENT = Decimal("0.01")
START = date(2026, 1, 1)

# Its driver reads the rest from libpq's variables.
os.environ |= {"PGHOST": os.environ["DB_HOST"], "PGPASSWORD": os.environ["DB_PASS"]}
CONFIGURATION = f"[database]\nuri = postgresql://{os.environ['DB_USER']}@/\n"


def rule(price: Decimal, percent: str) -> Decimal:
    return (price * (100 - int(percent)) / 100).quantize(CENT)


class Tryton(Peer):
    records = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.company: int | None = None
        self.moves = {
            "save() of all lines": self.save,
            "write() once a plan": self.write,
        }
        self.most = dict.fromkeys(self.moves, 5_000)

    @contextmanager
    def models(self, *names: str) -> Iterator[list[Any]]:
        """These models, in a transaction that ends with a commit."""
        from trytond.pool import Pool
        from trytond.transaction import Transaction

        context = {"company": self.company, "_check_access": False}
        with Transaction().start(NAME, 0, context=context if self.company else {}) as transaction:
            yield [Pool().get(name) for name in names]
            transaction.commit()

    # --- The book -----------------------------------------------------------------------------

    def fill(self, folder: Path) -> None:
        self.activate()
        self.catalogue()
        read = {
            path.stem: list(csv.reader(path.read_text().splitlines()))
            for path in folder.glob("*.csv")
        }
        percents = {pk: percent for pk, _, percent in read["plan"]}
        lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
        with self.models("sale.subscription.service", "product.uom") as (Service, Unit):
            (service,), (unit,) = Service.search([]), Unit.search([("name", "=", "Unit")])
        for _, client, _, plan, price, *_ in read["subscription"]:
            lines[client].append(
                {
                    "service": service.id,
                    "quantity": 1,
                    "unit": unit.id,
                    "unit_price": Decimal(price),
                    "start_date": START,
                    "description": percents[plan],
                }
            )
        names = ("party.party", "sale.subscription", "sale.subscription.recurrence.rule.set")
        with self.models(*names) as (Party, Subscription, Recurrence):
            (monthly,) = Recurrence.search([])
            named = [(pk, name) for pk, name, _ in read["client"] if pk in lines]
            parties = Party.create(
                [{"name": name, "addresses": [("create", [{}])]} for _, name in named]
            )
            Subscription.create(
                [
                    {
                        "party": party.id,
                        "invoice_address": party.addresses[0].id,
                        "start_date": START,
                        "invoice_start_date": START,
                        "invoice_recurrence": monthly.id,
                        "currency": self.currency,
                        "lines": [("create", lines[pk])],
                    }
                    for (pk, _), party in zip(named, parties, strict=True)
                ]
            )
        self.rest()

    def activate(self) -> None:
        """Make its database, by its own command: some minutes."""
        file = self.folder / "tryton.conf"
        file.write_text(CONFIGURATION)
        password = self.folder / "password"
        password.write_text("a long password of no use")
        subprocess.run(
            [
                *(Path(sys.executable).with_name("trytond-admin"), "-c", file, "-d", NAME),
                *("-u", "sale_subscription", "--activate-dependencies"),
                *("--email", "admin@example.com"),
            ],
            env=os.environ | {"TRYTONPASSFILE": str(password)},
            stdout=sys.stderr,
            check=True,
        )
        config.update_etc(str(file))
        from trytond.pool import Pool

        Pool.start()
        Pool(NAME).init()

    def catalogue(self) -> None:
        """One company, one product with its list price, one rule of recurrence."""
        with self.models("currency.currency", "party.party", "company.company") as (
            Currency,
            Party,
            Company,
        ):
            rates = [("create", [{"date": START, "rate": Decimal(1)}])]
            money = {"name": "Euro", "code": "EUR", "symbol": "€", "rates": rates}
            (currency,) = Currency.create([money])
            (party,) = Party.create([{"name": "We"}])
            (company,) = Company.create([{"party": party.id, "currency": currency.id}])
        self.company, self.currency = company.id, currency.id
        with self.models(
            "product.uom",
            "product.template",
            "sale.subscription.service",
            "sale.subscription.recurrence.rule.set",
        ) as (Unit, Template, Service, Recurrence):
            (unit,) = Unit.search([("name", "=", "Unit")])
            rules = [("create", [{"freq": "monthly", "interval": 1}])]
            (monthly,) = Recurrence.create([{"name": "Monthly", "rules": rules}])
            product = {
                "name": "Service",
                "type": "service",
                "default_uom": unit.id,
                "list_price": Decimal(100),
                "salable": True,
                "sale_uom": unit.id,
                "products": [("create", [{}])],
            }
            (template,) = Template.create([product])
            Service.create(
                [{"product": template.products[0].id, "consumption_recurrence": monthly.id}]
            )

    # --- Moving prices ------------------------------------------------------------------------

    def save(self, price: Decimal) -> None:
        """Each line its price, saved together."""
        with self.models("product.template", "sale.subscription.line") as (Template, Line):
            Template.write(Template.search([]), {"list_price": price})
            lines = Line.search([])
            for line in lines:
                line.unit_price = rule(price, line.description)
            Line.save(lines)

    def write(self, price: Decimal) -> None:
        """Lines of the same price are written together."""
        with self.models("product.template", "sale.subscription.line") as (Template, Line):
            Template.write(Template.search([]), {"list_price": price})
            of_plan = defaultdict(list)
            for line in Line.search([]):
                of_plan[line.description].append(line)
            arguments: list[Any] = []
            for percent, lines in of_plan.items():
                arguments += [lines, {"unit_price": rule(price, percent)}]
            Line.write(*arguments)

    def total(self) -> Decimal:
        ((total,),) = self.asked("SELECT sum(unit_price) FROM sale_subscription_line")
        return total

    def rest(self) -> None:
        self.asked("VACUUM ANALYZE")

    def sessions(self) -> Iterable[int]:
        found = self.asked(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return [pid for (pid,) in found]

    def asked(self, sql: str) -> list[Any]:
        """Run a statement beside Tryton's own sessions."""
        with psycopg.connect(dbname=NAME, user=os.environ["DB_USER"], autocommit=True) as session:
            cursor = session.execute(sql)
            return cursor.fetchall() if cursor.description else []


with tempfile.TemporaryDirectory() as folder:
    serve(Tryton(Path(folder)))
