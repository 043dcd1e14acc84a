"""Who may not come in is refused with a reason, and gets nothing of the ledger."""

import socket
import subprocess
import urllib.error
import urllib.request

import byhand
import processes
import pytest
from network import COCO, RELEASE, coco, free_port


@pytest.fixture(scope="module")
def network():
    with byhand.running() as network:
        yield network


def refused(network, node, by_network=None, by_joiner=None):
    """The node stays outside; who refused says why in its log."""
    try:
        if by_network:
            processes.wait_until(
                f"the network's log says {by_network!r}",
                lambda: any(
                    "refused" in line and by_network in line
                    for member in network.nodes
                    for line in member.log().splitlines()
                ),
            )
        if by_joiner:
            processes.wait_until(
                f"the joiner's log says {by_joiner!r}", lambda: by_joiner in node.log()
            )
        assert node.phase() in (None, "joining", "starting", "stopping")
        assert node.ledger_bytes() == 0, "a refused node got some of the ledger"
    finally:
        node.stop()


@pytest.mark.parametrize("image", ["coco-manager", "coco-worker-kv"])
def test_other_code_than_the_manifest_lists(network, tmp_path, image):
    changed = byhand.images(network.directory / f"changed-{image}", changed=[image])
    node = network.start("northwind", into=f"measured-{image}", images=str(changed))
    if image == "coco-manager":
        refused(network, node, by_network="measurement", by_joiner="the network refuses this node")
    else:
        # The manager is endorsed and refuses to work with a worker that is not.
        try:
            processes.wait_until("the reason", lambda: "worker" in node.log() and "measurement" in node.log())
            assert node.phase() != "leading"
        finally:
            node.stop()


def test_a_platform_that_nobody_vouches_for(network):
    stranger = byhand.keys("stranger", network.directory / "strangers")
    platform = {"key": stranger["platform_key"], "certificates": stranger["platform_certificates"]}
    node = network.start("northwind", into="platform", platform=platform)
    refused(network, node, by_network="root", by_joiner="the network refuses this node")


def test_a_tuple_signed_by_an_unknown_actor(network):
    stranger = byhand.keys("northwind", network.directory / "namesakes")
    node = network.start("northwind", into="tuple", agent={"identity": stranger["agent"]})
    refused(network, node, by_joiner="would refuse")


def test_a_joiner_refuses_a_network_under_another_constitution(network):
    other = network.constitute(network.directory / "other", "other.example", RELEASE)
    node = network.start("northwind", into="constitution", constitution=str(other))
    refused(network, node, by_joiner="refuse")


def test_a_joiner_refuses_a_network_that_runs_other_code(network):
    changed = byhand.images(network.directory / "own-code", changed=["coco-manager"])
    other = network.constitute(network.directory / "own", "trade.example", changed)
    node = network.start("northwind", into="own-node", constitution=str(other), images=str(changed))
    refused(network, node, by_joiner="refuse")


def answer_of(gateway_port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway_port}/kv/a", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def gateway(network, identity, pinned):
    port = free_port()
    command = [COCO, "gateway", "--protocol", "kv", "--identity", identity, "--network", pinned]
    command += ["--listen", f"127.0.0.1:{port}", "--vn", *(n.ports["kv"] for n in network.nodes)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def listens():
        with socket.socket() as probe:
            return process.poll() is not None or probe.connect_ex(("127.0.0.1", port)) == 0

    processes.wait_until("the gateway listens", listens)
    return process, port


def pinned(network):
    file = network.directory / "network.pem"
    if not file.exists():
        byhand.ran(
            "network", "pin", "--constitution", network.constitution,
            "--identity", network.customer["identity"], "--vn", network.nodes[0].admin, "--out", file,
        )  # fmt: skip
    return file


def test_an_actor_that_the_constitution_does_not_know(network):
    stranger = byhand.keys("mallory", network.directory / "unknown")
    process, port = gateway(network, stranger["identity"], pinned(network))
    try:
        status, text = answer_of(port)
        assert status == 502 and "lead to no actor of the constitution" in text, text
    finally:
        process.kill()
        process.wait()
    processes.wait_until(
        "the node's log names it",
        lambda: any(
            "is refused" in line and "gate" in line
            for node in network.nodes
            for line in node.log().splitlines()
        ),
    )
    done = coco(
        "status", "--identity", stranger["identity"], "--network", pinned(network),
        "--vn", network.nodes[0].admin,
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    assert "lead to no actor of the constitution" in done.stderr, done.stderr


def test_a_gateway_refuses_another_network_than_the_pinned_one(network):
    other = network.customer["certificate"]  # some certificate, not the network's
    process, port = gateway(network, network.customer["identity"], other)
    try:
        status, text = answer_of(port)
        assert status == 502, text
        assert "network" in text, text
    finally:
        process.kill()
        process.wait()


def test_the_third_node_joins_at_last_and_participants_are_served(network):
    node = network.start("northwind", into="northwind-at-last")
    network.nodes.append(node)
    processes.wait_until("it follows", lambda: node.phase() == "following", 30)
    processes.wait_until("it has the ledger", lambda: node.ledger_bytes() > 0)
    process, port = gateway(network, network.customer["identity"], pinned(network))
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/kv/a", b"1", method="PUT")
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200
        assert answer_of(port) == (200, "1")
    finally:
        process.kill()
        process.wait()
