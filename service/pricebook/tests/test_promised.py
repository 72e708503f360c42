"""Nothing that version 1 of the API has promised has gone, or is something else now."""

from pricebook.api_schema import answers
from pricebook.tests.promised import FILE, promises, sent


def test_all_that_was_promised_is_there():
    promised = set(FILE.read_text().splitlines())
    assert len(promised) > 1000
    gone = promised - set(promises(answers.schema(False)))
    assert not gone, "see 'What may change' in docs/api.md"


def test_no_request_needs_what_it_did_not_need():
    schema = answers.schema(False)
    promised = set(FILE.read_text().splitlines())
    known = {line.split(" has ")[0] for line in promised if " has " in line}
    known |= {line.split(" takes ")[0] for line in promised if " takes " in line}
    shapes = sent(schema)
    for line in set(promises(schema)) - promised:
        if " required " in line:
            owner = line.split(" has ")[0].split(" takes ")[0]
            assert owner not in known or (" has " in line and owner not in shapes), line
