"""The claims of Pricebook about its speed, a file for each.

    ./pricebook bench --quick                      # the tutorial's ladder and our goals, small
    ./pricebook bench                              # the claims
    ./pricebook bench repricing --rows 1000000     # one of them
    ./pricebook bench all --quick                  # each but peers, small

A claim runs its variants in turn, round after round, with a control among them; asserts that all
did the same work; and saves the figures with the conditions of the measurement. Each works in a
database of its own, made for the run and dropped after it. The service imports nothing of this.
"""

import os
import sys
from pathlib import Path

import django
from django.conf import settings

SERVICE = str(Path(__file__).resolve().parent.parent / "service")
if SERVICE not in sys.path:
    sys.path.insert(0, SERVICE)
if not settings.configured:  # under pytest it is
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pricebook.settings")
    os.environ.setdefault("CACHE_PREFIX", "benchmarks")  # keys beside those of the user's book
    django.setup()
    settings.DEBUG = False  # it would keep every query, which costs the variants that have many
