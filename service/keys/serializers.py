"""The shapes of keys over the API."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from keys.models import ApiKey
from keys.verbs import LONGEST_OVERLAP_HOURS, OVERLAP_HOURS
from pricebook.kit.scopes import SCOPES

STATES = ("valid", "expired", "revoked")


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    """A key, without its secret."""

    id = serializers.IntegerField(source="number", help_text="Its number, as in authors.")
    prefix = serializers.CharField(help_text="The eight characters that it begins with.")
    state = serializers.ChoiceField(STATES, help_text="As of the answer.")
    scopes = serializers.ListField(child=serializers.ChoiceField(list(SCOPES)))
    created_at = serializers.DateTimeField(source="created")
    expires_at = serializers.DateTimeField(
        source="expiry_date", allow_null=True, help_text="From then on it is refused; null: never."
    )
    old_secret_until = serializers.DateTimeField(
        source="old_until",
        allow_null=True,
        help_text="Until when the secret before the last rotation is good, or was; else null.",
    )
    made_by = serializers.CharField(help_text="Empty: by an earlier release, nobody knows whom.")
    rotated_by = serializers.CharField(help_text="Empty: it has its first secret.")
    revoked_by = serializers.CharField(help_text="Empty: it was not, or an earlier release did it.")
    last_used_at = serializers.DateTimeField(
        allow_null=True, help_text="To the minute, and some minutes late; null: never."
    )

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = (
            "id",
            "name",
            "prefix",
            "state",
            "scopes",
            "created_at",
            "expires_at",
            "old_secret_until",
            "made_by",
            "rotated_by",
            "revoked_by",
            "last_used_at",
        )
        read_only_fields = fields


class KeyWithSecretSerializer(KeySerializer):
    """A key with its secret, which is shown once."""

    key = serializers.CharField(
        allow_null=True,
        help_text="The program sends it: `Authorization: Api-Key <key>`. It is shown this once;"
        " null in the answer to a repeated request.",
    )

    class Meta(KeySerializer.Meta):
        fields = (*KeySerializer.Meta.fields, "key")


@extend_schema_serializer(many=False)
class KeyPageSerializer(serializers.Serializer):
    result = KeySerializer(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class NewKeySerializer(serializers.Serializer):
    """The body that makes a key."""

    name = serializers.CharField(max_length=50, help_text="The name of the program that uses it.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(list(SCOPES)),
        help_text="At most what you may do yourself.",
    )
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="Null or left out: it does not end by itself."
    )


class RotationSerializer(serializers.Serializer):
    """The body that gives a key a new secret."""

    overlap_hours = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=LONGEST_OVERLAP_HOURS,
        default=OVERLAP_HOURS,
        help_text="How long the old secret is good beside the new one.",
    )


def shown(key: ApiKey) -> dict[str, Any]:
    return dict(KeySerializer(key).data)
