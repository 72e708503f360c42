"""Forms that stay open while others write the same record."""

from typing import Any

from django import forms
from django.forms import BoundField, MultiWidget
from django.utils.translation import gettext as _

from pricebook.kit.directions import refuse_turning


class OpenForm(forms.ModelForm):
    """A model form that writes what the person touched, and nothing else.

    The page carries each value as it was when the form was opened. A field that was not touched
    keeps the value that the database has now. A field that was touched and that somebody else has
    moved meanwhile is an error that names both values; the form then starts from the newer one,
    so that saving once more is a decision.
    """

    data: Any  # a QueryDict from a page, a dict elsewhere

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self._columns():
            self.fields[name].show_hidden_initial = True
        for field in self.fields.values():
            if isinstance(field, forms.CharField):
                field.validators.append(refuse_turning)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in self.errors:
            if isinstance(self.fields.get(name), forms.ModelChoiceField):
                # The autocomplete widget fails on a value that is no id when the form is shown
                # again.
                self._put(self[name], self[name].html_name, None)
        for name in self._columns():
            bound = self[name]
            if not bound.field.hidden_widget().value_omitted_from_data(
                self.data, self.files, bound.html_initial_name
            ):
                self._mind_others(bound, cleaned)
        return cleaned

    def _columns(self) -> list[str]:
        """The fields of a record that exists; nobody else can change a new one."""
        if self.instance.pk is None:
            return []
        return [
            field.name for field in self.instance._meta.concrete_fields if field.name in self.fields
        ]

    def _mind_others(self, bound: BoundField, cleaned: dict[str, Any]) -> None:
        field, name, now = bound.field, bound.name, bound.initial
        opened = field.hidden_widget().value_from_datadict(
            self.data, self.files, bound.html_initial_name
        )
        moved = field.has_changed(now, opened)
        if name not in self.changed_data:
            # From the record and not from the page, which has no microseconds, for example.
            cleaned[name] = getattr(self.instance, name)
            self.errors.pop(name, None)
        elif moved and field.has_changed(now, bound.data):
            self.add_error(
                name,
                _(
                    "The %(label)s moved from %(before)s to %(now)s while this form was open;"
                    " look again and save."
                )
                % {
                    "label": bound.label.lower(),
                    "before": self._text(bound, opened),
                    "now": self._text(bound, now),
                },
            )
        if moved:  # in case the form is shown again
            self._put(bound, bound.html_initial_name, now)
            if name not in self.changed_data:
                self._put(bound, bound.html_name, now)

    def _text(self, bound: BoundField, value: Any) -> str:
        if value and isinstance(bound.field, forms.ModelChoiceField):
            value = bound.field.queryset.filter(pk=value).first()  # type: ignore[union-attr]
        parts = self._parts(bound, value) if not isinstance(value, list) else value
        return " ".join(str(part) for part in parts if part not in (None, "")) or _("nothing")

    def _put(self, bound: BoundField, name: str, value: Any) -> None:
        self.data = self.data.copy()
        widget = bound.field.widget
        suffixes = getattr(widget, "widgets_names", [""])
        for suffix, part in zip(suffixes, self._parts(bound, value), strict=True):
            self.data[name + suffix] = "" if part is None else str(part)

    def _parts(self, bound: BoundField, value: Any) -> list[Any]:
        """A date and a time have a box each; everything else has one."""
        widget = bound.field.widget
        return list(widget.decompress(value)) if isinstance(widget, MultiWidget) else [value]  # type: ignore[arg-type]
