"""Passwords of the suite."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    """As Django's, which takes half a second; a server with Django's own reads its hashes too."""

    iterations = 1
