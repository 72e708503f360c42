"""Tables that nobody empties but a test: the names of their triggers, by those of the tables."""

FACTS = {
    "ledgerentry": "ledger",
    "movedfollowers": "moved",
    "correction": "correction",
    "correctedentry": "corrected",
    "sealedblock": "sealed",
}


def emptying(does: str) -> str:
    """The statements that DISABLE or ENABLE what keeps them from it."""
    return "; ".join(
        f"ALTER TABLE services_{table} {does} TRIGGER {facts}_not_truncated"
        for table, facts in FACTS.items()
    )
