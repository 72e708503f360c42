"""Real servers over TLS: one with another authority's certificate, or another name, is refused.

A part of the tier of more hosts (./pricebook test -m hosts). PostgreSQL is Debian's, since the
venv's has no TLS: `apt-get install postgresql-15 redis-tools rabbitmq-server openssl`.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from pricebook.tests.asking_servers import surroundings
from pricebook.tests.rabbits import RABBIT, Rabbits, free_ports
from pricebook.tests.sentinels import answers
from pricebook.tests.servers import until

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(200), pytest.mark.django_db]

POSTGRES = Path("/usr/lib/postgresql/15/bin")
# One binary of Debian's, which is the server if it is called so.
REDIS = Path("/usr/bin/redis-check-rdb")
UNKNOWN = "CERTIFICATE_VERIFY_FAILED"


@pytest.fixture(scope="module")
def made():
    """Our authority and another one, and a server's certificate of ours, for localhost."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl: apt-get install openssl")
    folder = Path(tempfile.mkdtemp())  # where others than root may read
    folder.chmod(0o755)
    for name in ("ours", "others"):
        run_openssl(folder, f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name}"
                            f" -keyout {name}.key -out {name}.pem")  # fmt: skip
    run_openssl(folder, "req -newkey rsa:2048 -nodes -subj /CN=localhost"
                        " -keyout server.key -out server.csr")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    run_openssl(folder, "x509 -req -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial"
                        " -days 2 -extfile names -out server.pem")  # fmt: skip
    yield folder
    shutil.rmtree(folder)


def run_openssl(folder, command):
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def tls_redis(made, tmp_path):
    if not REDIS.is_file():
        pytest.skip("no Redis with TLS: apt-get install redis-tools")
    port, plain = free_ports(2)
    command = ["redis-server", "--port", str(plain), "--tls-port", str(port), "--save", ""]
    command += ["--tls-cert-file", made / "server.pem", "--tls-key-file", made / "server.key"]
    command += ["--tls-ca-cert-file", made / "ours.pem", "--tls-auth-clients", "no"]
    process = subprocess.Popen(command, executable=REDIS, cwd=tmp_path, stdout=subprocess.DEVNULL)
    until(lambda: answers(plain))
    yield port
    process.kill()
    process.wait()


@pytest.fixture
def tls_rabbit(made, tmp_path):
    if not RABBIT.is_file():
        pytest.skip("no RabbitMQ: apt-get install rabbitmq-server")
    [port] = free_ports(1)
    files = {"cacertfile": "ours.pem", "certfile": "server.pem", "keyfile": "server.key"}
    lines = [f"listeners.ssl.default = {port}", "ssl_options.verify = verify_none"]
    lines += [f"ssl_options.{key} = {made / file}" for key, file in files.items()]
    rabbits = Rabbits(tmp_path / "rabbit", lines="\n".join(lines))
    try:
        rabbits.start()
        yield port
    finally:
        rabbits.end()


@pytest.fixture
def tls_postgres(made):
    if not POSTGRES.is_dir():
        pytest.skip("no PostgreSQL with TLS: apt-get install postgresql-15")
    [port] = free_ports(1)
    data, key = made / "data", made / "of-postgres.key"
    as_user = ["setpriv", "--reuid=nobody", "--clear-groups"] if os.geteuid() == 0 else []
    data.mkdir()
    shutil.copy(made / "server.key", key)
    key.chmod(0o600)
    if as_user:
        shutil.chown(data, "nobody")
        shutil.chown(key, "nobody")
    options = ["-D", data]
    subprocess.run(
        [*as_user, POSTGRES / "initdb", *options, "-U", "pricebook", "-A", "trust", "-E", "UTF8",
         "--locale=C", "-N"],
        check=True, capture_output=True,
    )  # fmt: skip
    options += ["-p", str(port), "-k", data, "-c", "ssl=on", "-c", "listen_addresses=localhost"]
    options += ["-c", f"ssl_cert_file={made / 'server.pem'}"]
    options += ["-c", f"ssl_key_file={key}"]
    process = subprocess.Popen(
        [*as_user, POSTGRES / "postgres", *options], stderr=subprocess.DEVNULL
    )
    ready = [POSTGRES / "pg_isready", "-h", data, "-p", str(port), "-q"]
    until(lambda: subprocess.run(ready).returncode == 0)
    yield port
    process.kill()
    process.wait()


def tried(made, variable, url):
    """The words about the server with our authority, with another one, and by another name."""
    return [
        surroundings(**{variable: f"{url.format(host)}?ssl_ca_certs={made / authority}"})
        for host, authority in (
            ("localhost", "ours.pem"),
            ("localhost", "others.pem"),
            ("127.0.0.1", "ours.pem"),
        )
    ]


def test_redis_is_verified_as_cache(made, tls_redis):
    ours, others, name = tried(made, "REDIS_URL", f"rediss://{{}}:{tls_redis}/1")
    assert "REDIS_URL" not in ours
    assert "REDIS_URL: it can't be used" in others
    assert f"{UNKNOWN}" in others
    assert "Fix: ssl_ca_certs=FILE" in others
    assert "IP address mismatch" in name
    assert "Fix: use the name of the certificate in the address" in name


def test_redis_is_verified_as_broker(made, tls_redis):
    ours, others, name = tried(made, "CELERY_BROKER_URL", f"rediss://{{}}:{tls_redis}/0")
    assert "CELERY_BROKER_URL" not in ours
    assert "CELERY_BROKER_URL: it can't be used" in others
    assert "Fix: ssl_ca_certs=FILE" in others
    assert "IP address mismatch" in name


def test_rabbitmq_is_verified_at_each_host(made, tls_rabbit):
    [nobody] = free_ports(1)
    url = f"amqps://guest:guest@localhost:{nobody}//;amqps://{{}}:{tls_rabbit}"
    ours, others, name = tried(made, "CELERY_BROKER_URL", f"amqps://{{}}:{tls_rabbit}//")
    assert "CELERY_BROKER_URL" not in ours
    assert "CELERY_BROKER_URL: it can't be used" in others
    assert "Fix: ssl_ca_certs=FILE" in others
    assert "IP address mismatch" in name
    # The name that is compared is that of the host, whichever was tried before it.
    by_address = url.replace("localhost", "127.0.0.2")
    ours, _, name = tried(made, "CELERY_BROKER_URL", by_address)
    assert "CELERY_BROKER_URL" not in ours
    assert "IP address mismatch" in name


def test_postgresql_is_verified(made, tls_postgres):
    def said(host, authority, mode="verify-full"):
        url = f"postgresql://pricebook@{host}:{tls_postgres}/postgres?sslmode={mode}"
        if authority:
            url += f"&sslrootcert={made / authority}"
        return surroundings(DATABASE_URL=url)

    others = said("localhost", "others.pem")
    assert "The database can't be used: connection failed" in others
    assert "certificate verify failed" in others
    assert 'does not match host name "127.0.0.1"' in said("127.0.0.1", "ours.pem")
    ours = said("localhost", "ours.pem")
    assert "certificate" not in ours
    assert "anybody may pass" not in ours
    assert "DATABASE_URL: anybody may pass for its server" in said("localhost", "", "require")
