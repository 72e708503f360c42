"""The results of book checks, kept beyond the cache."""

from django.db import models

from services.models.clock import Clock


class KeptBookCheck(models.Model):
    """The result of a book check. The last hundred are kept (`services.audit.book_check`)."""

    at = models.DateTimeField(db_default=Clock())
    # The person who started it; empty for the check that beat starts every hour.
    author = models.CharField(max_length=150, db_default="")
    counts = models.JSONField()  # `services.audit.book_report.Counts`, decimals as texts

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="kept_book_check_has_counts", condition=models.Q(counts__has_key="prices")
            )
        ]

    def __str__(self) -> str:
        return f"book check at {self.at}"
