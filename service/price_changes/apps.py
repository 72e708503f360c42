from django.apps import AppConfig


class PriceChangesConfig(AppConfig):
    name = "price_changes"
    verbose_name = "Price changes"

    def ready(self) -> None:
        from price_changes.hooks import Answers
        from services import hooks

        hooks.install(Answers())
