"""The container files, checked without an engine: by Compose itself, and by hadolint."""

import json
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from pricebook.local.programs import web_server

CHECKOUT = Path(__file__).resolve().parents[3]
ON_A_SERVER = ["docker-compose.yml"]
IN_DEVELOPMENT = ["docker-compose.yml", "docker-compose.override.yml"]
SECRETS = ["SECRET_KEY", "DB_PASS", "REDIS_PASSWORD", "FLOWER_PASSWORD"]
OURS = {"web-app", "migrate", "worker", "worker2", "events", "beat", "flower"}
THEIRS = {"database", "redis"}


def run(tool, *arguments, **variables):
    """Run a tool of the environment that the tests run in, with no variables but these."""
    path = shutil.which(tool, path=sysconfig.get_path("scripts"))
    assert path, f"{tool} is missing: install requirements/test.txt"
    return subprocess.run(
        [path, *arguments], cwd=CHECKOUT, env=variables, capture_output=True, text=True
    )


def compose(files, env_file, **variables):
    chosen = [argument for file in files for argument in ("--file", file)]
    return run(
        "docker-compose", "--env-file", env_file, *chosen, "config", "--format=json", **variables
    )


def resolved(files, env_file, **variables):
    result = compose(files, env_file, **variables)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def env_file(tmp_path_factory):
    """A .env made by the very command that the head of .env.example gives."""
    directory = tmp_path_factory.mktemp("checkout")
    example = shutil.copy(CHECKOUT / ".env.example", directory)
    command = re.search(r"^#   (python3 .*)$", Path(example).read_text(), re.MULTILINE)[1]
    subprocess.run(["sh", "-c", command], cwd=directory, check=True)
    return directory / ".env"


@pytest.fixture(scope="module")
def secrets(env_file):
    values = dict(re.findall(r"^(\w+)=(.*)$", env_file.read_text(), re.MULTILINE))
    return {name: values[name] for name in SECRETS}


@pytest.fixture(scope="module")
def server(env_file):
    return resolved(ON_A_SERVER, env_file)


@pytest.fixture(scope="module")
def services(server):
    return server["services"]


@pytest.fixture(scope="module")
def development(env_file):
    return resolved(IN_DEVELOPMENT, env_file)["services"]


class TestServices:
    def test_are_those_of_the_tutorial_with_beat_and_a_migrate_step(self, services):
        assert services.keys() == OURS | THEIRS

    @pytest.mark.parametrize("name", sorted(OURS | THEIRS))
    def test_have_a_health_check_unless_they_end(self, services, name):
        check = services[name]["healthcheck"]
        if name == "migrate":
            assert check == {"disable": True}
        elif name == "web-app":  # an empty test means the image's
            assert "/healthz" in " ".join(check.get("test", instructions("HEALTHCHECK")))
        else:
            assert check["test"][0] in ("CMD", "CMD-SHELL")

    @pytest.mark.parametrize("name", ["worker", "worker2", "events"])
    def test_ask_each_worker_and_not_any_worker_whether_it_is_healthy(self, services, name):
        assert services[name]["hostname"] == name
        assert services[name]["healthcheck"]["test"][1].endswith("celery@$$HOSTNAME")

    @pytest.mark.parametrize("name", ["web-app", "worker", "worker2", "events", "beat"])
    def test_start_when_servers_answer_and_the_tables_are_there(self, services, name):
        assert conditions(services[name]) == {
            "database": "service_healthy",
            "redis": "service_healthy",
            "migrate": "service_completed_successfully",
        }

    def test_migrate_runs_once_and_when_the_database_answers(self, services):
        assert services["migrate"]["command"][:3] == ["python", "manage.py", "migrate"]
        assert services["migrate"]["restart"] == "no"
        assert conditions(services["migrate"]) == {"database": "service_healthy"}

    @pytest.mark.parametrize("name", sorted((OURS | THEIRS) - {"migrate"}))
    def test_come_back_after_a_crash_and_have_time_to_stop(self, services, name):
        assert services[name]["restart"] == "unless-stopped"
        assert services[name]["stop_grace_period"] in ("30s", "1m0s")

    def test_start_in_a_folder_without_a_latin_letter(self, env_file, tmp_path):
        """Compose makes the project's name of the folder's Latin letters and digits, else."""
        folder = tmp_path / "Прайс"
        folder.mkdir()
        shutil.copy(CHECKOUT / "docker-compose.yml", folder)
        project = resolved([str(folder / "docker-compose.yml")], env_file)
        assert project["name"] == "pricebook"

    @pytest.mark.parametrize("given", ["the example's values", "secrets alone"])
    def test_publish_two_ports_on_loopback(self, services, secrets, tmp_path, given):
        if given == "secrets alone":
            bare = tmp_path / ".env"
            bare.write_text("\n".join(f"{name}={value}" for name, value in secrets.items()))
            name = {
                "COMPOSE_PROJECT_NAME": "book"
            }  # in a folder without a Latin letter it has to be
            services = resolved(ON_A_SERVER, bare, **name)["services"]
        published = {
            name: [(port["host_ip"], port["published"]) for port in service["ports"]]
            for name, service in services.items()
            if "ports" in service
        }
        assert published == {
            "web-app": [("127.0.0.1", "8000")],
            "flower": [("127.0.0.1", "5555")],
        }

    @pytest.mark.parametrize("name", sorted(OURS))
    def test_of_ours_can_write_nothing_and_gain_nothing(self, services, name):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
        assert "volumes" not in services[name]

    @pytest.mark.parametrize("name", sorted(OURS))
    def test_of_ours_get_no_variable_that_settings_do_not_read(self, services, name):
        modules = ("settings.py", "logs.py", "seeing/measured.py")
        read = [CHECKOUT / "service/pricebook" / module for module in modules]
        settings = "".join(path.read_text() for path in read)
        given = services[name]["environment"].keys() - {"FLOWER_BASIC_AUTH"}
        assert {variable for variable in given if f'"{variable}"' not in settings} == set()


