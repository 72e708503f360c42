"""The given local time is stored, and the change flagged if zone rules give another instant."""

import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, reset_tzpath

import pytest
import tzdata
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from rest_framework.test import APIClient

from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.planning.local_instant import OtherInstant, other_instant, said_instant
from price_changes.running import allowing, lifecycle
from price_changes.showing.instants import in_force_from, zone_rules_differ
from price_changes.tests.changes import approved, clock, drained, planned
from pricebook.tests.authorship import who
from pricebook.tests.pages import OpenedForm
from services.tests.factories import a_service, a_subscription

pytestmark = pytest.mark.django_db

# A midnight in a winter to come: Vancouver is 8 hours behind by the rules with winter time, and 7
# by those without, which tzdata has since 2026b.
LOCAL = f"{datetime.now(UTC).year + 2}-01-15T00:00"
ZONE = "America/Vancouver"
RULES = Path(tzdata.__file__).parent / "zoneinfo"


@pytest.fixture
def rules(tmp_path):
    """Set other rules for Vancouver: so many hours behind, all the year."""

    def use(hours: int | None):
        zone = tmp_path / ZONE
        zone.parent.mkdir(exist_ok=True)
        if hours is None:
            zone.unlink(missing_ok=True)
        else:
            shutil.copy(RULES / "Etc" / f"GMT+{hours}", zone)
        reset_tzpath(to=[str(tmp_path)])
        ZoneInfo.clear_cache()

    use(8)
    yield use
    reset_tzpath(to=())
    ZoneInfo.clear_cache()


@pytest.fixture
def phone():
    service = a_service(20, "Phone")
    a_subscription(service=service)
    return service


@pytest.fixture
def change(rules, phone):
    return approved(
        planned(
            kind="list_price",
            service=phone.pk,
            new_value="22",
            effective_at=LOCAL,
            time_zone=ZONE,
        )
    )


def utc(hour: int) -> datetime:
    return datetime.fromisoformat(f"{LOCAL}Z") + timedelta(hours=hour)


def somebody() -> User:
    return User.objects.create_superuser("ann")


def browser(client):
    client.force_login(User.objects.filter(username="ann").first() or somebody())
    return client


def page(client, name="change", *args) -> str:
    answer = browser(client).get(reverse(f"admin:price_changes_pricechange_{name}", args=args))
    return " ".join(answer.content.decode().split())


def price_change(*words) -> str:
    out = io.StringIO()
    call_command("price_change", *words, stdout=out)
    return out.getvalue()


class TestWhatWasSaid:
    def test_is_kept_beside_the_instant(self, change):
        assert change.effective_at == utc(8)
        assert (change.effective_local, change.effective_zone) == (f"{LOCAL}:00", ZONE)
        assert in_force_from(change) == f"{LOCAL.replace('T', ' ')} {ZONE} (08:00Z)"
        assert other_instant(change) is None

    def test_may_be_another_day_in_utc(self, rules, phone):
        rules(8)
        evening = LOCAL.replace("T00", "T20")
        change = planned(
            kind="list_price",
            service=phone.pk,
            new_value="22",
            effective_at=evening,
            time_zone=ZONE,
        )
        assert in_force_from(change).endswith(f"({utc(28):%Y-%m-%d} 04:00Z)")

    @pytest.mark.parametrize(
        ("value", "zone", "code"),
        [
            (LOCAL, "Europe/Nowhere", "unknown_time_zone"),
            (LOCAL, "../UTC", "unknown_time_zone"),
            (LOCAL, 7, "unknown_time_zone"),
            (LOCAL, None, "time_zone_missing"),
            (f"{LOCAL}+02:00", ZONE, "offset_differs"),
            (f"{LOCAL}Z", ZONE, "offset_differs"),
            ("2999-02-30T00:00", ZONE, "not_an_instant"),
            ("soon", ZONE, "not_an_instant"),
            ("2027-03-28T02:30", "Europe/Berlin", "not_an_instant"),
            ("2001-01-15T00:00", ZONE, "in_the_past"),
        ],
    )
    def test_is_refused_where_nobody_could_know_the_instant(self, value, zone, code):
        with pytest.raises(ChangeError) as refused:
            said_instant("effective_at", value, zone)
        assert refused.value.code == code

    def test_may_have_the_offset_of_its_zone(self, rules):
        said = said_instant("effective_at", f"{LOCAL}-08:00", ZONE)
        assert (said["effective_at"], said["effective_local"]) == (utc(8), f"{LOCAL}:00")

    def test_is_said_with_its_instant(self, phone):
        with pytest.raises(ChangeError, match="time_zone is that of effective_at"):
            planned(kind="list_price", service=phone.pk, new_value="22", time_zone=ZONE)

    def test_may_come_with_the_approval(self, rules, phone):
        change = planned(kind="list_price", service=phone.pk, new_value="22")
        lifecycle.approve(change.pk, change.fingerprint, "bob", effective_at=LOCAL, time_zone=ZONE)
        change.refresh_from_db()
        assert (change.effective_at, change.effective_zone) == (utc(8), ZONE)

    def test_comes_from_the_form_in_its_zone(self, rules, client, settings, phone):
        settings.TIME_ZONE = ZONE
        form = OpenedForm(
            browser(client), reverse("admin:price_changes_pricechange_plan", args=["list_price"])
        )
        day, time = LOCAL.split("T")
        answer = form.send(
            service=phone.pk, new_value="22", effective_at_0=day, effective_at_1=f"{time}:00"
        )
        assert answer.redirect_chain, answer.context["form"].errors
        change = PriceChange.objects.get()
        assert (change.effective_at, change.effective_local, change.effective_zone) == (
            utc(8),
            f"{LOCAL}:00",
            ZONE,
        )
        assert f"{LOCAL.replace('T', ' ')} {ZONE} (08:00Z)" in page(client, "change", change.pk)

    def test_comes_from_the_command(self, rules, phone):
        printed = price_change(
            "plan", "--service", "Phone", "--to", "22", "--at", LOCAL, "--zone", ZONE
        )
        assert f"in force from  {LOCAL.replace('T', ' ')} {ZONE} (08:00Z)\n" in printed


