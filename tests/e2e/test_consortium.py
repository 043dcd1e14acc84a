"""A consortium from three members to its second version of the code, all of it by votes, under load.

The walk-through in docs/governance.md is this script.
"""

import contextlib
import hashlib
import json
import tomllib

import byhand
import processes
from consortium import Newcomer, admission, joins, lease, logs, running, slot
from network import RELEASE, KeyValue, coco
from pipeline import Writers

RATE = 100  # writes a second at each of two gateways, from the first vote to the last


@contextlib.contextmanager
def load(network):
    """Clients of each of the first nodes, which know the others, too."""
    first = network.nodes[:3]
    work = Writers([network.gateway(first[n:] + first[:n]) for n in (2, 1)], in_flight=8, rate=RATE)
    try:
        yield work
    finally:
        work.running = False
        work.stop()


def test_a_consortium_grows_changes_its_rules_and_its_code():
    with running() as network:
        live(network)


def live(network):
    contoso, fabrikam, northwind = network.nodes
    with load(network) as work:
        network.settle(work)
        alpine = a_fourth_member_and_its_node_join(network)
        network.settle(work)
        adventure = a_participant_runs_a_node(network)
        network.settle(work)
        the_next_vote_needs_all(network)
        second = a_standing_vote_admits_a_second_node(network)
        network.settle(work)
        a_node_is_removed(network, northwind)
        network.settle(work)
        the_code_is_updated(network, work, [second, adventure, alpine, fabrikam, contoso])
        network.settle(work)
    assert not work.failed, work.failed[:5]
    nothing_is_lost(network, work, [alpine, contoso])


def a_fourth_member_and_its_node_join(network):
    network.actors["alpine"] = byhand.keys("alpine", network.directory / "actors")
    alpine = Newcomer(network, "alpine", "alpine")
    changes = [*admission(network, "alpine", "member", network.fetch()), slot("add-node", alpine)]
    proposal = network.propose("contoso", "Alpine becomes a member and runs a node", *changes)
    approved = network.fetch(proposal)
    network.approve(alpine, approved)
    alpine.start()
    logs(alpine, "members must add it first")
    assert alpine.phase() not in ("following", "leading")
    assert network.vote(proposal, "contoso") == "open"
    assert network.vote(proposal, "fabrikam") == "accepted"
    in_force, _ = network.fetch()
    assert in_force["digest"] == approved[0]["digest"] and in_force["version"] == 2
    joins(alpine)
    return alpine


def a_participant_runs_a_node(network):
    """While members decide, they change something else: what the owner approved is not what comes into force."""
    adventure = Newcomer(network, "adventure", "adventure")
    _, tee = admission(network, "adventure", "participant", network.fetch())
    proposal = network.propose("alpine", "Adventure runs a node", tee, slot("add-node", adventure))
    network.approve(adventure, network.fetch(proposal))
    adventure.start()
    logs(adventure, "members must add it first")
    network.decide(["contoso", "fabrikam", "alpine"], "Longer leases", lease(7_200_000))
    for voter in ("contoso", "fabrikam"):
        assert network.vote(proposal, voter) == "open"
    assert network.vote(proposal, "northwind") == "accepted"
    logs(adventure, "is in force; look at that")
    assert adventure.phase() not in ("following", "leading")
    adventure.process.terminate()
    adventure.process.wait(30)
    network.approve(adventure, network.fetch())
    adventure.start()
    joins(adventure)
    return adventure


def the_next_vote_needs_all(network):
    unanimous = {"change": "set-voting-policy", "policy": "unanimous"}
    network.decide(["contoso", "fabrikam", "northwind"], "All decide", unanimous)
    everybody = ["northwind", "contoso", "alpine", "fabrikam"]
    network.decide(everybody, "Shorter leases", lease(5_400_000))


EVERYBODY = ["contoso", "fabrikam", "northwind", "alpine"]


