"""What votes change while a network runs: limits, code, who proposes, who leaves."""

import hashlib
import json
import tomllib

import byhand
import processes
from consortium import logs, running, slot, table
from network import coco
from pipeline import Writers

MEMBERS = ["contoso", "fabrikam"]


def refused(network, signer, title, *changes):
    """What the network says to a proposal that it does not take."""
    path = network.directory / "proposal.toml"
    path.write_text(f"title = {json.dumps(title)}\n" + "".join(map(table, changes)))
    done = network.run("propose", path, signer=signer)
    assert done.returncode == 3, done.stdout + done.stderr
    return done.stderr


def test_votes_reach_what_runs():
    with running() as network:
        batch_limits_reach_running_workers(network)
        nothing_else_of_a_protocol_can_be_set(network)
        a_participant_proposes_its_own_node(network)
        code_is_removed_when_no_node_runs_it(network)
        an_operator_leaves(network)


def height(network):
    """Of the leader: whatever was acknowledged is in it."""
    session = network.session()
    session[session.index("--vn") + 1 :] = [network.leader().machine.admin]
    done = coco("status", *session, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["status"]["protocols"][0]["height"]


def batches(network, prefix, writes=120):
    """How many batches so many writes of 16 clients at once took."""
    before = height(network)
    work = Writers([network.gateway(network.nodes)], in_flight=16, count=writes, prefix=prefix)
    work.thread.join(60)
    work.stop()
    assert len(work.acknowledged) == writes, work.failed[:5]
    return height(network) - before


def batch_limits_reach_running_workers(network):
    assert 0 < batches(network, "many") < 120
    limit = {"change": "set-setting", "name": "batch_units_max", "value": 1}
    network.decide(MEMBERS, "One at a time", limit)
    assert batches(network, "single") == 120
    network.decide(MEMBERS, "As before", {**limit, "value": 1024})
    assert 0 < batches(network, "many-again") < 120


def nothing_else_of_a_protocol_can_be_set(network):
    setting = {"change": "set-protocol-setting", "protocol": "kv", "name": "chainId", "value": "5"}
    assert "genesis" in refused(network, "contoso", "Another chain", setting)
    version = {"change": "set-protocol-version", "protocol": "kv", "version": 3}
    assert "next number" in refused(network, "contoso", "A format too far", version)


def a_participant_proposes_its_own_node(network):
    own = {"change": "add-node", "owner": "adventure", "address": "vn.adventure.example:7000"}
    assert "no member" in refused(network, "adventure", "A node of ours", own)
    policy = {"change": "set-participants-propose", "kinds": ["node"]}
    network.decide(MEMBERS, "Participants propose nodes", policy)
    assert "kind settings" in refused(
        network, "adventure", "And more", own, {"change": "set-setting", "name": "snapshots_kept", "value": 3}
    )
    proposal = network.propose("adventure", "A node of ours", own)
    assert proposal["status"] == "open"
    done = network.run("vote", str(proposal["proposal"]), "--for", signer="adventure")
    assert done.returncode == 3 and "members vote" in done.stderr
    assert network.vote(proposal, "contoso") == "open"
    assert network.vote(proposal, "fabrikam") == "accepted"


def code_is_removed_when_no_node_runs_it(network):
    constitution = tomllib.loads((network.fetch()[1] / "constitution.toml").read_text())
    binaries = {"manager": "coco-manager", "worker/kv": "coco-worker-kv"}
    old = {image["name"]: image for image in constitution["code"]["images"] if image["name"] in binaries}
    new = byhand.images(network.directory / "images-2", changed=binaries.values())
    adds = [
        {
            "change": "add-code",
            **image,
            "version": "0.2.0",
            "measurement": hashlib.sha384((new / binaries[name]).read_bytes()).hexdigest(),
        }
        for name, image in old.items()
    ]
    network.decide(MEMBERS, "Version 0.2.0 may run", *adds)

    def remove(name):
        return {"change": "remove-code", **{key: old[name][key] for key in ("platform", "measurement")}}

    runs = {node["code"]["measurement"] for node in network.listed() if node["status"] == "voter"}
    assert runs == {old["manager"]["measurement"]}
    text = refused(network, "contoso", "Version 0.1.0 is gone", remove("manager"))
    assert all(f"at {node.machine.node}" in text for node in network.nodes), text
    # A worker's image is in nobody's evidence: each manager stops its own.
    network.decide(MEMBERS, "The old worker is gone", remove("worker/kv"))
    for node in network.nodes:
        logs(node, "members removed the image of worker/kv")
        assert node.phase() in ("leading", "following")
    for node in network.nodes:
        node.process.terminate()
        node.process.wait(30)
        node.configure("images", new)
        network.approve(node, network.fetch())
        node.start()
        processes.wait_until(f"{node.owner} votes", node.votes, 60)
    network.decide(MEMBERS, "The old manager is gone", remove("manager"))
    assert batches(network, "new-code") > 0


def an_operator_leaves(network):
    """With a standing vote nobody else has to do anything."""
    rule = {"change": "set-rule", "name": "leave", "accepts": "remove-node", "when": "proposer.owns and nodes >= 1"}
    network.decide(MEMBERS, "Whoever wants to leave may", rule)
    northwind = network.nodes[2]
    others = network.propose("contoso", "Northwind's node goes", slot("remove-node", northwind))
    assert others["status"] == "open"
    assert network.said("withdraw", str(others["proposal"]), signer="contoso")["status"] == "withdrawn"
    assert network.propose("northwind", "We leave", slot("remove-node", northwind))["status"] == "accepted"
    processes.wait_until("the node ended", northwind.ended, 40)
    assert "removed" in northwind.log()
