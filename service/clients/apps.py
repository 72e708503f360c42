from django.apps import AppConfig
from django.db.models.signals import pre_save
from django.utils.translation import gettext_lazy as _lazy


class ClientsConfig(AppConfig):
    name = "clients"
    verbose_name = _lazy("Clients")

    def ready(self) -> None:
        from django.contrib.auth.models import User

        from clients.logins import refuse_second_name

        pre_save.connect(refuse_second_name, sender=User)
