"""Models that save only what was changed since they were loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any, Self, TypeVar

from django.db import models, transaction

from services.models.in_force import InForceQuerySet

SavedModel = TypeVar("SavedModel", bound="SavesChanges")


class ChangesQuerySet(InForceQuerySet[SavedModel]):
    """For models that save their changes: tells instances which fields a bulk write has saved."""

    def bulk_create(
        self, objs: Iterable[SavedModel], *args: Any, **kwargs: Any
    ) -> list[SavedModel]:
        created = super().bulk_create(objs, *args, **kwargs)
        for instance in created:
            instance.mark_saved()
        return created

    def bulk_update(
        self, objs: Iterable[SavedModel], fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> int:
        instances, names = list(objs), list(fields)
        rows = super().bulk_update(instances, names, *args, **kwargs)
        for instance in instances:
            instance.mark_saved(names)
        return rows


class SavesChanges(models.Model):
    """A model whose `save()` writes the fields that were changed since they were loaded.

    Django writes every column, so a stale instance (or an admin form that was open meanwhile)
    would put back a price that somebody else has moved. To write a field that was not changed,
    name it in `update_fields`. Loading reads no deferred field.
    """

    _loaded: dict[str, Any]

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any]) -> Self:
        instance = super().from_db(db, field_names, values)
        instance._loaded = instance._values()
        return instance

    def save(self, *args: Any, **kwargs: Any) -> None:
        # An instance that was made by hand with a primary key is saved whole, as Django does.
        known = not self._state.adding and "_loaded" in self.__dict__
        if known and not args and kwargs.get("update_fields") is None:
            kwargs["update_fields"] = self.changed_fields()
        super().save(*args, **kwargs)
        self.mark_saved(kwargs.get("update_fields"))

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        super().refresh_from_db(*args, **kwargs)
        names = kwargs.get("fields") or (args[1] if len(args) > 1 else None)
        self._mark_loaded(self._values(names))

    def changed_fields(self) -> list[str]:
        """The fields whose value is not the one that was loaded or last committed."""
        loaded = self.__dict__.get("_loaded", {})
        return [
            name
            for name, value in self._values().items()
            if name not in loaded or value != loaded[name]
        ]

    def mark_saved(self, names: Collection[str] | None = None) -> None:
        """Note that these fields (all by default) have just been written with their values."""
        saved = self._values(names)
        # Until the commit they count as changed, because after a rollback they are.
        loaded = self.__dict__.get("_loaded", {})
        self._loaded = {name: value for name, value in loaded.items() if name not in saved}
        transaction.on_commit(partial(self._mark_loaded, saved), using=self._state.db)

    def _mark_loaded(self, values: dict[str, Any]) -> None:
        # A new dict: a copy of the instance shares the old one.
        self._loaded = {**self.__dict__.get("_loaded", {}), **values}

    def _values(self, names: Collection[str] | None = None) -> dict[str, Any]:
        """The values of the fields that are not deferred; only of the named ones, if any are."""
        return {
            field.attname: self.__dict__[field.attname]
            for field in self._meta.concrete_fields
            if not field.primary_key
            and field.attname in self.__dict__
            and (names is None or field.name in names or field.attname in names)
        }
