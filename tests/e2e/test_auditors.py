"""An auditor is answered by the nodes of the actors that consented, and reads the granted epochs and no other."""

import json
import shutil
import subprocess
import threading
import time

import network as networks
import processes
import pytest
from network import COCO, KeyValue, coco
from test_governance import propose, run, said, session

GUEST = """
title = "A guest"

[[changes]]
change = "add-actor"
name = "guest-{number}"
roles = ["participant"]
certificates = ['''
{certificate}''']
"""

GRANT = """
title = "Audit of epochs {first} to {last}"

[[changes]]
change = "grant-audit"
auditor = '''
{certificate}'''
key = "{key}"
from = {first}
to = {last}
expires = {expires}
"""


@pytest.fixture(scope="module")
def network():
    with networks.running() as network:
        yield network


def decided(network, tmp_path, text):
    """A proposal that all members vote for."""
    number = str(said(propose(network, network.nodes[0], tmp_path, text))["proposal"])
    for node in network.nodes:
        last = said(run(network, node, "vote", number, "--for"))
        if last["status"] == "accepted":
            return last
    raise AssertionError(last)


def epochs_reached(network, least, tmp_path):
    """With each actor that comes an epoch begins; in each, something is written."""
    client = KeyValue(network.gateways["kv"])

    def status():
        return network.nodes[0].status()

    processes.wait_until("an epoch is sealed to the actors", lambda: status()["epoch"] >= 2, 60)
    while (before := status()["epoch"]) < least:
        name = f"guest-{before}"
        files = said(coco("member", "keygen", "--name", name, "--out", tmp_path / name, "--json"))
        certificate = open(files["certificate"]).read()
        decided(network, tmp_path, GUEST.format(number=before, certificate=certificate))
        processes.wait_until("another epoch", lambda before=before: status()["epoch"] > before, 60)
        for place in range(5):
            assert client.put(f"audited-{before + 1}-{place}", b"seen", f"e{before}-{place}")[0] == 200
    client.close()
    network.quiesce(network.nodes)


class Auditor:
    """Its keys, and a copy of the ledger as the members gave it."""

    def __init__(self, network, directory):
        self.network, self.directory = network, directory
        self.files = said(coco("member", "keygen", "--name", "auditor", "--out", directory / "auditor", "--json"))
        self.key = directory / "auditor.pem"
        made = coco("audit", "keygen", "--out", self.key)
        assert made.returncode == 0, made.stderr
        self.public = made.stdout.split('"')[1]
        self.copies = 0

    def copy(self):
        self.copies += 1
        copy = self.directory / f"copy-{self.copies}"
        self.network.quiesce(self.network.nodes)
        shutil.copytree(self.network.nodes[0].ledger, copy / "ledger")
        return ["--ledger", copy, "--constitution", self.network.facts["constitution"]]

    def collect(self, copy, grant, nodes, *more, identity=None, out="parts"):
        return coco(
            "audit", "collect", *copy, "--grant", grant, "--auditor-key", self.key,
            "--identity", identity or self.files["identity"], "--network", self.network.facts["network_certificate"],
            "--vn", *(node.admin for node in nodes), "--out", self.directory / out, *more,
        )  # fmt: skip


