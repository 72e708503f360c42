"""The cluster's seeds, counts, journal and words; and, as a tier of its own, the cluster itself."""

import os
import subprocess
from decimal import Decimal

import pytest

from cluster import __main__ as command
from cluster import faults, hosts, journal, judge, needs, report
from cluster.clients import DONE, REFUSED, UNKNOWN, Attempt, Load
from pricebook.local.home import Home
from pricebook.local.paths import CHECKOUT


def row(name, outcome, value=None, **more):
    return Attempt("row", 0, 1, outcome, name=name, value=value, **more)


def price(value, outcome):
    return Attempt("price", 0, 1, outcome, name="7", value=value)


def read(value, expected, **more):
    return Attempt("read", 0, 1, DONE, value=value, expected=expected, **more)


class TestSeeds:
    def test_a_seed_has_each_kind_as_often_as_any_other_and_always_the_same(self):
        kinds = len(faults.LIMITS)
        plans = [faults.plan(7, number) for number in range(1, 3 * kinds + 1)]
        assert [faults.plan(7, number) for number in range(1, 3 * kinds + 1)] == plans
        for deck in range(3):
            assert {plan.kind for plan in plans[deck * kinds :][:kinds]} == faults.LIMITS.keys()
        assert [faults.plan(8, number) for number in range(1, 3 * kinds + 1)] != plans

    def test_the_limits_are_those_that_are_promised(self):
        assert (faults.PLANNED, faults.LOST, faults.CUT, faults.WITHOUT_READS) == (5, 25, 36, 3)
        assert {faults.LIMITS[kind] for kind in faults.LIMITS if kind.endswith("cut")} == {36}


class TestCounts:
    def test_a_row_is_lost_if_it_was_acknowledged_and_is_not_there_under_its_id(self):
        attempts = [row("a", DONE, 1), row("b", DONE, 2), row("c", DONE, 3)]
        assert judge.rows(attempts, {"a": 1, "b": 9}) == (2, 0, 0)

    def test_a_row_is_counted_that_is_there_though_it_was_refused_or_never_answered(self):
        attempts = [row("a", REFUSED), row("b", UNKNOWN), row("c", REFUSED), row("d", UNKNOWN)]
        assert judge.rows(attempts, {"a": 1, "b": 2}) == (0, 1, 1)

    def test_a_row_that_was_sent_again_has_the_best_of_its_outcomes(self):
        attempts = [row("a", UNKNOWN), row("a", REFUSED), row("b", UNKNOWN), row("b", DONE, 5)]
        assert judge.rows(attempts, {"a": 1, "b": 5}) == (0, 0, 1)
        assert judge.rows(attempts, {}) == (1, 0, 0)

    def test_a_list_price_is_lost_if_an_earlier_one_is_there(self):
        edits = [price("1.00", DONE), price("2.00", DONE)]
        assert judge.prices(edits, {"7": Decimal("2.00")}) == (0, 0, 0)
        assert judge.prices(edits, {"7": Decimal("1.00")}) == (1, 0, 0)

    def test_a_list_price_whose_answer_never_came_may_be_there_and_is_counted(self):
        edits = [price("1.00", DONE), price("2.00", UNKNOWN), price("3.00", REFUSED)]
        assert judge.prices(edits, {"7": Decimal("2.00")}) == (0, 0, 1)
        assert judge.prices(edits, {"7": Decimal("3.00")}) == (0, 1, 0)

    def test_a_read_goes_back_if_it_is_older_than_what_its_client_must_see(self):
        reads = [read(5, 5), read(4, 5), read(3, 5, read_from="replica; no_primary"), read(9, 5)]
        assert judge.backward(reads) == (1, 1)

    def test_the_longest_time_without_counts_from_the_beginning_and_to_the_end(self):
        assert judge.longest([3, 4, 9], 0, 10) == 5
        assert judge.longest([], 0, 10) == 10
        assert judge.longest([1, 2, 30], 0, 10) == 8


class TestClients:
    def test_only_the_problem_of_pricebook_is_a_refusal(self, monkeypatch):
        class Answer:
            def __init__(self, status, kind):
                self.status, self.headers = status, {"Content-Type": kind}

            def read(self):
                return b"{}"

        for status, kind, outcome in (
            (503, "application/problem+json", REFUSED),
            (503, "text/html", UNKNOWN),  # HAProxy's own
            (201, "application/json", DONE),
        ):
            api = command_api(Answer(status, kind))
            assert api.ask("POST", "/", {})[0] == outcome

    def test_who_reads_must_see_what_any_client_was_told_of(self):
        load = Load.__new__(Load)
        load.attempts, load.newest = [], 0
        load.wrote(0, DONE, "a", {"id": 12})
        load.wrote(0, UNKNOWN, "b", None)
        assert load.newest == 12
        assert [each.outcome for each in load.attempts] == [DONE, UNKNOWN]


