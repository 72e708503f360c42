"""Lives of the book's database: what distinguishes a book from one that was restored beside it."""

from django.db import models

from services.models.clock import Clock


class Life(models.Model):
    """A stretch of the book's history in which one server gave out its transaction numbers.

    The first write after a restore, a recovery or a promotion begins another one (`begin_life` in
    SQL, migration `0066_lives`), whoever writes. The row with the greatest number is the life that
    is, or, until something is written in a new one, the last that was.
    """

    class Why(models.TextChoices):
        FIRST = "first"  # the book began here, or came to the release that knows lives
        PROMOTED = "promoted"  # the same database on another timeline: a standby took over
        RECOVERED = "recovered"  # the same, and the server has a recovery target: a point in time
        RESTORED = "restored"  # another server, another database, or tables made anew
        DECLARED = "declared"  # an operator said so, for nothing of the database shows it

    number = models.BigIntegerField(primary_key=True)  # from 1, without a gap
    # Drawn at random: two books that were restored from one have lives of the same number.
    key = models.BigIntegerField()
    why = models.CharField(max_length=10, choices=Why)
    # By these four a life is recognised.
    system_identifier = models.BigIntegerField()
    timeline = models.IntegerField()
    database = models.BigIntegerField()  # its oid
    book = models.BigIntegerField()  # the oid of this table: a dump that is loaded makes it anew
    # What is added to the server's transaction numbers: they follow on all those that are stored.
    xact_offset = models.BigIntegerField()
    # The least number that a transaction of this life has: what is stored below it came before.
    first_xact = models.BigIntegerField()
    # The newest block that was sealed before it; 0: none was.
    sealed_block = models.BigIntegerField(db_default=0)
    began_at = models.DateTimeField(db_default=Clock())
    # When an operator said that all is done that a restore asks for, and who; NULL: nobody has.
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, db_default="")

    class Meta:
        verbose_name_plural = "lives"

    def __str__(self) -> str:
        return f"life {self.number}, {self.why}"
