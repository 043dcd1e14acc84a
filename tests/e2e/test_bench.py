"""`coco bench` on networks of its own, and the same load on what others run: anvil and etcd."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest
from network import COCO

ROOT = pathlib.Path(__file__).parent.parent.parent
ANVIL = next((ROOT / "tests/e2e/node_modules").glob("@foundry-rs/anvil-linux-*/bin/anvil"), None)


def bench(*arguments, code=0):
    command = [COCO, "bench", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == code, ran.stderr
    return ran


def measured(*arguments):
    return json.loads(bench(*arguments, "--json").stdout)


def compare(directory, *arguments):
    command = [sys.executable, ROOT / "scripts/compare", "--quick", "--coco", COCO, "--out", directory, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert ran.returncode == 0, ran.stderr
    rows = json.loads((directory / "compare.json").read_text())["rows"]
    assert "| row | Coco, per second |" in (directory / "compare.md").read_text()
    return {row["name"]: row for row in rows}


@pytest.mark.skipif(not ANVIL, reason="anvil is not installed: npm install in tests/e2e")
def test_the_same_load_goes_to_anvil_side_by_side(tmp_path):
    rows = compare(tmp_path, "--rows", "erc20,receipts", "--anvil", str(ANVIL))
    for name in ("erc20", "receipts"):
        row = rows[name]
        for one in row["coco"] + row["peer"]:
            assert one["runs"][0]["refused"] == 0
            assert one["runs"][0]["transactions"] == one["transactions"]
        assert row["peer"][0]["peer"].startswith("anvil/")
        # Blocks of a second: a commit is known on the average half a second later, never at once.
        assert row["peer"][0]["latency_ms"]["committed"]["max"]["median"] > 20


@pytest.mark.skipif(not shutil.which("etcd"), reason="etcd is not installed: Debian's etcd-server, etcd-client")
def test_the_same_load_goes_to_etcd_side_by_side(tmp_path):
    rows = compare(tmp_path, "--rows", "kv-16,kv-1,kv-read")
    for row in rows.values():
        assert row["peer"][0]["runs"][0]["transactions"] == row["peer"][0]["transactions"]
        assert row["peer"][0]["peer"] == ("etcd, 1 members" if row["name"] == "kv-1" else "etcd, 3 members")


def test_a_node_that_lacks_the_accounts_is_told_how_to_get_them(shared, tmp_path):
    ran = bench("--workload", "transfer", "--transactions", "10", "--senders", "5", "--against", shared.rpc, code=2)
    assert "--alloc FILE" in ran.stderr
    alloc = tmp_path / "alloc.json"
    bench("--workload", "erc20", "--transactions", "10", "--senders", "5", "--alloc", str(alloc))
    accounts = json.loads(alloc.read_text())
    assert sum("code" in account for account in accounts.values()) == 1
    # A connection has senders of its own, so there are at least as many as connections.
    assert sum(account["balance"] != "0x0" for account in accounts.values()) == 6


def test_in_a_confidential_network_and_over_http_every_transaction_comes_to_what_it_should():
    for more in (["--profile", "confidential"], ["--http"]):
        found = measured("--workload", "erc20", "--transactions", "600", "--senders", "200", *more)
        assert found["runs"][0]["transactions"] == 600
        assert found["runs"][0]["refused"] == 0


def test_one_and_five_nodes():
    for nodes in ("1", "5"):
        found = measured("--workload", "transfer", "--transactions", "500", "--senders", "100", "--nodes", nodes)
        assert (found["nodes"], found["runs"][0]["transactions"]) == (int(nodes), 500)


def test_the_next_leader_commits_and_nothing_acknowledged_is_lost():
    for workload in ("transfer", "kv"):
        found = measured("--workload", workload, "--trial", "failover", "--rate", "300", "--batch", "5")
        run = found["runs"][0]
        assert 0 < run["outage_ms"] < 10_000
        assert run["acknowledged"] + run["others"] == 2100


def test_a_start_is_timed():
    found = measured("--workload", "kv", "--trial", "start", "--runs", "2")
    assert len(found["runs"]) == 2
    assert 0 < found["first_commit_s"]["min"] <= found["first_commit_s"]["max"]


def test_under_overload_whoever_is_refused_is_told_and_nothing_acknowledged_is_lost():
    found = measured("--workload", "kv", "--trial", "overload", "--duration", "5s", "--senders", "5000")
    during = found["during"]
    assert during["committed"] > 0
    assert sum(during["refusals"].values()) == during["refused"]
    assert all(kind.startswith(("HTTP 429", "HTTP 503")) for kind in during["refusals"])
    assert found["compared_on_each_node"] == 5000


def test_a_steady_load_has_windows():
    found = measured(
        "--workload", "transfer", "--trial", "steady", "--rate", "500", "--batch", "10", "--duration", "12s",
        "--senders", "300",
    )
    assert found["all"]["committed"] == 6000
    assert len(found["last_sixth"]["resident_bytes"]) == 3
    assert found["p99_ratio"] > 0


def test_a_plot_has_a_point_for_each_rate(tmp_path):
    plot = tmp_path / "plot.svg"
    earlier = tmp_path / "earlier.json"
    arguments = ["--workload", "kv", "--rates", "200,400", "--rate-time", "1s"]
    earlier.write_text(bench(*arguments, "--json").stdout)
    found = measured(*arguments, "--plot", str(plot), "--beside", str(earlier))
    # What was reached depends on the machine; it is never more than was asked for.
    assert len(found["points"]) == 2
    assert all(point["throughput_per_s"] < asked * 1.1 for point, asked in zip(found["points"], (200, 400)))
    assert plot.read_text().count("<circle") == 8
