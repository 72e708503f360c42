"""All settings, from the environment. A missing or unknown value gives a message that names it."""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from psycopg import IsolationLevel

from pricebook import brokers, variables
from pricebook.admin_site import UNFOLD  # noqa: F401 - a setting, in a module of its own
from pricebook.api_schema.setting import SPECTACULAR_SETTINGS  # noqa: F401 - as above
from pricebook.beat_schedule import CELERY_BEAT_SCHEDULE  # noqa: F401 - as above
from pricebook.database.watched import Watched
from pricebook.kit import amqp, session_limits, zone_rules
from pricebook.kit.currency import minor_unit_of
from pricebook.logs import (  # noqa: F401 - settings
    LOG_LEVEL,
    LOG_SQL,
    LOGGING,
    METRICS_LISTEN,
    METRICS_NETWORKS,
    METRICS_TOKEN,
)
from pricebook.variables import (
    env,
    limit,
    networks,
    one_of,
    percent,
    seconds,
    whole_number,
)

zone_rules.use_pinned()

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Safety -----------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "")
if not DEBUG and (len(SECRET_KEY) < 32 or "change" in SECRET_KEY.lower()):
    raise ImproperlyConfigured(
        "SECRET_KEY is not set, is short, or is the example's. Set it to 32 or more random "
        'characters: python3 -c "import secrets; print(secrets.token_urlsafe(48))". '
        "(With DEBUG=1, for development only, it may be missing.)"
    )
SECRET_KEY = SECRET_KEY or "for development only"
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
SESSION_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_AGE = 365 * 86_400
# Whether people and programs reach the site over TLS, which a proxy in front of it speaks.
HTTPS = env.bool("HTTPS", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
# The header in which the proxy says that a request came over TLS, so that links have that scheme.
# The proxy has to set it on every request; without a proxy anybody could.
if header := env.str("PROXY_SSL_HEADER", "X-Forwarded-Proto" if HTTPS else ""):
    SECURE_PROXY_SSL_HEADER = (f"HTTP_{header.upper().replace('-', '_')}", "https")
# The proxies that a request comes through, each of which appends to X-Forwarded-For.
PROXIES = whole_number("PROXIES", 1 if HTTPS else 0, 0, 10)
# Seconds for which browsers that were here once use TLS alone; they are told over TLS only.
SECURE_HSTS_SECONDS = whole_number("HSTS_SECONDS", 30 * 86_400 if HTTPS else 0, 0, 63_072_000)
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # other host names of the domain are not ours to decide about
    "security.W021",  # nor is a place on the browsers' own list
    "security.W008",  # the proxy redirects; here that would meet health checks of the inside
]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- Applications -----------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "pricebook",
    "clients",
    "services",
    "price_changes",
    "keys",
    "events",
    "desk",
]
MIDDLEWARE = [
    "pricebook.kit.request_id.RequestIdMiddleware",
    "pricebook.seeing.probes.ProbesMiddleware",
    "pricebook.seeing.access_log.AccessMiddleware",
    "pricebook.kit.without_primary.WithoutPrimaryMiddleware",
    "services.ledger.requests.NotedRequestsMiddleware",
    "pricebook.kit.content_policy.ContentPolicyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "pricebook.kit.server_timing.ApiGZipMiddleware",
    "pricebook.kit.server_timing.ServerTimingMiddleware",
    "pricebook.kit.read_timeout.ReadTimeoutMiddleware",
    "pricebook.kit.attempts.AttemptsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "pricebook.kit.language.LanguageMiddleware",
    "pricebook.kit.whole_requests.WholeRequestsMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "pricebook.kit.idle.IdleMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "desk.entrance.unsaved.UnsavedFormMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "pricebook.urls"
WSGI_APPLICATION = "pricebook.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTHENTICATION_BACKENDS = [
    "pricebook.kit.attempts.LimitedLogins",
    "django.contrib.auth.backends.ModelBackend",
    "clients.logins.AnyCase",
]
# See pricebook/kit/attempts.py. Attempts until there is a wait, of so many seconds; 0: no limit.
LOGIN_ATTEMPTS = whole_number("LOGIN_ATTEMPTS", 10, 0, 10_000)
LOGIN_WAIT = seconds("LOGIN_WAIT", 300, least=1)
KEY_ATTEMPTS = whole_number("KEY_ATTEMPTS", 60, 0, 100_000)
KEY_WAIT = seconds("KEY_WAIT", 60, least=1)
# Minutes after which a log-in that nobody uses has ended; 0: never. See pricebook/kit/idle.py.
SESSION_IDLE = whole_number("SESSION_IDLE", 12 * 60, 0, 14 * 24 * 60)
LOGIN_URL = "desk:log_in"
LOGIN_REDIRECT_URL = "desk:home"
CSRF_FAILURE_VIEW = "desk.errors.csrf_failed"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEST_RUNNER = "pricebook.test_runner.PytestRunner"
LANGUAGE_CODE = one_of("LANGUAGE_CODE", "en", "ru")
LANGUAGES = [("en", "English"), ("ru", "Русский")]
# Apps' catalogues are read by themselves, but a text that Django has too would be Django's.
LOCALE_PATHS = [*BASE_DIR.glob("*/locale")]
FORMAT_MODULE_PATH = "pricebook.formats"
TIME_ZONE = env.str("TIME_ZONE", "UTC")
USE_TZ = True
CURRENCY = env.str("CURRENCY", "USD")  # ISO 4217; one currency a deployment
try:
    minor_unit_of(CURRENCY)
