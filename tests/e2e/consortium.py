"""A consortium of real nodes, and what its members do: propose, vote, fetch, approve, start nodes."""

import json
import pathlib
import subprocess
import tomllib

import byhand
import isolated
import processes
from network import coco


class Member(isolated.Restartable):
    """A node whose configuration is written once; what its owner approves is put into it by `coco`."""

    def start(self):
        if self.process is None:
            super().start()
            return
        with (self.directory / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                [isolated.COCO, "node", "start", "--config", self.directory / "node.toml"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ended(self):
        return self.process.poll() is not None

    def configure(self, key, value):
        path = self.directory / "node.toml"
        lines = [l for l in path.read_text().splitlines(keepends=True) if not l.startswith(f"{key} = ")]
        path.write_text(f"{key} = {json.dumps(str(value))}\n" + "".join(lines))


class Newcomer(Member):
    """A node that members have not listed yet. It does not start before its owner has approved something."""

    def __init__(self, network, name, owner):
        self.name, self.files = name, network.actors[owner]
        machine = isolated.Machine()
        self.network, self.owner, self.machine, self.create = network, owner, machine, False
        self.ports = {"kv": machine.kv}
        self.directory = network.directory / name
        self.directory.mkdir()
        listen = {"node": machine.node, "admin": machine.admin, "metrics": machine.metrics}
        replaced = {"constitution": "nothing-approved-yet", "peers": list(network.addresses.values())}
        config = byhand.configuration(network, owner, listen, machine.kv, **replaced)
        (self.directory / "node.toml").write_text(byhand.toml(config))
        self.process = subprocess.Popen(["true"])
        self.process.wait()
        network.nodes.append(self)


class Consortium(isolated.Apart):
    """What members do: propose, vote, fetch, approve."""

    node_type = Member
    count = 0

    def __init__(self, directory):
        super().__init__(directory)
        self.actors["adventure"] = self.customer

    def session(self):
        live = [node for node in self.nodes if not node.ended() and node.phase() in ("leading", "following")]
        admins = [node.machine.admin for node in live]
        return ["--identity", self.actors["contoso"]["identity"], "--network", self.certificate, "--vn", *admins]

    def run(self, *arguments, signer=None):
        signing = ["--sign-with", self.actors[signer]["identity"]] if signer else []
        return coco(*arguments, *signing, *self.session(), "--json")

    def said(self, *arguments, signer=None):
        done = self.run(*arguments, signer=signer)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout[done.stdout.index("{") :])

    def propose(self, signer, title, *changes):
        path = self.directory / "proposal.toml"
        path.write_text(f"title = {json.dumps(title)}\n" + "".join(map(table, changes)))
        return self.said("propose", path, signer=signer)

    def vote(self, proposal, *voters):
        for voter in voters:
            answer = self.said("vote", str(proposal["proposal"]), "--for", signer=voter)
        return answer["status"]

    def decide(self, voters, title, *changes):
        """Proposed by the first of the voters and accepted with the vote of the last."""
        proposal = self.propose(voters[0], title, *changes)
        for voter in voters[:-1]:
            assert self.vote(proposal, voter) == "open", f"{voter} alone decides {title!r}"
        assert self.vote(proposal, voters[-1]) == "accepted"

    def fetch(self, proposal=None):
        """The constitution in force, or after a proposal; gives what was said and where it is."""
        self.count += 1
        out = self.directory / f"fetched-{self.count}"
        which = ["--proposal", str(proposal["proposal"])] if proposal else []
        done = coco("constitution", "fetch", *which, "--out", out, *self.session(), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), out

    def approve(self, node, fetched):
        said, directory = fetched
        options = ["--config", node.directory / "node.toml", "--expect-digest"]
        wrong = coco("constitution", "approve", directory, *options, "0" * 64)
        assert wrong.returncode == 2 and "not approved" in wrong.stderr, wrong.stderr
        done = coco("constitution", "approve", directory, *options, said["digest"])
        assert done.returncode == 0 and said["digest"] in done.stdout, done.stderr

    def listed(self):
        """Every incarnation that was ever admitted, as the network tells it."""
        done = coco("status", *self.session(), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["nodes"]

    def settle(self, work):
        """Clients are served."""
        reached = work.count() + 50
        processes.wait_until("clients are served", lambda: work.count() >= reached, 30)


def table(change):
    return "\n[[changes]]\n" + "".join(f"{key} = {inline(value)}\n" for key, value in change.items())


def inline(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {inline(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value)


def lease(ms):
    return {"change": "set-setting", "name": "lease_length_ms", "value": ms}


def admission(network, name, role, fetched):
    """What lists an organisation, the platform that it runs on, and its node."""
    files = network.actors[name]
    tee = tomllib.loads((fetched[1] / "constitution.toml").read_text())["tee"]
    tee["accepted"][0]["roots"].append(pathlib.Path(files["platform_root"]).read_text())
    certificate = pathlib.Path(files["certificate"]).read_text()
    actor = {"change": "add-actor", "name": name, "roles": [role], "certificates": [certificate]}
    return actor, {"change": "set-tee", **tee}


def slot(change, node):
    return {"change": change, "owner": node.owner, "address": node.machine.node}


def joins(node):
    processes.wait_until(f"{node.directory.name} votes in consensus", node.votes, 60)


def logs(node, text, seconds=30):
    processes.wait_until(f"{node.directory.name} says {text!r}", lambda: text in node.log(), seconds)


def running():
    return byhand.running(Consortium)
