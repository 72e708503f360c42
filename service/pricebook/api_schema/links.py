"""The links of the API's schema: what may follow the creation of a record, with its id.

Whoever reads the schema by program, a generator of clients or of tests, can go on from an answer.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.hooks import postprocess_schema_enums

METHODS = ("get", "post", "patch", "delete")
ONE = "{id}/"
# Bodies that an operation takes from the answer, beside the id.
BODIES = {"approve": {"fingerprint": "$response.body#/fingerprint"}}


def add_links(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """Link each POST that creates a record with all that is done with one.

    A hook of the schema, behind its own one for enums.
    """
    result = postprocess_schema_enums(result, generator, **kwargs)  # type: ignore[no-untyped-call]
    paths = result["paths"]
    for path, operations in paths.items():
        created = operations.get("post", {}).get("responses", {}).get("201")
        if created is not None and f"{path}{ONE}" in paths:
            created["links"] = dict(
                _link(paths[each][method], each)
                for each in paths
                if each.startswith(f"{path}{ONE}")
                for method in METHODS
                if method in paths[each]
            )
    return result


def _link(operation: dict[str, Any], path: str) -> tuple[str, dict[str, Any]]:
    link: dict[str, Any] = {
        "operationId": operation["operationId"],
        "parameters": {"id": "$response.body#/id"},
    }
    verb = path.rstrip("/").rpartition("/")[2]
    if verb in BODIES:
        link["requestBody"] = BODIES[verb]
    return operation["operationId"], link
