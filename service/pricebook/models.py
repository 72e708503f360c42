"""Where Django looks for this app's table."""

from pricebook.kit.tables import AnsweredRequest

__all__ = ["AnsweredRequest"]