class TestData:
    def test_is_in_named_volumes(self, server):
        assert mounts(server["services"]["database"]) == {"/var/lib/postgresql": "database"}
        assert mounts(server["services"]["redis"]) == {"/data": "redis"}
        assert server["volumes"].keys() == THEIRS

    def test_of_the_broker_survives_a_kill_and_a_full_cache(self, services):
        command = " ".join(services["redis"]["command"])
        assert "--appendonly yes" in command
        assert "--maxmemory-policy volatile-lru" in command

    def test_of_broker_and_cache_is_kept_apart(self, services):
        environment = services["web-app"]["environment"]
        assert environment["CELERY_BROKER_URL"].endswith("@redis:6379/0")
        assert environment["REDIS_URL"].endswith("@redis:6379/1")

    def test_of_text_sorts_alike_on_every_machine(self, services):
        arguments = services["database"]["environment"]["POSTGRES_INITDB_ARGS"].split()
        assert "--locale-provider=builtin" in arguments
        assert "--builtin-locale=C.UTF-8" in arguments


class TestSecrets:
    @pytest.mark.parametrize("secret", SECRETS)
    @pytest.mark.parametrize("line", ["", "{secret}="], ids=["missing", "empty"])
    def test_that_are_not_given_stop_the_start(self, env_file, tmp_path, secret, line):
        incomplete = tmp_path / ".env"
        incomplete.write_text(
            re.sub(rf"(?m)^{secret}=.*$", line.format(secret=secret), env_file.read_text())
        )
        result = compose(ON_A_SERVER, incomplete)
        assert result.returncode != 0
        assert f"{secret} is missing a value: fill .env as .env.example says" in result.stderr

    def test_of_the_example_are_all_empty(self):
        example = (CHECKOUT / ".env.example").read_text()
        assert re.findall(r"^(\w+)=$", example, re.MULTILINE) == SECRETS

    def test_are_long_and_differ_from_each_other(self, secrets):
        assert {len(secret) for secret in secrets.values()} == {64}
        assert len(set(secrets.values())) == len(SECRETS)

    def test_come_from_the_env_file_alone(self, services, secrets):
        assert {
            "SECRET_KEY": services["web-app"]["environment"]["SECRET_KEY"],
            "DB_PASS": services["database"]["environment"]["POSTGRES_PASSWORD"],
            "REDIS_PASSWORD": services["redis"]["environment"]["REDISCLI_AUTH"],
            "FLOWER_PASSWORD": services["flower"]["environment"]["FLOWER_BASIC_AUTH"][7:],
        } == secrets
        for name in OURS:
            environment = services[name]["environment"]
            assert environment["DB_PASS"] == secrets["DB_PASS"]
            assert f":{secrets['REDIS_PASSWORD']}@" in environment["REDIS_URL"]
            assert f":{secrets['REDIS_PASSWORD']}@" in environment["CELERY_BROKER_URL"]

    def test_are_asked_for_by_redis(self, services):
        assert "requirepass $$REDISCLI_AUTH" in " ".join(services["redis"]["command"])

    def test_are_on_no_command_line(self, services, secrets):
        for name, service in services.items():
            started = json.dumps([service.get(key) for key in ("entrypoint", "command")])
            assert not [secret for secret in secrets.values() if secret in started], name


