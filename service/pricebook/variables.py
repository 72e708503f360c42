"""Values of environment variables for the settings; a value that can't be used is named."""

import ipaddress
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

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


TARGETS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")


def database(name: str, several: str) -> dict[str, Any]:
    """The database of an address, for DATABASES; nothing if the variable is not set.

    It may have several hosts, each with a port of its own (`//a:5433,b/book`): they are tried in
    their order, for one that is `several` unless the address says it (target_session_attrs).
    """
    url: str = env.str(name, "")
    if not url:
        return {}
    parts = urlsplit(url)
    if not parts.scheme.startswith(("postgres", "psql", "pgsql")):
        raise ImproperlyConfigured(
            f"{name}: {parts.scheme or 'an address without a scheme'} is not known;"
            " it is postgresql://user:password@host:5432/database."
        )
    login, _, given = parts.netloc.rpartition("@")
    hosts, ports = zip(*[_host_and_port(name, each) for each in given.split(",")], strict=True)
    single = parts._replace(netloc=f"{login}@host" if login else "host")
    found: dict[str, Any] = env.db_url_config(urlunsplit(single))
    if not given:  # the socket of this machine, or `?host=`, as for libpq
        return found | {"HOST": "", "PORT": ""}
    return found | of_hosts(name, hosts, ports, found.get("OPTIONS", {}), several)


def of_hosts(
    name: str, hosts: tuple[str, ...], ports: tuple[str, ...], options: dict[str, Any], several: str
) -> dict[str, Any]:
    """The parts of a database that are about its hosts: one port, or one for each of them."""
    if len(hosts) > 1 and not all(hosts):
        raise ImproperlyConfigured(f"{name}: one of the hosts {','.join(hosts)!r} is empty.")
    if len(ports) not in (1, len(hosts)):
        raise ImproperlyConfigured(
            f"{name}: {len(ports)} ports for {len(hosts)} hosts. Give one for all, or one each."
        )
    options = dict(options)
    if len(hosts) > 1:
        options.setdefault("target_session_attrs", several)
    target = options.get("target_session_attrs", "any")
    if target not in TARGETS:
        raise ImproperlyConfigured(
            f"{name}: target_session_attrs={target} is not known; it may be {', '.join(TARGETS)}."
        )
    return {"HOST": ",".join(hosts), "PORT": _ports(ports), "OPTIONS": options}


def hosts_of(name: str, of_ports: str, several: str) -> dict[str, Any]:
    """The hosts of two variables, each of which may be a list with commas between."""
    ports = tuple(_port(of_ports, each) for each in env.str(of_ports, "").split(","))
    hosts = tuple(each.strip() for each in env.str(name, "").split(","))
    return of_hosts(name, hosts, ports, {}, several)


def beside(
    database_: dict[str, Any], alias: str, name: str, several: str, startup: str
) -> dict[str, dict[str, Any]]:
    """Another way to the servers of a database, as an entry of DATABASES: by the address in the
    variable, if it is set. The rest is that of the database. There is no pool, and
    `startup` are the startup options.
    """
    found = database(name, several)
    if not found:
        return {}
    for each in ("NAME", "USER", "PASSWORD"):
        found[each] = found[each] or database_[each]
    options = dict(database_["OPTIONS"], options=startup)
    for each in ("pool", "target_session_attrs"):
        options.pop(each, None)
    of_alias = {
        "OPTIONS": options | found["OPTIONS"],
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": False,  # who meets a lost session asks the first database
        "TEST": {"MIRROR": "default"},
    }
    return {alias: database_ | found | of_alias | {"ENGINE": database_["ENGINE"]}}


def _host_and_port(name: str, given: str) -> tuple[str, str]:
    """An IPv6 address is in brackets, and the directory of a socket is %2Fpath."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::([^:]*))?", given.strip())
    if found is None:
        raise ImproperlyConfigured(
            f"{name}: {given!r} is no host; it is a name or an address, and :port if that is not"
            " 5432. An IPv6 address is in brackets."
        )
    return unquote(found[1].strip("[]")), _port(name, found[2] or "")


def _port(name: str, given: str) -> str:
    given = given.strip()
    if given and not (given.isascii() and given.isdecimal() and 0 < int(given[:6]) < 65_536):
        raise ImproperlyConfigured(f"{name}: port {given!r} is not known; it is 1 to 65535.")
    return given


def _ports(ports: tuple[str, ...]) -> str:
    """libpq's list, in which none may be left out; none at all if all have the default."""
    return ",".join(port or "5432" for port in ports) if any(ports) else ""


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
            f"{name}={given!r} is not known; it is an address and a port, such as 0.0.0.0:9540 or"
            " [::1]:9540, or empty for none."
        )
    return host.strip("[]"), int(port)
