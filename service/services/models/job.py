"""Jobs: bulk writes, and what takes them back, that workers do; and imports of files."""

from __future__ import annotations

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import OuterRef, Q, Subquery
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from services.models.clock import Clock


class JobQuerySet(models.QuerySet["Job"]):
    def due(self) -> Self:
        """Jobs that wait, and the one that runs; in the order in which they are done."""
        return self.filter(status__in=Job.DUE).order_by("id")

    def for_api(self) -> Self:
        """Jobs with `last_undo`, the number of the newest job that takes them back, or None."""
        undos = Job.objects.filter(undoes=OuterRef("pk"), dry_run=False).order_by("-id")
        return self.annotate(last_undo=Subquery(undos.values("pk")[:1]))


class Job(models.Model):
    """A bulk whose caller does not wait: the request, how far it has come, and its result.

    A job that `undoes` another one has no body: its lines are those that the other one has written.
    """

    class Kind(models.TextChoices):
        CLIENTS = "clients", _lazy("Clients")
        SERVICES = "services", _lazy("Services")
        PLANS = "plans", _lazy("Plans")
        SUBSCRIPTIONS = "subscriptions", _lazy("Subscriptions")
        IMPORT = "import", _lazy("Import")  # of a file of a book
        HISTORY = "history", _lazy("History")  # of a file of the past

    class Status(models.TextChoices):
        WAITING = "waiting", _lazy("Waiting")
        RUNNING = "running", _lazy("Running")
        DONE = "done", _lazy("Done")
        REFUSED = "refused", _lazy("Refused")
        FAILED = "failed", _lazy("Failed")
        CANCELLED = "cancelled", _lazy("Cancelled")

    OF_FILES = (Kind.IMPORT, Kind.HISTORY)
    DUE = (Status.WAITING, Status.RUNNING)

    kind = models.CharField(max_length=13, choices=Kind)
    undoes = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, related_name="undone_by"
    )
    author = models.CharField(max_length=150)
    skip = models.BooleanField("refused lines are skipped")  # else all or nothing
    dry_run = models.BooleanField()
    media_type = models.CharField(max_length=30, db_default="")
    # How a file is to be read, and whether it changes what is there.
    options = models.JSONField(null=True)
    sha256 = models.CharField("SHA-256 of the body", max_length=64, db_default="")
    size = models.BigIntegerField("bytes of the body", db_default=0)
    status = models.CharField(max_length=9, choices=Status, db_default="waiting")
    asked_at = models.DateTimeField(db_default=Clock())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # Starts since the last chunk: one that ends its workers again and again is given up.
    attempts = models.SmallIntegerField(db_default=0)
    chunks_done = models.IntegerField(db_default=0)
    lines = models.BigIntegerField("lines that it has", null=True)
    lines_done = models.BigIntegerField("lines that have a result", db_default=0)
    counts = models.JSONField("lines by outcome", default=dict)
    error = models.JSONField(null=True)  # a refusal of all: code, detail, …
    # Of a file that somebody looks at before it is applied (`jobs.looks`).
    file_name = models.CharField("name of the file", max_length=255, db_default="")
    is_kept = models.BooleanField("its file is kept after its end", db_default=False)
    applies = models.ForeignKey(
        "self",
        verbose_name="the dry run whose lines somebody has seen",
        on_delete=models.PROTECT,
        null=True,
        related_name="applied_by",
    )
    found = models.JSONField("how a file was understood, and what it moves", null=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(
                name="job_due", fields=["id"], condition=Q(status__in=["waiting", "running"])
            ),
            models.Index(name="job_of_author", fields=["author", "id"]),
            # For those whose results have been kept long enough.
            models.Index(name="job_finished", fields=["finished_at"]),
            models.Index(name="job_of_file", fields=["sha256"], condition=Q(kind="import")),
        ]
        constraints = [
            models.CheckConstraint(
                name="job_finished_has_instant",
                condition=Q(status__in=["waiting", "running"], finished_at=None)
                | (~Q(status__in=["waiting", "running"]) & Q(finished_at__isnull=False)),
            )
        ]

    def __str__(self) -> str:
        if self.undoes_id is not None:
            what = _("undo job %(id)s") % {"id": self.undoes_id}
        else:
            what = str(WORDS.get(self.kind, self.kind))
        return _("job %(id)s: %(what)s") % {"id": self.pk, "what": what}


WORDS = {
    "clients": _lazy("clients in bulk"),
    "services": _lazy("services in bulk"),
    "plans": _lazy("plans in bulk"),
    "subscriptions": _lazy("subscriptions in bulk"),
    "import": _lazy("import of a file"),
    "history": _lazy("import of the past"),
}


class JobPiece(models.Model):
    """A piece of a job's body, until the job has ended: any worker may need it, on any host."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="pieces")
    number = models.IntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(name="job_piece_once", fields=["job", "number"])]

    def __str__(self) -> str:
        return f"piece {self.number} of job {self.job_id}"


class JobResult(models.Model):
    """The results of up to 2,000 lines, as NDJSON, and what an undo has to know of them.

    `left_as` are the fingerprints of the records that were created or changed, in the order of
    their lines, as the job has left them: an undo leaves a record that has another one. `states`
    are price states that a move has ended, by the number of the line. `kind` is that of the records
    of an import, which writes several; its `states` have the other values from before, too.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="results")
    kind = models.CharField(max_length=13, db_default="")
    first_line = models.BigIntegerField()
    last_line = models.BigIntegerField()
    counts = models.JSONField("lines by outcome")
    results = models.TextField()
    left_as = ArrayField(models.IntegerField(), default=list)
    states = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="job_result_once", fields=["job", "first_line"])
        ]

    def __str__(self) -> str:
        return f"lines {self.first_line} to {self.last_line} of job {self.job_id}"
