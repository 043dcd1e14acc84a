"""Validating nodes that can be killed and started again, on machines of their own if a test wants that: each in a
network namespace.

Namespaces hang on `switch.py`, which cuts wires one way or both, loses and delays frames. Clients have
namespaces, too, so that some can be cut off together with a node. That needs root.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import urllib.request

import byhand
import processes
from network import COCO, RELEASE, free_port

OWNERS = byhand.MEMBERS
SIDES = ("left", "right")  # where clients are
NET = "10.77.0."
_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def why_not():
    """Why namespaces cannot be used here; None if they can."""
    if os.geteuid() != 0:
        return "NOT TESTED: networks of namespaces, because that needs root"
    if shutil.which("ip") is None:
        return "NOT TESTED: networks of namespaces, because `ip` is missing: install iproute2"
    probe = f"coco-probe-{os.getpid()}"
    made = _ip("netns", "add", probe, check=False)
    if made.returncode == 0:
        made = _ip("-n", probe, "link", "add", "probe0", "type", "veth", "peer", "name", "probe1", check=False)
        _ip("netns", "del", probe, check=False)
    if made.returncode != 0:
        return f"NOT TESTED: networks of namespaces, because this kernel refuses: {made.stderr.strip()}"
    return None


def _ip(*arguments, check=True):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert not check or done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done


@contextlib.contextmanager
def inside(namespace):
    """This thread's new sockets belong to the namespace."""
    with open("/proc/thread-self/ns/net") as outside, open(f"/run/netns/{namespace}") as there:
        assert _libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert _libc.setns(outside.fileno(), CLONE_NEWNET) == 0


def _whole_frames(namespace, interface):
    """Frames leave the interface as on a wire: not longer than it takes, with their checksums."""
    tx_checksum, tso, gso = 0x17, 0x1F, 0x24
    with inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for command in (tso, gso, tx_checksum):
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
            fcntl.ioctl(probe, 0x8946, request)  # SIOCETHTOOL


