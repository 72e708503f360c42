"""The two schemas, with what holds for all answers at once: their headers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from django.conf import settings

from pricebook.api_schema.auto import ABOUT, Generator
from pricebook.api_schema.decimals import PARAMETER, decimals_in_form
from pricebook.api_schema.links import METHODS, ONE, add_links
from pricebook.kit import api_version, idempotency, request_id
from pricebook.kit.decimals import NAME
from pricebook.kit.language import in_english

HEADERS = {
    request_id.HEADER: "The name of the request: yours, or a new one.",
    api_version.HEADER: "The version of the API that has answered, as `info.version`.",
    "ETag": "It stands for the answer: send it as `If-None-Match` to read it again only if it"
    " has changed, or, that of one object, as `If-Match` to write only if it has not.",
    "Retry-After": "The seconds after which the same request may be sent again.",
    idempotency.REPLAYED_HEADER: "`true`: this is the kept answer to an earlier request.",
    "Book-Version": "The version of the book that the first line is of.",
    "Location": "The address of what was planned, or asked for.",
}
OF_ALL = (request_id.HEADER, api_version.HEADER)
AGAIN = ("429", "503")
STREAMED = "application/x-ndjson"


def schema(as_text: bool) -> dict[str, Any]:
    """The schema of answers whose decimals are numbers, or texts. It takes seconds once."""
    return _schema(as_text, settings.CURRENCY)


@cache
def _schema(as_text: bool, currency: str) -> dict[str, Any]:
    return in_form(_of_both(currency), as_text)


@cache
def _of_both(currency: str) -> dict[str, Any]:
    generator = Generator()  # type: ignore[no-untyped-call]
    generator.for_both = True
    with in_english():  # whoever asks first
        described: dict[str, Any] = generator.get_schema(public=True)  # type: ignore[no-untyped-call]
    return described


def finish(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """A hook of drf-spectacular; it gives the parts of both schemas, or the one with numbers."""
    result = add_links(result, generator, **kwargs)
    result["components"]["headers"] = {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in HEADERS.items()
    }
    about: dict[str, str] = {}
    for path, asked in result["paths"].items():
        _add_etag_of_new(asked, result["paths"].get(f"{path}{ONE}", {}))
    for operation in operations(result):
        _add_headers(operation)
        about |= dict.fromkeys(operation["tags"], operation.pop(ABOUT))
    result["tags"] = [
        {"name": tag, "description": description} for tag, description in sorted(about.items())
    ]
    return result if getattr(generator, "for_both", False) else in_form(result, as_text=False)


def in_form(described: dict[str, Any], as_text: bool) -> dict[str, Any]:
    """The schema of answers in one form, made of what both have."""
    result: dict[str, Any] = decimals_in_form(described, as_text)
    if as_text:
        result["components"]["parameters"] = {NAME: PARAMETER}
        for operation in operations(result):
            reference = {"$ref": f"#/components/parameters/{NAME}"}
            operation.setdefault("parameters", []).append(reference)
    return result


def operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema["paths"].values():
        for method in METHODS:
            if method in path:
                yield path[method]


def _add_etag_of_new(operations: dict[str, Any], of_one: dict[str, Any]) -> None:
    """The answer to a creation has the ETag that reading the record has."""
    created = operations.get("post", {}).get("responses", {}).get("201")
    if created is not None and "304" in of_one.get("get", {}).get("responses", {}):
        _name(created, ["ETag"])


def _name(response: dict[str, Any], headers: Iterable[str]) -> None:
    response.setdefault("headers", {}).update(
        {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    )


def _add_headers(operation: dict[str, Any]) -> None:
    sent = {each.get("name") for each in operation.get("parameters", [])}
    responses = operation["responses"]
    for status, response in responses.items():
        named = [*OF_ALL]
        if status in AGAIN:
            named.append("Retry-After")
        if status.startswith("2"):
            if idempotency.HEADER in sent:
                named.append(idempotency.REPLAYED_HEADER)
            if status != "204" and ("304" in responses or "If-Match" in sent):
                named.append("ETag")
            if status == "202":
                named.append("Location")
            if STREAMED in response.get("content", {}) and "304" in responses:
                named.append("Book-Version")
        elif status == "304":
            named.append("ETag")
        _name(response, named)
