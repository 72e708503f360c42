"""Servers of cache and broker over TLS are verified, by one spelling for all of them."""

import contextlib
import socket
import ssl
import subprocess
import threading

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from kombu import Connection

from pricebook.brokers import CACHES, server


@pytest.mark.parametrize("given", ["CERT_REQUIRED", "yes", "False"])
def test_another_spelling_is_refused_with_its_name(monkeypatch, given):
    monkeypatch.setenv("REDIS_URL", f"rediss://cache:6380/1?ssl_cert_reqs={given}")
    with pytest.raises(ImproperlyConfigured, match=r"REDIS_URL: ssl_cert_reqs=.* required, opt"):
        server("REDIS_URL", "")


def test_authorities_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "rediss://cache/1?ssl_ca_certs=/no/such.pem")
    with pytest.raises(ImproperlyConfigured, match=r"REDIS_URL: ssl_ca_certs=/no/such\.pem"):
        server("REDIS_URL", "")


def test_an_address_without_tls_stays_as_it_is(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "unix:///run/valkey.sock?db=1")
    assert server("REDIS_URL", "", CACHES).url == "unix:///run/valkey.sock?db=1"


class Somebody:
    """A server with a certificate that no authority has signed. `trusted`: who went on with it."""

    def __init__(self, key, certificate):
        self.certificate = certificate
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.trusted = False

    def meet(self):
        client, _ = self.listening.accept()
        client.settimeout(5)
        with contextlib.suppress(OSError), self.context.wrap_socket(client, server_side=True) as on:
            self.trusted = bool(on.recv(1))
        client.close()


@pytest.fixture(scope="module")
def somebody(tmp_path_factory):
    made = [tmp_path_factory.mktemp("tls") / name for name in ("key.pem", "certificate.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", made[0], "-out", made[1]]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl, which makes the certificate, is not installed")
    somebody = Somebody(*made)
    yield somebody
    somebody.listening.close()


def cache(to):
    redis.Redis.from_url(to.url, retry=None, socket_timeout=5).ping()


def broker(to):
    with Connection(to.url, transport_options={"socket_timeout": 5, "max_retries": 0}) as to:
        to.default_channel.client.ping()


def broker_of_amqp(to):
    with Connection(to.url, ssl=to.tls, connect_timeout=5) as to:
        to.transport.establish_connection()


@pytest.mark.parametrize(
    ("scheme", "connect"), [("rediss", cache), ("rediss", broker), ("amqps", broker_of_amqp)]
)
def test_nobody_passes_for_the_server_by_default(monkeypatch, somebody, scheme, connect):
    for more, trusted in (
        ("", False),
        ("?ssl_cert_reqs=required", False),
        (f"?ssl_ca_certs={somebody.certificate}", True),
        ("?ssl_cert_reqs=none", True),
    ):
        monkeypatch.setenv("URL", f"{scheme}://localhost:{somebody.port}/0{more}")
        meeting = threading.Thread(target=somebody.meet)
        meeting.start()
        with pytest.raises(Exception):  # noqa: B017, PT011 - each client has its own
            connect(server("URL", ""))
        meeting.join()
        assert somebody.trusted == trusted, more
        somebody.trusted = False
