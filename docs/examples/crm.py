"""A CRM that keeps Pricebook in step: a client, its contracts, what becomes of them.

    PRICEBOOK_URL=https://prices.example.com PRICEBOOK_KEY=… python3 crm.py

Python's standard library alone. A run that broke off may be started again: it finds what is there,
and does the rest. SSL_CERT_FILE has the authority of a server whose certificate is your own. The
key has the scopes clients:write, clients:read, subscriptions:write, subscriptions:read,
price_states:set, services:read and plans:read. docs/api.md is the guide to all that is used here.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from decimal import Decimal
from typing import Any

URL = os.environ.get("PRICEBOOK_URL", "http://127.0.0.1:8000").rstrip("/")
KEY = os.environ.get("PRICEBOOK_KEY", "")
SOURCE = "crm"
ATTEMPTS = 8
FIRST_WAIT = float(os.environ.get("FIRST_WAIT", "1"))  # seconds; then twice as long each time
LONGEST_WAIT = 60

Record = dict[str, Any]


class Refused(Exception):
    """4xx: the same request would be refused again; `code` says why (docs/api.md, All codes)."""

    def __init__(self, status: int, problem: Record) -> None:
        super().__init__(f"{status} {problem.get('code')}: {problem.get('detail')}")
        self.status, self.code = status, problem.get("code")


def ask(
    method: str, path: str, body: Record | None = None, key: str = "", etag: str = ""
) -> tuple[Record, str]:
    """The answer and its ETag. A write has an Idempotency-Key: sent again, it has no second effect.

    429, 5xx and a connection that breaks are tried again with the same key and the same bytes.
    """
    headers = {"Authorization": f"Api-Key {KEY}", "Content-Type": "application/json"}
    headers |= {"Idempotency-Key": key} if key else {}
    headers |= {"If-Match": etag} if etag else {}
    content = None if body is None else json.dumps(body).encode()
    for attempt in range(ATTEMPTS):
        request = urllib.request.Request(URL + path, content, headers, method=method)
        wait = min(FIRST_WAIT * 2**attempt * random.uniform(0.5, 1), LONGEST_WAIT)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
                shown = json.loads(text, parse_float=Decimal) if text else {}
                return shown, answer.headers.get("ETag", "")
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise Refused(error.code, problem_of(error.read())) from None
            trouble = f"{error.code}"
            wait = float(error.headers.get("Retry-After") or wait)
        except OSError as error:  # no connection, or it broke: nobody knows what has become of it
            trouble = str(error)
        print(f"{method} {path}: {trouble}; again in {wait:.1f} s", file=sys.stderr)
        time.sleep(wait)
    raise SystemExit(f"{method} {path}: given up after {ATTEMPTS} attempts")


def problem_of(text: bytes) -> Record:
    try:
        return dict(json.loads(text))
    except ValueError:  # a proxy has answered
        return {"detail": text[:200].decode(errors="replace")}


def known(kind: str, external_id: str) -> Record | None:
    """The record that has this id of ours, if there is one."""
    query = urllib.parse.urlencode({"source": SOURCE, "external_id": external_id})
    found, _ = ask("GET", f"/api/{kind}/?{query}")
    return next(iter(found["result"]), None)


def named(kind: str, **fields: Any) -> Record:
    """A service or plan by its fields: the lists are short, and read page by page."""
    path: str | None = f"/api/{kind}/?page_size=1000"
    while path:
        page, _ = ask("GET", path)
        for record in page["result"]:
            if all(record[name] == value for name, value in fields.items()):
                return dict(record)
        following = urllib.parse.urlsplit(page["next"] or "")  # whatever name a proxy gave us
        path = page["next"] and f"{following.path}?{following.query}"
    raise SystemExit(f"/api/{kind}/ has none with {fields}")


def created(kind: str, external_id: str, fields: Record) -> Record:
    """The record of this id of ours: made now, or by an earlier run."""
    body = fields | {"source": SOURCE, "external_id": external_id}
    try:
        record, _ = ask("POST", f"/api/{kind}/", body, key=f"create-{kind}-{external_id}")
        return record
    except Refused as refusal:
        if refusal.code not in ("external_id_taken", "idempotency_key_reused"):
            raise
    found = known(kind, external_id)
    assert found is not None, f"{kind} {external_id} was there a moment ago"
    return found


def moved(id: int, plan: int) -> Record:
    """The subscription on another plan. If somebody changes it meanwhile, it is looked at anew."""
    while True:
        shown, etag = ask("GET", f"/api/subscriptions/{id}/")
        if shown["plan_id"] == plan:
            return shown
        try:
            key = f"move-{id}-{plan}-{etag.strip('W/')}".replace('"', "")
            return ask("POST", f"/api/subscriptions/{id}/move/", {"plan": plan}, key, etag)[0]
        except Refused as refusal:
            if refusal.status != 412:
                raise


def ended(id: int, at: str, time_zone: str) -> Record:
    """The subscription with this end. One that has ended before stays as it is."""
    body = {"ended_at": at, "time_zone": time_zone}
    try:
        return ask("POST", f"/api/subscriptions/{id}/end/", body, key=f"end-{id}-{at}")[0]
    except Refused as refusal:
        if refusal.code != "subscription_ended":
            raise
        return ask("GET", f"/api/subscriptions/{id}/")[0]


def corrected(id: int, since: str, until: str, time_zone: str, price: str) -> Record:
    """The subscription at the price that it should have had, however often that is said."""
    body = {"since": since, "until": until, "time_zone": time_zone, "price": price}
    body["reason"] = "Agreed in April, entered too late"
    return ask("POST", f"/api/subscriptions/{id}/correct/", body, f"correct-{id}-{since}")[0]


def main() -> None:
    service = named("services", name="Fibre")["id"]
    full = named("plans", plan_type="full", discount_percent=0)["id"]
    half = named("plans", plan_type="student", discount_percent=50)["id"]

    client = created(
        "clients",
        "customer-7",
        {"company_name": "Romashka", "email": "office@romashka.example"},
    )
    contracts = [
        created(
            "subscriptions",
            f"contract-{number}",
            {
                "client": client["id"],
                "service": service,
                "plan": full,
                "started_at": "2026-02-01",
                "time_zone": "Europe/Berlin",
            },
        )
        for number in (1, 2, 3)
    ]
    moved(contracts[0]["id"], half)
    ended(contracts[1]["id"], "2026-07-01", "Europe/Berlin")
    corrected(contracts[2]["id"], "2026-05-01", "2026-06-01", "Europe/Berlin", "90.00")

    paid, _ = ask("GET", f"/api/subscriptions/?client={client['id']}&state=active")
    print(f"{client['company_name']} pays {paid['total_amount']} {paid['currency']}")


if __name__ == "__main__":
    main()
