"""The document of the API has every code that an error may have."""

import ast
import re
from pathlib import Path

from django.conf import settings

# The codes that REST framework's own refusals have, as far as they reach a caller.
OF_REST_FRAMEWORK = {
    "authentication_failed",
    "method_not_allowed",
    "not_acceptable",
    "not_authenticated",
    "not_found",
    "permission_denied",
    "unsupported_media_type",
}
# The place of the code among the arguments of a refusal.
PLACES = {
    "AuthenticationFailed": 1,
    "BadParameter": 3,
    "BodyError": 1,
    "NotFound": 1,
    "BadRequest": 1,
    "plain_error": 1,
}
REFUSAL = re.compile(r"\w*(Error|Refused|Refusal|BadValue|BadParameter|Attempts)|__init__")
CODE = re.compile(r"[a-z]+(_[a-z]+)+|missing")
COMPUTED = re.compile(r"[a-z_]+\\w\+")
SERVICE = Path(settings.BASE_DIR)
API_MD = SERVICE.parent / "docs" / "api.md"


def codes_of(call):
    """The codes in the call of a refusal; a part that is computed is a \\w+."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if not (name in PLACES or REFUSAL.fullmatch(name)):
        return
    place = PLACES.get(name, 0)
    given = [*call.args[place : place + 1], *(k.value for k in call.keywords if k.arg == "code")]
    for node in given:
        for part in ast.walk(node):
            if isinstance(part, ast.JoinedStr):
                pieces = [getattr(each, "value", "") for each in part.values]
                text = "".join(each if isinstance(each, str) else r"\w+" for each in pieces)
                if COMPUTED.fullmatch(text):
                    yield text
        if isinstance(node, ast.Constant | ast.IfExp):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and CODE.fullmatch(str(part.value)):
                    yield part.value


def codes_in_the_code():
    found = set(OF_REST_FRAMEWORK)
    for path in SERVICE.rglob("*.py"):
        parts = path.relative_to(SERVICE).parts
        if {"tests", "migrations", "local", "management", "admin"} & set(parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                found |= set(codes_of(node))
            elif isinstance(node, ast.Assign):
                [target, *_] = node.targets
                name = getattr(target, "id", getattr(target, "attr", ""))
                if name in ("code", "default_code", "CODES"):
                    values = node.value.values if isinstance(node.value, ast.Dict) else [node.value]
                    found |= {each.value for each in values if isinstance(each, ast.Constant)}
    return found


def codes_in_the_document():
    _, _, table = API_MD.read_text().partition("### All codes\n")
    listed = [line.split("|")[1] for line in table.split("\n## ")[0].splitlines() if "|" in line]
    return [code for cell in listed for code in re.findall(r"`(\w+)`", cell)]


def test_every_code_is_in_the_document_once_and_no_other():
    documented = codes_in_the_document()
    assert len(documented) == len(set(documented))
    known = codes_in_the_code()
    assert {
        code for code in known if not any(re.fullmatch(code, each) for each in documented)
    } == set()
    assert {
        each for each in documented if not any(re.fullmatch(code, each) for code in known)
    } == set()
