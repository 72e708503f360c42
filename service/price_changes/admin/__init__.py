"""Price changes in the admin."""

from price_changes.admin.pages import PriceChangeAdmin

__all__ = ["PriceChangeAdmin"]
