"""One event to one receiver, whatever that does."""

import json
import socket
import ssl
import threading
from contextlib import ExitStack
from decimal import Decimal

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from events import addresses, sending
from events.given import new_secret
from events.sending import Sender, signed
from events.tests.making import LOOPBACK
from events.tests.receiving import CERTIFICATE, Dribbler, a_receiver

BODY = '{"type":"prices.moved","data":{"after":"90071992547409.93","name":"Прайс"}}'


@pytest.fixture(autouse=True)
def loopback_allowed(settings):
    settings.WEBHOOKS_TO_PRIVATE = LOOPBACK


@pytest.fixture
def brief(monkeypatch):
    """All of it has to be done in a moment."""
    monkeypatch.setattr(sending, "SECONDS", 0.4)


def sent(url: str) -> sending.Answer:
    with Sender(url) as sender:
        return sender.post(BODY, signed("evt_1", BODY, [new_secret()]))


class TestSignature:
    def test_is_taken_by_the_library_with_either_secret_and_no_other(self):
        old, new = new_secret(), new_secret()
        with a_receiver() as receiver, Sender(receiver.url) as sender:
            sender.post(BODY, signed("evt_1", BODY, [new, old]))
        [got] = receiver.got
        assert got.body.decode() == BODY
        assert got.headers["content-type"] == "application/json"
        for secret in (old, new):
            read = Webhook(secret).verify(got.body, got.headers)
            assert Decimal(read["data"]["after"]) == Decimal("90071992547409.93")
        with pytest.raises(WebhookVerificationError):
            Webhook(new_secret()).verify(got.body, got.headers)
        assert json.loads(got.body) == json.loads(BODY)


class TestReceivers:
    @pytest.mark.parametrize("status", [200, 201, 204])
    def test_that_answer_2xx_have_it(self, status):
        with a_receiver(lambda _: (status, {}, b"" if status == 204 else b"ok\0")) as receiver:
            answer = sent(receiver.url)
        assert (answer.status_code, answer.error) == (status, "")
        assert answer.excerpt in ("", "ok\ufffd")

    def test_that_lead_elsewhere_are_not_followed(self):
        with (
            a_receiver() as other,
            a_receiver(lambda _: (307, {"Location": other.url}, b"")) as one,
        ):
            answer = sent(one.url)
        assert answer.error == "The receiver answered 307: redirects are not followed."
        assert other.got == []

    def test_that_answer_too_much_are_left(self):
        much = b"a" * 8_000_000
        with a_receiver(lambda _: (200, {}, much)) as receiver:
            answer = sent(receiver.url)
        assert answer.status_code == 200
        assert "more than 64 kB" in answer.error

    @pytest.mark.parametrize(
        ("begins", "status"),
        [
            (b"", None),
            (b"HTTP/1.1 200 OK\r\nX-Long: ", 200),
            (b"HTTP/1.1 100 Continue\r\n\r\n", None),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", 200),
        ],
        ids=["status line", "header", "after 100", "body"],
    )
    def test_that_dribble_are_left_in_time(self, brief, begins, status):
        """A byte now and then keeps every timeout of a socket from coming."""
        receiver = Dribbler(begins)
        answer = sent(receiver.url)
        assert (answer.status_code, answer.error) == (status, "No whole answer within 0.4 s.")
        assert receiver.left.wait(5)

    @pytest.mark.parametrize(
        ("answers", "error"),
        [
            ("never", "No whole answer within 0.4 s."),
            ("nonsense", "BadStatusLine: 220 mail.example.com ESMTP"),
            ("nothing", "RemoteDisconnected: Remote end closed connection without response"),
            ("nobody", "ConnectionRefusedError: [Errno 111] Connection refused"),
        ],
    )
    def test_that_answer_wrongly_or_never(self, brief, answers, error):
        with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as kept:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

            def serve():
                connection = kept.enter_context(listener.accept()[0])
                connection.recv(65536)
                if answers == "nonsense":
                    connection.sendall(b"220 mail.example.com ESMTP\r\n")
                if answers != "never":
                    connection.close()

            if answers == "nobody":
                listener.close()
            else:
                threading.Thread(target=serve).start()
            answer = sent(url)
        assert (answer.status_code, answer.error.strip()) == (None, error)

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (b"HT\0TP/1.1 200 OK\r\n\r\n", "BadStatusLine: HT\ufffdTP/1.1 200 OK"),
            (
                b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n"
                b"Retry-After: Mon, 01 Jan 99999999999999999999 00:00:00 GMT\r\n\r\n",
                "The receiver answered 503.",
            ),
            (
                b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n"
                b"Retry-After: Mon, 01 Jan 2020 00:00:00 +99999999999999999999\r\n\r\n",
                "The receiver answered 503.",
            ),
        ],
        ids=["NUL in the status line", "a year that no date has", "a zone that no date has"],
    )
    def test_that_answer_what_a_database_or_a_date_has_no_place_for(self, brief, answer, error):
        """Such an attempt is logged and tried again as any other, and ends no worker's turn."""
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve():
                with listener.accept()[0] as connection:
                    connection.recv(65536)
                    connection.sendall(answer)

            threading.Thread(target=serve).start()
            found = sent(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        assert (found.error.strip(), found.retry_after) == (error, None)

    def test_that_close_a_kept_connection_get_the_next_one_by_another(self):
        with a_receiver() as receiver, Sender(receiver.url) as sender:
            assert sender.post(BODY, {}).error == sender.post(BODY, {}).error == ""
            assert receiver.connections == 1
            sender._connection.sock.shutdown(socket.SHUT_RDWR)
            assert sender.post(BODY, {}).error == ""
        assert (len(receiver.got), receiver.connections) == (3, 2)


class TestAddress:
    @pytest.fixture
    def trusted(self, monkeypatch):
        context = ssl.create_default_context(cafile=str(CERTIFICATE))
        monkeypatch.setattr(sending, "_tls", lambda: context)

    @pytest.fixture
    def looked_up(self, monkeypatch):
        """The names that were looked up: each is this machine."""
        names = []

        def look_up(host: str, port: int) -> list[str]:
            names.append(host)
            return ["127.0.0.1"]

        monkeypatch.setattr(addresses, "look_up", look_up)
        return names

    def test_is_looked_up_once_and_its_name_has_to_be_the_certificates(self, trusted, looked_up):
        with a_receiver(tls=True) as receiver:
            with Sender(f"https://hooks.example.com:{receiver.port}/in") as sender:
                assert sender.post(BODY, {}).error == ""
                sender.close()
                assert sender.post(BODY, {}).error == ""
            other = sent(f"https://other.example.com:{receiver.port}/in")
        assert looked_up == ["hooks.example.com", "other.example.com"]
        assert "hostname" in other.error.lower()
        assert "SSLCertVerificationError" in other.error
        assert [got.headers["host"] for got in receiver.got] == [
            f"hooks.example.com:{receiver.port}"
        ] * 2

    def test_has_to_be_of_a_certificate_that_somebody_vouches_for(self, looked_up):
        with a_receiver(tls=True) as receiver:
            answer = sent(f"https://hooks.example.com:{receiver.port}/in")
        assert "SSLCertVerificationError" in answer.error
        assert receiver.got == []

    def test_that_is_refused_is_not_connected_to(self, settings):
        settings.WEBHOOKS_TO_PRIVATE = []
        with a_receiver() as receiver:
            answer = sent(receiver.url)
        assert answer.error.startswith("address_not_public: ")
        assert receiver.connections == 0
