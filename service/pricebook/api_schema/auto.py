"""How drf-spectacular describes our views: decimals as decimals, a summary for each operation.

REST_FRAMEWORK in the settings names the class, so nothing here may import `rest_framework.views`.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular import openapi
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.plumbing import get_doc
from rest_framework import serializers

from pricebook.api_schema.decimals import DIGITS, digits_of

# The sentence about the view of an operation, until all of the schema is there: about its tag.
ABOUT = "x-about"


def _first_paragraph(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


class Generator(SchemaGenerator):
    """A generator of what both schemas are made of, or else of the one with numbers."""

    for_both = False


class AutoSchema(openapi.AutoSchema):
    def get_summary(self) -> str:
        """The first paragraph of the docstring; a view may say something else."""
        return _first_paragraph(self.get_description())

    def get_extensions(self) -> dict[str, Any]:
        return {ABOUT: _first_paragraph(get_doc(type(self.view)))}

    def _map_serializer_field(
        self, field: Any, direction: Any, bypass_extensions: bool = False
    ) -> Any:
        described: Any = super()._map_serializer_field(  # type: ignore[no-untyped-call]
            field, direction, bypass_extensions
        )
        if isinstance(field, serializers.DecimalField):
            described[DIGITS] = digits_of(field, sent=direction == "request")
        return described
