"""Template tags of the desk: charts."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()


@register.inclusion_tag("desk/parts/chart.html")
def chart(of: Any) -> dict[str, Any]:
    """`{% chart paid %}`: a chart of `desk.charts`, above its table. Its page loads charts.js."""
    return {"chart": of}