except ValueError as error:
    raise ImproperlyConfigured(f"CURRENCY: {error}") from None
STATIC_URL = "static/"
STATIC_ROOT = env.str("STATIC_ROOT", "/static")
# Files are served from the packages themselves; only the container image collects them.
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = not Path(STATIC_ROOT).is_dir()

# --- PostgreSQL -------------------------------------------------------------------------------

# Several hosts, a replica, a pooler: docs/hosts.md.
database = variables.database("DATABASE_URL", "read-write") or {
    "NAME": env.str("DB_NAME", "pricebook"),
    "USER": env.str("DB_USER", "pricebook"),
    "PASSWORD": env.str("DB_PASS", ""),
} | variables.hosts_of("DB_HOST", "DB_PORT", "read-write")
database |= {"ENGINE": "pricebook.database", "CONN_HEALTH_CHECKS": True}
# Their meaning: pricebook/kit/session_limits.py. Seconds; for the first two whole ones.
DB_CONNECT_TIMEOUT = whole_number("DB_CONNECT_TIMEOUT", 4, 2, 60)
DB_SILENCE_TIMEOUT = whole_number("DB_SILENCE_TIMEOUT", 8, 4, 7200)
IDLE_TRANSACTION_TIMEOUT = seconds("IDLE_TRANSACTION_TIMEOUT", 8)
LOCK_TIMEOUT = seconds("LOCK_TIMEOUT", 20)
database["OPTIONS"] = session_limits.of_client(
    DB_CONNECT_TIMEOUT, DB_SILENCE_TIMEOUT
) | database.get("OPTIONS", {})
# jit=off: PostgreSQL estimates costs from statistics, which a new book lacks, and would compile
# many queries for far longer than they run. Behind PgBouncer, which takes no options, set it empty.
# The threshold is the similarity, of 1, that a word must have in the search: a wrong letter in the
# middle of five leaves a third, and so do two swapped ones in the middle of seven. The server's
# default is 0.6.
OF_SESSION = "-c jit=off -c pg_trgm.word_similarity_threshold=0.33"
startup = env.str("DB_STARTUP_OPTIONS", OF_SESSION)
if startup:
    database["OPTIONS"]["options"] = session_limits.of_server(startup, DB_SILENCE_TIMEOUT)
# See pricebook/kit/prepared.py. An older PgBouncer would hand out a session that does not have
# them.
PREPARED_STATEMENTS = env.bool("DB_PREPARED_STATEMENTS", bool(startup))
database["DISABLE_SERVER_SIDE_CURSORS"] = not startup
# The locks of migration 0002_price_rule rely on it, whatever the server's default is.
database["OPTIONS"]["isolation_level"] = IsolationLevel.READ_COMMITTED
if env.bool("DB_POOL", False):  # for the web server; workers hold one connection each
    database["OPTIONS"]["pool"] = {
        "min_size": 1,
        "max_size": 8,
        # There are as many as threads: who waits, waits for the server. A replica would answer.
        "timeout": 1 if env.str("DATABASE_REPLICA_URL", "") else 5,
        # It gives an attempt up after these seconds; the next request begins another. Otherwise it
        # would wait longer and longer, and after an outage go on waiting while the server is back.
        "reconnect_timeout": 5,
        "connection_class": Watched,
    }
else:
    database["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", 600)
DATABASES = {"default": database}
# A standby, for lists, totals and exports (kit/replica.py), and the server itself beside a pooler,
# for migrations (kit/pooler.py).
of_session = session_limits.of_server(startup, DB_SILENCE_TIMEOUT)
DATABASES |= variables.beside(database, "replica", "DATABASE_REPLICA_URL", "standby", of_session)
of_session = session_limits.of_server(OF_SESSION, DB_SILENCE_TIMEOUT)
DATABASES |= variables.beside(database, "direct", "DATABASE_DIRECT_URL", "read-write", of_session)
# Seconds for which a read waits until the replica has what is committed.
REPLICA_WAIT = seconds("REPLICA_WAIT", 0.1)
# Seconds that a statement of the web server may read; 0: no limit. See
# pricebook/kit/read_timeout.py.
READ_TIMEOUT = seconds("READ_TIMEOUT", 10)
# The same for large reads: the whole book as of an instant, a chunk of a stream.
LONG_READ_TIMEOUT = seconds("LONG_READ_TIMEOUT", 300)

