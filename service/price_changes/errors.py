"""What a caller of price changes did wrong."""

from pricebook.kit.refusal import Refusal


class ChangeError(Refusal):
    """A price change can't be planned, or what was asked of one can't be done."""
