"""A book that was restored says so until somebody has run `after_restore`.

Feed, seals and previews after a restore are tried on real servers by services/tests/test_lives*.py
and by `./pricebook test -m drill`. Here the marks of the server are changed, as a restore does.
"""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from price_changes.models import PriceChange
from price_changes.running.drift import drift
from price_changes.tests.changes import applied, clock, planned, scheduled
from pricebook.seeing import collector, readiness
from services import lives
from services.ledger import seals
from services.models import Life, Subscription
from services.tests.factories import a_book

pytestmark = pytest.mark.django_db(transaction=True)

LAST = "(SELECT max(number) FROM services_life)"


def written(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.fixture(autouse=True)
def asked_anew():
    readiness.forget()
    collector.look.forget()
    yield
    readiness.forget()
    collector.look.forget()


@pytest.fixture
def book():
    return a_book(12, services=2, plans=1)


@pytest.fixture
def restored(book):
    """The book was written in another server, and nothing has been written since."""
    lives.begin()
    written(f"UPDATE services_life SET system_identifier = 17 WHERE number = {LAST}")


def ready():
    readiness.forget()
    return readiness.now()


def unattended():
    """The metric."""
    collector.look.forget()
    found = [each for each in collector.look() if each.name == "pricebook_restored_unattended"]
    return found[0].samples[0].value


def check():
    call_command("after_restore", "--check")


def done(*arguments):
    call_command("after_restore", *arguments, author="ann")


def test_says_so_everywhere_until_it_is_attended_to(restored, admin_client, capsys):
    for began in (False, True):  # before the first write, and after it
        if began:
            assert lives.begin().why == Life.Why.RESTORED
        found = ready()
        assert (found.is_ready, found.late) == (True, ["life"])
        assert found.says["life"]["why"] == "restored"
        assert "The book was restored" in admin_client.get("/").content.decode()
        assert unattended() == 1
        with pytest.raises(CommandError, match="has not been run since"):
            check()
    done()
    assert unattended() == 0
    assert "needs nobody any more" in capsys.readouterr().out
    assert ready().late == []
    assert ready().says["life"]["acknowledged"]
    assert "The book was restored" not in admin_client.get("/").content.decode()
    check()
    life = lives.lives()[-1]
    assert life.acknowledged_by == "ann (claimed)"

    done("--json")  # and once more
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["acknowledged"]
    assert lives.lives()[-1].acknowledged_at == life.acknowledged_at


def test_is_harmless_where_nothing_was_restored(book, capsys):
    before = lives.begin()
    change = planned(kind="list_price", service=book.first().service_id, new_value=7)
    done("--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["life"]["why"], said["common_until"], said["previewed"]) == ("first", None, [])
    assert lives.lives() == [before]
    change.refresh_from_db()
    assert drift(change) == 0


def test_previews_again_and_names_what_was_approved(book, restored, capsys):
    service = book.first().service_id
    waits = planned(kind="list_price", service=service, new_value=7)
    comes = scheduled(
        clock() + timedelta(days=1), "current", kind="list_price", service=service, new_value=8
    )
    # They were previewed in the life before.
    PriceChange.objects.update(preview_life=1)
    written("UPDATE services_life SET number = number + 0")
    assert lives.begin().number == 2
    assert drift(PriceChange.objects.get(pk=waits.pk)) is None
    done("--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["previewed"], said["undecided"]) == ([waits.pk], [comes.pk])
    again = PriceChange.objects.get(pk=waits.pk)
    assert (again.preview_life, drift(again)) == (2, 0)


def test_names_what_cannot_be_previewed_any_more_and_goes_on(book, restored, capsys):
    """Its subscriptions are not in the book that was loaded."""
    service = book.first().service_id
    gone = planned(kind="set", filter={"service": service}, adjustment="add", operand=5)
    PriceChange.objects.update(preview_life=1)
    book.filter(service_id=service).delete()
    assert lives.begin().number == 2
    done("--json")
    said = json.loads(capsys.readouterr().out)
    assert said["not_previewed"] == [{"id": gone.pk, "code": "empty_set"}]
    assert (said["previewed"], said["acknowledged"]) == ([], True)
    done()
    assert f"Can't be previewed: price changes {gone.pk} (empty_set)" in capsys.readouterr().out


def test_acknowledges_no_book_that_is_wrong(restored, capsys):
    seals.seal()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE services_subscription DISABLE TRIGGER USER")
        Subscription.objects.filter(pk=Subscription.objects.order_by("pk")[0].pk).update(price=1)
        cursor.execute("ALTER TABLE services_subscription ENABLE TRIGGER USER")
    with pytest.raises(SystemExit) as ended:
        done()
    assert ended.value.code == 1
    assert "check_book --repair" in capsys.readouterr().out
    assert "life" in ready().late
    call_command("check_book", "--repair", author="ann")
    done()
    assert "life" not in ready().late


def test_takes_an_operators_word_for_a_disk_that_was_put_back(book, capsys):
    applied(planned(kind="list_price", service=book.first().service_id, new_value=70))
    before = lives.begin()
    done("--put-back", "--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["life"]["number"], said["life"]["why"]) == (before.number + 1, "declared")
    assert said["acknowledged"]
    with pytest.raises(CommandError, match="takes no --put-back"):
        call_command("after_restore", "--check", "--put-back")


def test_a_promotion_needs_nobody(book):
    lives.begin()
    written(f"UPDATE services_life SET timeline = 900 WHERE number = {LAST}")
    assert ready().late == []
    assert lives.begin().why == Life.Why.PROMOTED
    assert ready().late == []
    check()
