"""Where events are sent: an address is checked, and the connection goes to what was checked.

A name is looked up once. Whoever connects takes `ip` of the answer, and `host` only for TLS and the
header: a name that means another machine by then gains nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple, NoReturn
from urllib.parse import SplitResult, quote, urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

from events.look_ups import LOOK_UP_SECONDS, look_up
from pricebook.kit.refusal import Refusal

LONGEST_URL = 2000

GLOBAL_UNICAST = IPv6Network("2000::/3")
DOCUMENTATION = IPv6Network("3fff::/20")  # Python knows it from 3.13 on
NAT64 = IPv6Network("64:ff9b::/96")
RELAYS_OF_6TO4 = IPv4Network("192.88.99.0/24")
# For protocols of the network itself; a cloud has the secrets of its machines there. Python knows
# all of it from 3.12.4 on.
PROTOCOLS = IPv4Network("192.0.0.0/24")
# IDNA 2003, which Python has, reads these as other letters than IDNA 2008 does.
READ_IN_TWO_WAYS = re.compile("[\u00df\u03c2\u200c\u200d]")
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
LOOKS_LIKE_A_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)

Address = IPv4Address | IPv6Address


class BadAddress(Refusal):
    """Events can't be sent to this address; `detail` says why, and what to do."""


class AddressRefused(BadAddress):
    """With the address, as far as it may be shown."""

    def __init__(self, code: str, url: object, detail: str) -> None:
        about = {"parameter": "url"}
        if url:
            about["value"] = str(url)[:100].encode(errors="replace").decode()
        super().__init__(code, detail, 400, **about)


class Checked(NamedTuple):
    """An address to which events may be sent, and the machine that it means now."""

    tls: bool
    host: str  # in ASCII, without a dot at its end: for the certificate
    ip: str  # connect to this
    port: int
    path: str  # with its query, as it is sent: begins with /
    host_header: str


def checked(url: str) -> Checked:
    """The address, taken apart and looked up. Raises BadAddress.

    It may take LOOK_UP_SECONDS, so hold no lock meanwhile. All that the name means has to be
    public, or of a network of WEBHOOKS_TO_PRIVATE; plain http is for the latter alone.
    """
    parts, host, port = _taken_apart(url)
    addresses = _addresses_of(url, host, port)
    private = [each for each in addresses if not is_public(each)]
    if refused := [each for each in private if not _allowed(each)]:
        raise AddressRefused(
            "address_not_public",
            url,
            _(
                "%(host)s is %(refused)s, which is no public address. Give an address that"
                " the internet reaches, or let the operator name its network in"
                " WEBHOOKS_TO_PRIVATE."
            )
            % {"host": host, "refused": refused[0]},
        )
    tls = parts.scheme == "https"
    if not tls and not all(map(_allowed, addresses)):
        raise AddressRefused(
            "https_needed",
            url,
            _(
                "Events go over https, so that nobody reads them on the way. Plain http is"
                " for the networks that the operator names in WEBHOOKS_TO_PRIVATE."
            ),
        )
    shown = f"[{host}]" if ":" in host else host
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    usual = port == (443 if tls else 80)
    return Checked(
        tls, host, str(addresses[0]), port, target, shown if usual else f"{shown}:{port}"
    )


def is_public(address: Address) -> bool:
    """Whether the internet leads there; of an address that carries another one, whether both do."""
    if isinstance(address, IPv4Address):
        return (
            address.is_global
            and not address.is_multicast
            and not address.is_reserved
            and address not in RELAYS_OF_6TO4
            and address not in PROTOCOLS
        )
    if carried := _carried(address):
        return all(map(is_public, carried))
    return address in GLOBAL_UNICAST and address.is_global and address not in DOCUMENTATION


def _carried(address: IPv6Address) -> list[IPv4Address]:
    """The addresses of IPv4 to which one of IPv6 leads: mapped, by NAT64, 6to4 or Teredo."""
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour is not None:
        return [address.sixtofour]
    return list(address.teredo or ())


