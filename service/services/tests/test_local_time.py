"""Local times without an offset: those that are not there, and those that are there twice."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from services.local_time import to_instant
from services.models import Subscription
from services.transfer.csv_file import moment

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["UTC", "Europe/Berlin", "America/Vancouver", "Africa/Cairo", "Asia/Kathmandu"]
HEADER = "company_name,email,service,full_price,plan_type,discount_percent,started_at\n"
LINE = "Ann,ann@example.com,Phone,20.00,full,0,"


class TestInstantOf:
    @pytest.mark.parametrize("day", [datetime(2026, 3, 29, 2, 30), datetime(2027, 3, 28, 2, 0)])
    def test_is_none_where_clocks_skipped_it(self, day):
        with pytest.raises(ValueError, match="clocks in Europe/Berlin skipped"):
            to_instant(day, BERLIN)

    def test_is_asked_for_where_there_are_two(self):
        with pytest.raises(ValueError, match=r"2026-10-25T02:30\+02:00 or 2026-10-25T02:30\+01:00"):
            to_instant(datetime(2026, 10, 25, 2, 30), BERLIN)

    @pytest.mark.parametrize(
        ("local", "hour"),
        [
            (datetime(2026, 3, 29, 1, 59), 0),
            (datetime(2026, 3, 29, 3, 0), 1),
            (datetime(2026, 10, 25, 1, 59), 23),
            (datetime(2026, 10, 25, 3, 0), 2),
        ],
    )
    def test_is_clear_beside_them(self, local, hour):
        assert to_instant(local, BERLIN).hour == hour

    @given(
        st.datetimes(datetime(1950, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)),
        st.sampled_from(ZONES),
    )
    def test_is_the_one_that_shows_it_or_refused(self, at, name):
        zone = ZoneInfo(name)
        local = at.astimezone(zone).replace(tzinfo=None)
        either = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
        if len(either) == 1:
            assert to_instant(local, zone) == at
        else:
            with pytest.raises(ValueError, match="twice"):
                to_instant(local, zone)


class TestAFile:
    @pytest.fixture(autouse=True)
    def berlin(self, settings):
        settings.TIME_ZONE = "Europe/Berlin"

    @pytest.mark.django_db
    @pytest.mark.parametrize(
        "started_at", ["2026-03-29T02:30", "2027-03-28T02:30", "2026-10-25T02:30"]
    )
    def test_with_an_unclear_start_is_refused_with_its_line(self, tmp_path, started_at):
        file = tmp_path / "book.csv"
        file.write_text(f"{HEADER}{LINE}2026-01-01\n{LINE}{started_at}\n")
        with pytest.raises(CommandError, match=rf"(?s)line 3.*started_at.*{started_at}"):
            call_command("import_book", str(file))
        assert not Subscription.objects.exists()

    @pytest.mark.parametrize(
        "value",
        [
            "2026-W40-1",
            "2026-W05-1",
            "20261001",
            "2026-10-01T09",
            "2026-10-01T",
            "2026-10-01T09:3",
            "2026-10-01 09:30 02:00",
            "2026-10-01T25:00",
            "2026-02-30",
            "٢٠٢٦-10-01",
        ],
    )
    def test_takes_no_other_form_than_it_lists(self, value):
        with pytest.raises(ValueError, match="is not a date or a time; allowed: 2026-10-01, "):
            moment(value)

    @pytest.mark.parametrize(
        ("value", "instant"),
        [
            ("2026-10-01", "2026-09-30T22:00:00+00:00"),
            ("2026-10-01T09:30", "2026-10-01T07:30:00+00:00"),
            ("2026-10-01T09:30+02:00", "2026-10-01T07:30:00+00:00"),
            ("2026-10-01 09:30:00.5+02", "2026-10-01T07:30:00.500000+00:00"),
            ("2026-03-29T02:30Z", "2026-03-29T02:30:00+00:00"),
            ("2026-10-25T02:30+01:00", "2026-10-25T01:30:00+00:00"),
        ],
    )
    def test_takes_those(self, value, instant):
        assert moment(value) == instant

    @pytest.mark.parametrize("value", ["1899-12-31", "0001-01-01", "9999-12-31T23:59-12:00"])
    def test_is_refused_outside_of_the_years(self, value):
        with pytest.raises(ValueError, match="outside of the years"):
            moment(value)
