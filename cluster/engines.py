"""The servers of each host: their commands, and the files that configure them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from cluster import hosts
from cluster.hosts import ADDRESSES, BROKERS, DATABASES, WEBS, Places
from cluster.needs import RABBITMQ
from pricebook.local.paths import PYTHON
from pricebook.local.postgres import find_binaries, unprivileged
from pricebook.local.programs import web_server
from pricebook.local.valkey import find_binary

TTL = 20  # seconds for which a lost primary is waited for: the least that Patroni takes
LB = ADDRESSES["lb"]
# Starts a program again, a second after its end, which it notes.
AGAIN = 'while :; do "$@"; echo "$?" >> "$ENDED"; sleep 1; done'
COOKIE = "pricebook-cluster"  # of RabbitMQ's nodes, in a network that nobody else reaches


@dataclass(frozen=True)
class Program:
    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    as_root: bool = True  # PostgreSQL refuses that
    restarted: bool = False  # whether the host starts it again when it ends, as systemd would


def programs(places: Places, host: str) -> list[Program]:
    """The programs of a host, in the order of the start."""
    if host in DATABASES:
        return [etcd(places, host), patroni(places, host)]
    if host in BROKERS:
        return [rabbitmq(places, host)]
    if host == "lb":
        return [valkey(places), haproxy(places), pgbouncer(places)]
    return [] if host == "out" else pricebook(places, host)


def pricebook(places: Places, host: str) -> list[Program]:
    """Web servers and workers have the same code, and the same environment."""
    times = {"PROMETHEUS_MULTIPROC_DIR": str(places.of_host(host) / "times")}
    environment = hosts.environment(places.home) | times
    if host in WEBS:
        listen = ["--host", ADDRESSES[host], "--port", "8000"]
        command = [*web_server("pricebook.asgi:application"), *listen]
        return [again("web", command, environment | {"DB_POOL": "1"})]
    celery = [*PYTHON, "-m", "celery", "-A", "celery_app.app", "--quiet"]
    quietly = ["--loglevel", "warning"]
    worker = [*celery, "worker", "--hostname", f"worker@{host}", "--concurrency", "2", *quietly]
    found = [again("worker", worker, environment)]
    if host == hosts.WORKERS[-1]:
        events = [*celery, "worker", "--hostname", f"events@{host}", "--pool", "threads"]
        events += ["--queues", "pricebook-events", "--concurrency", "4", *quietly]
        found.append(again("events", events, environment))
    if host in hosts.BEATS:
        schedule = places.of_host(host) / "celerybeat-schedule"
        beat = [*celery, "beat", "--schedule", str(schedule), "--pidfile=", *quietly]
        found.append(again("beat", beat, environment))
    return found


def again(name: str, command: list[str], environment: dict[str, str]) -> Program:
    return Program(name, command, environment, restarted=True)


def written(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


# Databases ---------------------------------------------------------------------------------------


def etcd(places: Places, host: str) -> Program:
    address = ADDRESSES[host]
    members = ",".join(f"{each}=http://{ADDRESSES[each]}:2380" for each in DATABASES)
    options = {
        "name": host,
        "data-dir": str(places.of_host(host) / "etcd"),
        "listen-peer-urls": f"http://{address}:2380",
        "initial-advertise-peer-urls": f"http://{address}:2380",
        "listen-client-urls": f"http://{address}:2379,http://127.0.0.1:2379",
        "advertise-client-urls": f"http://{address}:2379",
        "initial-cluster": members,
        # A new leader of etcd gives every lease its whole time anew, so each second of its election
        # is one that a lost primary's key lives longer.
        "heartbeat-interval": "100",
        "election-timeout": "1000",
    }
    return Program("etcd", ["etcd", *(f"--{name}={value}" for name, value in options.items())])


def patroni(places: Places, host: str) -> Program:
    folder = places.of_host(host)
    address = ADDRESSES[host]
    settings = {
        "max_connections": 100,
        "shared_buffers": "64MB",
        "wal_log_hints": "on",
        "hot_standby_feedback": "on",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "tcp_keepalives_idle": 5,
        "tcp_keepalives_interval": 2,
        "tcp_keepalives_count": 3,
        "client_connection_check_interval": "5s",
        "wal_receiver_timeout": "10s",
        "wal_sender_timeout": "10s",
    }
    configuration = {
        "scope": "pricebook",
        "name": host,
        "restapi": {"listen": f"{address}:8008", "connect_address": f"{address}:8008"},
        "etcd3": {"hosts": [f"{ADDRESSES[each]}:2379" for each in DATABASES]},
        "bootstrap": {
            "dcs": {
                "ttl": TTL,
                "loop_wait": 5,
                "retry_timeout": 5,
                "maximum_lag_on_failover": 1 << 20,
                "synchronous_mode": True,
                "postgresql": {"use_pg_rewind": True, "parameters": settings},
            },
            "initdb": [
                {"encoding": "UTF8"},
                {"locale-provider": "builtin"},
                {"builtin-locale": "C.UTF-8"},
                {"locale": "C.UTF-8"},
            ],
        },
        "postgresql": {
            "listen": f"127.0.0.1,{address}:5432",
            "connect_address": f"{address}:5432",
            "data_dir": str(folder / "postgres"),
            "bin_dir": str(find_binaries()),
            "pgpass": str(folder / "pgpass"),
            "authentication": {
                "superuser": {"username": "postgres"},
                "replication": {"username": "replicator"},
            },
            # Nobody else is in this network. Patroni asks its own server for the timeline over
            # replication, so the line of 127.0.0.1 is needed: without it a lost primary never
            # comes back.
            "pg_hba": [
                "host replication all 127.0.0.1/32 trust",
                "host replication all 10.77.0.0/24 trust",
                "host all all 127.0.0.1/32 trust",
                "host all all 10.77.0.0/24 trust",
            ],
            "parameters": {"unix_socket_directories": ""},
        },
        "watchdog": {"mode": "off"},
    }
    path = written(folder / "patroni.yml", json.dumps(configuration, indent=1))  # JSON is YAML
    python = places.venv / "bin" / "python"
    return Program("patroni", [str(python), "-m", "patroni", path], as_root=False)


# Brokers -----------------------------------------------------------------------------------------


def rabbitmq(places: Places, host: str) -> Program:
    folder = places.of_host(host)
    nodes = "\n".join(
        f"cluster_formation.classic_config.nodes.{number} = rabbit@{ADDRESSES[each]}"
        for number, each in enumerate(BROKERS, 1)
    )
    configuration = written(
        folder / "rabbitmq.conf",
        f"""\
