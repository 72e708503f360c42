"""The address that a request comes from."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest

NETWORK_OF_ONE_CLIENT = 64  # bits of an IPv6 address; the rest of it is the client's to choose


def address_of(request: HttpRequest) -> str:
    """The client's address as the nearest of our proxies saw it (PROXIES); "" if there is none.

    Each proxy appends to X-Forwarded-For the address that it was asked from. Entries before those
    of our own proxies are the client's words.
    """
    return _shortened(whole_address_of(request))


def whole_address_of(request: HttpRequest) -> str:
    """The same, and of IPv6 the address itself, as it was written; it may be anything else."""
    address = request.META.get("REMOTE_ADDR") or ""
    if settings.PROXIES:
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if len(forwarded) >= settings.PROXIES:
            address = forwarded[-settings.PROXIES].strip() or address
    return address


def _shortened(address: str) -> str:
    """The address; of IPv6 the network, of which one client has billions of addresses."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:50]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, NETWORK_OF_ONE_CLIENT), strict=False))
