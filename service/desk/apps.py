from django.apps import AppConfig

from pricebook.kit.named_statements import SOURCES, NamedStatement


class DeskConfig(AppConfig):
    name = "desk"

    def ready(self) -> None:
        from desk.entrance import languages  # models have to be ready

        languages.connect()
        SOURCES.append(_statements)


def _statements() -> list[NamedStatement]:
    # Imported on demand: web servers and workers never ask for them.
    from desk import named_statements

    return named_statements.named_statements()
