"""Where Django looks for this app's tables."""

from pricebook.kit.tables import AnsweredRequest, ApiKeyRights

__all__ = ["AnsweredRequest", "ApiKeyRights"]
