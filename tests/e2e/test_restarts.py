"""Nodes that restart: rolling restarts under load and kill -9 loops. Nothing acknowledged is lost, nothing refused."""

import json
import random
import time

import isolated
import linear
import processes
import pytest
from network import KeyValue, coco
from pipeline import Writers, slowest_second
from registers import Registers

# Issue: a node is back as a voter in less than this after its start, with a ledger of 100 MB.
BACK_SECONDS = 5.0
LEDGER_BYTES = 100_000_000
# Each value of 60,000 bytes stands in its unit and in the write set.
FILLED = 1 + LEDGER_BYTES // 115_000
# Issue: the load of a rolling restart.
RATE = 1_000


@pytest.fixture(scope="module")
def network():
    with isolated.running(namespaces=False) as network:
        yield network


def gateways(network):
    """Gateways that each prefer another node and know them all."""
    return [network.gateway(network.nodes[n:] + network.nodes[:n]) for n in range(len(network.nodes))]


def grown(work, by, seconds=20):
    reached = work.count() + by
    processes.wait_until(f"{by} more answers", lambda: work.count() >= reached, seconds)


def back_as_voter(node, others):
    """Starts a node that has ended; gives the seconds until it votes, and what it took from others."""
    before = node.ledger_bytes()
    began = time.monotonic()
    node.start()
    processes.wait_until(f"{node.owner} votes again", node.votes, 30)
    seconds = time.monotonic() - began
    missed = max(0, max(other.ledger_bytes() for other in others) - before)
    return seconds, missed, node.gauges()


def ledgers_are_sound(network):
    def look():
        states = [node.status() for node in network.nodes]
        ends = {(s["last"], s["committed"]) for s in states if s}
        return all(states) and len(ends) == 1 and all(last == committed for last, committed in ends)

    processes.wait_until("all nodes stand at the same entry", look, 30)

    def same():
        files = [
            {file.name: file.read_bytes() for file in node.directory.glob("data/ledger/*-*") if file.is_file()}
            for node in network.nodes
        ]
        return all(each == files[0] for each in files)

    processes.wait_until("the ledger files of all nodes are the same", same, 20)
    done = coco("ledger", "verify", network.nodes[0].directory / "data", "--constitution", network.constitution)
    assert done.returncode == 0, done.stdout + done.stderr


def everything(gateway, prefix):
    """All keys under a prefix and their values, as one node has them."""
    client, found, after = KeyValue(gateway, timeout=30), {}, ""
    while True:
        status, body = client.request("GET", f"/kv?prefix={prefix}&limit=1000&consistency=linear&after={after}")
        assert status == 200, body
        answer = json.loads(body)
        found |= {entry["key"]: entry.get("value") for entry in answer["entries"]}
        if "next" not in answer:
            client.close()
            return found
        after = answer["next"]


def test_a_rolling_restart_under_load_fails_and_loses_nothing(network, capsys):
    ways = gateways(network)
    # Large values of few keys: a long ledger and a small state.
    began = time.monotonic()
    filled = Writers(ways, in_flight=8, value_bytes=60_000, prefix="fill", keys=10, count=FILLED)
    filled.join(120)
    # A quorum has answered; the third may still be writing.
    processes.wait_until(
        "every node has the whole ledger",
        lambda: min(node.ledger_bytes() for node in network.nodes) >= LEDGER_BYTES,
        60,
    )
    ledger = min(node.ledger_bytes() for node in network.nodes)
    with capsys.disabled():
        print(f"\n  a ledger of {ledger / 1e6:.0f} MB was made in {time.monotonic() - began:.1f} s")

    load = Writers(ways, rate=1.3 * RATE, prefix="load")
    grown(load, 2 * RATE)
    began, counted = time.monotonic(), load.count()
    restarted = []
    for node in network.nodes:
        others = [other for other in network.nodes if other is not node]
        was = node.phase()
        assert node.stop() == 0, node.log()
        # It misses something, so that it has something to fetch.
        grown(load, RATE)
        seconds, missed, gauges = back_as_voter(node, others)
        restarted.append((node.owner, was, seconds, missed, gauges))
        grown(load, RATE)
    took, count = time.monotonic() - began, load.count() - counted
    load.stop()
    ledgers_are_sound(network)
    lost = {}
    for node in network.nodes:
        held = everything(network.gateway([node]), "load/")
        lost[node.owner] = [key for key, value in load.acknowledged.items() if held.get(key) != value]
    with capsys.disabled():
        for owner, was, seconds, missed, gauges in restarted:
            print(
                f"  {owner} ({was}) voted {seconds:.2f} s after its start (by itself: {gauges['voter_ms']} ms, "
                f"{gauges['restored_entries']} entries of its own files in {gauges['restore_ms']} ms); "
                f"it had missed {missed / 1e6:.2f} MB and fetched {gauges['fetched_bytes'] / 1e6:.2f} MB"
            )
        print(
            f"  {count} writes acknowledged meanwhile, {count / took:.0f} a second (slowest second: "
            f"{slowest_second(load.times)}), longest wait {max(load.waits):.2f} s, {load.again} sent again, "
            f"{len(load.failed)} failed, {sum(map(len, lost.values()))} lost"
        )
    assert not load.failed, load.failed[:5]
    assert not any(lost.values()), {owner: keys[:5] for owner, keys in lost.items()}
    assert count / took >= RATE
    for owner, _, seconds, missed, gauges in restarted:
        assert seconds < BACK_SECONDS, f"{owner} took {seconds:.2f} s"
        # Besides the entries missed may come those made meanwhile, and a snapshot of the small state.
        assert gauges["fetched_bytes"] <= 1.5 * missed + 2_000_000, (owner, missed, gauges)


def test_nodes_killed_and_started_again_and_again(network, capsys):
    dice = random.Random(3)
    ways = gateways(network)
    work = Registers([(None, way) for way in ways], clients=3, pause=0.001)
    grown(work, 200)
    backs, killed = [], []
    for number in range(6):
        leader = network.leader()
        followers = [node for node in network.nodes if node is not leader]
        victim = leader if number % 2 else dice.choice(followers)
        killed.append("leader" if victim is leader else "follower")
        victim.kill()
        grown(work, dice.choice([1, 30, 200]), 30)
        seconds, _, _ = back_as_voter(victim, [node for node in network.nodes if node is not victim])
        backs.append(seconds)
    grown(work, 100)
    history = work.stop()
    began = time.monotonic()
    wrong = linear.check(history)
    told = [line for key, lines in wrong.items() for line in (key, *lines)]
    with capsys.disabled():
        print(
            f"\n  kill -9 of {', '.join(killed)}: back as a voter after at most {max(backs):.2f} s; "
            f"{len(history)} operations, {work.retried} attempts without an answer, "
            f"checked in {time.monotonic() - began:.1f} s"
        )
    assert not wrong, "\n".join(told)
    ledgers_are_sound(network)
