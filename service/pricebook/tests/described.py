"""Answers beside the two schemas of the API: numbers, and texts (`?decimals=string`).

`Asked` sends each request twice, once for each form. The second one has no effect of its own: it
is a read, a look (`dry_run`), a refusal, or it comes under the Idempotency-Key of the first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import Any

import jsonschema_rs

from pricebook.api_schema import answers
from pricebook.api_schema.links import METHODS

AS_TEXT = "decimals=string"
# The first is another one in each answer; the second is null while any transaction is open.
FREE = ("request_id", "complete_until")
keys = count(1)


class Digits(str):
    """The digits of a number in JSON, as they were sent."""


def as_sent(content: bytes) -> Any:
    return json.loads(content, parse_float=Digits, parse_int=int)


@cache
def strict(as_text: bool, currency: str) -> dict[str, Any]:
    """A schema in which no object has a member that it does not name."""

    def closed(node: Any) -> Any:
        if isinstance(node, list):
            return [closed(each) for each in node]
        if not isinstance(node, dict):
            return node
        node = {name: closed(each) for name, each in node.items()}
        if node.get("type") == "object" and "properties" in node:
            node.setdefault("additionalProperties", False)
        return node

    made: dict[str, Any] = closed(answers.schema(as_text))
    return made


@cache
def validator(as_text: bool, currency: str, shape: str) -> Any:
    """A validator of answers of a shape, which is JSON."""
    whole = strict(as_text, currency)
    return jsonschema_rs.Draft202012Validator(
        {**json.loads(shape), "components": whole["components"]}
    )


def operation_of(method: str, path: str, as_text: bool) -> dict[str, Any]:
    """An operation as a schema has it."""
    template = re.sub(r"/[0-9]+/", "/{id}/", path.partition("?")[0])
    found: dict[str, Any] = answers.schema(as_text)["paths"][template][method]
    return found


def parts(schema: dict[str, Any], node: Any, way: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Each schema within a node, through its references, with those around it."""
    if isinstance(node, list):
        for each in node:
            yield from parts(schema, each, way)
    elif isinstance(node, dict):
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            if ("schemas" in node["$ref"]) and name not in way:
                yield from parts(schema, schema["components"]["schemas"][name], (*way, name))
            return
        yield node, way
        for name, each in node.items():
            if name not in ("example", "examples", "default", "enum"):
                yield from parts(schema, each, (*way, node) if name == "properties" else way)


def answers_of(operation: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for status, response in operation["responses"].items():
        for media_type, content in response.get("content", {}).items():
            yield status, media_type, content["schema"]


def all_operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in schema["paths"].items():
        for method in METHODS:
            if method in operations:
                yield f"{method.upper()} {path}", operations[method]


class Asked:
    """Requests of a program, each in both forms, compared and validated."""

    def __init__(self, program: Any, currency: str) -> None:
        self.program = program
        self.currency = currency
        self.shapes: set[str] = set()  # the schemas of successes that were seen
        self.nulls = 0
        self.decimals = 0

    def __call__(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """The answer with numbers."""
        headers = {"Idempotency-Key": f"key-{next(keys)}"} if method != "get" else {}
        pair = []
        for as_text in (False, True):
            sent = f"{path}{'&' if '?' in path else '?'}{AS_TEXT}" if as_text else path
            answer = getattr(self.program, method)(sent, body, headers=headers)
            assert answer.status_code == status, (method, sent, answer.content)
            content = b"".join(answer)  # a bulk's is a stream
            self.validate(method, path, answer, content, as_text)
            pair.append((answer, content))
        (first, numbers), (second, texts) = pair
        self.compare(as_sent(numbers), as_sent(texts), path)
        if "ETag" in first:
            assert first["ETag"] != second["ETag"], path
        return json.loads(numbers)

    def validate(self, method: str, path: str, answer: Any, content: bytes, as_text: bool) -> None:
        operation = operation_of(method, path, as_text)
        status = str(answer.status_code)
        media_type = answer["Content-Type"].partition(";")[0]
        described = operation["responses"][status]["content"][media_type]
        shape = json.dumps(described["schema"], sort_keys=True)
        told = validator(as_text, self.currency, shape).iter_errors(json.loads(content))
        errors = [f"{list(each.instance_path)}: {each.message}" for each in told]
        assert not errors, (method, path, as_text, errors[:5])
        if answer.status_code < 300:
            self.shapes.add(shape)
        named = operation["responses"][status].get("headers", {})
        for name in ("ETag", "Location", "Idempotency-Replayed", "Retry-After"):
            assert name in named or name not in answer, (method, path, name)

    def compare(self, numbers: Any, texts: Any, where: str) -> None:
        """Both say the same; a text has the digits of the number in its place."""
        if isinstance(numbers, dict):
            assert list(numbers) == list(texts), where
            for name in numbers:
                if name not in FREE:
                    self.compare(numbers[name], texts[name], f"{where} {name}")
        elif isinstance(numbers, list):
            assert len(numbers) == len(texts), where
            for one, other in zip(numbers, texts, strict=True):
                self.compare(one, other, where)
        elif isinstance(numbers, Digits):
            assert type(texts) is str, (where, numbers, texts)
            assert texts == numbers, (where, numbers, texts)
            self.decimals += 1
        elif type(numbers) is int and type(texts) is str:  # an amount without decimals
            assert texts == str(numbers), (where, numbers, texts)
            self.decimals += 1
        elif isinstance(numbers, str):
            # The address of another page asks for the same form.
            said = re.sub(rf"[?&]{AS_TEXT}", "", texts).replace("/&", "/?")
            assert said == numbers, (where, numbers, texts)
        else:
            assert numbers == texts, (where, numbers, texts)
            self.nulls += numbers is None
