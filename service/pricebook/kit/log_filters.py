"""Filters of the log: each record has its request's id, what strangers cause is one line, and a
probe that fails again and again is told once.
"""

import logging

from pricebook.kit.request_id import current_id


class RequestIdFilter(logging.Filter):
    """Gives each record of the log its `request_id`; "-" outside of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Django logs an answer of 4xx or 5xx when all middleware has ended.
        request = getattr(record, "request", None)
        record.request_id = getattr(request, "request_id", None) or current_id() or "-"
        return True


class OneLineFilter(logging.Filter):
    """Leaves the message, without the traceback: of what any client can send at any rate."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = record.exc_text = None
        return True


class ProbeFilter(logging.Filter):
    """Leaves out Django's line for each probe that is answered 503: `seeing.readiness` tells when
    that begins and ends.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        request = getattr(record, "request", None)
        return not (getattr(request, "is_probe", False) and record.levelno >= logging.ERROR)
