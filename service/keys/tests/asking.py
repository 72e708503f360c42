"""Requests with keys, for tests."""

from rest_framework.test import APIClient

URL = "/api/keys/"


def with_key(text: str) -> APIClient:
    program = APIClient()
    program.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
    return program


def code_of(text: str) -> str:
    """The code with which a key is refused; empty if it is taken. OPTIONS takes no scope."""
    answer = with_key(text).options("/api/subscriptions/")
    return "" if answer.status_code == 200 else answer.json()["code"]


def accepts(text: str) -> bool:
    return not code_of(text)
