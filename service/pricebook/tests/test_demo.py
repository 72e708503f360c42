"""The demo: its expected figures come from the file alone, and a wrong figure is a failure."""

import gzip
import io
import itertools
import os
import socket
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from price_changes.models import PriceChange
from pricebook.kit.scopes import APPROVE, VIEW_SUBSCRIPTION
from pricebook.local import demo, served
from pricebook.local.expected import BOOK, read_book, set_discount_of, set_price_of, total
from pricebook.local.home import Fault, Home
from pricebook.local.paths import SERVICE
from pricebook.local.person import Errors, Form
from pricebook.local.runner import Runner
from pricebook.local.up import port_is_taken, reserve
from pricebook.management.commands import demo_clock, demo_year
from services.audit import book_check
from services.models import Correction, Subscription


def test_the_book_adds_up_to_the_figure_of_its_notice():
    book = list(read_book())

    assert len(book) == 29_202
    assert total(book) == Decimal("456360.00")


def test_what_is_expected_follows_the_rule():
    book = list(read_book())

    assert set_price_of(book, "Phone", Decimal("22.00")) == 6_361
    assert total(book) == Decimal("456360.00") + 2 * 6_361
    assert set_discount_of(book, "discount", 10) == 14_857


def test_a_form_is_sent_as_a_browser_would():
    html = """
        <form><input name="q" value="other"></form>
        <form><input type="hidden" name="token" value="a&amp;b"><input name="full_price" value="20">
        <input type="checkbox" name="on" checked><input type="checkbox" name="off">
        <select name="plan"><option value="1"><option value="2" selected></select>
        <textarea name="note">two words</textarea><input type="submit" name="_save" value="Save">
        </form>"""

    assert Form(html, having="full_price").data == {
        "token": "a&b",
        "full_price": "20",
        "on": "on",
        "plan": "2",
        "note": "two words",
    }
    with pytest.raises(Fault, match="no form with a field price"):
        Form(html, having="price")


def test_the_errors_of_a_page_are_read():
    html = '<ul class="errorlist nonfield"><li>Too <b>low</b></li></ul><p>fine</p>'

    assert Errors(html).text == "Too low"


OF_A_SHORT_BOOK = """
import pathlib, sys
from pricebook.local import demo, expected
demo.BOOK = expected.BOOK = pathlib.Path(sys.argv[1])
sys.exit(demo.main([]))
"""


@pytest.mark.thorough
def test_a_figure_that_is_not_as_expected_is_named_and_fails_the_run(tmp_path):
    book = tmp_path / "short.csv.gz"
    with gzip.open(BOOK, "rt", encoding="utf-8") as whole, gzip.open(book, "wt") as short:
        short.writelines(itertools.islice(whole, 2_000))
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            OF_A_SHORT_BOOK,
            str(book),
        ],
        env=own_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert run.returncode == 1, run.stdout + run.stderr
    assert "✗ not as expected: total before\n" in run.stdout
    assert "✓ rows that differ from the rule" in run.stdout


def test_a_second_demo_on_the_same_server_is_told_of_the_first(monkeypatch):
    monkeypatch.setattr(demo, "DATABASE", f"demo_{os.getpid()}")
    runner = Runner(Home.from_environment())

    with (
        demo.only_demo(runner),
        pytest.raises(Fault, match="a demo runs already"),
        demo.only_demo(runner),
    ):
        pass
    with demo.only_demo(runner):
        pass


def test_a_reserved_port_is_taken_for_all_but_a_server_that_shares_it():
    with reserve(0) as held, socket.socket() as granian:
        address = held.getsockname()
        assert port_is_taken(address[1])

        granian.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        granian.bind(address)
        granian.listen()
        with socket.create_connection(address, 5), granian.accept()[0] as answer:
            assert answer.getsockname() == address


def own_environment(home) -> dict[str, str]:
    """Without the servers of this suite, so that the demo starts its own."""
    given = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "DB_HOST", "DB_NAME", "DB_USER")
    environment = {name: value for name, value in os.environ.items() if name not in given}
    return environment | {
        "PRICEBOOK_HOME": str(home),
        "PRICEBOOK_PORT": "18600",
        "PYTHONPATH": str(SERVICE),
        "PYTHONUNBUFFERED": "1",
    }


def test_commands_know_the_book_of_a_demo_that_is_served(tmp_path, monkeypatch, capsys):
    home = Home(tmp_path)
    home.make()
    runner = Runner(home)
    book = {"database": "pricebook_demo", "broker": 4, "cache": 5, "variables": {"X": "1"}}
    for name in ("DATABASE_URL", "DB_HOST", "REDIS_URL", "CELERY_BROKER_URL", served.BOOK):
        monkeypatch.delenv(name, raising=False)
    own = served.environment_of(runner)["DB_NAME"]
    monkeypatch.setenv(served.BOOK, "demo")
    with pytest.raises(Fault, match="no demo is served"):
        served.served(home)
    monkeypatch.delenv(served.BOOK)
    with served.told(home, 8123, book):
        environment = served.environment_of(runner)
        assert (environment["DB_NAME"], environment["X"]) == ("pricebook_demo", "1")
        assert environment["REDIS_URL"].endswith("db=5")
        served.tell(home)
        said = capsys.readouterr()
        assert not said.out, "what manage prints is its caller's"
        assert "http://127.0.0.1:8123/" in said.err
        monkeypatch.setenv(served.BOOK, "own")
        assert served.environment_of(runner)["DB_NAME"] == own != "pricebook_demo"
    monkeypatch.delenv(served.BOOK)
    assert not served.demo_of(home)


@pytest.mark.django_db(transaction=True)
def test_a_year_leaves_the_book_in_order(tmp_path, monkeypatch, request):
    book = tmp_path / "short.csv"
    with gzip.open(BOOK, "rt", encoding="utf-8") as whole, book.open("w") as short:
        short.writelines(itertools.islice(whole, 900))
    monkeypatch.setattr(demo_clock, "OF_DEMO", connection.settings_dict["NAME"])
    call_command("demo_clock", "14")
    request.addfinalizer(lambda: demo_clock.set_back(timedelta(0)))
    call_command("import_book", str(book), stdout=io.StringIO())
    User.objects.create_superuser("admin")
    monkeypatch.setattr(demo_year, "SOON", timedelta(seconds=1))
    monkeypatch.setattr("builtins.input", lambda: '{"approver": "one", "reader": "two"}')
    call_command("demo_year", stdout=io.StringIO())

    assert not demo_clock.is_behind()
    tuesday = PriceChange.objects.get(title="Tech support: 4 % more").effective_at
    assert tuesday is not None
    assert tuesday.strftime("%A") == "Tuesday"
    assert timedelta(0) < timezone.now() - tuesday < timedelta(days=8)
    assert PriceChange.objects.filter(effective_at__date=tuesday.date()).count() == 1
    states = Counter(PriceChange.objects.exclude(title="").values_list("status", flat=True))
    assert states == {"applied": 3, "reverted": 1, "scheduled": 2, "planned": 1, "held": 1}
    assert Correction.objects.values("reason").distinct().count() == len(demo_year.PAST) + 1
    assert Subscription.objects.filter(ended_at__isnull=False).exists()
    reader, approver = (User.objects.get(username=name) for name in ("reader", "approver"))
    assert approver.has_perm(APPROVE)
    assert reader.has_perm(VIEW_SUBSCRIPTION)
    assert not reader.has_perm(APPROVE)
    report = book_check.check()
    assert (report.differing, report.differing_from_ledger, report.wrong_subtotals) == (0, 0, [])
