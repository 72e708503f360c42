"""The clock of the book: the database's."""

from django.db import models
from django.db.models import Func


class Clock(Func):
    """The instant at which a statement runs; `Now()` is that at which its transaction began."""

    function = "clock_timestamp"
    output_field = models.DateTimeField()