def test_nodes_answer_the_auditor_for_actors_that_consented(network, tmp_path):
    first, second, third = network.nodes
    epochs_reached(network, 5, tmp_path)
    auditor = Auditor(network, tmp_path)
    expires = int(time.time() * 1000) + 3_600_000
    certificate = open(auditor.files["certificate"]).read()
    granted = GRANT.format(first=3, last=4, certificate=certificate, key=auditor.public, expires=expires)
    decided(network, tmp_path, granted)
    copy = auditor.copy()

    # Nobody answers before its actor consents.
    refused = auditor.collect(copy, 1, [first])
    assert refused.returncode == 3 and "has not consented" in refused.stderr, refused.stderr

    # A consent is the actor's: not somebody else's, and counts once, through any node.
    consented = said(run(network, first, "audit", "consent", "--grant", "1"))
    assert consented["facts"][0]["fact"] == "audit-consented", consented
    again = run(network, first, "audit", "consent", "--grant", "1")
    assert again.returncode == 3, again.stderr
    forged = coco(
        "audit", "consent", "--grant", "1", "--actor", second.owner, "--sign-with", third.identity,
        *session(network, third), "--json",
    )  # fmt: skip
    assert forged.returncode == 3, forged.stderr
    signing = ["--sign-with", second.identity, *session(network, third), "--json"]
    assert said(coco("audit", "consent", "--grant", "1", *signing))["facts"][0]["actor"] == second.owner
    network.quiesce(network.nodes)

    # One actor's parts are not enough; a node whose actor did not consent gives none.
    one = auditor.collect(copy, 1, [first, third])
    assert one.returncode == 0 and "has not consented" in one.stderr, one.stderr
    parts = sorted((tmp_path / "parts").glob("*.part"))
    assert parts and all(part.name.startswith(first.owner) for part in parts)
    keys = tmp_path / "keys.pem"
    opening = ["audit", "open", *copy, "--grant", "1", "--auditor-key", auditor.key, "--out", keys]
    few = coco(*opening, "--partials", *parts)
    assert few.returncode != 0 and not keys.exists(), few.stdout

    two = auditor.collect(copy, 1, [second], out="more")
    assert two.returncode == 0, two.stderr
    parts += sorted((tmp_path / "more").glob("*.part"))
    opened = coco(*opening, "--partials", *parts)
    assert "opened    epochs 3, 4\n" in opened.stdout, opened.stdout + opened.stderr
    exported = coco("ledger", "export", copy[1], "--keys", keys)
    assert b"audited-3-0".hex() in exported.stdout or "audited-3-0" in exported.stdout
    for neighbour in (2, 5):
        mark = f"audited-{neighbour}-0"
        assert mark not in exported.stdout and mark.encode().hex() not in exported.stdout, neighbour

    # The neighbours on both sides are refused, alone and together with what is granted.
    for epochs in ("2", "5", "2-3", "4-5"):
        refused = auditor.collect(copy, 1, [first], "--epochs", epochs, out="none")
        assert refused.returncode == 3 and "for epochs 3-4 and no other" in refused.stderr, refused.stderr
    # So is whoever else: an actor with a certificate of its own, a stranger without a grant.
    refused = auditor.collect(copy, 1, [first], identity=third.identity, out="none")
    assert refused.returncode == 3 and "another certificate" in refused.stderr, refused.stderr
    stranger = said(coco("member", "keygen", "--name", "stranger", "--out", tmp_path / "stranger", "--json"))
    refused = auditor.collect(copy, 1, [first], identity=stranger["identity"], out="none")
    assert refused.returncode != 0 and not list((tmp_path / "none").glob("*.part")), refused.stdout

    # Each answer stands on the ledger: who gave which epochs for which grant.
    told = released(network, third, 2)
    assert {(e["grant"], e["from"], e["to"]) for e in told} == {(1, 3, 4)}, told

    # An auditor may ask for nothing else.
    asked = coco(
        "proposals", "--identity", auditor.files["identity"], "--network", network.facts["network_certificate"],
        "--vn", first.admin, "--json",
    )  # fmt: skip
    assert asked.returncode == 3 and "nothing else" in asked.stderr, asked.stderr

    # The grant ends by a vote, and so do the answers.
    decided(network, tmp_path, 'title = "Enough"\n[[changes]]\nchange = "revoke-audit"\ngrant = 1\n')
    network.quiesce(network.nodes)
    refused = auditor.collect(copy, 1, [first, second], out="late")
    assert refused.returncode != 0 and not list((tmp_path / "late").glob("*.part")), refused.stdout


def released(network, node, count):
    """So many answers to auditors, as members are told of them."""
    watcher = subprocess.Popen(
        [COCO, "proposals", "--watch", "--since", "0", "--json", *session(network, node)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found = []

    def read():
        for line in watcher.stdout:
            event = json.loads(line)
            if event["fact"] == "audit-released":
                found.append(event)
                if len(found) == count:
                    return

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(30)
    watcher.kill()
    reader.join()
    return found
