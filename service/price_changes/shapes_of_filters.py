"""The filter of a set in the API's schema: an object with the names that there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from services.reading.filters import FILTERS, LASTING


def _object_of(names: Iterable[str]) -> dict[str, Any]:
    named = {
        name: {**FILTERS[name].kind.schema, "description": FILTERS[name].help} for name in names
    }
    return {"type": "object", "properties": named, "additionalProperties": False}


@extend_schema_field(_object_of(LASTING))
class NewFilterField(serializers.DictField):
    """The filter of a set that is to be planned."""


@extend_schema_field(_object_of(FILTERS))
class FilterField(serializers.JSONField):
    """The filter of a set as it was planned, maybe by an earlier release, which took more names."""
