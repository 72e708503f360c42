"""The types of events, and what each tells. docs/events.md has their data."""

TYPES: dict[str, str] = {
    "price_change.planned": "A price change was planned.",
    "price_change.approved": "It was approved.",
    "price_change.scheduled": "It was approved for an instant that is still to come.",
    "price_change.held": "It is held: somebody has to look at it again.",
    "price_change.started": "Its instant has come, and workers move its rows.",
    "price_change.applied": "All its rows are moved, or left for a reason.",
    "price_change.cancelled": "It was cancelled.",
    "price_change.reverted": "It was taken back.",
    "price_change.not_approved": "It has moved prices beyond a limit, unapproved.",
    "prices.moved": "Prices have moved: how many, and from which total to which.",
    "subscription.started": "A subscription pays from an instant on.",
    "subscription.moved": "It is on another service or plan, or has another price of its own.",
    "subscription.ended": "It pays until an instant.",
    "subscription.corrected": "What it has paid was corrected.",
    "book_check.failed": "The book check has found a difference.",
    "brake.pulled": "The brake is on: no price change starts.",
    "brake.released": "The brake is off.",
    "endpoint.disabled": "A webhook endpoint failed for three days, and is sent nothing more.",
}
