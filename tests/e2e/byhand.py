"""A network made as its operators make it: keys, a constitution, one `coco node start` for each node."""

import contextlib
import hashlib
import json
import pathlib
import shutil
import subprocess
import tempfile
import urllib.request

import processes
from network import COCO, RELEASE, coco, free_port

MEMBERS = ("contoso", "fabrikam", "northwind")


def ran(*arguments):
    done = coco(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def keys(name, out):
    """Keys of an actor; gives its files."""
    return json.loads(ran("member", "keygen", "--name", name, "--out", out, "--json"))


def images(out, changed=()):
    """The enclave images; one byte is added at the end of those named, which changes nothing but their measure."""
    out.mkdir()
    for source in RELEASE.glob("coco*"):
        if source.is_file() and not source.suffix:
            shutil.copy(source, out)
            if source.name in changed:
                with (out / source.name).open("ab") as file:
                    file.write(b"\0")
    return out


class Started:
    """One `coco node start`."""

    def __init__(self, directory, config):
        directory.mkdir()
        self.directory = directory
        self.metrics = config["listen"]["metrics"]
        self.admin = config["listen"]["admin"]
        self.ports = {name: part["listen"] for name, part in config["protocols"].items()}
        (directory / "node.toml").write_text(toml(config))
        with (directory / "log.txt").open("w") as log:
            self.process = subprocess.Popen(
                [COCO, "node", "start", "--config", directory / "node.toml"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self):
        return (self.directory / "log.txt").read_text(errors="replace")

    def phase(self):
        try:
            with urllib.request.urlopen(f"http://{self.metrics}/status", timeout=5) as answer:
                return json.load(answer)["phase"]
        except (OSError, ValueError, KeyError):
            return None

    def ledger_bytes(self):
        return sum(file.stat().st_size for file in self.directory.glob("data/ledger/*"))

    def stop(self):
        whole = processes.tree(self.process.pid)
        self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            processes.kill(*whole)


def toml(value, path=()):
    """As much of TOML as a configuration needs."""
    flat = {key: part for key, part in value.items() if not isinstance(part, dict)}
    text = f"[{'.'.join(path)}]\n" if path else ""
    # JSON's texts, numbers, truth values and lists of them are TOML's.
    text += "".join(f"{key} = {json.dumps(part)}\n" for key, part in flat.items())
    deeper = [(key, part) for key, part in value.items() if isinstance(part, dict)]
    return text + "".join(toml(part, (*path, key)) for key, part in deeper)


def configuration(network, owner, listen, clients, **more):
    """What the owner of a node writes down: where the node listens, to other nodes and to clients; `more` replaces members."""
    files = network.actors[owner]
    protocol = {"listen": clients, "settings": str(network.directory / f"{network.protocol}.json")}
    return {
        "owner": owner,
        "address": listen["node"],
        "directory": "data",
        "constitution": str(network.constitution),
        "peers": [address for name, address in network.addresses.items() if name != owner],
        "images": str(RELEASE),
        "listen": listen,
        "protocols": {network.protocol: protocol},
        "agent": {"identity": files["agent"], "share_key": files["share"]},
        "platform": {"key": files["platform_key"], "certificates": files["platform_certificates"]},
    } | more


class ByHand:
    """Two running nodes, and a place in the constitution for a third."""

    # Of the constitution, in TOML, where the defaults do not fit a test.
    settings_lines = ()
    # The one protocol, who reads what of it, its part of the constitution in TOML, and its genesis settings.
    protocol, access = "kv", "transparent"
    protocol_lines = ()
    genesis = "{}"

    @property
    def customers(self):
        """The participants by name, with their files."""
        return {"adventure": self.customer}

    def __init__(self, directory):
        self.directory = directory
        self.actors = {name: keys(name, directory / "actors") for name in MEMBERS}
        self.customer = keys("adventure", directory / "actors")
        self.addresses = {name: f"127.0.0.1:{free_port()}" for name in MEMBERS}
        self.constitution = self.constitute(directory / "network", "trade.example", RELEASE)
        self.nodes = [self.start("contoso", create=True)]
        processes.wait_until("the first node leads", lambda: self.nodes[0].phase() == "leading")
        self.nodes.append(self.start("fabrikam"))
        processes.wait_until("the second follows", lambda: self.nodes[1].phase() == "following")

    def constitute(self, out, name, measured):
        def text(path):
            return json.dumps(pathlib.Path(path).read_text())

        settings = self.directory / f"{self.protocol}.json"
        settings.write_text(self.genesis)
        lines = [f'network = "{name}"', "genesis_time_ms = 1700000000000"]
        lines += self.settings_lines
        for actor, files in [*self.actors.items(), *self.customers.items()]:
            role = "participant" if actor in self.customers else "member"
            lines += ["[[actors]]", f'name = "{actor}"', f'roles = ["{role}"]']
            lines += [f"certificates = [{text(files['certificate'])}]"]
            if actor in self.addresses:
                lines += [f'share_key = "{files["share_key"]}"']
        for owner, address in self.addresses.items():
            lines += ["[[nodes]]", f'owner = "{owner}"', f'address = "{address}"']
        lines += ["[[protocols]]", f'name = "{self.protocol}"', "version = 1", f'access = "{self.access}"']
        lines += [f'settings_digest = "{hashlib.sha256(settings.read_bytes()).hexdigest()}"', *self.protocol_lines]
        roots = ", ".join(text(files["platform_root"]) for files in self.actors.values())
        lines += ["[tee]", 'strength_min = "software"', "evidence_age_max_ms = 60000"]
        lines += ["[[tee.accepted]]", 'platform = "software"', f"roots = [{roots}]"]
        # Kernels in containers lack some of the lock-down; this test is about other refusals.
        lines += ["admit_shared_user = true", f"missing_allowed = {json.dumps(MAY_BE_MISSING)}"]
        source = out.with_suffix(".toml")
        source.write_text("\n".join(lines))
        ran("network", "create", "--constitution", source, "--measure-images", measured, "--out", out)
        return out / "constitution.cbor"

    def start(self, owner, create=False, into=None, **changes):
        """Starts a node; changes replace what its owner would have configured."""
        listen = {
            "node": self.addresses[owner],
            "admin": f"127.0.0.1:{free_port()}",
            "metrics": f"127.0.0.1:{free_port()}",
        }
        peers = [address for name, address in self.addresses.items() if name != owner][:2]
        config = configuration(self, owner, listen, f"127.0.0.1:{free_port()}", create=create, peers=peers)
        for key, value in changes.items():
            config[key] = config[key] | value if isinstance(value, dict) else value
        return Started(self.directory / (into or owner), config)

    def stop(self):
        for node in self.nodes:
            if node.process.poll() is None:
                node.stop()


MAY_BE_MISSING = ["landlock", "memory-deny-write-execute", "cgroup-namespace"]


@contextlib.contextmanager
def running(make=ByHand):
    """A fresh network in a fresh directory, gone at the end, shown if the test failed."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="coco-e2e-"))
    directory.chmod(0o711)
    network = None
    try:
        network = make(directory)
        yield network
    except BaseException:
        for log in sorted(directory.glob("*/log.txt")):
            print(f"--- {log}", *log.read_text(errors="replace").splitlines()[-25:], sep="\n")
        raise
    finally:
        if network is not None:
            network.stop()
        shutil.rmtree(directory, ignore_errors=True)
