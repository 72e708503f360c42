from django.apps import AppConfig
from django.db.models.signals import pre_save


class ClientsConfig(AppConfig):
    name = "clients"

    def ready(self) -> None:
        from django.contrib.auth.models import User

        from clients.logins import refuse_second_name

        pre_save.connect(refuse_second_name, sender=User)