cluster_formation.peer_discovery_backend = classic_config
{nodes}
cluster_partition_handling = pause_minority
default_user = {hosts.ROLE}
default_pass = {hosts.ROLE}
loopback_users = none
vm_memory_high_watermark.absolute = 400MB
""",
    )
    cookie = folder / ".erlang.cookie"
    if not cookie.exists():
        written(cookie, COOKIE)
        cookie.chmod(0o400)
    return Program(
        "rabbitmq",
        ["sh", str(RABBITMQ / "rabbitmq-server")],
        of_rabbitmq(places, host)
        | {
            "RABBITMQ_CONFIG_FILE": configuration,
            # A cut-off node is given up after 10 s, not after 60.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel net_ticktime 10 +S 2:2 +sbwt none",
        },
    )


def of_rabbitmq(places: Places, host: str) -> dict[str, str]:
    """The variables that its server and its tools share."""
    folder = places.of_host(host)
    return {
        "HOME": str(folder),
        "RABBITMQ_USE_LONGNAME": "true",
        "RABBITMQ_NODENAME": f"rabbit@{ADDRESSES[host]}",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
    }


# Between hosts -----------------------------------------------------------------------------------


def haproxy(places: Places) -> Program:
    def checked(names: tuple[str, ...], port: int, check: str) -> str:
        # Or clients would wait for the kernel.
        down = "on-marked-down shutdown-sessions"
        often = "inter 700ms fastinter 300ms downinter 300ms fall 2 rise 1"
        return "\n".join(
            f"  server {name} {ADDRESSES[name]}:{port} check {check} {often} {down}"
            for name in names
        )

    configuration = f"""\
global
  maxconn 2000
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout check 700ms
listen primary
  bind {LB}:{hosts.PRIMARY}
  option httpchk GET /primary
{checked(DATABASES, 5432, "port 8008")}
listen replica
  bind {LB}:{hosts.REPLICA}
  option httpchk GET /replica
  balance leastconn
{checked(DATABASES, 5432, "port 8008")}
listen broker
  bind {LB}:{hosts.BROKER}
  balance leastconn
{checked(BROKERS, 5672, "")}
listen web
  bind {LB}:{hosts.WEB}
  mode http
  timeout client 60s
  timeout server 60s
  option httpchk GET /livez
  option redispatch
{checked(WEBS, 8000, "")}
"""
    path = written(places.of_host("lb") / "haproxy.cfg", configuration)
    return Program("haproxy", ["haproxy", "-db", "-f", path])


def pgbouncer(places: Places) -> Program:
    folder = places.of_host("lb")
    users = written(folder / "users.txt", f'"{hosts.ROLE}" ""\n')
    configuration = f"""\
[databases]
{hosts.DATABASE} = host={LB} port={hosts.PRIMARY}
[pgbouncer]
listen_addr = {LB}
listen_port = {hosts.POOLER}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 30
max_client_conn = 500
server_connect_timeout = 3
server_login_retry = 1
query_wait_timeout = 1
tcp_user_timeout = 5000
tcp_keepidle = 5
tcp_keepintvl = 2
tcp_keepcnt = 3
"""
    path = written(folder / "pgbouncer.ini", configuration)
    return Program("pgbouncer", ["pgbouncer", path], as_root=False)


def valkey(places: Places) -> Program:
    options = ["--bind", LB, "--port", str(hosts.CACHE), "--save", "", "--protected-mode", "no"]
    folder = places.of_host("lb")
    folder.mkdir(parents=True, exist_ok=True)
    return Program("valkey", [str(find_binary()), *options, "--dir", str(folder)])


def in_clean_environment(program: Program) -> tuple[list[str], dict[str, str]]:
    """The command as it is to be started, and its whole environment."""
    prefix = [] if program.as_root else unprivileged()[0]
    if program.restarted:
        prefix = ["sh", "-c", AGAIN, "sh"]
    base = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
    return [*prefix, *program.command], base | program.environment
