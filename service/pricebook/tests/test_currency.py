"""A currency has the decimals that ISO 4217 says; one that no book can have is refused."""

import os
import subprocess
import sys

import pytest
from django.conf import settings as django_settings

from pricebook.kit.currency import minor_unit_of, shown


@pytest.mark.parametrize(
    ("code", "digits"),
    # Babel has the last four without decimals.
    [("USD", 2), ("EUR", 2), ("JPY", 0), ("KRW", 0), ("CLP", 0), ("ISK", 0), ("UGX", 0),
     ("HUF", 2), ("IDR", 2), ("COP", 2), ("ALL", 2)],
)  # fmt: skip
def test_has_the_decimals_of_iso_4217(code, digits):
    assert minor_unit_of(code) == digits


OTHERS = pytest.mark.parametrize(
    ("code", "why"),
    [
        ("KWD", "3 decimals"),
        ("CLF", "4 decimals"),
        ("XAU", "no minor unit"),
        ("XXX", "no minor unit"),
        ("XYZ", "not a currency of ISO 4217"),
        ("usd", "not a currency of ISO 4217"),
        ("", "not a currency of ISO 4217"),
    ],
)


class TestAnother:
    @OTHERS
    def test_is_refused_with_the_reason(self, code, why):
        with pytest.raises(ValueError, match=why):
            minor_unit_of(code)

    @pytest.mark.parametrize(("code", "why"), [("KWD", "3 decimals")])
    def test_lets_nothing_start(self, code, why):
        done = subprocess.run(
            [sys.executable, "-c", "import django; django.setup()"],
            env=os.environ | {"CURRENCY": code, "DJANGO_SETTINGS_MODULE": "pricebook.settings"},
            cwd=django_settings.BASE_DIR,
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        assert done.stderr.splitlines()[-1].startswith(
            "django.core.exceptions.ImproperlyConfigured: CURRENCY: "
        )
        assert why in done.stderr


def test_amounts_are_shown_with_its_decimals(settings):
    assert (shown(1234), shown(-5, "+"), shown(5, "+")) == ("1,234.00", "-5.00", "+5.00")
    settings.CURRENCY = "JPY"
    assert (shown(1234), shown(-5, "+"), shown(5, "+")) == ("1,234", "-5", "+5")
