"""The answers about jobs: their shapes, and a job as it is shown."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from services.models import Job
from services.views.shapes_of_bulk import BulkResultSerializer, RefusedLineSerializer


class JobErrorSerializer(serializers.Serializer):
    """The refusal of all of a job, with the members that the same bulk's answer would have."""

    code = serializers.CharField()
    detail = serializers.CharField()
    refused = serializers.IntegerField(required=False, help_text="How many lines are refused.")
    lines = RefusedLineSerializer(
        many=True, required=False, help_text="The first 100 of the refused lines."
    )
    line = serializers.IntegerField(
        required=False, help_text="The line of a body of JSON that can't be read."
    )
    parameter = serializers.CharField(required=False)
    value = serializers.CharField(required=False)
    limit = serializers.CharField(required=False)
    allowed: Any = serializers.ListField(child=serializers.CharField(), required=False)


class JobSerializer(serializers.Serializer):
    """A bulk that a worker writes, or has written, and what takes one back."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(Job.Kind.choices, help_text="The records that it writes.")
    status = serializers.ChoiceField(Job.Status.choices)
    undoes = serializers.IntegerField(allow_null=True, help_text="The job that it takes back.")
    undone_by = serializers.IntegerField(
        allow_null=True, help_text="The last job that takes it back, or has."
    )
    author = serializers.CharField()
    on_error = serializers.ChoiceField(["stop", "skip"])
    dry_run = serializers.BooleanField()
    sha256 = serializers.CharField(allow_null=True, help_text="The digest of the body.")
    size = serializers.IntegerField(allow_null=True, help_text="The bytes of the body.")
    asked_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    lines = serializers.IntegerField(
        allow_null=True, help_text="How many it has; null: they have not been counted yet."
    )
    lines_done = serializers.IntegerField(help_text="Those that have a result.")
    counts = serializers.DictField(
        child=serializers.IntegerField(), help_text="How many lines have which outcome."
    )
    error = JobErrorSerializer(allow_null=True, help_text="Why it was refused, or failed.")


class JobPageSerializer(serializers.Serializer):
    """A page of jobs, newest first."""

    result = JobSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class JobResultSerializer(BulkResultSerializer):
    """The result of a line; of an undo, the line of the job that is taken back."""

    outcome = serializers.ChoiceField(
        ["created", "changed", "unchanged", "refused", "deleted", "left"]
    )


class JobLinesSerializer(serializers.Serializer):
    """A page of results, in the order of the lines."""

    result = JobResultSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class UndoSerializer(serializers.Serializer):
    """Whether an undo is only shown."""

    dry_run = serializers.BooleanField(
        required=False, default=False, help_text="Nothing is written: its lines say what would be."
    )


def shown(job: Any) -> dict[str, Any]:
    """A job of `for_api()` as answers show it."""
    has_body = job.undoes_id is None
    return {
        "id": job.pk,
        "kind": job.kind,
        "status": job.status,
        "undoes": job.undoes_id,
        "undone_by": getattr(job, "last_undo", None),
        "author": job.author,
        "on_error": "skip" if job.skip else "stop",
        "dry_run": job.dry_run,
        "sha256": job.sha256 if has_body else None,
        "size": job.size if has_body else None,
        "asked_at": job.asked_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "lines": job.lines,
        "lines_done": job.lines_done,
        "counts": job.counts,
        "error": job.error,
    }
