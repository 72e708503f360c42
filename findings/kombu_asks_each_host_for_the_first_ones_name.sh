#!/bin/sh
# kombu 5.7.0 (amqp 5.4.2): of several hosts over TLS, each has to have the first one's certificate.
#
# With server_hostname None, kombu compares a host's certificate with the name by which the host is
# called. It writes that name into the settings which all hosts of the connection share, at the first
# attempt; so they are not None any more, and the next host is asked for the first one's name.
#
# Guess before the run: each host by its own name.
#
# Why it matters: a list of brokers is there for the day on which the first is lost. On that day the
# others are refused for their right certificates, and the error names a host that nobody called.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "kombu==5.7.0" "amqp==5.4.2" "packaging==26.3"
cat > "$folder/look.py" <<'PYTHON'
import ssl

import amqp
from kombu import Connection
from kombu.transport import pyamqp

asked = []


class Noted(amqp.Connection):
    """A connection that is not made: it notes what it is asked for."""

    def connect(self):
        asked.append((self.host, dict(self.ssl or {}).get("server_hostname")))
        raise ConnectionRefusedError(self.host)

    def __init__(self, host, **kwargs):
        self.ssl = kwargs.get("ssl")
        super().__init__(host, **kwargs)


pyamqp.Transport.Connection = Noted
verified = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
connection = Connection("amqps://one.example//;amqps://two.example//", ssl=verified)
try:
    connection.ensure_connection(max_retries=2, interval_start=0, interval_step=0)
except Exception as error:
    print("in the end:", type(error).__name__)
names = {host.split(":")[0]: name for host, name in asked}
for host, name in names.items():
    print(host, "is to have the certificate of", name)
assert names == {"one.example": "one.example", "two.example": "one.example"}, names
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
