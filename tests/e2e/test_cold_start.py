"""Power fails everywhere: every node is killed under load and started again. The network goes on by itself,
with everything that it acknowledged. `coco sandbox --dir` resumes this way."""

import signal
import time

import isolated
import network as networks
import processes
import pytest
from network import KeyValue
from pipeline import Writers
from test_restarts import everything, gateways, grown, ledgers_are_sound

FAILURES = 5
# A joiner looks whether others are alone, too, after three seconds.
BACK_SECONDS = 60


@pytest.fixture(scope="module")
def network():
    with isolated.running(namespaces=False) as network:
        yield network


def sealed(node):
    """The keys are sealed to the actors: nobody could start the network again before."""
    gauges = node.gauges()
    return gauges and gauges.get("key_threshold", 0) > 0 and node.status()["epoch"] > 1


def test_everything_acknowledged_survives_the_loss_of_all_power(network, capsys):
    for node in network.nodes:
        processes.wait_until(f"{node.owner} can open the keys again", lambda node=node: sealed(node), 60)
    acknowledged, told = {}, []
    for number in range(FAILURES):
        load = Writers(gateways(network), rate=300, prefix=f"round{number}")
        grown(load, 300)
        for node in network.nodes:
            node.kill()
        load.stop()
        acknowledged |= load.acknowledged
        began = time.monotonic()
        for node in network.nodes:
            node.start()
        for node in network.nodes:
            processes.wait_until(f"{node.owner} votes again", node.votes, BACK_SECONDS)
        told.append((time.monotonic() - began, len(load.acknowledged)))
        for node in network.nodes:
            held = everything(network.gateway([node]), "round")
            lost = [key for key, value in acknowledged.items() if held.get(key) != value]
            assert not lost, f"after power failure {number + 1}, {node.owner} lacks {lost[:5]}"
    ledgers_are_sound(network)
    with capsys.disabled():
        for seconds, count in told:
            print(f"\n  all nodes voted {seconds:.1f} s after their start; {count} writes acknowledged before, all there")


def test_a_survivor_starts_again_with_the_others(network):
    survivor, *killed = network.nodes
    client = KeyValue(network.gateway(network.nodes), timeout=30)
    assert client.put("before", b"1", "before-1")[0] < 300
    client.close()
    for node in killed:
        node.kill()
    for node in killed:
        node.start()
    for node in network.nodes:
        processes.wait_until(f"{node.owner} votes again", node.votes, BACK_SECONDS)
    assert "takes part" in survivor.log() or "take part" in survivor.log()
    client = KeyValue(network.gateway([survivor]), timeout=30)
    assert client.read("before", "linear") == (200, b"1")
    client.close()


def test_a_kept_sandbox_goes_on():
    with networks.running() as first:
        key_value = KeyValue(first.gateways["kv"], timeout=30)
        assert key_value.put("kept", b"1", "kept-1")[0] < 300
        key_value.close()
        for node in first.nodes:
            processes.wait_until("the keys are sealed", lambda node=node: node.status()["epoch"] > 1, 60)
        assert first.stop(signal.SIGINT) == 0, first.said()
        again = networks.Network(first.directory)
        try:
            key_value = KeyValue(again.gateways["kv"], timeout=30)
            assert key_value.read("kept", "linear") == (200, b"1")
            assert key_value.put("more", b"2", "more-1")[0] < 300
            key_value.close()
        finally:
            again.stop()
