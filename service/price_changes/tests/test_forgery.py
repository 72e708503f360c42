"""Nobody can choose other rows that have the fingerprint of a preview.

The attack is played in full: somebody who may set price states, and nothing else, looks for prices
that leave the digest of the rows as it is. The digest is an XOR, so that is a system of 64 linear
equations over GF(2); two candidate prices for each of a hundred rows solve it. The attacker needs
the hash of a row, and so the seed.
"""

import io
from decimal import Decimal
from functools import reduce
from hashlib import blake2b
from operator import xor
from random import Random

import msgspec
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client as Browser
from django.urls import reverse

from price_changes.errors import ChangeError
from price_changes.kinds.relations import fetch
from price_changes.kinds.rows import rows_sql
from price_changes.models import PriceChange
from price_changes.planning import counting
from price_changes.planning import preview as previews
from price_changes.running import lifecycle, listing
from price_changes.tests.api import ALL, URL, a_program
from price_changes.tests.changes import SECOND, approved, clock, drained, move_instant, planned
from pricebook.kit.sql_log import log_statement
from services import price_state
from services.models import Subscription
from services.tests.factories import a_book

pytestmark = pytest.mark.django_db

# Anybody who knows a row and the seed can compute this on another PostgreSQL.
ROW_HASH = (
    "hash_record_extended(ROW(id, service_id, plan_id, price, price_state, locked_until,"
    " new_price, new_state, new_until, reason), {seed})"
)


class ThirdPerson:
    """Chooses prices of a set so that the digest of its rows stays the same."""

    def __init__(self, change, seed):
        self.change, self.seed = change, seed
        self.ids = list(Subscription.objects.order_by("pk").values_list("pk", flat=True)[:100])

    def attack(self):
        for pk, price in self.prices().items():
            price_state.negotiate(pk, price, "deal", "third person")

    def prices(self):
        """A price for each row of the attacker; together they leave the digest as it is."""
        dice = Random(8)
        low = {pk: Decimal(dice.randint(100, 299)) / 100 for pk in self.ids}
        high = {pk: Decimal(dice.randint(300, 499)) / 100 for pk in self.ids}
        now, with_low, with_high = self.hashes(), self.hashes(low), self.hashes(high)
        wanted = reduce(xor, [now[pk] ^ with_low[pk] for pk in self.ids])
        take_high = chosen([with_low[pk] ^ with_high[pk] for pk in self.ids], wanted)
        return {pk: (high if n in take_high else low)[pk] for n, pk in enumerate(self.ids)}

    def hashes(self, prices=None):
        """The hashes of the rows now, or at these prices; nothing is kept."""
        sql, params = rows_sql(self.change)
        row_hash = ROW_HASH.format(seed=self.seed)
        with transaction.atomic():
            if prices:
                negotiated_at_once(prices)
            found = fetch(
                f"SELECT id, {row_hash} FROM ({sql}) r WHERE id = ANY (%s)", [*params, self.ids]
            )
            transaction.set_rollback(True)
        return {pk: each % 2**64 for pk, each in found}


def chosen(deltas, wanted):
    """The numbers of those deltas that XOR to `wanted`: elimination over GF(2)."""
    basis, taken = {}, 0
    for n, value in enumerate(deltas):
        used = 1 << n
        while value and (top := value.bit_length()) in basis:
            value, used = value ^ basis[top][0], used ^ basis[top][1]
        if value:
            basis[top] = value, used
    while wanted:  # a KeyError: fewer than 64 independent ones
        value, used = basis[wanted.bit_length()]
        wanted, taken = wanted ^ value, taken ^ used
    return {n for n in range(len(deltas)) if taken >> n & 1}


def negotiated_at_once(prices):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE services_subscription SET price_state = 'negotiated', price = chosen.price"
            "  FROM unnest(%s::bigint[], %s::numeric[]) AS chosen (id, price)"
            " WHERE services_subscription.id = chosen.id",
            [list(prices), list(prices.values())],
        )


@pytest.fixture
def change():
    """Ten per cent more for 110 subscriptions, planned and previewed."""
    a_book(110, services=1, plans=1)
    return ten_per_cent_more()


