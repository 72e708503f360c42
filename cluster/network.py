"""The network: a namespace for each host, and a bridge in one of its own.

The bridge has no address and nothing of the machine's is in it, so no packet can leave. Whatever
runs in a namespace is of this cluster, and is ended by that, not by its name.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path

from cluster.hosts import ADDRESSES
from pricebook.local.home import Fault
from pricebook.local.processes import until

BRIDGE = "net"  # the namespace of the bridge
CUTS = ("link", "drop", "one_way")
DROP_ALL = """
table inet cut {
  chain in { type filter hook input priority 0; policy drop;
    iif lo accept
  }
  chain out { type filter hook output priority 0; policy drop;
    oif lo accept
  }
}
"""
DROP_FROM = """
table bridge cut {
  chain from { type filter hook forward priority 0; policy accept;
    iifname "HOST" drop
  }
}
"""


def run(*command: str, input: str | None = None) -> str:
    """Run a command and return its output; Fault if it fails."""
    done = subprocess.run(command, input=input, capture_output=True, text=True)
    if done.returncode:
        raise Fault(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class Network:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def namespace(self, host: str) -> str:
        return f"{self.prefix}-{host}"

    def within(self, host: str) -> list[str]:
        """The beginning of a command that is to run on a host."""
        return ["ip", "netns", "exec", self.namespace(host)]

    def namespaces(self) -> list[str]:
        """Those of this home that exist, whoever made them."""
        names = (line.split()[0] for line in run("ip", "netns", "list").splitlines() if line)
        return [name for name in names if name.startswith(f"{self.prefix}-")]

    def make(self) -> None:
        net = self.namespace(BRIDGE)
        run("ip", "netns", "add", net)
        run("ip", "-n", net, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", net, "link", "set", "br0", "up")
        for host, address in ADDRESSES.items():
            ours = self.namespace(host)
            run("ip", "netns", "add", ours)
            pair = ("link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", ours)
            run("ip", "-n", net, *pair)
            run("ip", "-n", net, "link", "set", host, "master", "br0", "up")
            run("ip", "-n", ours, "address", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", ours, "link", "set", "eth0", "up")
            run("ip", "-n", ours, "link", "set", "lo", "up")

    def remove(self) -> int:
        """Kill all that runs in the namespaces, then delete them; the number of processes."""
        names = self.namespaces()
        killed = sum(self._kill_in(name) for name in names)
        for name in names:
            run("ip", "netns", "delete", name)
        return killed

    # One host -----------------------------------------------------------------------------------

    def processes(self, host: str) -> list[int]:
        return pids_in(self.namespace(host))

    def kill(self, host: str) -> int:
        """kill -9 of every process of a host; their number."""
        return self._kill_in(self.namespace(host))

    def _kill_in(self, namespace: str) -> int:
        killed: set[int] = set()

        def gone() -> bool:
            left = [pid for pid in pids_in(namespace) if pid != os.getpid()]
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed.update(left)
            return not left

        until(gone, 20)
        return len(killed)

    def cut(self, host: str, how: str) -> None:
        """Cut a host off: its link is down, its packets are dropped, or only those it sends."""
        if how == "link":
            run("ip", "-n", self.namespace(BRIDGE), "link", "set", host, "down")
        elif how == "drop":
            run(*self.within(host), "nft", "-f", "-", input=DROP_ALL)
        else:
            run(*self.within(BRIDGE), "nft", "-f", "-", input=DROP_FROM.replace("HOST", host))

    def heal(self) -> None:
        """Undo all cuts, whichever there are."""
        net = self.namespace(BRIDGE)
        for host in ADDRESSES:
            run("ip", "-n", net, "link", "set", host, "up")
            self._forget_table(self.namespace(host), "inet")
        self._forget_table(net, "bridge")

    def _forget_table(self, namespace: str, family: str) -> None:
        nft = ["ip", "netns", "exec", namespace, "nft"]
        if f"table {family} cut" in run(*nft, "list", "tables"):
            run(*nft, "delete", "table", family, "cut")

    def enter(self, host: str) -> None:
        """Move this process to a host: its sockets, and all that it starts, are there."""
        with Path("/run/netns", self.namespace(host)).open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0):
                raise Fault(f"can't enter {host}: {os.strerror(ctypes.get_errno())}")


def pids_in(namespace: str) -> list[int]:
    return [int(pid) for pid in run("ip", "netns", "pids", namespace).split()]
