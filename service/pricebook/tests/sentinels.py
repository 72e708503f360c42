"""A master and a replica of Valkey, and three Sentinels that watch them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pricebook.local.valkey import find_binary
from pricebook.tests.rabbits import free_ports
from pricebook.tests.servers import until

NAME = "book"


class Sentinels:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.ports = free_ports(5)
        self.servers, self.sentinels = self.ports[:2], self.ports[2:]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def url(self, number: int, name: str = NAME) -> str:
        hosts = ";".join(f"sentinel://127.0.0.1:{port}" for port in self.sentinels)
        return f"{hosts}/{number}?master_name={name}"

    def start(self) -> None:
        master, replica = self.servers
        self._serve(master)
        self._serve(replica, "--replicaof", f"127.0.0.1 {master}")
        for port in self.sentinels:
            file = self.folder / f"{port}.conf"
            lines = [
                f"port {port}",
                f"sentinel monitor {NAME} 127.0.0.1 {master} 2",
                f"sentinel down-after-milliseconds {NAME} 1000",
                f"sentinel failover-timeout {NAME} 5000",
            ]
            file.write_text("\n".join(lines) + "\n")
            self._run(port, str(file), "--sentinel")
        until(lambda: is_replica(replica))
        until(lambda: all(self._knows_all(port) for port in self.sentinels), 30)

    def master(self) -> int:
        _, port = ask(self.sentinels[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return int(port)

    def kill_master(self) -> None:
        process = self.processes.pop(self.master())
        process.kill()
        process.wait()

    def hush_master(self) -> None:
        self.processes[self.master()].send_signal(signal.SIGSTOP)

    def bring_back(self) -> None:
        """Let the lost server go on, or start it; it becomes the master's replica."""
        lost = next(port for port in self.servers if port != self.master())
        if lost in self.processes:
            self.processes[lost].send_signal(signal.SIGCONT)
        else:
            self._serve(lost, "--replicaof", f"127.0.0.1 {self.master()}")
        until(lambda: is_replica(lost), 60)
        until(lambda: all(self._knows_all(port) for port in self.sentinels), 60)

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def _knows_all(self, sentinel: int) -> bool:
        """Whether a Sentinel knows both others, and a replica that it may promote."""
        told = ask(sentinel, "SENTINEL", "MASTER", NAME)
        found = dict(zip(told[::2], told[1::2], strict=True))
        replicas = ask(sentinel, "SENTINEL", "REPLICAS", NAME)
        flags = [dict(zip(each[::2], each[1::2], strict=True))["flags"] for each in replicas]
        return found["num-other-sentinels"] == "2" and flags == ["slave"]

    def _serve(self, port: int, *options: str) -> None:
        self._run(port, "--port", str(port), "--save", "", "--repl-diskless-sync-delay", "0",
                  *options)  # fmt: skip
        until(lambda: answers(port))

    def _run(self, port: int, *arguments: str) -> None:
        own = self.folder / str(port)
        own.mkdir(exist_ok=True)
        self.processes[port] = subprocess.Popen(
            [find_binary(), *arguments], cwd=own, stdout=subprocess.DEVNULL, env=dict(os.environ)
        )


def ask(port: int, *words: str) -> Any:
    """The server's answer as it comes, whichever kind of server it is."""
    to = redis.Connection(
        port=port, decode_responses=True, socket_timeout=2, protocol=2, retry=Retry(NoBackoff(), 0)
    )
    try:
        to.send_command(*words)
        return to.read_response()
    finally:
        to.disconnect()


def is_replica(port: int) -> bool:
    """Whether it follows a master. A Sentinel ends the connections of a server that it moves."""
    try:
        return "master_link_status:up" in ask(port, "INFO", "replication")
    except redis.RedisError:
        return False


def answers(port: int) -> bool:
    try:
        return bool(ask(port, "PING") == "PONG")
    except redis.RedisError:
        return False
