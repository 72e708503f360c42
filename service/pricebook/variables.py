"""Values of environment variables for the settings; a value that can't be used is named."""

import ipaddress
import math
import re
from decimal import Decimal, InvalidOperation

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()


def one_of(name: str, default: str, *others: str) -> str:
    """The value of a variable that may be one of a few words."""
    value: str = env.str(name, default)
    if value not in (default, *others):
        raise ImproperlyConfigured(
            f"{name}={value!r} is not known; it may be {', '.join((default, *others))}."
        )
    return value


def seconds(name: str, default: float, least: int = 0) -> float:
    """The value of a variable that is a time: up to a day."""
    given: str = env.str(name, str(default))
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not least <= value <= 86_400:
        raise ImproperlyConfigured(f"{name}={given} is not known; it is {least} to 86400 seconds.")
    return value


def whole_number(name: str, default: int, least: int, most: int) -> int:
    """The value of a variable that is a number of things."""
    given: str = env.str(name, str(default))
    if not (given.isascii() and given.isdecimal() and least <= int(given[:20]) <= most):
        raise ImproperlyConfigured(f"{name}={given} is not known; it is {least} to {most}.")
    return int(given)


def percent(name: str, default: int) -> Decimal:
    """The value of a variable that is a part of a hundred, exactly."""
    given: str = env.str(name, str(default))
    try:
        value = Decimal(given)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value <= 100:
        raise ImproperlyConfigured(f"{name}={given!r} is not known; it is 0 to 100 per cent.")
    return value


def limit(name: str, places: int, most: int) -> Decimal | None:
    """The value of a variable that is a limit, exactly, with up to so many decimal places; None,
    no limit, if it is not set or is empty."""
    given: str = env.str(name, "")
    if not given:
        return None
    shape = r"[0-9]{1,16}" + (rf"(\.[0-9]{{1,{places}}})?" if places else "")
    if not re.fullmatch(shape, given, re.ASCII) or Decimal(given) > most:
        whole = "a whole number" if not places else f"a number with up to {places} decimal places"
        raise ImproperlyConfigured(
            f"{name}={given!r} is not known; it is {whole} from 0 to {most}, or empty for no limit."
        )
    return Decimal(given)


def networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The value of a variable that names networks, with commas between; none if it is not set."""
    given: str = env.str(name, "")
    try:
        return [ipaddress.ip_network(each.strip()) for each in given.split(",") if each.strip()]
    except ValueError:
        raise ImproperlyConfigured(
            f"{name}={given!r} is not known; it is networks with commas between, such as"
            " 10.0.0.0/8,fd00::/8, or empty for none."
        ) from None


def host_and_port(name: str) -> tuple[str, int] | None:
    """The value of a variable that says where to listen; None if it is not set."""
    given: str = env.str(name, "")
    if not given:
        return None
    host, _, port = given.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port[:6]) < 65_536:
        raise ImproperlyConfigured(
            f"{name}={given!r} is not known; it is an address and a port, such as 0.0.0.0:9540, or"
            " empty for none."
        )
    return host.strip("[]"), int(port)
