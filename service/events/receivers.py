"""Happenings that no trigger sees."""

from typing import Any

from django.dispatch import receiver

from events.models import Happening
from services.audit.book_check import failed
from services.audit.book_report import BookCheck


@receiver(failed)
def note_failed_check(sender: type[BookCheck], report: BookCheck, **kwargs: Any) -> None:
    Happening.objects.note("book_check.failed", says=str(report))
