"""The settings of the logs: to the console, a line each, with the request's id."""

from pricebook.variables import one_of

LOG_LEVEL = one_of("LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR")
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
        "plain": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s]: %(message)s"}
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "plain",
            "filters": ["request id"],
        }
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "pricebook.kit.sql_log": {"level": "DEBUG"},
        "django.security.DisallowedHost": {"filters": ["one line"]},
        # With DEBUG on it logs every statement with its parameters; LOG_SQL is there for that.
        "django.db.backends": {"level": "INFO"},
    },
}
