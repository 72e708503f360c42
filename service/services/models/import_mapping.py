from django.db import models


class ImportMapping(models.Model):
    """How the files of one sender are read, kept by name: `transfer.files.Reading` as JSON."""

    name = models.CharField(max_length=50, unique=True)
    reading = models.JSONField()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
