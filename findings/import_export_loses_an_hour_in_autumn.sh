#!/bin/sh
# django-import-export 4.4.3 (Django 5.2.19): an instant of the hour that clocks show twice comes back
# an hour earlier, and no instant can be given with its offset.
#
# `DateTimeWidget` writes an aware instant as local time in TIME_ZONE, without an offset. In Berlin
# 00:30Z and 01:30Z of 25 October 2026 both become "2026-10-25 02:30:00", and both are read as 00:30Z.
# A time that clocks skip in spring is taken without an error. A text that would be clear, in ISO 8601
# with "Z" or with an offset, is refused: "Value could not be parsed using defined formats".
#
# Why it matters: starts, ends and ends of locks decide what is paid. A book that is exported and
# imported unchanged has other ones, in silence; a file from a system that writes ISO 8601 is refused.
# Way out: a widget with a format that has %z, for both directions.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "django-import-export==4.4.3" "Django==5.2.19"
cat > "$folder/look.py" <<'PYTHON'
from datetime import UTC, datetime

import django
from django.conf import settings

settings.configure(USE_TZ=True, TIME_ZONE="Europe/Berlin", INSTALLED_APPS=["import_export"])
django.setup()

from import_export.widgets import DateTimeWidget


def read(widget, text):
    try:
        return widget.clean(text).astimezone(UTC).strftime("%dT%H:%MZ")
    except ValueError as error:
        return str(error)


plain, exact = DateTimeWidget(), DateTimeWidget(format="%Y-%m-%dT%H:%M:%S%z")
seen = []
for hour in (0, 1):
    at = datetime(2026, 10, 25, hour, 30, tzinfo=UTC)
    for name, widget in (("as it comes", plain), ("with %z", exact)):
        text = widget.render(at)
        seen.append((name, f"{at:%dT%H:%MZ}", text, read(widget, text)))
for text in ("2026-03-29 02:30:00", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00+02:00"):
    seen.append(("as it comes", "", text, read(plain, text)))
for line in seen:
    print(*line, sep=" | ")
refused = "Value could not be parsed using defined formats."
assert [line[2:] for line in seen if line[0] == "as it comes"] == [
    ("2026-10-25 02:30:00", "25T00:30Z"),
    ("2026-10-25 02:30:00", "25T00:30Z"),
    ("2026-03-29 02:30:00", "29T01:30Z"),
    ("2026-01-01T00:00:00Z", refused),
    ("2026-01-01T00:00:00+02:00", refused),
], seen
assert [line[3] for line in seen if line[0] == "with %z"] == ["25T00:30Z", "25T01:30Z"], seen
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
