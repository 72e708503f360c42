"""Probes, metrics and the log, as an operator meets them."""

import io
import json
import logging
import threading

import pytest
from django.conf import settings as configured
from django.core.cache import cache
from django.db import connection
from django.test import Client as Browser

from price_changes.tests.api import ALL, a_program, planned
from pricebook.kit.log_filters import RequestIdFilter
from pricebook.kit.log_lines import JSONFormatter
from pricebook.seeing import collector, look, readiness, task_times
from services import sweeps
from services.audit import book_check
from services.models import Repricing
from services.tests.factories import a_book, a_service


def asked(path, **headers):
    return Browser().get(path, headers={"Host": "10.1.2.3:8000", **headers})


class TestX:
    def test_it(self, db):
        r = asked("/readyz")
        print(r.content)
        print(asked("/livez").content)
        print(asked("/metrics").content)
        r = asked("/metrics", **{"Authorization": "Bearer x"})
        from pricebook.seeing.measured import exposed
        print(exposed(collector.BookCollector()).decode())
        assert 0
