"""An address is public, or of a network that the operator names, and stays what was checked.

Names are looked up in a table of this file, so no test asks a name server.
"""

import ipaddress
import socket
import threading

import pytest
from django.core.exceptions import ImproperlyConfigured

from events import addresses, look_ups
from events.addresses import BadAddress, checked
from pricebook.variables import networks

NAMES = {
    "hooks.example.com": ["93.184.215.14"],
    "xn--bcher-kva.example.com": ["93.184.215.14", "2606:2800:21f:cb07::1"],
    "inside.example.com": ["10.1.2.3"],
    "both.example.com": ["93.184.215.14", "127.0.0.1"],
    "mapped.example.com": ["::ffff:10.1.2.3"],
}


@pytest.fixture(autouse=True)
def names(no_name_servers, monkeypatch):
    """How often each name was looked up."""
    asked: list[str] = []

    def getaddrinfo(host, port, **_):
        asked.append(host)
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (ip, port)) for ip in NAMES[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(addresses, "look_up", look_ups.look_up)
    return asked


def refusal(url):
    with pytest.raises(BadAddress) as refused:
        checked(url)
    assert refused.value.status_code == 400
    assert refused.value.about["parameter"] == "url"
    return refused.value


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "header"),
    [
        ("https://hooks.example.com", "hooks.example.com", 443, "/", "hooks.example.com"),
        ("HTTPS://Hooks.Example.COM.:443/A", "hooks.example.com", 443, "/A", "hooks.example.com"),
        (
            "https://hooks.example.com:8443/a%20b/é?q=ü&b",
            "hooks.example.com", 8443, "/a%20b/%C3%A9?q=%C3%BC&b", "hooks.example.com:8443",
        ),
        (
            "https://bücher.example.com/in",
            "xn--bcher-kva.example.com", 443, "/in", "xn--bcher-kva.example.com",
        ),
        (
            "https://[2606:2800:21f:cb07:0::1]:444/in",
            "2606:2800:21f:cb07::1", 444, "/in", "[2606:2800:21f:cb07::1]:444",
        ),
    ],
)  # fmt: skip
def test_an_address_is_taken_apart(url, host, port, path, header):
    found = checked(url)
    assert found.tls
    assert (found.host, found.port, found.path, found.host_header) == (host, port, path, header)
    assert found.ip in ("93.184.215.14", "2606:2800:21f:cb07::1")


def test_a_name_is_looked_up_once(names):
    assert checked("https://hooks.example.com/").ip == "93.184.215.14"
    assert names == ["hooks.example.com"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        None,
        7,
        "hooks.example.com/in",
        "ftp://hooks.example.com/",
        "//hooks.example.com/",
        "https:///in",
        "https://me:secret@hooks.example.com/",
        "https://hooks.example.com/#top",
        "https://hooks.example.com/#",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:65536/",
        "https://hooks.example.com:x/",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nHost: other",
        "https://hooks.example.com\\@inside.example.com/",
        "https://hooks..example.com/",
        "https://-a.example.com/",
        "https://" + "a" * 64 + ".example.com/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://stra\u00dfe.example.com/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://hooks.example.com/" + "a" * 2000,
    ],
)
def test_what_is_no_address_is_refused(url, names):
    refused = refusal(url)
    assert refused.code == "bad_address"
    assert "secret" not in str(refused.about)
    assert names == []


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
        "192.88.99.1", "192.0.0.192", "[::]", "[::1]", "[fe80::1]", "[fc00::1]", "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]", "[3fff::1]", "[64:ff9b:1::1]", "[100::1]", "[::ffff:127.0.0.1]",
        "[::127.0.0.1]", "[64:ff9b::10.0.0.1]", "[2002:a00:1::1]",
        "[2001:0:4136:e378:8000:63bf:f5ff:fffe]",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused(ip):
    assert refusal(f"https://{ip}/").code == "address_not_public"


@pytest.mark.parametrize("name", ["inside", "both", "mapped"])
def test_all_that_a_name_means_is_public(name):
    refused = refusal(f"https://{name}.example.com/")
    assert refused.code == "address_not_public"
    assert "WEBHOOKS_TO_PRIVATE" in refused.detail


def test_public_addresses_are_public():
    for ip in (
        "8.8.8.8",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ):
        assert addresses.is_public(ipaddress.ip_address(ip)), ip


class TestTheSetting:
    @pytest.fixture(autouse=True)
    def allowed(self, settings):
        settings.WEBHOOKS_TO_PRIVATE = [
            ipaddress.ip_network(each) for each in ("127.0.0.0/8", "10.0.0.0/8")
        ]

    def test_allows_its_networks_and_plain_http_there(self):
        found = checked("http://127.0.0.1:8001/in")
        assert (found.tls, found.ip, found.port) == (False, "127.0.0.1", 8001)
        assert checked("http://inside.example.com/in").port == 80
        assert checked("https://both.example.com/").ip == "93.184.215.14"
        assert checked("https://mapped.example.com/").tls

    def test_allows_no_other(self):
        assert refusal("https://192.168.1.1/").code == "address_not_public"
        assert refusal("https://[::1]/").code == "address_not_public"

    def test_allows_no_plain_http_to_the_internet(self):
        assert refusal("http://hooks.example.com/").code == "https_needed"
        assert refusal("http://both.example.com/").code == "https_needed"

    def test_is_a_list_of_networks(self, monkeypatch):
        monkeypatch.setenv("WEBHOOKS_TO_PRIVATE", "10.0.0.0/8, fd00::/8,")
        assert list(map(str, networks("WEBHOOKS_TO_PRIVATE"))) == ["10.0.0.0/8", "fd00::/8"]
        monkeypatch.setenv("WEBHOOKS_TO_PRIVATE", "10.0.0.1/8")
        with pytest.raises(ImproperlyConfigured, match=r"WEBHOOKS_TO_PRIVATE='10.0.0.1/8'"):
            networks("WEBHOOKS_TO_PRIVATE")


class TestLookUps:
    def test_say_that_there_is_no_such_name(self):
        assert refusal("https://nowhere.example.com/").code == "unknown_host"

    def test_end_after_a_time_and_hold_up_no_more_than_their_number(self, monkeypatch):
        free = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: free.wait(20) and [])
        monkeypatch.setattr(look_ups, "LOOK_UP_SECONDS", 0.05)
        monkeypatch.setattr(look_ups, "_free", threading.BoundedSemaphore(2))
        before = threading.active_count()
        try:
            for _ in range(4):
                assert refusal("https://hooks.example.com/").code == "look_up_failed"
            assert threading.active_count() - before == 2
        finally:
            free.set()
