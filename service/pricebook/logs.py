"""The settings of what is seen from outside: the metrics, and the logs, which go to the console, a
line each, as text or JSON, with the request's id.
"""

from pricebook.variables import env, host_and_port, networks, one_of

# The bearer of this token may read /metrics, and so may these networks. Closed if neither is set.
METRICS_TOKEN = env.str("METRICS_TOKEN", "")
METRICS_NETWORKS = networks("METRICS_NETWORKS")
# Where a worker tells its own times, host:port; nowhere if it is empty. See seeing/task_times.py.
METRICS_LISTEN = host_and_port("METRICS_LISTEN")

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
        "no probes": {"()": "pricebook.kit.log_filters.ProbeFilter"},
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
        "django.request": {"filters": ["no probes"]},
        "django.security.DisallowedHost": {"filters": ["one line"]},
        # With DEBUG on it logs every statement with its parameters; LOG_SQL is there for that.
        "django.db.backends": {"level": "INFO"},
    },
}