def ten_per_cent_more(**more):
    return planned(kind="set", adjustment="percent", operand=10, **more)


def coming():
    """The same change, approved under hold for an instant that is still to come."""
    return approved(ten_per_cent_more(effective_at=clock() + 3600 * SECOND), "hold")


def come(change):
    move_instant(change, clock())
    drained()
    change.refresh_from_db()
    return change


def total():
    return sum(Subscription.objects.values_list("price", flat=True))


KNOWN = 42


@pytest.fixture
def known_seed(monkeypatch):
    """A mutant: each preview has the same seed, which is known."""
    monkeypatch.setattr(
        previews,
        "BEGIN",
        f"UPDATE price_changes_pricechange SET preview_seed = {KNOWN} WHERE id = %s"
        " RETURNING preview_seed, pg_current_snapshot()::text, this_life(), book_clock()",
    )


@pytest.fixture
def no_totals(monkeypatch):
    """A mutant: the fingerprint says nothing of the totals."""
    fingerprint = counting.fingerprint

    def without(change, digest, rows, moves, total_before, total_after):
        return fingerprint(change, digest, rows, moves, Decimal(0), Decimal(0))

    for module in (counting, listing):
        monkeypatch.setattr(module, "fingerprint", without)


def refused(change, when_moved):
    with pytest.raises(ChangeError) as error:
        approved(change, when_moved)
    return error.value.code


class TestChosenPrices:
    @pytest.mark.parametrize("when_moved", ["hold", "frozen"])
    def test_have_another_fingerprint(self, change, when_moved):
        ThirdPerson(change, seed=0).attack()
        assert refused(change, when_moved) == "moved_since_preview"

    def test_hold_one_that_is_approved(self, change):
        change = coming()
        ThirdPerson(change, seed=0).attack()
        assert come(change).status == "held"

    def test_without_a_secret_seed_would_have_the_same(self, known_seed, no_totals, change):
        change = ten_per_cent_more()
        ThirdPerson(change, KNOWN).attack()
        before = total()
        assert before < Decimal(change.preview["total_before"]) / 2
        assert counting.count(change).fingerprint == change.fingerprint
        approved(change, "hold")
        drained()
        change.refresh_from_db()
        assert (change.status, change.note) == ("applied", "")
        assert total() == pytest.approx(before * Decimal("1.1"), abs=1)

    def test_without_a_secret_seed_would_be_on_the_frozen_list(self, known_seed, no_totals, change):
        change = ten_per_cent_more()
        ThirdPerson(change, KNOWN).attack()
        assert approved(change, "frozen").status == "scheduled"

    def test_without_a_secret_seed_would_not_be_held(self, known_seed, no_totals, change):
        change = coming()
        ThirdPerson(change, KNOWN).attack()
        assert come(change).status == "applied"

    def test_have_other_totals_at_least(self, known_seed, change):
        change = ten_per_cent_more()
        ThirdPerson(change, KNOWN).attack()
        assert refused(change, "hold") == "moved_since_preview"

    def test_are_found_by_the_seed_alone(self, no_totals, change):
        ThirdPerson(change, seed=0).attack()
        assert refused(change, "hold") == "moved_since_preview"