class Switch:
    """The wires between the namespaces."""

    def __init__(self):
        self.prefix = f"coco{os.getpid()}"
        self.hub = f"{self.prefix}-switch"
        self.names = [*OWNERS, *SIDES]
        _ip("netns", "add", self.hub)
        for number, name in enumerate(self.names, 1):
            own = self.namespace(name)
            _ip("netns", "add", own)
            _ip("-n", self.hub, "link", "add", "name", name, "mtu", "1500", "type", "veth", "peer", "name", "eth0")
            _ip("-n", self.hub, "link", "set", "eth0", "netns", own)
            _ip("-n", self.hub, "link", "set", name, "up")
            _ip("-n", own, "link", "set", "lo", "up")
            _ip("-n", own, "address", "add", f"{NET}{number}/24", "dev", "eth0")
            _ip("-n", own, "link", "set", "eth0", "up")
            _whole_frames(own, "eth0")
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.hub}", sys.executable, pathlib.Path(__file__).with_name("switch.py")]
            + self.names,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def namespace(self, name):
        return f"{self.prefix}-{name}"

    def address(self, name):
        return f"{NET}{self.names.index(name) + 1}"

    def rules(self, **rules):
        """How frames are treated from when this returns."""
        self.process.stdin.write(json.dumps(rules) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def part(self, *islands):
        """Only names of one island reach one another."""
        home = {name: number for number, island in enumerate(islands) for name in island}
        assert set(home) == set(self.names), "every name is somewhere"
        self.rules(cut=[[a, b] for a in home for b in home if home[a] != home[b]])

    def heal(self):
        self.rules()

    def remove(self):
        self.process.kill()
        self.process.wait()
        for name in ("switch", *self.names):
            _ip("netns", "del", self.namespace(name), check=False)


class Machine:
    """Where a node runs: in a namespace, or like everything else here."""

    def __init__(self, namespace=None, address="127.0.0.1"):
        self.namespace = namespace
        self.prefix = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
        ports = [7000, 7001, 7002, 7100] if namespace else range(port := free_port(4), port + 4)
        node, admin, metrics, kv = ports
        self.node, self.kv = f"{address}:{node}", f"{address}:{kv}"
        self.admin, self.metrics = f"127.0.0.1:{admin}", f"127.0.0.1:{metrics}"

    def inside(self):
        return inside(self.namespace) if self.namespace else contextlib.nullcontext()


class Restartable(byhand.Started):
    """One node on its machine; can be started again on what its disk holds."""

    def __init__(self, network, owner, machine, create):
        self.network = network
        self.owner = owner
        self.machine = machine
        self.create = create
        self.ports = {"kv": machine.kv}
        self.directory = network.directory / owner
        self.directory.mkdir()
        self.process = None
        # The file of the owner's share-transport key; and the key in a module that opens it, if one does.
        self.share_key = network.actors[owner]["share"], None
        # What M actors ordered after the quorum was lost.
        self.restart_order = None
        self.start()

    def start(self):
        files = self.network.actors[self.owner]
        machine = self.machine
        share_key, module = self.share_key
        agent = {"identity": files["agent"], "share_key": str(share_key)}
        if module:
            agent["share_key_module"] = module
        listen = {"node": machine.node, "admin": machine.admin, "metrics": machine.metrics}
        first = self.create and self.process is None
        config = byhand.configuration(self.network, self.owner, listen, machine.kv, create=first, agent=agent)
        if self.restart_order:
            config["restart_order"] = str(self.restart_order)
        (self.directory / "node.toml").write_text(byhand.toml(config))
        with (self.directory / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                [*machine.prefix, COCO, "node", "start", "--config", self.directory / "node.toml"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def status(self):
        """What the manager told its host last; None while there is none."""
        try:
            with self.machine.inside():
                with urllib.request.urlopen(f"http://{self.machine.metrics}/status", timeout=2) as answer:
                    return json.load(answer)
        except (OSError, ValueError):
            return None

    def phase(self):
        status = self.status()
        return status and status["phase"]

    def gauges(self):
        status = self.status()
        return (status or {}).get("gauges", {})

    def votes(self):
        """Whether this incarnation is a voter; a founder is one from the start."""
        return self.phase() == "leading" or self.gauges().get("voter_ms", 0) > 0

    def kill(self):
        """kill -9 of everything that this node is."""
        processes.kill(*processes.tree(self.process.pid))
        self.process.wait()


class Apart(byhand.ByHand):
    """Three nodes that can be killed and started again; with a switch, also two places for clients."""

    node_type = Restartable
    owners = OWNERS
    # A snapshot every few seconds under load.
    settings_lines = ("[settings]", "snapshot_entries = 1000")

    def __init__(self, directory, switch=None):
        self.directory = directory
        self.switch = switch
        self.gateways = []
        self.actors = {name: byhand.keys(name, directory / "actors") for name in self.owners}
        self.customer = byhand.keys("adventure", directory / "actors")
        machines = {
            name: Machine(switch.namespace(name), switch.address(name)) if switch else Machine()
            for name in self.owners
        }
        self.addresses = {name: machine.node for name, machine in machines.items()}
        self.constitution = self.constitute(directory / "network", "trade.example", RELEASE)
        self.nodes = []
        for number, owner in enumerate(self.owners):
            node = self.node_type(self, owner, machines[owner], create=number == 0)
            self.nodes.append(node)
            wanted = "leading" if number == 0 else "following"
            processes.wait_until(f"{owner} is {wanted}", lambda node=node, w=wanted: node.phase() == w, 60)
        self.certificate = directory / "network.pem"
        pin = ["network", "pin", "--constitution", self.constitution, "--out", self.certificate]
        pin += ["--identity", self.customer["identity"], "--vn", self.nodes[0].machine.admin]
        subprocess.run(
            [*self.nodes[0].machine.prefix, COCO, *pin],
            check=True,
            capture_output=True,
        )

    def leader(self, among=None):
        """The one node that leads, once those that live agree."""

        def look():
            states = [(node, node.status()) for node in among or self.nodes]
            if not all(status for _, status in states):
                return None
            leading = [node for node, status in states if status["phase"] == "leading"]
            followed = {status["leader"] for _, status in states}
            return leading[0] if len(leading) == 1 and len(followed) == 1 else None

        return processes.wait_until("one leader", look)

    def gateway(self, nodes, side=None):
        """A gateway, at a side of the network if that has any; gives its address there."""
        listen = f"127.0.0.1:{7300 + len(self.gateways) if side else free_port()}"
        prefix = ["nsenter", f"--net=/run/netns/{self.switch.namespace(side)}"] if side else []
        command = [*prefix, COCO, "gateway"]
        command += ["--identity", self.customer["identity"], "--protocol", "kv", "--listen", listen]
        command += ["--network", self.certificate, "--vn", *(n.ports["kv"] for n in nodes)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.gateways.append(process)
        assert listen in process.stdout.readline()
        return listen

    def stop(self):
        for gateway in self.gateways:
            gateway.kill()
            gateway.wait()
        for node in self.nodes:
            if node.process.poll() is None:
                node.kill()
            node.process.wait()


@contextlib.contextmanager
def running(namespaces=True, network_type=None):
    """A fresh network, on machines of their own or all on this one."""
    switch = Switch() if namespaces else None
    try:
        with byhand.running(lambda directory: (network_type or Apart)(directory, switch)) as network:
            yield network
    finally:
        if switch is not None:
            switch.remove()