# --- Cache ------------------------------------------------------------------------------------

# The time that a cache that hangs may cost a request, once in a while: see kit/cache.py.
CACHE_TIMEOUT = 0.2
CACHE = brokers.server("REDIS_URL", "redis://localhost:6379/1", brokers.CACHES)
CACHES = {
    "default": {
        "BACKEND": "pricebook.kit.cache.RedisCache",
        "LOCATION": [CACHE.url],
        "KEY_PREFIX": env.str("CACHE_PREFIX", "pricebook"),
        "TIMEOUT": 60 * 60,
        "OPTIONS": {
            "serializer": "pricebook.kit.cache.JSONSerializer",
            "socket_timeout": CACHE_TIMEOUT,
            "socket_connect_timeout": CACHE_TIMEOUT,
            **CACHE.pool(CACHE_TIMEOUT),
        },
    }
}
PRICE_CACHE_NAME = "price_cache"

# Chapter 13 of the tutorial: query results of the catalogue's tables; docs/cachalot.md.
CACHALOT = env.bool("CACHALOT", False)
CACHES["catalogue"] = CACHES["default"] | {
    "KEY_PREFIX": CACHES["default"]["KEY_PREFIX"] + "-catalogue",
    "OPTIONS": CACHES["default"]["OPTIONS"]
    | {"serializer": "services.reading.catalogue_cache.RowsSerializer"},
}
CACHALOT_CACHE = "catalogue"
CACHALOT_ADDITIONAL_SUPPORTED_DATABASES = {"pricebook.database"}
CACHALOT_ONLY_CACHABLE_TABLES = ["services_service", "services_plan"]
CACHALOT_QUERY_KEYGEN = "services.reading.catalogue_cache.query_key"
CACHALOT_TIMEOUT = 10 * 60
if CACHALOT:
    INSTALLED_APPS.append("cachalot")
    # It does not know that ours is Django's Redis cache.
    SILENCED_SYSTEM_CHECKS.append("cachalot.W001")

# --- Celery -----------------------------------------------------------------------------------

BROKER = brokers.server("CELERY_BROKER_URL", "redis://localhost:6379/0")
CELERY_BROKER_URL, CELERY_BROKER_USE_SSL = BROKER.url, BROKER.tls
if "CELERY_BROKER_URL" in os.environ:
    os.environ["CELERY_BROKER_URL"] = CELERY_BROKER_URL  # Celery asks there before it asks here
CELERY_TASK_DEFAULT_QUEUE = env.str("CELERY_QUEUE", "pricebook")
# Events have a queue of their own, and a worker that takes nothing else (docs/operating.md): no
# repricing waits for a receiver that hangs, nor an event for a repricing.
EVENTS_QUEUE = f"{CELERY_TASK_DEFAULT_QUEUE}-events"
# Queues of RabbitMQ; classic ones are those of releases before there was a choice.
QUEUE_TYPE = one_of("CELERY_QUEUE_TYPE", "quorum", "classic") if BROKER.is_amqp else "classic"
if QUEUE_TYPE == "quorum":
    CELERY_TASK_QUEUES = [amqp.quorum_queue(CELERY_TASK_DEFAULT_QUEUE)]
    CELERY_TASK_CREATE_MISSING_QUEUE_TYPE = QUEUE_TYPE  # that of events: pricebook/queues.py
CELERY_TASK_ROUTES = {"events.tasks.*": {"queue": EVENTS_QUEUE}}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
# A message is acknowledged when its work is done, so a killed worker's is delivered again...
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
# ...when its visibility_timeout is over. Publishers are in a hurry, since a message only wakes a
# worker. Workers and beat are not (celery_app.py).
CELERY_BROKER_TRANSPORT_OPTIONS = BROKER.options(brokers.HURRY) | {
    "max_retries": 1, "interval_start": 0, "interval_step": 0,
}  # fmt: skip
CELERY_BROKER_CONNECTION_TIMEOUT = brokers.HURRY
# Try once more, at once: the kept connection may be from before the broker's restart.
CELERY_TASK_PUBLISH_RETRY_POLICY = {
    "max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0,
}  # fmt: skip
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# A broker of AMQP whose host is gone is left after twice as many seconds.
CELERY_BROKER_HEARTBEAT = 5
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Otherwise workers and beat would end after the broker has been down for three quarters of an hour.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_DB_REUSE_MAX = 1000  # one database session a process, not one a task
CELERY_WORKER_CONSUMER = "pricebook.worker:Consumer"
CELERY_BROKER_CHANNEL_ERROR_RETRY = True  # a broker without room refuses: it may have some again
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = TIME_ZONE
CELERY_RESULT_EXPIRES = None  # there are none; otherwise beat would have a task for it
CELERY_BEAT_SCHEDULER = "pricebook.beat:Scheduler"

