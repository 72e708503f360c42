"""The answers about jobs, for the schema."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from services.models import Job
from services.views.shapes_of_bulk import BulkResultSerializer, RefusedLineSerializer


class ProblemOfFileSerializer(serializers.Serializer):
    """An error at one place of a file."""

    line = serializers.IntegerField(help_text="Its number, from 1; 0: it is about the file.")
    cell = serializers.CharField(help_text="The cell of a workbook, as `Sheet1!C7`; else empty.")
    column = serializers.CharField(help_text="Empty: it is about the whole line.")
    value = serializers.CharField(help_text="The text that stands there.")
    reason = serializers.CharField(help_text="Its fault, and what is allowed.")
    code = serializers.CharField(help_text="The kind of the error.")
    answers: Any = serializers.ListField(
        child=serializers.CharField(),
        help_text="The parameters that settle it, if it is a question: send it again with one.",
    )


class JobErrorSerializer(serializers.Serializer):
    """The refusal of all of a job, with the members that the same bulk's answer would have."""

    code = serializers.CharField()
    detail = serializers.CharField()
    refused = serializers.IntegerField(required=False, help_text="How many lines are refused.")
    lines = RefusedLineSerializer(
        many=True, required=False, help_text="The first 100 of the refused lines."
    )
    problems = ProblemOfFileSerializer(
        many=True, required=False, help_text="The first 20 places of a file that are wrong."
    )
    understood = serializers.DictField(
        child=serializers.CharField(), required=False, help_text="How the file was read."
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


@extend_schema_serializer(many=False)
class JobPageSerializer(serializers.Serializer):
    """A page of jobs, newest first."""

    result = JobSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class JobResultSerializer(BulkResultSerializer):
    """The result of a line; of an undo, the line of the job that is taken back.

    Behind the last line of an import come the clients, services and plans that it has made or
    changed, numbered on.
    """

    kind = serializers.ChoiceField(
        ["client", "service", "plan"],
        required=False,
        help_text="The kind of the record, where it is no line of the file.",
    )
    outcome = serializers.ChoiceField(
        ["created", "changed", "unchanged", "refused", "deleted", "left"]
    )
    values: Any = serializers.DictField(
        required=False,
        help_text="The content of a new line or record, where the file was sent at the desk.",
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
