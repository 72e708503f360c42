"""The seals of the ledger: what was recorded is what is there, or the first block says so."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise
from struct import pack

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from price_changes.tests.changes import (
    SECOND,
    applied,
    clock,
    drained,
    planned,
    reverted,
    scheduled,
)
from pricebook.tests.servers import until
from services import corrections
from services.ledger import seals
from services.ledger.place import Place
from services.ledger.seals import blocks, sealing
from services.ledger.seals.rows import BEGINNING, TABLES, Span, sent
from services.models import (
    CatalogueValue,
    CorrectedEntry,
    Correction,
    LedgerEntry,
    MovedFollowers,
    SealedBlock,
    Service,
)
from services.repricing import chunks
from services.tests.factories import a_book, a_reader, a_subscription
from services.tests.interleaving import Pause, a_person, in_background

pytestmark = pytest.mark.django_db(transaction=True)

SEALED = (LedgerEntry, MovedFollowers, CorrectedEntry, Correction, CatalogueValue)


def sealed_all() -> None:
    """A transaction of the server itself may be open for a moment."""
    until(lambda: not seals.seal() and not seals.unsealed().rows)


def lived() -> None:
    """A book with a past: rows in each table that is sealed, some of them judged and undone."""
    book = a_book(12, services=2, plans=2)
    row = book.order_by("pk")[0]
    reverted(applied(planned(kind="list_price", service=row.service_id, new_value=150)))
    scheduled(clock() - SECOND, kind="list_price", service=row.service_id, new_value=120)
    drained()
    corrections.correct([corrections.Line(row.pk, row.started_at, Decimal(1))], "A gift.", "ann")
    book.order_by("pk")[1].delete()
    for model in SEALED:
        assert model.objects.exists(), model


@contextmanager
def tampered(table: str, sql: str) -> Iterator[None]:
    """Do what the owner of the tables can do. It is taken back."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE services_{table} DISABLE TRIGGER USER")
        cursor.execute(sql)
        assert cursor.rowcount
        yield
        transaction.set_rollback(True)


def number_of_rows() -> int:
    judged = CatalogueValue.objects.exclude(seen=None).exclude(held=None)
    return sum(model.objects.count() for model in SEALED) + judged.count()


SESSION = (
    "TimeZone = 'Asia/Kathmandu'",
    "DateStyle = 'ISO, DMY'",
    "extra_float_digits = -15",
    "bytea_output = 'escape'",
)


