"""Networks that fail: partitions, isolated leaders with their clients, loss and delay. Answers stay linearizable."""

import time

import isolated
import linear
import processes
import pytest
from network import coco
from registers import Registers

WHY_NOT = isolated.why_not()


@pytest.fixture(scope="module")
def network():
    if WHY_NOT:
        print(f"\n{WHY_NOT}")
        pytest.skip(WHY_NOT)
    with isolated.running() as network:
        yield network


def clients(network, left, right, **options):
    """Clients on both sides; gateways that know these nodes."""
    places = []
    for side, nodes in zip(isolated.SIDES, (left, right), strict=True):
        namespace = network.switch.namespace(side)
        address = network.gateway(nodes, side)
        places.append((lambda namespace=namespace: isolated.inside(namespace), address))
    return Registers(places, **options)


def grown(work, by, side=None, seconds=20):
    reached = work.count(side) + by
    processes.wait_until(f"{by} more answers", lambda: work.count(side) >= reached, seconds)


def is_linearizable(history):
    began = time.monotonic()
    wrong = linear.check(history)
    told = [line for key, lines in wrong.items() for line in (key, *lines)]
    assert not wrong, "\n".join(told)
    return f"{len(history)} operations linearizable (checked in {time.monotonic() - began:.1f} s)"


def all_agree(network):
    """All nodes stand at the same entry and their ledgers are sound and the same."""

    def look():
        states = [node.status() for node in network.nodes]
        ends = {(s["last"], s["committed"]) for s in states if s}
        return all(states) and len(ends) == 1 and all(last == committed for last, committed in ends)

    processes.wait_until("all nodes stand at the same entry", look, 30)
    done = coco("ledger", "verify", network.nodes[0].directory / "data", "--constitution", network.constitution)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_leader_cut_off_with_its_clients_answers_nothing_that_the_others_undo(network, capsys):
    leader = network.leader()
    others = [node for node in network.nodes if node is not leader]
    # Clients on the left know the leader only, those on the right all.
    work = clients(network, [leader], [*others, leader])
    grown(work, 200)

    network.switch.part([leader.owner, "left"], [*(n.owner for n in others), "right"])
    time.sleep(1.0)  # what was under way at the cut is answered or lost by now
    frozen = work.count(0)
    cut_at = time.monotonic()
    grown(work, 200, side=1)
    went_on = time.monotonic() - cut_at
    time.sleep(2.0)
    inside = work.count(0) - frozen
    successor = network.leader(among=others)

    network.switch.heal()
    healed_at = time.monotonic()
    grown(work, 100, side=0)
    back = time.monotonic() - healed_at
    history = work.stop()
    with capsys.disabled():
        print(
            f"\n  leader cut off with its clients: they got {inside} answers, the others 200 in {went_on:.2f} s "
            f"under {successor.owner}; back {back:.2f} s after it healed; {is_linearizable(history)}"
        )
    assert inside == 0, "a leader without a majority answered linear requests"
    all_agree(network)


def test_wires_cut_in_one_direction(network, capsys):
    """A leader that can speak and does not hear, then one that hears and cannot speak."""
    work = clients(network, network.nodes, network.nodes[::-1])
    grown(work, 100)
    pauses = []
    for deaf in (True, False):
        leader = network.leader()
        others = [node.owner for node in network.nodes if node is not leader]
        pairs = [(other, leader.owner) if deaf else (leader.owner, other) for other in others]
        network.switch.rules(cut=pairs)
        began = time.monotonic()
        grown(work, 100, seconds=30)
        pauses.append(time.monotonic() - began)
        network.switch.heal()
        grown(work, 100)
    history = work.stop()
    with capsys.disabled():
        print(
            f"\n  leader deaf: 100 answers after {pauses[0]:.2f} s; mute: after {pauses[1]:.2f} s; "
            f"{is_linearizable(history)}"
        )
    all_agree(network)


def test_partitions_that_come_and_go(network, capsys):
    work = clients(network, network.nodes, network.nodes[::-1])
    grown(work, 100)
    for number in range(6):
        lone = network.nodes[number % 3]
        others = [node.owner for node in network.nodes if node is not lone]
        side, other = isolated.SIDES if number % 2 else isolated.SIDES[::-1]
        network.switch.part([lone.owner, side], [*others, other])
        time.sleep(0.4 + 0.2 * number)
        network.switch.heal()
        grown(work, 30)
    history = work.stop()
    with capsys.disabled():
        print(f"\n  6 partitions: {is_linearizable(history)}, {work.retried} attempts without an answer")
    all_agree(network)


def test_loss_and_delay_between_nodes(network, capsys):
    network.switch.rules(loss=0.02, delay_ms=10, jitter_ms=10, toll_free=list(isolated.SIDES))
    term = max(node.status()["term"] for node in network.nodes)
    work = clients(network, network.nodes, network.nodes[::-1])
    began = time.monotonic()
    grown(work, 600, seconds=60)
    took = time.monotonic() - began
    terms = max(node.status()["term"] for node in network.nodes) - term
    network.switch.heal()
    history = work.stop()
    with capsys.disabled():
        print(
            f"\n  2 % loss and 10 to 20 ms each way: 600 answers in {took:.1f} s, {terms} changes of leader; "
            f"{is_linearizable(history)}"
        )
    all_agree(network)
