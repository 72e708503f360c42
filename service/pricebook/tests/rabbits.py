"""Nodes of RabbitMQ, alone or as a cluster, that a test may kill."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from kombu import Connection
from kombu.exceptions import OperationalError

from pricebook.tests.servers import until

RABBIT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


class Rabbits:
    """`count` nodes on this machine, which know each other by an epmd of their own.

    `lines` are more of the file rabbitmq.conf.
    """

    def __init__(self, folder: Path, count: int = 1, lines: str = "") -> None:
        folder.mkdir()
        self.folder, self.count = folder, count
        self.epmd, *ports = free_ports(1 + 2 * count)
        self.ports, self.distribution = ports[:count], ports[count:]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        names = range(1, count + 1) if count > 1 else ()
        peers = [f"cluster_formation.classic_config.nodes.{n} = n{n}@localhost" for n in names]
        # As docs/hosts.md says: a node that is lost without a word is lost after these seconds.
        (folder / "advanced.config").write_text("[{kernel, [{net_ticktime, 10}]}].\n")
        (folder / "rabbitmq.conf").write_text("\n".join([*peers, lines]) + "\n")

    @property
    def urls(self) -> list[str]:
        return [f"amqp://guest:guest@127.0.0.1:{port}//" for port in self.ports]

    @property
    def url(self) -> str:
        return ";".join(self.urls)

    def start(self) -> None:
        """Start those that do not run, one after another, until they take messages."""
        for node in range(self.count):
            if node not in self.processes:
                self.processes[node] = self._started(node)
                until(lambda node=node: takes_messages(self.urls[node]), 90)  # type: ignore[misc]

    def kill(self, node: int = 0) -> None:
        process = self.processes.pop(node)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def hush(self, node: int = 0) -> None:
        os.killpg(self.processes[node].pid, signal.SIGSTOP)

    def end(self) -> None:
        for node in tuple(self.processes):
            self.kill(node)
        subprocess.run(["epmd", "-port", str(self.epmd), "-kill"], capture_output=True)

    def _started(self, node: int) -> subprocess.Popen[bytes]:
        own = self.folder / str(node)
        own.mkdir(exist_ok=True)
        return subprocess.Popen(
            [str(shutil.which("sh")), RABBIT],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),  # with the cookie that all of them know
                "ERL_EPMD_PORT": str(self.epmd),
                "RABBITMQ_NODENAME": f"n{node + 1}@localhost",
                "RABBITMQ_NODE_PORT": str(self.ports[node]),
                "RABBITMQ_DIST_PORT": str(self.distribution[node]),
                "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
                "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
                "RABBITMQ_MNESIA_BASE": str(own / "mnesia"),
                "RABBITMQ_LOG_BASE": str(own / "log"),
                "RABBITMQ_PID_FILE": str(own / "pid"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def takes_messages(url: str) -> bool:
    try:
        with Connection(url, connect_timeout=2) as to:
            to.ensure_connection(max_retries=1, interval_start=0)
    except (OSError, OperationalError):
        return False
    return True
