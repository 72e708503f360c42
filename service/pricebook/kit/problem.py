"""The body of an error: RFC 9457, "Problem Details for HTTP APIs"."""

from __future__ import annotations

from typing import Any

from pricebook.kit.request_id import current_id, new_id

MEDIA_TYPE = "application/problem+json"


def problem(status_code: int, members: dict[str, Any], path: str | None = None) -> dict[str, Any]:
    """The members of an error (`code`, `detail`, and others) with those of the RFC before them."""
    code = str(members["code"])
    said: dict[str, Any] = {
        "type": f"urn:pricebook:error:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status_code,
    }
    if path is not None:
        said["instance"] = path
    return said | members | {"request_id": current_id() or new_id()}