# --- Slow clients -----------------------------------------------------------------------------

# See pricebook/front/. A web process has no more threads than the pool has connections (DB_POOL).
WEB_THREADS = whole_number("WEB_THREADS", min(8, 2 * (os.cpu_count() or 1) + 1), 1, 64)
# Seconds for a body (bodies.py says more), and those for which a reader of an answer may take
# nothing of it.
BODY_TIMEOUT = seconds("BODY_TIMEOUT", 15, least=1)
READER_TIMEOUT = seconds("READER_TIMEOUT", 30, least=1)
LONGEST_BODY = 10_000_000  # bytes; the API takes a tenth of that
LONGEST_BULK = 64_000_000  # bytes, of what is sent to bulk/ and to /api/imports/
BODIES_TOGETHER = 256_000_000  # bytes, in a process

# --- Price changes ----------------------------------------------------------------------------

# The limits of what one person moves alone, at every door, in 24 hours: so many rows, a price by so
# many per cent, prices by so much together. None: no limit. See docs/decisions/0018.
APPROVAL_LIMIT_ROWS = limit("APPROVAL_LIMIT_ROWS", 0, 10**12)
APPROVAL_LIMIT_PERCENT = limit("APPROVAL_LIMIT_PERCENT", 2, 10**6)
APPROVAL_LIMIT_AMOUNT = limit("APPROVAL_LIMIT_AMOUNT", 2, 10**15)
# Whether nobody may move a price alone: a limit of zero, whatever the others are.
APPROVAL_BY_ANOTHER = env.bool("APPROVAL_BY_ANOTHER", False)
# The per cent by which the figures of a change may differ from its preview when it is approved, if
# rows have come or gone since; 0: not at all. See price_changes/planning/recount.py.
APPROVAL_DRIFT = percent("APPROVAL_DRIFT", 1)

# --- Events ---------------------------------------------------------------------------------------

# Networks that are not the internet's, and to which events may be sent, over plain http too. See
# events/addresses.py.
WEBHOOKS_TO_PRIVATE = networks("WEBHOOKS_TO_PRIVATE")
# The most endpoints to which a worker sends at once; each takes a thread, and a connection to the
# database.
WEBHOOKS_AT_ONCE = whole_number("WEBHOOKS_AT_ONCE", 8, 1, 30)
# Days for which events are kept; those that an enabled endpoint has not had are kept longer.
EVENTS_KEPT_DAYS = whole_number("EVENTS_KEPT_DAYS", 90, 1, 3650)

# --- API --------------------------------------------------------------------------------------

# Lists show names and e-mails, so reading needs a session or an API key, unless this is set.
OPEN_READS = env.bool("OPEN_READS", False)
FEED_SHORT_PLACES = env.bool("FEED_SHORT_PLACES", False)  # docs/upgrades.md
# The most whole books that a web process sends at once; each has some megabytes in memory.
STREAMS_AT_ONCE = whole_number("STREAMS_AT_ONCE", 2, 1, 1000)
# And the most that one caller may read of them, so that nobody has them all.
STREAMS_OF_ONE_CALLER = whole_number(
    "STREAMS_OF_ONE_CALLER", max(1, STREAMS_AT_ONCE // 2), 1, STREAMS_AT_ONCE
)
# The most bulks that a web process writes at once: each keeps a thread and a connection.
BULKS_AT_ONCE = whole_number("BULKS_AT_ONCE", max(1, WEB_THREADS // 2), 1, WEB_THREADS)
REST_FRAMEWORK = {
    # The key first: the first class decides that a refusal is a 401 and not a 403.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "pricebook.kit.access.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["pricebook.kit.access.MayDo"],
    "DEFAULT_RENDERER_CLASSES": [
        "pricebook.kit.content.JSONRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_PARSER_CLASSES": ["pricebook.kit.content.ExactJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "pricebook.kit.content.ContentNegotiation",
    "DEFAULT_SCHEMA_CLASS": "pricebook.api_schema.auto.AutoSchema",
    "EXCEPTION_HANDLER": "pricebook.kit.error_response.error_response",
    # Decimals and instants reach the renderer as they are; it writes both exactly.
    "COERCE_DECIMAL_TO_STRING": False,
    "DATETIME_FORMAT": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

# --- Pages ------------------------------------------------------------------------------------

FLOWER_URL = env.str("FLOWER_URL", "")  # where people reach Flower; the home page links to it
