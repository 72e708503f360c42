"""The secrets of API keys: how they are made, stored and verified.

A key is `prefix.secret`: 8 letters and digits by which it is found, and 32 that nobody can guess.
Stored is a hash of the whole: SHA-512, and that is enough for 190 random bits. Keys that were made
by releases of djangorestframework-api-key before 3.0 have a hash for passwords, PBKDF2, which takes
a tenth of a second and more. So a process remembers the SHA-512 of a key that it has verified so;
a read writes nothing.
"""

from __future__ import annotations

import hashlib
import re

from django.contrib.auth.hashers import check_password
from django.utils.crypto import constant_time_compare, get_random_string

SHAPE = re.compile(r"(?P<prefix>[A-Za-z0-9]{8})\.[A-Za-z0-9]{32}", re.ASCII)
SHA512 = "sha512$$"
REMEMBERED = 1_000
_remembered: dict[str, str] = {}  # by the slow hash


def new_prefix() -> str:
    return get_random_string(8)


def new_key(prefix: str) -> str:
    return f"{prefix}.{get_random_string(32)}"


def hash_of(key: str) -> str:
    return SHA512 + hashlib.sha512(key.encode()).hexdigest()


def verify(key: str, stored: str) -> bool:
    """Whether a key is the one of this stored hash; an empty one is that of none."""
    fast = stored if stored.startswith(SHA512) else _remembered.get(stored)
    if fast is not None:
        return constant_time_compare(hash_of(key), fast)
    try:
        if not stored or not check_password(key, stored):
            return False
    except ValueError:  # it begins like a hash, and is none
        return False
    if len(_remembered) >= REMEMBERED:
        _remembered.clear()
    _remembered[stored] = hash_of(key)
    return True
