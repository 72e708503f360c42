"""The names of our models and of their fields, in the reader's language.

A name that a field does not give is made of the field's own: `started_at` is "started at". Each
becomes a text that is looked up when it is shown, as soon as there is its model, before a form
takes it for a label. Migrations know nothing of it, as they compare what a field was given.
`catalogues` finds these texts in the models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import Field, Model
from django.db.models.signals import class_prepared
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy, override

OURS = ("clients", "services", "price_changes", "keys", "events", "desk", "pricebook")


def package_of(model: type[Model]) -> str:
    """The package of the module that has the model. (That of the keys has another one's table.)"""
    return model.__module__.split(".")[0]


def fields_of(model: type[Model]) -> list[Field]:
    return [*model._meta.local_fields, *model._meta.local_many_to_many]


def names_of(app: str) -> Iterator[str]:
    """The names in English, as they are looked up, of the models that people have pages of."""
    for model in admin.site._registry:
        if package_of(model) == app:
            yield _english(model._meta.verbose_name)
            yield _english(model._meta.verbose_name_plural)
            yield from (_english(field.verbose_name) for field in fields_of(model))


def translate(sender: type[Model], **kwargs: Any) -> None:
    if package_of(sender) in OURS:
        names = sender._meta
        names.verbose_name = gettext_lazy(_english(names.verbose_name))
        names.verbose_name_plural = gettext_lazy(_english(names.verbose_name_plural))
        for field in fields_of(sender):
            field.verbose_name = gettext_lazy(_english(field.verbose_name))


def translate_all() -> None:
    """Let the names of the models that are to come be looked up whenever they are shown."""
    class_prepared.connect(translate, dispatch_uid="pricebook.words.model_names")


def _english(name: str | Promise | None) -> str:
    with override(None):  # no language: the text itself
        return str(name)
