"""The types of events, each with what it says; docs/events.md has their data."""

TYPES = {
    "price_change.planned": "A price change was planned.",
    "price_change.approved": "A price change was approved, for now or for later.",
    "price_change.scheduled": "A price change was approved for an instant that is to come.",
    "price_change.held": "A price change did not start at its instant: it has to be approved anew.",
    "price_change.started": "A price change is in force, and workers write its prices.",
    "price_change.applied": "Every price of a price change is written.",
    "price_change.cancelled": "A price change was cancelled.",
    "price_change.reverted": "A price change was taken back.",
    "price_change.not_approved": "An edit beyond a limit moved prices, and nobody approved that.",
    "price_change.accepted": "Another person has approved such an edit.",
    "brake.pulled": "The brake was pulled: no price change starts.",
    "brake.released": "The brake was released.",
    "prices.moved": "Prices of subscriptions moved.",
    "subscription.started": "A start was recorded: of a new subscription, or another instant.",
    "subscription.moved": "A subscription went to another client, service or plan.",
    "subscription.ended": "An end was recorded, moved or cleared, or a subscription was deleted.",
    "subscription.corrected": "It was recorded that another price was paid in the past.",
    "book_check.failed": "The book check found that an invariant does not hold.",
    "book.loaded": "The book was loaded into another server: read it anew, and then go on.",
    "endpoint.disabled": "An endpoint is sent nothing any more: nothing could be delivered.",
}
# Sent to one endpoint that somebody tests: it has no number, and is in no list of events.
TEST = "endpoint.test"
