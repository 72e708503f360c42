"""Starting the cluster, its state, and its end."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg

from cluster import engines, hosts
from cluster.hosts import ADDRESSES, BROKERS, DATABASES, WEBS, WORKERS, Places
from cluster.needs import RABBITMQ
from cluster.network import Network
from pricebook.local.home import Fault, Home
from pricebook.local.paths import PYTHON
from pricebook.local.postgres import open_log
from pricebook.local.processes import spawn, until

OF_ROLE = """
CREATE ROLE pricebook LOGIN CREATEDB;
ALTER ROLE pricebook SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE pricebook SET jit = off;
ALTER ROLE pricebook SET pg_trgm.word_similarity_threshold = 0.33;
"""
SCOPES = (
    "subscriptions:read", "clients:read", "services:read", "plans:read", "totals:read",
    "subscriptions:write", "clients:write", "services:write", "plans:write",
)  # fmt: skip


def say(text: str) -> None:
    print(f"cluster: {text}", file=sys.stderr, flush=True)


class Cluster:
    def __init__(self, home: Home) -> None:
        self.places = Places(home)
        self.network = Network(self.places.prefix)

    # Up and down --------------------------------------------------------------------------------

    def up(self) -> None:
        """Start all of it, from nothing; the clients' namespace is this process's from here on."""
        began = time.monotonic()
        self.down()
        self.places.home.make()
        self.places.data.mkdir(mode=0o700)
        self.network.make()
        self.network.enter("out")
        for host in (*DATABASES, *BROKERS, "lb"):
            self.start(host)
        self.wait("three databases in step", self.databases_are_well, 180)
        self.wait("three brokers", self.brokers_are_well, 180)
        self.mirror_queues()
        self.make_database()
        say("migrating")
        self.manage("migrate", "--verbosity=0", direct=True)
        scopes = [word for scope in SCOPES for word in ("--scope", scope)]
        self.places.key.write_text(self.manage("api_key", "create", "cluster", *scopes).strip())
        for host in (*WEBS, *WORKERS):
            self.start(host)
        self.wait("web servers", self.webs_are_well, 180)
        processes = sum(len(self.network.processes(host)) for host in ADDRESSES)
        took = time.monotonic() - began
        say(f"up after {took:.0f} s: {len(ADDRESSES)} hosts, {processes} processes")

    def down(self) -> int:
        """End what runs, whoever started it; the number of processes that did."""
        killed = self.network.remove()
        shutil.rmtree(self.places.data, ignore_errors=True)
        return killed

    def is_up(self) -> bool:
        return self.places.key.exists() and bool(self.network.namespaces())

    def start(self, host: str, extra: dict[str, str] | None = None) -> None:
        """Start all programs of a host; `extra`: more variables for them."""
        folder = self.places.of_host(host)
        folder.mkdir(parents=True, exist_ok=True)
        for program in engines.programs(self.places, host):
            command, environment = engines.in_clean_environment(program)
            log = open_log(folder / f"{program.name}.log")
            spawn(
                [*self.network.within(host), *command],
                environment | {"ENDED": str(folder / f"{program.name}.ended")} | (extra or {}),
                with_parent=False,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            log.close()

    def wait(self, what: str, condition: Callable[[], object], seconds: float) -> float:
        """Wait for a condition, and return the seconds that it took; Fault if it does not come."""
        began = time.monotonic()
        if not until(condition, seconds):
            raise Fault(f"cluster: no {what} after {seconds:.0f} s; logs are in {self.places.data}")
        return time.monotonic() - began

    def mirror_queues(self) -> None:
        """Keep a copy of each durable queue on every node; quorum queues do so by themselves."""
        ours = '{"ha-mode": "all", "ha-sync-mode": "automatic", "ha-promote-on-failure": "always"}'
        self.rabbitmqctl(
            BROKERS[0], "set_policy", "--apply-to", "queues", "ours", "^pricebook", ours
        )

    def make_database(self) -> None:
        with self.sql(hosts.PRIMARY, "postgres", "postgres") as session:
            session.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")  # its setting is a role's
            session.execute(OF_ROLE)
            session.execute("CREATE DATABASE pricebook OWNER pricebook")

    # Asking -------------------------------------------------------------------------------------

    def sql(self, port: int, user: str = hosts.ROLE, database: str = hosts.DATABASE) -> Any:
        """A session by HAProxy, in autocommit: hosts.PRIMARY, or hosts.REPLICA."""
        return psycopg.connect(
            host=ADDRESSES["lb"], port=port, user=user, dbname=database, autocommit=True,
            connect_timeout=3, tcp_user_timeout=3000,
        )  # fmt: skip

    def manage(self, *arguments: str, direct: bool = False) -> str:
        """Run manage.py at the clients' host, and return its output; Fault if it fails."""
        done = subprocess.run(
            [*self.network.within("out"), *PYTHON, str(hosts.code() / "manage.py"), *arguments],
            env=hosts.environment(self.places.home, direct=direct),
            capture_output=True,
            text=True,
        )
        if done.returncode and arguments[0] != "check_book":  # it exits 1 if the book differs
            raise Fault(f"manage {arguments[0]} failed:\n{(done.stdout + done.stderr).strip()}")
        return done.stdout

    def members(self) -> list[dict[str, Any]]:
        """Patroni's members, as any of them that answers tells; nothing if none does."""
        for host in DATABASES:
            if answer := ask(ADDRESSES[host], 8008, "/cluster"):
                found: list[dict[str, Any]] = json.loads(answer).get("members", [])
                return found
        return []

    def primary(self) -> str:
        """The host that is the primary now; Fault if there is none."""
        for member in self.members():
            if member["role"] == "leader" and ask(ADDRESSES[member["name"]], 8008, "/primary"):
                return str(member["name"])
        raise Fault("cluster: there is no primary")

    # Health -------------------------------------------------------------------------------------

    def databases_are_well(self) -> bool:
        """One primary, and two standbys that stream from it, one of them a synchronous one."""
        roles = sorted(
            member["role"]
            for member in self.members()
            if member["state"] in ("running", "streaming")
        )
        # Patroni tells of a dead member for the rest of its ttl, so each is asked itself too.
        alive = all(ask(ADDRESSES[host], 8008, "/health") for host in DATABASES)
        return (
            alive
            and roles == ["leader", "replica", "sync_standby"]
            and all(
                ask(ADDRESSES["lb"], port, None) is not None
                for port in (hosts.PRIMARY, hosts.REPLICA)
            )
        )

    def brokers_are_well(self) -> bool:
        """Each node answers, and says that the others run."""
        for host in BROKERS:
            said = self.rabbitmqctl(host, "cluster_status", "--formatter", "json")
            try:
                running = json.loads(said).get("running_nodes", [])
            except ValueError:
                return False
            if len(running) < len(BROKERS):
                return False
        return True

    def rabbitmqctl(self, host: str, *arguments: str) -> str:
        """Its output; nothing if its node does not answer."""
        control = ["sh", str(RABBITMQ / "rabbitmqctl"), "-q", *arguments]
        paths = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            [*self.network.within(host), *control],
            env=paths | engines.of_rabbitmq(self.places, host),
            capture_output=True,
            text=True,
        ).stdout

    def webs_are_well(self) -> bool:
        """Each answers, and HAProxy has seen that one does."""
        ways = [(ADDRESSES[host], 8000) for host in WEBS] + [(ADDRESSES["lb"], hosts.WEB)]
        return all(ask(address, port, "/livez") for address, port in ways)

    def workers_run(self) -> bool:
        """Each host has a worker, with a process of its pool, and what keeps it running."""
        return all(len(self.network.processes(host)) >= 3 for host in WORKERS)

    def restarts(self) -> int:
        """How often a program of Pricebook's has ended by itself, since the cluster is up."""
        files = self.places.data.glob("*/*.ended")
        return sum(len(file.read_text().splitlines()) for file in files)

    def is_well(self) -> bool:
        return self.databases_are_well() and self.webs_are_well() and self.workers_run()


def ask(address: str, port: int, path: str | None) -> bytes | None:
    """The body of a 200, or None; without a path, whether anybody takes the connection."""
    connection = http.client.HTTPConnection(address, port, timeout=2)
    try:
        if path is None:
            connection.connect()
            return b"taken"
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return (body or b"{}") if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
