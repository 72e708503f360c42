"""Real servers: a dump in another one, a standby that lags, a disk that is put back."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from events import deriving
from events.models import Event
from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.running import lifecycle
from price_changes.running.drift import drift
from price_changes.tests.changes import planned
from pricebook.local import postgres
from pricebook.local.home import Home
from pricebook.local.postgres import Postgres, find_binaries, unprivileged
from pricebook.tests.servers import until
from services import lives
from services.ledger import seals
from services.ledger.place import Place
from services.models import Life, SealedBlock
from services.tests.factories import a_book
from services.tests.following import (
    Page,
    burn,
    entries,
    ids,
    is_told_where_it_ended,
    poll,
)

pytestmark = pytest.mark.django_db(transaction=True)


def run(program: str, *arguments: str | Path) -> None:
    command = [str(find_binaries() / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def here() -> list[str | Path]:
    """The test's database, for PostgreSQL's programs of any version."""
    names = {"-h": "HOST", "-p": "PORT", "-U": "USER", "-d": "NAME"}
    given = {option: connection.settings_dict[name] for option, name in names.items()}
    given["-p"] = given["-p"] or os.environ.get("PGPORT", "5432")
    return [str(word) for pair in given.items() for word in pair]


@contextmanager
def a_home(path: Path) -> Iterator[Postgres]:
    home = Home(path)
    home.make()
    server = Postgres(home)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(home.sockets, ignore_errors=True)


@contextmanager
def inside(server: Postgres) -> Iterator[None]:
    """All that the test asks is asked of this server."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict |= {
        "HOST": str(server.home.sockets),
        "PORT": "5432",
        "NAME": "pricebook",
        "USER": "pricebook",
    }
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.clear()
        connection.settings_dict |= before


