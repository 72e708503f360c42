"""The desk's own facts: the language that each person has chosen."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class ChosenLanguage(models.Model):
    """The language that a person chose last. It follows them to another browser at their log-in.

    Nobody has a row who never chose: the browser's language counts.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    language = models.CharField(max_length=10)

    def __str__(self) -> str:
        return f"{self.language} for {self.user}"
