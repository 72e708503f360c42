"""The settings of the logs: to the console, a line each, as text or JSON, with the request's id."""

from pricebook.variables import one_of

LOG_LEVEL = one_of("LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR")
LOG_FORMAT = one_of("LOG_FORMAT", "text", "json")
# A line for each request: pricebook/seeing/access_log.py.
ACCESS_LOG = one_of("ACCESS_LOG", "on", "off")
# SQL on the console, without parameters (names, e-mails) or with them: pricebook/kit/sql_log.py.
LOG_SQL = one_of("LOG_SQL", "off", "statements", "parameters")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request id": {"()": "pricebook.kit.log_filters.RequestIdFilter"},
        "one line": {"()": "pricebook.kit.log_filters.OneLineFilter"},
    },
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s]: %(message)s"},
        "json": {"()": "pricebook.kit.log_lines.JSONFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["request id"],
        }
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "pricebook.access": {"level": "INFO" if ACCESS_LOG == "on" else "WARNING"},
        "pricebook.kit.sql_log": {"level": "DEBUG"},
        "django.security.DisallowedHost": {"filters": ["one line"]},
        # With DEBUG on it logs every statement with its parameters; LOG_SQL is there for that.
        "django.db.backends": {"level": "INFO"},
    },
}
