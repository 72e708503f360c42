"""Authors in tests, whose numbers differ from run to run."""

from pricebook.kit import authors


def who(author: str) -> str:
    """The kind and the name, as in "person ann", "key erp" or "claimed bob"."""
    found = authors.parse(author)
    return f"{found.kind} {found.name}"