def command_api(answer):
    from cluster.clients import Api

    class Connection:
        def request(self, *given):
            pass

        def getresponse(self):
            return answer

    api = Api("key")
    api.connection = Connection()
    return api


class TestJournal:
    def test_it_goes_on_where_it_stopped_and_repeats_nothing(self, tmp_path):
        path = tmp_path / "rounds"
        for number in (1, 3):
            journal.append(path, {"seed": 5, "round": number})
        journal.append(path, {"seed": 6, "round": 2})
        with path.open("a") as file:
            file.write('{"seed": 5, "rou')  # killed while it wrote
        assert journal.left(path, 5, 4) == [2, 4]
        journal.append(path, {"seed": 5, "round": 2})
        assert journal.left(path, 5, 4) == [4]
        assert len(journal.read(path)) == 4

    def test_the_report_shows_counts_times_and_each_exception(self, tmp_path):
        path = tmp_path / "rounds"
        assert "No rounds yet" in report.of(path)
        common = dict.fromkeys([*report.ZERO, *report.COUNTED, *report.DONE], 0)
        common |= {"seed": 1, "how": "", "drained": True, "load_average": 4.2, "over_limits": {}}
        common |= {
            "well_after": 3.0,
            "without_reads": 1.0,
            "without_replica_reads": 0.5,
            "slowest_write": 0.1,
        }
        common |= {"kind": "switchover", "not_zero": {}}
        journal.append(path, common | {"round": 1, "done": 1234, "without_writes": 2.5})
        assert "In every round each count" in report.of(path)
        bad = {"round": 2, "lost": 3, "not_zero": {"lost": 3}, "without_writes": 7.5}
        journal.append(path, common | bad | {"over_limits": {"without_writes": 7.5}})
        text = report.of(path)
        assert "1,234 rows" in text
        assert "| **acknowledged writes that were lost** | **3** |" in text
        assert "| switchover | 2 | 7.5 (5.0) | 5 |" in text
        assert "seed 1, round 2 (switchover): without_writes 7.5 s, at a load of 4.2" in text


class TestCommand:
    def test_each_missing_package_is_named_at_once(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("PRICEBOOK_HOME", str(tmp_path))
        monkeypatch.setattr(
            needs, "PROGRAMS", {"no-such-etcd": "etcd-server", "no-nft": "nftables"}
        )
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        for verb in ("up", "run", "down"):
            assert command.main([verb]) == 1
            said = capsys.readouterr().err
            assert "apt-get install etcd-server nftables" in said
            assert "root is needed" in said
        assert not any(tmp_path.iterdir())

    def test_the_report_needs_nothing(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("PRICEBOOK_HOME", str(tmp_path))
        assert command.main(["report"]) == 0
        assert "No rounds yet" in capsys.readouterr().out

    @pytest.mark.parametrize("rounds", ["0", "-1", "many"])
    def test_a_number_of_rounds_that_is_none_is_refused(self, rounds, capsys):
        with pytest.raises(SystemExit) as ended:
            command.main(["run", "--rounds", rounds])
        assert ended.value.code == 2
        assert "1 or more" in capsys.readouterr().err

    def test_hosts_have_addresses_of_their_own_and_the_environment_has_no_stranger(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/production")
        assert len({*hosts.ADDRESSES.values()}) == len(hosts.ADDRESSES)
        variables = hosts.environment(Home(tmp_path))
        assert "production" not in " ".join(variables.values())
        assert variables["DB_STARTUP_OPTIONS"] == ""


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(bool(needs.missing()), reason=" ".join(needs.missing()))
def test_two_rounds_lose_nothing_and_nothing_is_left_behind(tmp_path):
    def cluster(*arguments):
        return subprocess.run(
            [CHECKOUT / "pricebook", "--home", tmp_path, "cluster", *arguments],
            env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            capture_output=True,
            text=True,
        )

    places = hosts.Places(Home(tmp_path))
    try:
        done = cluster("run", "--seed", "3", "--rounds", "2")
        assert done.returncode == 0, done.stderr
        rounds = journal.read(places.journal)
        assert [each["round"] for each in rounds] == [1, 2]
        assert not [each["not_zero"] for each in rounds if each["not_zero"]]
        assert all(each["done"] and each["reads"] and each["edits"] for each in rounds)
        again = cluster("run", "--seed", "3", "--rounds", "2")
        assert "the journal has 2 rounds" in again.stderr
    finally:
        ended = cluster("down", "--all")
    assert ended.returncode == 0, ended.stderr
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    assert places.prefix not in left
    assert {path.name for path in tmp_path.iterdir()} <= {
        "cluster.lock", "secret_key", "run", "log", "valkey", "venv.lock"
    }  # fmt: skip