class TestServers:
    """A dump that is loaded into another server, a standby of that, and a disk that is put back."""

    # The launcher's servers outlive it, so it never waits for their end.
    @pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
    def test_go_on_where_the_history_is_one(self, tmp_path, monkeypatch):
        monkeypatch.setitem(postgres.SETTINGS, "shared_buffers", "32MB")
        monkeypatch.setitem(postgres.SETTINGS, "fsync", "off")
        burn(3_000)  # as many as the other server will not have given out
        row = a_book(5)[0]
        change = planned(kind="list_price", service=row.service_id, new_value=777)
        deriving.derive()
        until(seals.seal)
        entries(2)
        kept = poll()
        dump = tmp_path / "book.dump"
        run("pg_dump", "-Fc", "-f", dump, *here())
        booked = entries(4)  # which the dump has not
        ahead = poll(kept["next"])
        assert ids(ahead) == booked

        with a_home(tmp_path / "a") as first:
            first.start()
            to = ["-h", str(first.home.sockets), "-p", "5432", "-U", "pricebook", "-d", "pricebook"]
            run("pg_restore", "--single-transaction", *to, dump)
            with inside(first):
                self.loaded(kept, ahead, change, change.fingerprint)
            self.put_back(first)
            self.loaded_into_itself(first, tmp_path / "again.dump", to)
            with inside(first):
                followed = poll()
            with a_home(tmp_path / "b") as second:
                self.promoted(first, second, followed)

    def loaded(self, kept: Page, ahead: Page, change: PriceChange, fingerprint: str) -> None:
        everything = poll()
        assert (ids(everything), everything["next"]) == (ids(kept), kept["next"])
        [block] = SealedBlock.objects.all()
        common = str(lives.proven(Place(block.last_xact, block.last_id)))
        # Nothing has been written yet; and from now on the numbers come nearer.
        assert poll(kept["next"])["result"] == []
        is_told_where_it_ended(ahead["next"], common)
        mine = entries(6)
        assert ids(poll(kept["next"])) == mine
        burn(3_000)
        assert ids(poll(kept["next"])) == mine
        is_told_where_it_ended(ahead["next"], common)
        assert ids(poll()) == [*ids(kept), *mine]  # in order, and each once

        assert [life.why for life in lives.lives()] == ["first", "restored"]
        assert not lives.has_been_acknowledged(lives.lives()[1])
        with pytest.raises(ChangeError, match="preview it again"):
            lifecycle.approve(change.pk, fingerprint, "bob", "current")
        again = lifecycle.preview(change.pk)
        entries()
        assert drift(again) == 1
        assert lifecycle.approve(change.pk, again.fingerprint, "bob", "current")
        assert seals.seal()
        call_command("verify_ledger")
        told = Event.objects.count()
        loaded = Event.objects.filter(type="book.loaded", number__gt=told)
        until(lambda: (deriving.derive(), loaded.count())[1])
        assert loaded.count() == 1
        moved = Event.objects.filter(type="prices.moved").values_list("data", flat=True)
        assert sum(json.loads(data)["count"] for data in moved) == 2 + 6 + 1

    def put_back(self, server: Postgres) -> None:
        """Its disk is that of before: the same server, and the same timeline."""
        with inside(server):
            followed = poll()
            block = SealedBlock.objects.latest("number")
            number = lives.lives()[-1].number
        server.stop()
        saved = server.data.with_name("saved")
        shutil.copytree(server.data, saved)
        server.start()
        with inside(server):
            entries(3)
            gone = poll(followed["next"])
        server.stop()
        shutil.rmtree(server.data)
        saved.rename(server.data)
        server.start()
        with inside(server):
            common = str(lives.proven(Place(block.last_xact, block.last_id)))
            is_told_where_it_ended(gone["next"], common)
            mine = entries(5)  # with the numbers of those that are lost
            is_told_where_it_ended(gone["next"], common)
            assert ids(poll(followed["next"])) == mine
            assert lives.lives()[-1].number == number

    def loaded_into_itself(self, server: Postgres, dump: Path, to: list[str]) -> None:
        """A dump replaces the tables of the database that it is of: the numbers only go on."""
        with inside(server):
            until(seals.seal)
            followed = poll()
        run("pg_dump", "-Fc", "-f", dump, *to)
        with inside(server):
            lost = entries(2)
            gone = poll(followed["next"])
            assert ids(gone) == lost
        run("pg_restore", "--clean", "--if-exists", "--single-transaction", *to, dump)
        with inside(server):
            mine = entries(3)
            is_told_where_it_ended(gone["next"], followed["next"])
            assert ids(poll(followed["next"])) == mine
            assert lives.lives()[-1].why == Life.Why.RESTORED

    def promoted(self, primary: Postgres, standby: Postgres, followed: Page) -> None:
        """A standby that lags takes over; before that the follower has read what it never got."""
        to = ["-h", str(primary.home.sockets), "-p", "5432", "-U", "postgres"]
        run("pg_basebackup", "-D", standby.data, "-R", "-c", "fast", *to)
        prefix, owner = unprivileged()
        standby.home.make_sockets()
        standby.give_data_to(owner)
        standby.launch(prefix)
        with inside(primary):
            mine = entries(2)
            followed = poll(followed["next"])
            assert ids(followed)[-2:] == mine
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_current_wal_lsn()")
                (reached,) = cursor.fetchone()
        with inside(standby):
            until(lambda: self.has_replayed(reached))
            assert ids(poll())[-2:] == mine  # a standby serves the feed
        with standby.data.joinpath("postgresql.auto.conf").open("a") as settings:
            settings.write("primary_conninfo = ''\n")
        with a_superuser(standby) as cursor:
            cursor.execute("SELECT pg_reload_conf()")
            until(lambda: self.is_cut(cursor))
        with inside(primary):
            lost = entries(3)
            gone = poll(followed["next"])
            assert ids(gone) == lost
        primary.stop()
        with a_superuser(standby) as cursor:
            cursor.execute("SELECT pg_promote()")
        with inside(standby):
            mine = entries(10)
            assert ids(poll(followed["next"])) == mine
            is_told_where_it_ended(gone["next"], followed["next"])
            assert lives.lives()[-1].why == Life.Why.PROMOTED
            assert seals.seal()
            call_command("verify_ledger")

    def has_replayed(self, reached: str) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [reached])
            return bool(cursor.fetchone()[0])

    def is_cut(self, cursor: Any) -> bool:
        cursor.execute("SELECT count(*) FROM pg_stat_wal_receiver")
        return cursor.fetchone() == (0,)


@contextmanager
def a_superuser(server: Postgres) -> Iterator[Any]:
    import psycopg

    with (
        psycopg.connect(server.conninfo("postgres"), autocommit=True) as person,
        person.cursor() as cursor,
    ):
        yield cursor