class TestDevelopment:
    @pytest.mark.parametrize("name", sorted(OURS))
    def test_runs_the_code_of_the_checkout_with_debug(self, development, name):
        assert mounts(development[name])["/service"] == str(CHECKOUT / "service")
        assert development[name]["build"]["target"] == "development"
        assert development[name]["environment"]["DEBUG"] == "1"

    def test_writes_files_as_the_one_who_started_it(self, env_file):
        variables = {"UID": "1234", "GID": "567"}
        services = resolved(IN_DEVELOPMENT, env_file, **variables)["services"]
        assert {services[name]["user"] for name in OURS} == {"1234:567"}

    def test_takes_the_commands_of_the_tutorial(self, development):
        # `run --rm web-app sh -c "python manage.py test"`: an entrypoint would take `sh` for its
        # argument, and the suite reads files of the checkout that are not in service/.
        web = development["web-app"]
        assert web.get("entrypoint") is None
        assert web["working_dir"] == "/pricebook/service"
        assert {"/pricebook": str(CHECKOUT)}.items() <= mounts(web).items()

    def test_leaves_out_the_tests_of_the_launcher_alone(self, development):
        [(option, path)] = re.findall(
            r"(\S+)=(\S+)", development["web-app"]["environment"]["PYTEST_ADDOPTS"]
        )
        assert option == "--ignore"
        assert path.endswith("test_launcher.py")
        assert (CHECKOUT / "service" / path).is_file()

    def test_is_left_out_on_a_server(self, services):
        for name in OURS:
            assert "volumes" not in services[name]
            assert "user" not in services[name]
            assert "target" not in services[name]["build"]
            assert services[name]["environment"]["DEBUG"] == "0"


class TestImage:
    def test_passes_the_linter(self):
        result = run("hadolint", "--no-color", "Dockerfile")
        assert (result.returncode, result.stdout) == (0, "")

    def test_starts_from_a_slim_python(self):
        assert re.fullmatch(r"PYTHON_IMAGE=python:3\.1[1-9]-slim-\w+", *instructions("ARG"))

    @pytest.mark.parametrize("stage", ["development", "runtime"])
    def test_runs_as_a_user_who_is_not_root(self, stage):
        [user] = instructions("USER", stage)
        assert user.isdigit()  # a name would not tell whoever asks that it is not root
        assert int(user) > 0

    def test_installs_what_is_pinned_and_nothing_else(self):
        installs = [line for line in instructions("RUN") if " install " in line]
        assert installs
        for line in installs:
            assert "--require-hashes" in line
            assert re.search(r"--only-binary=:all:( --requirement /requirements/\w+\.txt)+$", line)

    def test_serves_as_the_launcher_does(self):
        [command] = instructions("CMD", "runtime")
        *ours, _, host, _, port = json.loads(command)
        launched = web_server("pricebook.asgi:application")
        assert ours == launched[launched.index("granian") :]
        assert (host, port) == ("0.0.0.0", "8000")

    def test_is_checked_without_curl(self):
        [check] = instructions("HEALTHCHECK")
        assert '["python", "-c"' in check

    def test_takes_nothing_but_the_code_and_the_pins(self):
        patterns = (CHECKOUT / ".dockerignore").read_text().splitlines()
        assert "*" in patterns
        assert [line for line in patterns if line.startswith("!")] == ["!requirements", "!service"]


def conditions(service):
    return {name: needed["condition"] for name, needed in service["depends_on"].items()}


def mounts(service):
    return {volume["target"]: volume["source"] for volume in service["volumes"]}


def instructions(name, stage=None):
    """The arguments of each such instruction of the Dockerfile or of one stage, a line each."""
    text = (CHECKOUT / "Dockerfile").read_text().replace("\\\n", " ")
    if stage:
        [text] = re.findall(rf"(?ms)^FROM \S+ AS {stage}$(.+?)(?=^FROM|\Z)", text)
    return [" ".join(found.split()) for found in re.findall(rf"(?m)^{name} (.+)$", text)]
