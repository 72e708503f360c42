"""Local times mean the same on every machine, and PostgreSQL is asked whether it agrees."""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import tzdata
from django.core.management import CommandError, call_command

from pricebook.kit import zone_rules
from pricebook.local.paths import SERVICE

ASK = """
import django; django.setup()
from services.transfer.csv_file import moment
print(moment("2027-01-15"))
"""


def test_the_machine_is_not_asked(tmp_path):
    """Its Berlin is UTC here; Python would take that before ours."""
    (tmp_path / "Europe").mkdir()
    utc = Path(tzdata.__file__).parent / "zoneinfo" / "UTC"
    (tmp_path / "Europe" / "Berlin").write_bytes(utc.read_bytes())
    environment = os.environ | {
        "PYTHONTZPATH": str(tmp_path),
        "PYTHONPATH": str(SERVICE),
        "DJANGO_SETTINGS_MODULE": "pricebook.settings",
        "TIME_ZONE": "Europe/Berlin",
        "DEBUG": "1",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", ASK], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "2027-01-14T23:00:00+00:00\n", done.stderr


@pytest.mark.django_db
class TestPostgreSQL:
    """PostgreSQL's rules are those of its machine, or of its own package."""

    @pytest.fixture
    def ours_are(self, monkeypatch):
        def use(name):
            monkeypatch.setattr(zone_rules, "ZoneInfo", lambda _: ZoneInfo(name))

        return use

    def said(self):
        out = io.StringIO()
        call_command("zone_rules", stdout=out)
        return out.getvalue()

    @pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Asia/Tokyo"])
    def test_has_the_same_of_a_zone_that_never_moves(self, settings, zone):
        settings.TIME_ZONE = zone
        assert (
            self.said()
            == f"time zones by tzdata {tzdata.IANA_VERSION}; PostgreSQL has the same {zone}\n"
        )

    def test_has_others_from_an_instant_on(self, settings, ours_are):
        """New York goes to summer time two weeks before Berlin, so the first hour differs."""
        ours_are("America/New_York")
        found = zone_rules.first_difference("Europe/Berlin")
        assert found is not None
        assert found.database is not None
        assert found.database - found.ours in (timedelta(hours=5), timedelta(hours=6))
        settings.TIME_ZONE = "Europe/Berlin"
        with pytest.raises(
            CommandError, match=r"other rules for Europe/Berlin than tzdata .*: at 20"
        ):
            self.said()

    def test_differs_at_the_hour_at_which_one_of_them_moves(self, ours_are):
        """Oslo and Berlin agree; Helsinki is an hour ahead, and moves at the same instants."""
        ours_are("Europe/Oslo")
        assert zone_rules.first_difference("Europe/Berlin") is None
        ours_are("Africa/Lagos")  # UTC+1 all the year: Berlin's winter time
        found = zone_rules.first_difference("Europe/Berlin")
        assert found is not None
        summer = found.at.astimezone(ZoneInfo("Europe/Berlin"))
        assert summer.utcoffset() == found.database == timedelta(hours=2)
        assert found.ours == timedelta(hours=1)
        begins = found.at == datetime(found.at.year, 3, found.at.day, 1, tzinfo=UTC)
        assert begins or found.at - datetime.now(UTC) < -timedelta(days=365)

    def test_may_not_know_a_zone(self, settings, ours_are):
        ours_are("UTC")
        settings.TIME_ZONE = "Nowhere/Land"
        with pytest.raises(CommandError, match="PostgreSQL does not know it"):
            self.said()