def _allowed(address: Address) -> bool:
    """Whether the setting names its network, or those of all that it carries."""
    networks: list[IPv4Network | IPv6Network] = settings.WEBHOOKS_TO_PRIVATE
    carried = _carried(address) if isinstance(address, IPv6Address) else []
    return any(address in network for network in networks) or (
        bool(carried) and all(any(each in network for network in networks) for each in carried)
    )


def _taken_apart(url: str) -> tuple[SplitResult, str, int]:
    """The parts, the host in ASCII, and the port. Without a look-up."""
    if not isinstance(url, str) or not 0 < len(url) <= LONGEST_URL:
        raise AddressRefused(
            "bad_address",
            url,
            _("An address is a text of 1 to %(longest_url)s characters.")
            % {"longest_url": LONGEST_URL},
        )
    # urlsplit drops some of these without a word, and programs read a backslash as they like.
    if "\\" in url or not url.isprintable() or any(map(str.isspace, url)):
        raise AddressRefused(
            "bad_address", url, _("An address has no blanks, control characters or backslashes.")
        )
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        raise AddressRefused(
            "bad_address", url, _("Its host or its port can't be read; a port is 1 to 65535.")
        ) from None
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise AddressRefused(
            "bad_address", url, _("Give it as https://host/path, or https://host:port/.")
        )
    if "@" in parts.netloc:
        raise AddressRefused(
            "bad_address",
            "",  # it has a password in it
            _("An address has no user and no password; the signature says that an event is ours."),
        )
    if "#" in url:
        raise AddressRefused("bad_address", url, _("A fragment (#…) is never sent: leave it out."))
    return parts, _ascii(url, host), port or (443 if parts.scheme == "https" else 80)


def _ascii(url: str, host: str) -> str:
    if ":" in host:
        try:
            address = IPv6Address(host)
        except ValueError:
            _no_host(url)
        if address.scope_id is not None:  # a network card of this machine
            _no_host(url)
        return str(address)
    if READ_IN_TWO_WAYS.search(host):
        raise AddressRefused(
            "bad_address",
            url,
            _("Its host has a letter that programs read in two ways: give it in ASCII (xn--…)."),
        )
    try:
        name = host.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError:
        _no_host(url)
    labels = name.split(".")
    if len(name) > 253 or not all(map(LABEL.fullmatch, labels)):
        _no_host(url)
    if LOOKS_LIKE_A_NUMBER.fullmatch(labels[-1]):  # 127.1, 0x7f000001: only as 127.0.0.1
        try:
            return str(IPv4Address(name))
        except ValueError:
            _no_host(url)
    return name


def _no_host(url: str) -> NoReturn:
    raise AddressRefused("bad_address", url, _("Its host is neither a name nor an IP address."))


def _addresses_of(url: str, host: str, port: int) -> list[Address]:
    """The addresses that the host means now, as the system orders them."""
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    try:
        found = look_up(host, port)
    except TimeoutError:
        raise AddressRefused(
            "look_up_failed",
            url,
            _(
                "%(host)s was not looked up within %(look_up_seconds)s s: try again, or ask"
                " who runs the name servers."
            )
            % {"host": host, "look_up_seconds": format(LOOK_UP_SECONDS, "g")},
        ) from None
    except OSError as error:
        said = _("%(host)s can't be looked up (%(value)s)") % {
            "host": host,
            "value": error.strerror or error,
        }
        if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)):
            raise AddressRefused(
                "unknown_host", url, _("%(said)s: correct the name.") % {"said": said}
            ) from None
        raise AddressRefused(
            "look_up_failed", url, _("%(said)s: try again.") % {"said": said}
        ) from None
    addresses = [ipaddress.ip_address(each) for each in found if "%" not in each]
    if not addresses:
        raise AddressRefused(
            "unknown_host", url, _("%(host)s has no address: correct the name.") % {"host": host}
        )
    return addresses
