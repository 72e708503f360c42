"""The hosts of the cluster: their addresses, and the environment of those that run Pricebook."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pricebook.local.home import Home
from pricebook.local.paths import SERVICE

ADDRESSES = {
    "db1": "10.77.0.11",  # PostgreSQL under Patroni, and etcd
    "db2": "10.77.0.12",
    "db3": "10.77.0.13",
    "mq1": "10.77.0.21",  # RabbitMQ
    "mq2": "10.77.0.22",
    "mq3": "10.77.0.23",
    "lb": "10.77.0.31",  # HAProxy, PgBouncer and Valkey
    "web1": "10.77.0.41",
    "web2": "10.77.0.42",
    "work1": "10.77.0.51",
    "work2": "10.77.0.52",
    "work3": "10.77.0.53",
    "out": "10.77.0.61",  # clients, and the command itself
}
DATABASES = ("db1", "db2", "db3")
BROKERS = ("mq1", "mq2", "mq3")
WEBS = ("web1", "web2")
WORKERS = ("work1", "work2", "work3")
BEATS = ("work1", "work2")  # the second one finds crowded queues, and sends no more
PRIMARY, REPLICA, POOLER, BROKER, WEB, CACHE = 5000, 5001, 6432, 5672, 8080, 6379  # ports of lb
ROLE = DATABASE = "pricebook"


@dataclass(frozen=True)
class Places:
    """The files of a home's cluster."""

    home: Home

    @property
    def data(self) -> Path:
        """The folder that `down` removes: data, configuration and logs of the servers."""
        return self.home.path / "cluster"

    @property
    def venv(self) -> Path:
        return self.home.path / "cluster-venv"

    @property
    def journal(self) -> Path:
        return self.home.path / "cluster-rounds.jsonl"

    @property
    def key(self) -> Path:
        return self.data / "api_key"

    @property
    def unfinished(self) -> Path:
        """There while a round is played; left behind, it tells of an interruption."""
        return self.data / "unfinished"

    @property
    def prefix(self) -> str:
        """The beginning of the names of the home's namespaces."""
        return f"pb{self.home.digest[:6]}"

    def of_host(self, host: str) -> Path:
        return self.data / host


def url_of(port: int) -> str:
    return f"postgresql://{ROLE}@{ADDRESSES['lb']}:{port}/{DATABASE}"


def code() -> Path:
    """The folder of the code that the hosts run: ours, or another checkout's to be tried."""
    return Path(os.environ.get("PRICEBOOK_CLUSTER_CODE") or SERVICE)


def environment(home: Home, *, direct: bool = False) -> dict[str, str]:
    """The environment of web servers, workers and commands, the same on each host.

    `direct`: the database without PgBouncer, for migrations. This is the one place for variables.
    """
    replicas = ",".join(f"{ADDRESSES[host]}:5432" for host in DATABASES)
    kept = {
        name: os.environ[name] for name in ("PATH", "PYTHONPYCACHEPREFIX") if name in os.environ
    }
    variables = kept | {
        "HOME": str(home.path),
        "PYTHONPATH": str(code()),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore:You're running the worker with superuser",
        "DJANGO_SETTINGS_MODULE": "pricebook.settings",
        "SECRET_KEY": home.secret_key(),
        "ALLOWED_HOSTS": "*",
        "DATABASE_URL": url_of(PRIMARY if direct else POOLER),
        "DATABASE_DIRECT_URL": url_of(PRIMARY),
        "DATABASE_REPLICA_URL": f"postgresql://{ROLE}@{replicas}/{DATABASE}",
        "DB_CONNECT_TIMEOUT": "2",
        "REDIS_URL": f"redis://{ADDRESSES['lb']}:{CACHE}/1",
        "CELERY_BROKER_URL": f"amqp://{ROLE}:{ROLE}@{ADDRESSES['lb']}:{BROKER}//",
    }
    if not direct:
        variables["DB_STARTUP_OPTIONS"] = ""  # PgBouncer takes none: the role has them
    return variables
