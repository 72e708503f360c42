from django.apps import AppConfig


class DeskConfig(AppConfig):
    name = "desk"

    def ready(self) -> None:
        from desk.entrance import languages  # models have to be ready

        languages.connect()
