"""The demo's receiver of events: docs/examples/receiver.py, as somebody else would run it."""

import json
import socket
import time

from pricebook.local.home import Fault
from pricebook.local.paths import CHECKOUT, PYTHON
from pricebook.local.processes import spawn
from pricebook.local.runner import Runner

RECEIVER = CHECKOUT / "docs" / "examples" / "receiver.py"
TYPE = "prices.moved"


class Receiver:
    """A webhook endpoint of the demo's book, and the program that it sends to; until we end."""

    def __init__(self, runner: Runner, environment: dict[str, str], patience: float) -> None:
        self.patience = patience
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        address = f"http://127.0.0.1:{port}/"
        made = runner.manage(
            *("webhooks", "create", "demo", address, "--type", TYPE, "--author", "demo", "--json"),
            environment=environment,
        )
        self.log = runner.home.logs / "receiver.log"
        store = runner.home.run / "demo-events.db"
        store.unlink(missing_ok=True)
        with self.log.open("wb") as output:
            spawn(
                [*PYTHON, str(RECEIVER)],
                environment
                | {
                    "WEBHOOK_SECRETS": json.loads(made)["secret"],
                    "STORE": str(store),
                    "PORT": str(port),
                    "PRICEBOOK_URL": "",
                },
                with_parent=True,
                stdout=output,
                stderr=output,
            )
        self.wait_for("listening on")

    def wait_for(self, text: str) -> str:
        """The first line that the receiver has printed with this text in it."""
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            for line in self.log.read_text().splitlines():
                if text in line:
                    return line
            time.sleep(0.05)
        raise Fault(f"the receiver was not told of {text!r}; its log is {self.log}")