class TestSealing:
    def test_covers_each_row_once_in_the_order_of_the_feed(self, monkeypatch):
        lived()
        monkeypatch.setattr(sealing, "MOST", 5)
        sealed_all()

        report = seals.verify()

        assert report.is_sound
        assert report.rows == number_of_rows()
        found = list(SealedBlock.objects.order_by("number"))
        assert [block.number for block in found] == list(range(1, len(found) + 1))
        assert report.blocks == len(found) > 5
        for block, following in pairwise(found):
            assert bytes(following.previous) == bytes(block.hash)
            assert (block.last_xact, block.last_id) < (following.first_xact, following.first_id)
        head = seals.head()
        assert (head.block, head.hash) == (len(found), report.head)
        assert seals.verify(first=3).blocks == len(found) - 2
        with transaction.atomic(), connection.cursor() as cursor:
            for setting in SESSION:
                cursor.execute(f"SET LOCAL {setting}")
            assert seals.verify().is_sound

    def test_writes_nothing_where_nothing_waits(self):
        sealed_all()
        assert seals.head() is None  # a fresh book
        assert seals.verify().is_sound
        a_subscription()
        sealed_all()
        head = seals.head()
        with transaction.atomic(), connection.cursor() as cursor:
            assert seals.seal() == 0
            cursor.execute("SELECT pg_current_xact_id_if_assigned()")
            assert cursor.fetchone() == (None,)
        assert seals.head() == head

    def test_is_for_good(self):
        a_subscription()
        sealed_all()
        blocks_of_all = SealedBlock.objects.all()
        for change in (lambda: blocks_of_all.update(life="1.1"), blocks_of_all.delete):
            with pytest.raises(IntegrityError, match="append-only"):
                change()

    def test_that_is_broken_off_leaves_no_session_amid_a_copy(self):
        a_book(3)
        rows = sent(TABLES[3], Span(BEGINNING, Place(2**62, 0)))
        next(rows)
        rows.close()
        assert seals.head() is None

    def behind_the_seal(self) -> seals.Report:
        """The transaction that began to write first commits after a block was sealed."""
        a_subscription()
        sealed_all()
        with a_person() as slow:
            slow.execute("UPDATE services_service SET full_price = 7")
            waiting = a_subscription()
            assert seals.unsealed().rows > 0
            seals.seal()
            slow.commit()
        sealed_all()
        assert waiting.pk
        return seals.verify()

    def test_goes_no_further_than_the_oldest_open_transaction(self):
        assert self.behind_the_seal().is_sound

    def test_would_miss_what_commits_late_without_that(self, monkeypatch):
        end = sealing.END.replace(sealing.OLDEST, str(2**62))
        monkeypatch.setattr(sealing, "END", end)
        broken = self.behind_the_seal().broken
        assert (broken.why, broken.count) == ("rows", 1)
        assert broken.rows[0].endswith("was added")

    def test_is_done_by_one_at_a_time_and_goes_on_where_one_was_killed(self, monkeypatch):
        a_book(12)
        monkeypatch.setattr(sealing, "MOST", 5)
        pause = Pause(monkeypatch, sealing, "at_point")
        killed = in_background(seals.seal)
        pause.until_reached()
        before = SealedBlock.objects.count()

        assert seals.seal() == 0

        with a_person() as person:
            person.execute("SELECT pg_terminate_backend(%s, 5000)", [killed.pid])
        pause.go_on()
        until(lambda: not killed.running)
        assert killed.error is not None
        assert SealedBlock.objects.count() == before
        sealed_all()
        report = seals.verify()
        assert report.is_sound
        assert report.rows == number_of_rows()

    def test_without_a_lock_would_be_done_twice(self, monkeypatch):
        a_subscription()
        monkeypatch.setattr(sealing, "LOCK", "SELECT true")
        pause = Pause(monkeypatch, sealing, "at_point")
        first = in_background(seals.seal)
        pause.until_reached()
        second = in_background(seals.seal).until_it_waits()
        pause.go_on()
        first.result()
        with pytest.raises(IntegrityError):
            second.result()

    def test_hinders_no_repricing_beside_it(self, monkeypatch):
        book = a_book(60, services=1, plans=2)
        monkeypatch.setattr(sealing, "MOST", 7)
        monkeypatch.setattr(chunks, "CHUNK", 10)

        def move() -> None:
            for value in (201, 202, 203):
                Service.objects.filter(pk=book[0].service_id).update(full_price=value)
                drained()

        worker = in_background(move)
        rounds = 0
        while worker.running:
            rounds += bool(seals.seal())
        worker.result()
        sealed_all()
        report = seals.verify()
        assert report.is_sound
        assert report.rows == number_of_rows()
        assert report.blocks >= rounds

    def test_stops_in_a_server_that_has_not_come_so_far(self, caplog):
        a_subscription()
        sealed_all()
        with tampered("sealedblock", "UPDATE services_sealedblock SET last_xact = 2 ^ 62"):
            a_subscription()
            assert seals.seal() == 0
            assert "restored into another server" in caplog.text
            assert seals.unsealed().is_ahead
            with pytest.raises(CommandError, match="restored into another server"):
                call_command("verify_ledger", "--check")


