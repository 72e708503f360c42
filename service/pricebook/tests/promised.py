"""The names and types that version 1 of the API promises, a line each, of the schema with numbers.

`docs/api-version-1.txt` has those that were promised with the release. Additions need not be in it.
A release writes it anew, once the promise of `docs/api.md` allows each difference:

    ./pricebook manage shell -c "from pricebook.tests import promised; promised.write()"
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from pricebook.api_schema import answers
from pricebook.tests.described import all_operations, answers_of, parts

OF_ALL = {*answers.OF_ALL, "Retry-After"}
FILE = Path(settings.BASE_DIR).parent / "docs" / "api-version-1.txt"


def promises(schema: dict[str, Any]) -> Iterator[str]:
    for operation, described in all_operations(schema):
        for each in described.get("parameters", []):
            need = "required" if each.get("required") else "optional"
            yield f"{operation} takes {each['in']} {each['name']} {need} {type_of(each['schema'])}"
        body = described.get("requestBody", {}).get("content", {})
        for media_type, content in body.items():
            yield f"{operation} takes {media_type} {type_of(content['schema'])}"
        for status, media_type, shape in answers_of(described):
            if type_of(shape) != "Error":  # as all of them are
                yield f"{operation} answers {status} {media_type} {type_of(shape)}"
        for status, response in described["responses"].items():
            for header in set(response["headers"]) - OF_ALL:
                yield f"{operation} answers {status} {header}"
    for name, component in schema["components"]["schemas"].items():
        for value in component.get("enum", []):
            yield f"{name} may be {value}"
        for field, described in component.get("properties", {}).items():
            need = "required" if field in component.get("required", []) else "optional"
            yield f"{name} has {field} {need} {type_of(described)}"


def type_of(described: dict[str, Any]) -> str:
    """A type in a word: of a reference its name, of several types all."""
    if "$ref" in described:
        return str(described["$ref"].rpartition("/")[2])
    for several in ("oneOf", "anyOf", "allOf"):
        if several in described:
            return "|".join(sorted(map(type_of, described[several])))
    if described.get("type") == "array":
        return f"[{type_of(described['items'])}]"
    given = described.get("type", "any")
    types = "|".join(sorted(given)) if isinstance(given, list) else given
    return f"{types}:{described['format']}" if "format" in described else types


def sent(schema: dict[str, Any]) -> set[str]:
    """The names of the shapes that requests send."""
    found: set[str] = set()
    for _, operation in all_operations(schema):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            found.add(type_of(content["schema"]))
            for _, way in parts(schema, content["schema"]):
                found |= {each for each in way if isinstance(each, str)}
    return found


def write() -> None:
    lines = sorted(set(promises(answers.schema(False))))
    FILE.write_text("".join(f"{line}\n" for line in lines))
