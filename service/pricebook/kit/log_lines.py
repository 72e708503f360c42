"""The log as JSON, an object a line (LOG_FORMAT=json)."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from pricebook.kit import log_context


class JSONFormatter(logging.Formatter):
    """`time` (of the host, in UTC), `level`, `logger`, `message`, `request_id`, and what is known.

    A task has `task_id` and `task`, work on a price change `change_id`, the line of a request what
    `seeing.access_log` says of it, an error its traceback, as `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := getattr(record, "request_id", "-")) != "-":
            line["request_id"] = request
        line |= log_context.current()
        line |= getattr(record, "said", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=False, default=str)