class TestTheSeed:
    def test_is_another_one_for_each_preview(self, change):
        seeds, fingerprints = set(), set()
        for _ in range(5):
            again = lifecycle.preview(change.pk)
            seeds.add(PriceChange.objects.get(pk=change.pk).preview_seed)
            fingerprints.add(again.fingerprint)
        assert len(seeds) == len(fingerprints) == 5
        assert all(abs(seed) > 2**32 for seed in seeds)

    def test_is_shown_by_no_door(self, change, settings, caplog):
        settings.LOG_SQL = "parameters"
        with caplog.at_level("DEBUG"), connection.execute_wrapper(log_statement):
            shown = [*self.api(change), *self.pages(change), *self.commands(change)]
            again = lifecycle.preview(change.pk)
            approved(again, "frozen")
            shown += [*self.api(change), *self.pages(change), *self.commands(change)]
            drained()
            shown += [*self.api(change), *self.pages(change), *self.commands(change)]
        assert "bit_xor" in caplog.text
        said = "\n".join([*shown, caplog.text])
        seeds = set(PriceChange.objects.values_list("preview_seed", flat=True)) - {None}
        assert seeds
        for seed in seeds:
            for written in (f"{seed}", f"{seed % 2**64}", f"{seed % 2**64:x}"):
                assert written not in said
        assert "preview_seed" not in "\n".join(shown)

    def api(self, change):
        erp = a_program(**ALL)
        of = f"{URL}{change.pk}/"
        yield from (erp.get(f"{path}").content.decode() for path in (URL, of, f"{of}rows/"))
        yield erp.get(f"{of}skips/").content.decode()
        yield erp.post(f"{of}preview/").content.decode()
        yield erp.post(f"{of}approve/", {"fingerprint": "x"}).content.decode()
        yield erp.get("/api/schema/?format=json").content.decode()

    def pages(self, change):
        root, _ = User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)
        browser = Browser()
        browser.force_login(root)
        yield browser.get("/").content.decode()
        for page in ("change", "rows", "approve", "cancel", "history"):
            url = reverse(f"admin:price_changes_pricechange_{page}", args=[change.pk])
            yield browser.get(url, follow=True).content.decode()
        yield browser.get(reverse("admin:price_changes_pricechange_changelist")).content.decode()

    def commands(self, change):
        for words in ("list", f"show {change.pk}", f"rows {change.pk}", f"skips {change.pk}"):
            for more in ([], ["--json"]):
                out = io.StringIO()
                call_command("price_change", *words.split(), *more, stdout=out)
                yield out.getvalue()
        try:
            call_command("price_change", "approve", str(change.pk), "x", "--author", "a")
        except CommandError as error:
            yield str(error)


class TestFromBeforeThereWereSeeds:
    """A preview by an earlier release: no seed, and no totals in the fingerprint."""

    def previewed_then(self, change):
        """A change with the fingerprint that it had then."""
        sql, params = rows_sql(change)
        row_hash = ROW_HASH.format(seed=0)
        [(digest, rows, moves)] = fetch(
            f"SELECT bit_xor({row_hash}), count(*), count(*) FILTER (WHERE reason IS NULL)"
            f" FROM ({sql}) r",
            params,
        )
        said = [
            *("set", None, None, None, False, {}, "percent", "1E+1", None, None, None, None, ""),
            *(None, digest, rows, moves),
        ]
        change.fingerprint = blake2b(msgspec.json.encode(said), digest_size=16).hexdigest()
        change.preview_seed = None
        change.preview.pop("movement")
        change.save()
        return change

    def test_is_previewed_again_before_its_approval(self, change):
        change = self.previewed_then(change)
        assert refused(change, "hold") == "not_previewed"
        again = lifecycle.preview(change.pk)
        assert approved(again, "hold").status == "scheduled"

    def test_is_so_where_it_is_held_too(self, change):
        change = self.previewed_then(change)
        PriceChange.objects.update(status="held")
        assert refused(change, "hold") == "not_previewed"

    def test_is_shown(self, change):
        change = self.previewed_then(change)
        erp = a_program(**ALL)
        assert erp.get(f"{URL}{change.pk}/").json()["preview"]["rows"] == 110
        root = User.objects.create(username="root", is_staff=True, is_superuser=True)
        browser = Browser()
        browser.force_login(root)
        page = browser.get(reverse("admin:price_changes_pricechange_approve", args=[change.pk]))
        assert "Preview again" in page.content.decode()
        assert ">Approve</button>" not in page.content.decode()
        out = io.StringIO()
        call_command("price_change", "show", str(change.pk), stdout=out)
        assert out.getvalue().endswith(f"price_change preview {change.pk}\n")

    def test_is_applied_where_it_was_approved(self, change):
        change = self.previewed_then(coming())
        assert come(change).status == "applied"

    def test_is_held_where_its_rows_have_moved_since(self, change):
        change = self.previewed_then(coming())
        price_state.negotiate(Subscription.objects.first().pk, 9, "deal", "ann")
        assert come(change).status == "held"
