"""The last use of each key, as requests have noted it in the cache, written into the table."""

from django.db.models import Q

from keys.models import ApiKey
from pricebook.kit import key_use


def write() -> int:
    """Write what was noted since; returns for how many keys. One query, and one for each of them.

    Each is a transaction of its own that takes no lock of a request: requests read keys.
    """
    written = 0
    last = dict(ApiKey.objects.values_list("number", "last_used_at"))
    for number, at in key_use.noted(last).items():
        before = last[number]
        if before is None or before < at:
            earlier = Q(last_used_at=None) | Q(last_used_at__lt=at)
            written += ApiKey.objects.filter(earlier, number=number).update(last_used_at=at)
    return written