def a_standing_vote_admits_a_second_node(network):
    rule = {
        "change": "set-rule",
        "name": "second-node",
        "accepts": "add-node",
        "when": "proposer.member and proposer.owns and owner.nodes <= 2 and code.endorsements >= majority",
    }
    network.decide(EVERYBODY, "Each member may run two nodes", rule)
    second = Newcomer(network, "contoso-2", "contoso")
    accepted = network.propose("contoso", "Contoso runs two nodes", slot("add-node", second))
    assert accepted["status"] == "accepted"
    closed = next(fact for fact in accepted["facts"] if fact["fact"] == "proposal-closed")
    assert "second-node" in json.dumps(closed)
    network.approve(second, network.fetch())
    second.start()
    joins(second)
    third = {"change": "add-node", "owner": "contoso", "address": "third.contoso.example:7000"}
    opened = network.propose("contoso", "Contoso runs three nodes", third)
    assert opened["status"] == "open"
    assert network.said("withdraw", str(opened["proposal"]), signer="contoso")["status"] == "withdrawn"
    return second


def a_node_is_removed(network, node):
    """It ends by itself although it leads, and stays out, under the same and under a new key."""
    network.decide(EVERYBODY, "Northwind leads", slot("transfer-leadership", node))
    processes.wait_until("it leads", lambda: node.phase() == "leading")
    network.decide(EVERYBODY, "Northwind runs no node", slot("remove-node", node))
    processes.wait_until("the removed node ended", node.ended, 40)
    assert "removed" in node.log()

    def out():
        own = [n for n in network.listed() if n["owner"] == node.owner]
        return own and all(n["status"] == "former" for n in own)

    processes.wait_until("it counts no more", out)
    node.start()
    logs(node, "members must add it first")
    assert node.phase() not in ("following", "leading")
    node.kill()


def measured(images, name):
    return hashlib.sha384((images / name).read_bytes()).hexdigest()


def the_code_is_updated(network, work, nodes):
    first = nodes[0]
    new = byhand.images(network.directory / "images-2", changed=("coco-manager", "coco-worker-kv"))
    old = [image for image in tomllib.loads((network.fetch()[1] / "constitution.toml").read_text())["code"]["images"]]
    binaries = {"manager": "coco-manager", "worker/kv": "coco-worker-kv", "worker/ethereum": "coco-worker-ethereum"}
    changed = [image for image in old if image["name"] in ("manager", "worker/kv")]

    replace(network, first, new)
    processes.wait_until("code that nobody listed is refused", first.ended, 60)
    assert "evidence" in first.log().splitlines()[-1] or "measurement" in first.log()

    adds = [
        {"change": "add-code", **image, "version": "0.2.0", "measurement": measured(new, binaries[image["name"]])}
        for image in changed
    ]
    network.decide(EVERYBODY, "Version 0.2.0 may run", *adds)
    for node in nodes:
        replace(network, node, new)
        joins(node)
        network.settle(work)
    gone = [{"platform": image["platform"], "measurement": image["measurement"]} for image in changed]
    network.decide(EVERYBODY, "Version 0.1.0 retires", *({"change": "retire-code", **one} for one in gone))
    replace(network, first, RELEASE)
    processes.wait_until("retired code does not join", first.ended, 60)
    replace(network, first, new)
    joins(first)
    network.decide(EVERYBODY, "Version 0.1.0 is gone", *({"change": "remove-code", **one} for one in gone))


def replace(network, node, images):
    """Stops a node, lets its owner approve what is in force, and starts it with other images."""
    if not node.ended():
        node.process.terminate()
        node.process.wait(30)
    node.configure("images", images)
    network.approve(node, network.fetch())
    node.start()


def nothing_is_lost(network, work, nodes):
    for node in nodes:
        client = KeyValue(network.gateway([node]), timeout=30)
        found, after = {}, ""
        while True:
            status, body = client.request("GET", f"/kv?prefix=load/&limit=1000&consistency=linear&after={after}")
            assert status == 200, body
            answer = json.loads(body)
            found |= {entry["key"]: entry.get("value") for entry in answer["entries"]}
            if "next" not in answer:
                break
            after = answer["next"]
        client.close()
        lost = [key for key, value in work.acknowledged.items() if found.get(key) != value]
        assert not lost, (len(lost), lost[:5])
        assert len(found) >= len(work.acknowledged) > 1000
    done = coco("ledger", "verify", nodes[0].directory / "data", "--constitution", network.constitution)
    assert done.returncode == 0, done.stdout + done.stderr
