from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _lazy


class KeysConfig(AppConfig):
    """The label is that of the package that the table was made by: djangorestframework-api-key.

    So table, permissions, addresses of the admin and recorded migrations stay what they were.
    """

    name = "keys"
    label = "rest_framework_api_key"
    verbose_name = _lazy("Access")
