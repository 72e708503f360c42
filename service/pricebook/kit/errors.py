"""The API's refusals, as exceptions, and the body that every error has."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy
from rest_framework import exceptions, serializers, status


class ErrorSerializer(serializers.Serializer):
    """The body of every error: problem details of RFC 9457, with more about the fault."""

    type = serializers.CharField(help_text="`urn:pricebook:error:` and the code.")
    title = serializers.CharField(help_text="The code in words.")
    status = serializers.IntegerField(help_text="The status of the answer.")
    instance = serializers.CharField(required=False, help_text="The path of the request.")
    request_id = serializers.CharField(help_text="As the header X-Request-ID of the answer.")
    code = serializers.CharField(
        help_text="The name of the fault, for programs. docs/api.md lists all; more may come."
    )
    detail = serializers.CharField(help_text="The fault and how to fix it, for people.")
    parameter = serializers.CharField(
        required=False, help_text="The parameter or field it is about."
    )
    value = serializers.CharField(required=False, help_text="Its value, up to 100 characters.")
    allowed = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="The values that are allowed."
    )
    state = serializers.CharField(required=False, help_text="The state that does not allow it.")
    common_until = serializers.CharField(
        required=False,
        allow_null=True,
        help_text="The place up to which the history of a place is this book's; null: not known.",
    )
    missing = serializers.CharField(required=False, help_text="The right that is missing.")


class BadParameter(exceptions.APIException):
    """400: a query parameter can't be used. `detail` says how to fix it."""

    status_code = status.HTTP_400_BAD_REQUEST

    def __init__(
        self,
        parameter: str,
        value: str,
        detail: str,
        code: str = "bad_parameter",
        allowed: list[str] | None = None,
    ) -> None:
        super().__init__(detail, code)
        self.about: dict[str, str | list[str]] = {
            "parameter": parameter[:100],
            "value": value[:100],
        }
        if allowed is not None:
            self.about["allowed"] = allowed


class BadRequest(exceptions.APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "bad_request"
    default_detail = gettext_lazy("The request can't be understood.")


class Refused(exceptions.APIException):
    """A refusal as an answer: its code, its detail, its status, and what it is about."""

    wait: int  # seconds, if it is set; becomes Retry-After

    def __init__(
        self, code: str, detail: str, status_code: int = status.HTTP_400_BAD_REQUEST, **about: Any
    ) -> None:
        super().__init__(detail, code)
        self.status_code = status_code
        self.about = about


class DatabaseUnavailable(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "database_unavailable"
    default_detail = gettext_lazy("The database does not answer; try again in a few seconds.")
    wait = 5  # becomes Retry-After


class DatabaseFull(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "database_full"
    default_detail = gettext_lazy(
        "The database's disk is full: nothing was written. Its operator has to make room; try again"
        " in a minute."
    )
    wait = 60  # becomes Retry-After


class DatabaseReadOnly(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "database_read_only"
    default_detail = gettext_lazy(
        "The database takes no writes at the moment: nothing was written. Try again in a few"
        " seconds."
    )
    wait = 10  # becomes Retry-After


class MigrationsPending(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "migrations_pending"
    default_detail = gettext_lazy(
        "The book is being brought to another release; try again in a minute. If it lasts, its"
        " operator has to run the migrations."
    )
    wait = 60  # becomes Retry-After


class CrossedWrites(exceptions.APIException):
    """Somebody else writes the same, and one of the two had to give way."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "crossed_writes"
    default_detail = gettext_lazy(
        "Others are writing the same records, and this gave way: nothing was written. Send it again"
        " in a few seconds."
    )
    wait = 2  # becomes Retry-After


class ReadTimedOut(exceptions.APIException):
    """It has no Retry-After: the same request takes as long if it is repeated at once."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "read_timed_out"
    default_detail = gettext_lazy(
        "This took too long to read, and was ended. Ask for less: one service or plan, a shorter"
        " range of dates, a filter that is served at any size (/api/docs/ names them), or a"
        " stream (format=ndjson). If it is fast as a rule, the server is busy: try again in a"
        " minute."
    )