FIRST = "(SELECT min(id) FROM services_ledgerentry)"
# Each: the table, what is done to it, and what is said of the first block that does not fit.
TAMPERED = {
    "an entry changed": (
        "ledgerentry",
        f"UPDATE services_ledgerentry SET price = price + 1 WHERE id = {FIRST}",
        ["entry {first} (subscription {subscription}) was changed"],
    ),
    "empty for NULL": (
        "ledgerentry",
        f"UPDATE services_ledgerentry SET request_id = '' WHERE id = {FIRST}",
        ["entry {first} (subscription {subscription}) was changed"],
    ),
    "an entry deleted": (
        "ledgerentry",
        f"DELETE FROM services_ledgerentry WHERE id = {FIRST} + 1",
        ["1 × entry is missing behind entry {first} (subscription {subscription})"],
    ),
    "two swapped": (
        "ledgerentry",
        f"UPDATE services_ledgerentry SET id = 2 * {FIRST} + 1 - id + 10 ^ 6"
        f" WHERE id IN ({FIRST}, {FIRST} + 1);"
        "UPDATE services_ledgerentry SET id = id - 10 ^ 6 WHERE id > 10 ^ 6",
        [
            "entry {first} (subscription {next_subscription}) was changed",
            "entry {next} (subscription {subscription}) was changed",
        ],
    ),
    "an entry slipped in": (
        "ledgerentry",
        "INSERT INTO services_ledgerentry (id, xact, subscription_id, client_id, service_id,"
        " plan_id, price, price_state)"
        f" SELECT {FIRST} - 1, xact, subscription_id, 1, 1, 1, 5, 'negotiated'"
        f" FROM services_ledgerentry WHERE id = {FIRST}",
        ["entry {before} (subscription {subscription}) was added"],
    ),
    "a move of followers": (
        "movedfollowers",
        "UPDATE services_movedfollowers SET subscription_ids[1] = 1",
        None,
    ),
    "a correction": ("correction", "UPDATE services_correction SET reason = ''", None),
    "a corrected entry": (
        "correctedentry",
        "UPDATE services_correctedentry SET author = 'eve'",
        None,
    ),
    "a list price of then": (
        "cataloguevalue",
        "UPDATE services_cataloguevalue SET value = value + 1 WHERE undoes_id IS NULL",
        None,
    ),
    "a judgement": (
        "cataloguevalue",
        "UPDATE services_cataloguevalue SET held = NOT held WHERE seen IS NOT NULL",
        None,
    ),
    "held without an approver": (
        "cataloguevalue",
        "UPDATE services_cataloguevalue SET held = true WHERE seen IS NULL",
        None,
    ),
}


class TestVerifying:
    def test_finds_and_names_what_was_changed(self, monkeypatch):
        lived()
        monkeypatch.setattr(sealing, "MOST", 20)
        sealed_all()
        first, second = LedgerEntry.objects.order_by("pk")[:2]
        names = {
            "before": first.pk - 1,
            "first": first.pk,
            "next": second.pk,
            "subscription": first.subscription_id,
            "next_subscription": second.subscription_id,
        }
        for name, (table, sql, said) in TAMPERED.items():
            with tampered(table, sql):
                broken = seals.verify().broken
            assert broken is not None, name
            assert broken.why == "rows", name
            assert broken.count > 0, name
            if said is not None:
                assert list(broken.rows) == [each.format(**names) for each in said], name
        assert seals.verify().is_sound
        self.finds_a_value_that_says_otherwise_than_what_undoes_it()

    def finds_a_value_that_says_otherwise_than_what_undoes_it(self):
        undone = CatalogueValue.objects.exclude(undoes_id=None).latest("pk").undoes_id
        for sql in (
            f"UPDATE services_cataloguevalue SET undone = '{{}}' WHERE id = {undone}",
            f"UPDATE services_cataloguevalue SET undone = '{{[2020-01-01,)}}' WHERE id = {undone}",
            "UPDATE services_cataloguevalue SET undone = '{[2020-01-01,)}' WHERE undone = '{}'",
        ):
            with tampered("cataloguevalue", sql):
                report = seals.verify()
                assert report.broken is None
                assert report.wrong_values
                assert not report.is_sound

    def test_finds_blocks_that_were_changed_or_taken_out(self, monkeypatch):
        a_book(20)
        monkeypatch.setattr(sealing, "MOST", 5)
        sealed_all()
        for sql, block, why in (
            ("DELETE FROM services_sealedblock WHERE number = 2", 2, "missing"),
            ("UPDATE services_sealedblock SET life = '1.1' WHERE number = 3", 3, "hash"),
            ("UPDATE services_sealedblock SET counts[4] = 0 WHERE number = 3", 3, "hash"),
        ):
            with tampered("sealedblock", sql):
                broken = seals.verify().broken
                assert (broken.block, broken.why) == (block, why)
        # Whoever changes a block gives it the hash that it then has: the next one names another.
        second = SealedBlock.objects.get(number=2)
        block = blocks.Block(
            2,
            Place(second.first_xact, second.first_id),
            Place(second.last_xact, second.last_id),
            second.counts,
            bytes(second.digest),
            bytes(second.previous),
            "1.1",
            second.sealed_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        )
        sql = (
            f"UPDATE services_sealedblock SET life = '1.1', hash = '\\x{block.hash().hex()}'"
            " WHERE number = 2"
        )
        with tampered("sealedblock", sql):
            broken = seals.verify().broken
            assert (broken.block, broken.why) == (3, "chain")

    def test_finds_that_all_was_sealed_anew_by_a_head_that_was_kept(self, capsys):
        a_subscription()
        sealed_all()
        kept = seals.head()
        table = "ledgerentry"
        with connection.cursor() as cursor:
            for sql in (
                f"ALTER TABLE services_{table} DISABLE TRIGGER USER",
                f"UPDATE services_{table} SET price = price + 1 WHERE id = {FIRST}",
                f"ALTER TABLE services_{table} ENABLE TRIGGER USER",
                # As the suite has it.
                "ALTER TABLE services_ledgerentry DISABLE TRIGGER ledger_not_truncated",
                "TRUNCATE services_sealedblock",
            ):
                cursor.execute(sql)
        assert not seals.verify(heads=[str(kept)]).is_sound
        sealed_all()

        assert seals.verify().is_sound  # the chain alone can't tell
        assert seals.verify(heads=[str(seals.head()), seals.head().hash]).is_sound
        assert seals.verify(heads=[kept.hash]).unknown_heads == [kept.hash]
        with pytest.raises(SystemExit, match="1"):
            call_command("verify_ledger", "--head", str(kept))
        assert "sealed anew" in capsys.readouterr().out


