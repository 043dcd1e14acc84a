"""Five actors, of whom three open the session keys: what a network does while two are gone, and three, and when all
are back; and that each node says so."""

import contextlib
import http.client

import isolated
import processes
import pytest
from network import KeyValue, coco

OWNERS = ("contoso", "fabrikam", "northwind", "tailspin", "wingtip")
# Keys live this long without three actors; a node asks for them again at half of it.
LIFE_SECONDS = 40


class Five(isolated.Apart):
    owners = OWNERS
    settings_lines = ("[settings]", "key_threshold = 3", f"session_key_ttl_ms = {LIFE_SECONDS * 1000}")


@pytest.fixture(scope="module")
def network():
    with isolated.running(namespaces=False, network_type=Five) as network:
        for node in network.nodes:
            processes.wait_until(
                f"{node.owner} can open the keys again",
                lambda node=node: node.gauges().get("key_threshold") == 3 and node.status()["epoch"] > 1,
                60,
            )
        yield network


def written(network, nodes, key):
    client = KeyValue(network.gateway(nodes), timeout=30)
    status, body = client.put(key, key.encode(), key)
    client.close()
    assert status < 300, body


def read(network, node, key):
    """What the node itself has of a key; None if it serves nobody."""
    client = KeyValue(network.gateway([node]), timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException):
        status, body = client.read(key)
        if status == 200:
            return body
    return None


def reported(node, **wanted):
    gauges = node.gauges()
    return gauges and all(gauges.get(name) == value for name, value in wanted.items())


def says(node, text):
    processes.wait_until(f"{node.owner} says {text!r}", lambda: text in node.log(), 30)


def test_two_of_five_actors_are_spared_and_three_are_not(network):
    survivors, (third, *gone) = network.nodes[:2], network.nodes[2:]
    written(network, network.nodes, "with-five")
    for node in network.nodes:
        processes.wait_until(
            f"{node.owner} reaches all", lambda node=node: reported(node, key_actors_reachable=5, key_actors=5), 60
        )

    for node in gone:
        node.kill()
    left = [*survivors, third]
    for node in left:
        processes.wait_until(
            f"{node.owner} reports the margin",
            lambda node=node: reported(node, key_actors_reachable=3, service_writes=1, service_reads=1, keys_held=1),
            60,
        )
        says(node, "3 of 5 actors are reachable, 3 open the keys together: none more may be lost")
    written(network, left, "with-three")
    # The keys are opened again by the three that are left, and go on.
    for node in left:
        processes.wait_until(
            f"{node.owner} was given another life of the keys",
            lambda node=node: node.gauges().get("key_life_ms", 0) > 0.9 * LIFE_SECONDS * 1000,
            LIFE_SECONDS + 20,
        )

    third.kill()
    for node in survivors:
        processes.wait_until(
            f"{node.owner} reports that writing stops",
            lambda node=node: reported(node, service_writes=0, service_reads=1, keys_held=1),
            30,
        )
        says(node, "writing stops, reading of committed state goes on")
        says(node, "the keys that are in memory cannot be had again")
        assert read(network, node, "with-three") == b"with-three"
        node_status = ["status", "--vn", node.machine.admin, "--network", network.certificate]
        done = coco(*node_status, "--identity", network.actors[node.owner]["identity"], "--json")
        assert '"writes":false' in done.stdout.replace(" ", ""), done.stdout + done.stderr
    for node in survivors:
        processes.wait_until(
            f"{node.owner} reports that reading stops, too",
            lambda node=node: reported(node, service_writes=0, service_reads=0, keys_held=0),
            LIFE_SECONDS + 30,
        )
        says(node, "neither writing nor reading: the session keys are gone")
        assert read(network, node, "with-three") is None

    for node in (third, *gone):
        node.start()
    for node in network.nodes:
        processes.wait_until(
            f"{node.owner} reports full service",
            lambda node=node: reported(node, service_writes=1, service_reads=1, keys_held=1, key_actors_reachable=5),
            120,
        )
    for node in network.nodes:
        for key in ("with-five", "with-three"):
            assert read(network, node, key) == key.encode()
    written(network, network.nodes, "with-five-again")
    assert network.nodes[0].status()["epoch"] > 2
