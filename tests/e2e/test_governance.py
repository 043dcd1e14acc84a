"""Members change their constitution by signed votes; nobody else can."""

import json
import subprocess
import threading

import network as networks
import pytest
from network import COCO, KeyValue, coco


@pytest.fixture(scope="module")
def network():
    with networks.running() as network:
        yield network


def session(network, node):
    return ["--identity", node.identity, "--network", network.facts["network_certificate"], "--vn", node.admin]


def run(network, node, *arguments, signer=None):
    """A governing command through a node, by default signed by that node's owner."""
    signing = ["--sign-with", signer or node.identity]
    return coco(*arguments, *signing, *session(network, node), "--json")


def said(done):
    assert done.returncode == 0, done.stderr
    text = done.stdout
    return json.loads(text[text.index("{") :])


def propose(network, node, tmp_path, text, **options):
    path = tmp_path / "proposal.toml"
    path.write_text(text)
    return run(network, node, "propose", path, **options)


def shown(network, node, *arguments):
    done = coco("proposals", *arguments, *session(network, node), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LEASE = """
title = "Leases of {ms} ms"

[[changes]]
change = "set-setting"
name = "lease_length_ms"
value = {ms}
"""


def test_a_majority_changes_a_setting_through_any_node(network, tmp_path):
    first, second, third = network.nodes
    opened = said(propose(network, first, tmp_path, LEASE.format(ms=7_200_000)))
    number = opened["proposal"]
    assert opened["status"] == "open"
    assert said(run(network, second, "vote", str(number), "--against"))["status"] == "open"
    assert said(run(network, first, "vote", str(number), "--for"))["status"] == "open"
    # A ballot is changed while the vote is open.
    decided = said(run(network, second, "vote", str(number), "--for"))
    if decided["status"] == "open":  # the policy wants all
        decided = said(run(network, third, "vote", str(number), "--for"))
    assert decided["status"] == "accepted"
    assert decided["constitution"] == 2
    for node in network.nodes:
        network.quiesce(network.nodes)
        proposal = shown(network, node, str(number))
        assert proposal["status"]["status"] == "accepted"
        assert {name: cast["choice"] for name, cast in proposal["ballots"].items()}[second.owner] == "for"


def test_what_must_not_count_is_refused_with_the_reason(network, tmp_path):
    first, second, _ = network.nodes
    participant = list(network.participants.values())[0]
    version = shown_version(network, first)
    refused = propose(network, first, tmp_path, LEASE.format(ms=3_600_001), signer=participant)
    assert refused.returncode == 3 and "no member" in refused.stderr
    opened = said(propose(network, first, tmp_path, LEASE.format(ms=3_600_002)))
    number = str(opened["proposal"])
    refused = run(network, first, "vote", number, "--for", signer=participant)
    assert refused.returncode == 3 and "members vote" in refused.stderr
    refused = run(network, second, "withdraw", number)
    assert refused.returncode == 3 and "only" in refused.stderr
    # Signed elsewhere and handed in twice: counts once.
    ballot = tmp_path / "ballot.cose"
    said_offline = coco(
        "vote", opened["id"], "--against", "--sign-with", second.identity, "--out", ballot,
        "--network-id", network_id(network, first),
    )
    assert said_offline.returncode == 0, said_offline.stderr
    send = ["vote", "--send", ballot, *session(network, first), "--json"]
    assert said(coco(*send))["status"] == "open"
    again = coco(*send)
    assert again.returncode == 3 and "before" in again.stderr
    content = bytearray(ballot.read_bytes())
    content[len(content) // 3] ^= 1
    ballot.write_bytes(content)
    changed = coco(*send)
    assert changed.returncode in (2, 3), changed.stderr
    assert said(run(network, first, "withdraw", number))["status"] == "withdrawn"
    assert shown_version(network, first) == version
    nonsense = propose(network, first, tmp_path, LEASE.format(ms=0))
    assert nonsense.returncode == 3, nonsense.stderr
    assert shown_version(network, first) == version


def test_a_key_under_a_passphrase_and_a_watcher(network, tmp_path):
    first, second, third = network.nodes
    locked, phrase = tmp_path / "locked.pem", tmp_path / "phrase"
    phrase.write_text("correct horse\n")
    text = open(first.identity).read()
    key = subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", f"file:{phrase}", "-in", first.identity],
        capture_output=True, text=True, check=True,
    ).stdout
    locked.write_text(key + text[text.index("-----BEGIN CERTIFICATE-----") :])
    watcher = subprocess.Popen(
        [COCO, "proposals", "--watch", "--since", "0", "--json", *session(network, third)],
        stdout=subprocess.PIPE, text=True,
    )
    path = tmp_path / "proposal.toml"
    path.write_text(LEASE.format(ms=3_600_003))
    opened = said(
        coco("propose", path, "--sign-with", locked, "--passphrase-file", phrase, *session(network, second), "--json")
    )
    seen = []

    def read():
        for line in watcher.stdout:
            event = json.loads(line)
            seen.append(event["sequence"])
            if event["fact"] == "proposal-opened" and event["number"] == opened["proposal"]:
                return

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(30)
    watcher.kill()
    assert not reader.is_alive(), "the watcher did not hear of the proposal"
    assert seen == list(range(1, len(seen) + 1)), "events come without gaps"
    assert said(run(network, first, "withdraw", str(opened["proposal"])))["status"] == "withdrawn"


def test_clients_are_served_while_members_vote(network, tmp_path):
    """An administrative entry fences proposals of workers; none of their transactions is lost."""
    client = KeyValue(network.gateways["kv"])
    first = network.nodes[0]
    for number in range(12):
        assert client.put(f"g-{number}", "v", f"while-voting-{number}")[0] == 200
        opened = said(propose(network, first, tmp_path, LEASE.format(ms=4_000_000 + number)))
        assert client.put(f"g-{number}", "w", f"while-voting-too-{number}")[0] == 200
        said(run(network, first, "withdraw", str(opened["proposal"])))


def shown_version(network, node):
    done = coco("status", *session(network, node), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["status"]["constitution"]


def network_id(network, node):
    done = coco("status", *session(network, node), "--json")
    return json.loads(done.stdout)["status"]["network"]