class TestFormat:
    def test_is_the_one_that_is_written_down(self):
        """By the words of docs/decisions/0043-seals.md alone: another program can do this."""
        subscription = a_subscription()
        entry = LedgerEntry.objects.get(subscription_id=subscription.pk)
        sealed_all()
        block = SealedBlock.objects.get(number=1)
        assert [table.name for table in TABLES][3] == "entry"

        def number(value):
            return pack(">iq", 8, value)

        def instant(value):
            since_2000 = value - value.replace(2000, 1, 1, 0, 0, 0, 0)
            return pack(">iq", 8, since_2000 // timedelta(microseconds=1))

        def text(value):
            return pack(">i", len(value.encode())) + value.encode()

        null = pack(">i", -1)
        # 250.00: two digits to the base of 10,000, of which the first is 10,000 ^ 0; 2 decimals.
        amount = pack(">ihhHHh", 10, 1, 0, 0, 2, 250)
        row = b"".join(
            [
                pack(">h", 20),
                number(entry.xact),
                number(entry.pk),
                number(entry.subscription_id),
                number(entry.client_id),
                number(entry.service_id),
                number(entry.plan_id),
                amount,
                text("follows"),
                null,
                instant(entry.started_at),
                null,
                null,
                pack(">i?", 1, entry.period_only),
                null,
                null,
                instant(entry.effective_at),
                instant(entry.recorded_at),
                null,
                text(entry.author),
                null,
            ]
        )
        values = b"".join(
            bytes(each) for each in sent(TABLES[0], Span(BEGINNING, Place(block.last_xact, 0)))
        )
        assert block.counts == [2, 0, 0, 1, 0, 0]
        assert bytes(block.digest) == sha256(values + row).digest()


class TestShown:
    def test_by_the_feed_and_the_command(self, capsys):
        assert a_reader().get("/api/ledger/").json()["sealed"] is None
        a_subscription()
        sealed_all()
        head = seals.head()
        answer = a_reader().get("/api/ledger/").json()
        assert answer["sealed"] == {"block": 1, "hash": head.hash}

        call_command("verify_ledger", "--json", "--head", f"1:{head.hash}")
        report = json.loads(capsys.readouterr().out)
        assert (report["is_sound"], report["blocks"], report["head"]) == (True, 1, head.hash)
        call_command("verify_ledger", "--check")
        assert f"sealed up to block 1:{head.hash}" in capsys.readouterr().out
        for wrong in (
            ["--from", "0"],
            ["--from", "x"],
            ["--head", "abc"],
            ["--head", "0:" + "a" * 64],
        ):
            with pytest.raises(CommandError):
                call_command("verify_ledger", *wrong)
        with pytest.raises(SystemExit):
            call_command("verify_ledger", "--from", "9")
        with tampered("ledgerentry", f"DELETE FROM services_ledgerentry WHERE id = {FIRST}"):
            with pytest.raises(SystemExit, match="1"):
                call_command("verify_ledger")
            assert "✗ Block 1, sealed at " in capsys.readouterr().out
