"""The web server that is killed, and requests that are repeated with the same Idempotency-Key.

It is granian as `up` starts it, with `asgi.py` in place of the project's own.
"""

import http.client
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from keys.tests.making import a_key
from price_changes.models import PriceChange
from price_changes.tests.kills.burst import Burst
from pricebook.kit import authors
from pricebook.kit.scopes import READ_SCOPES
from pricebook.kit.tables import AnsweredRequest
from pricebook.local.paths import SERVICE
from pricebook.local.postgres import open_log
from pricebook.local.processes import spawn, until
from pricebook.local.programs import answers_http, programs
from pricebook.local.runner import Runner
from pricebook.local.up import reserve
from services.tests.interleaving import Background, in_background

PROGRAM = "the biller"
Status = PriceChange.Status


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    replayed: bool = False

    @property
    def done(self) -> bool:
        return self.status in (200, 201)


class Web:
    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.held = reserve(0)
        self.port: int = self.held.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.api_key = self.author = ""

    def make_key(self) -> None:
        """The key of the program, which an emptied book has lost with its users."""
        scopes = (*READ_SCOPES, "price_changes:plan", "price_changes:approve")
        key, self.api_key = a_key(PROGRAM, *scopes)
        self.author = authors.key(key.number, key.name)

    def start(self) -> None:
        """Start the server unless it runs. It answers some seconds later."""
        if self.process is not None:
            return
        environment = self.runner.environment()
        command, extra = programs(self.runner.home, self.port, environment)["web"]
        ours = {"pricebook.asgi:application": "price_changes.tests.kills.asgi:application"}
        with open_log(self.runner.home.logs / "web.log") as log:
            self.process = spawn(
                [*[ours.get(part, part) for part in command], "--workers", "1"],
                environment | extra,
                with_parent=True,
                cwd=SERVICE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill all of its processes at once."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def until_it_answers(self) -> None:
        assert until(lambda: answers_http(self.port), 60), "the web server does not answer"

    def post(self, asked: "Asked") -> Answer:
        """Send a request; raises OSError or HTTPException if no answer comes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {
            "Authorization": f"Api-Key {self.api_key}",
            "Content-Type": "application/json",
            "Idempotency-Key": asked.key,
        }
        try:
            connection.request("POST", asked.path, json.dumps(asked.body), headers)
            response = connection.getresponse()
            replayed = response.headers.get("Idempotency-Replayed") == "true"
            return Answer(response.status, json.loads(response.read()), replayed)
        finally:
            connection.close()

    def ask(self, asked: "Asked") -> "Asked":
        asked.waits = in_background(self.post, asked)
        return asked


# The codes by which a late request may be refused.
LATE = {
    "pause": {"wrong_state"},
    "cancel": {"wrong_state"},
    "approve": {"stale_fingerprint", "moved_since_preview"},
}


@dataclass
class Asked:
    """One request of a program."""

    verb: str
    change_id: int
    body: dict[str, Any]
    key: str
    waits: Background | None = None

    @classmethod
    def by(cls, verb: str, burst: Burst, seed: int) -> Self:
        key = f"seed-{seed}"
        bodies: dict[str, dict[str, Any]] = {
            "plan": {
                "kind": "set",
                "filter": {},
                "adjustment": "add",
                "operand": "3",
                "title": key,
            },
            "approve": {
                "fingerprint": PriceChange.objects.get(pk=burst.asked).fingerprint,
                "when_moved": "current",
            },
            "revert": {"approve": True},
        }
        changes = {"plan": 0, "approve": burst.asked, "revert": burst.applied}
        return cls(verb, changes.get(verb, burst.half_done), bodies.get(verb, {}), key)

    @property
    def path(self) -> str:
        if self.verb == "plan":
            return "/api/price-changes/"
        return f"/api/price-changes/{self.change_id}/{self.verb}/"

    @property
    def running(self) -> bool:
        return self.waits is not None and self.waits.running

    def again(self, web: Web) -> Iterator[tuple[int, str]]:
        """Errors of a request that is sent twice more: it must have one effect and one answer."""
        web.until_it_answers()
        kept = AnsweredRequest.objects.filter(key=self.key).first()
        answer, same = web.post(self), web.post(self)
        told = f"{self.verb} {self.change_id}, answered {answer.status} {answer.body}"
        if kept is not None:
            assert kept.answer is not None
            first = Answer(kept.status_code or 0, json.loads(bytes(kept.answer)), replayed=True)
            yield int(answer != first), f"repeated answers are not the kept one: {told}"
        else:
            yield int(answer.replayed), f"answers are repeated of what was never done: {told}"
        if answer.done:
            again = Answer(answer.status, answer.body, replayed=True)
            yield int(same != again), f"answers change: {same.status} {same.body} after {told}"
        else:
            # Between the kill and the second request the workers have finished the change, or the
            # figures that were seen have moved on.
            legitimate = answer.body["code"] in LATE.get(self.verb, ())
            yield int(not legitimate), f"requests were refused: {told}"
        effects = self.effects(answer, web.author) if answer.done else 0
        yield abs(effects - answer.done), f"effects too many or too few: {told}"

    def effects(self, answer: Answer, author: str) -> int:
        changes = PriceChange.objects
        return {
            "plan": changes.filter(title=self.key, planned_by=author),
            "approve": changes.filter(
                pk=self.change_id,
                approved_by=author,
                approved_at=answer.body.get("approved_at"),
            ),
            "pause": changes.filter(pk=self.change_id, status=Status.PAUSED),
            "resume": changes.filter(pk=self.change_id).exclude(status=Status.PAUSED),
            "cancel": changes.filter(reverts=self.change_id, reverts__cancelled_by=author),
            "revert": changes.filter(reverts=self.change_id, approved_by=author),
        }[self.verb].count()
