from django.apps import AppConfig


class KeysConfig(AppConfig):
    """The label is that of the package that the table was made by: djangorestframework-api-key.

    So table, permissions, addresses of the admin and recorded migrations stay what they were.
    """

    name = "keys"
    label = "rest_framework_api_key"
    verbose_name = "API keys"