class TestWhereTheRulesHaveMoved:
    @pytest.fixture
    def moved(self, rules, change):
        rules(7)
        return change

    def test_the_change_stays_and_is_flagged(self, moved):
        assert moved.effective_at == utc(8)
        assert other_instant(moved) == OtherInstant(utc(7))
        assert f"is {utc(7):%Y-%m-%d} 07:00Z, and the change comes at" in zone_rules_differ(moved)

    def test_so_the_pages_say(self, moved, client):
        says = "cancel it and plan it again, or keep its instant"
        assert says in page(client, "change", moved.pk)
        assert "Zone rules have moved" in page(client, "changelist")
        home = " ".join(browser(client).get("/").content.decode().split())
        assert says in home
        assert f"{ZONE} (08:00Z)" in home

    def test_so_the_api_says(self, moved):
        api = APIClient()
        api.force_authenticate(somebody())
        for url in ("/api/price-changes/", f"/api/price-changes/{moved.pk}/"):
            found = api.get(url).json()
            found = found["result"][0] if "result" in found else found
            assert found["zone_rules_differ"] is True
            assert datetime.fromisoformat(found["effective_by_zone_rules"]) == utc(7)
            assert (found["effective_local"], found["effective_zone"]) == (f"{LOCAL}:00", ZONE)
            assert "keep_instant" in found["allowed"]

    def test_so_the_commands_say(self, moved):
        assert "cancel it and plan it again" in price_change("show", moved.pk)
        assert "(zone rules moved)" in price_change("list")
        [record] = map(json.loads, price_change("show", moved.pk, "--json").splitlines())
        assert record["zone_rules_differ"] is True
        with pytest.raises(CommandError, match=rf"Price change {moved.pk} \(scheduled\): By today"):
            call_command("zone_rules", stdout=io.StringIO())

    def test_an_instant_may_be_kept(self, moved, client, rules):
        answer = browser(client).post(
            reverse("admin:price_changes_pricechange_keep_instant", args=[moved.pk]), follow=True
        )
        assert "Its instant is kept by ann" in answer.content.decode()
        moved.refresh_from_db()
        assert (moved.effective_at, who(moved.instant_kept_by)) == (utc(8), "person ann")
        assert other_instant(moved) is None
        assert "keep_instant" not in allowing.allowed(moved)
        call_command("zone_rules", stdout=io.StringIO())

    def test_or_not_where_the_rules_agree(self, change):
        with pytest.raises(ChangeError) as refused:
            lifecycle.keep_instant(change.pk, "ann")
        assert refused.value.code == "instant_agrees"
        assert "keep_instant" not in allowing.allowed(change)

    def test_by_program_and_by_command(self, moved):
        api = APIClient()
        api.force_authenticate(somebody())
        answer = api.post(f"/api/price-changes/{moved.pk}/keep_instant/")
        assert answer.status_code == 200
        assert who(answer.json()["instant_kept_by"]) == "person ann"
        PriceChange.objects.update(instant_kept_by="")
        assert "Its instant is kept by bob (claimed)" in price_change(
            "keep_instant", moved.pk, "--author", "bob"
        )

    def test_one_that_has_come_is_done(self, moved):
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE OR REPLACE FUNCTION book_clock(machine timestamptz) RETURNS timestamptz"
                " LANGUAGE sql STABLE AS $$ SELECT machine + interval '3 years' $$"
            )
        assert other_instant(moved) is None
        drained()
        moved.refresh_from_db()
        assert moved.status == "applied"

    def test_one_that_is_cancelled_is_not_flagged(self, moved):
        lifecycle.cancel(moved.pk, "ann")
        moved.refresh_from_db()
        assert other_instant(moved) is None

    def test_a_zone_that_is_gone_gives_no_instant(self, moved):
        PriceChange.objects.update(effective_zone="America/Atlantis")
        moved.refresh_from_db()
        assert other_instant(moved) == OtherInstant(None)
        assert "does not exist any more, or exists twice" in zone_rules_differ(moved)

    def test_an_instant_without_a_local_time_is_never_flagged(self, rules, phone):
        change = planned(kind="list_price", service=phone.pk, new_value="22", effective_at=utc(8))
        rules(7)
        assert other_instant(change) is None
        assert change.planned_at <= clock()
