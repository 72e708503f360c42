"""Programs that write over the API, for tests."""

from rest_framework.test import APIClient

from keys.tests.making import a_key
from pricebook.kit.scopes import SCOPES


def a_writer(key: str = "") -> APIClient:
    """The client of a program that may do everything, or of this key."""
    if not key:
        _, key = a_key("erp", *SCOPES)
    program = APIClient()
    program.credentials(HTTP_AUTHORIZATION=f"Api-Key {key}")
    return program
