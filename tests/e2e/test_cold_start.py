"""Power fails everywhere: every node is killed under load and started again. The network goes on by itself,
with everything that it acknowledged. `coco sandbox --dir` resumes this way."""

import http.client
import itertools
import shutil
import signal
import threading
import time
import uuid

import isolated
import network as networks
import processes
import pytest
from network import KeyValue, coco
from test_restarts import everything, gateways, grown, ledgers_are_sound

FAILURES = 5
# A joiner looks whether others are alone, too, after three seconds.
BACK_SECONDS = 60


class Load:
    """Writers of fresh keys that stop where they are; `acknowledged`: key → value."""

    def __init__(self, ways, prefix, writers=4):
        self.acknowledged, self.running = {}, True
        self.threads = [
            threading.Thread(target=self._write, args=(way, f"{prefix}/{place}/{number}"))
            for place, way in enumerate(ways)
            for number in range(writers)
        ]
        for thread in self.threads:
            thread.start()

    def _write(self, way, prefix):
        client = KeyValue(way, timeout=5)
        for number in itertools.count():
            key, value = f"{prefix}/{number}", uuid.uuid4().hex
            while True:
                if not self.running:
                    return client.close()
                try:
                    status, _ = client.put(key, value, f"{prefix}-{number}")
                except (OSError, http.client.HTTPException):
                    continue  # Outcome unknown: asked again under the same name.
                if status == 200:
                    self.acknowledged[key] = value
                    break

    def count(self):
        return len(self.acknowledged)

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join(20)


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
        load = Load(gateways(network), f"round{number}")
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


def test_m_actors_order_that_two_of_three_go_on_when_a_machine_is_gone(tmp_path, monkeypatch):
    """The third machine burnt down with its disk: by the rule, two are too few for ever."""
    settings = (*isolated.Apart.settings_lines, "key_threshold = 2")
    monkeypatch.setattr(isolated.Apart, "settings_lines", settings)
    with isolated.running(namespaces=False) as network:
        gone, *left = reversed(network.nodes)
        for node in network.nodes:
            processes.wait_until(f"{node.owner} can open the keys again", lambda node=node: sealed(node), 60)
        load = Load(gateways(network), "kept")
        grown(load, 200)
        for node in network.nodes:
            node.kill()
        load.stop()
        shutil.rmtree(gone.directory / "data")
        for node in left:
            node.start()
        for node in left:
            processes.wait_until(f"{node.owner} waits", lambda node=node: node.gauges().get("cold_present") == 2, 60)
        assert all(node.phase() == "cold" and "1 more must come" in node.log() for node in left)

        # Two actors sign the same, each on the copy of its own node.
        orders = []
        survivors = [f"{node.owner}@{node.machine.node}" for node in left]
        for node in left:
            node.kill()
            out = tmp_path / f"{node.owner}.order"
            command = ["recover", "order", "--ledger", node.directory / "data", "--constitution", network.constitution]
            command += ["--with", orders[-1]] if orders else ["--survivor", *survivors]
            done = coco(*command, "--sign-with", network.actors[node.owner]["identity"], "--out", out)
            assert done.returncode == 0, done.stderr
            assert f"of {gone.owner}" in done.stdout and "an older disk" in done.stdout, done.stdout
            orders.append(out)

        # One actor's order changes nothing.
        for node in left:
            node.restart_order = orders[0]
            node.start()
        for node in left:
            told = "1 more actors must sign it"
            processes.wait_until(f"{node.owner} refuses the order", lambda node=node: told in node.log(), 60)
            assert node.phase() == "cold"
            node.kill()
        for node in left:
            node.restart_order = orders[1]
            node.start()
        for node in left:
            processes.wait_until(f"{node.owner} votes again", node.votes, BACK_SECONDS)
            assert f"What only {gone.machine.node} of {gone.owner} held may be missing" in node.log()
        held = everything(network.gateway([left[0]]), "kept")
        lost = [key for key, value in load.acknowledged.items() if held.get(key) != value]
        assert not lost, f"no disk of the two was old, and {lost[:5]} is missing"
        client = KeyValue(network.gateway(left), timeout=30)
        assert client.put("after", b"1", "after-1")[0] < 300

        # Another machine takes the place of the one that burnt down.
        gone.start()
        processes.wait_until(f"{gone.owner} votes again", gone.votes, BACK_SECONDS)
        client.close()
        ledgers_are_sound(network)


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
