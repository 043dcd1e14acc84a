"""A network of real processes: `coco sandbox` of the release build, and what a test does to it."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import random
import socket
import subprocess
import tempfile
import time
import urllib.request

import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = pathlib.Path(os.environ.get("COCO_RELEASE", ROOT / "target" / "release"))
COCO = RELEASE / "coco"


_given = set()


def free_port(count=1):
    """The first of some ports in a row that nobody uses now, and that were given to nobody before: who
    asked may not have bound them yet."""
    while True:
        with contextlib.ExitStack() as held:
            # Below the range from which the system gives ports to connections that go out.
            port = random.randrange(20000, 32000)
            ports = range(port, port + count)
            if not _given.isdisjoint(ports):
                continue
            try:
                for number in ports:
                    held.enter_context(socket.socket()).bind(("127.0.0.1", number))
            except (OSError, OverflowError):
                continue
            _given.update(ports)
            return port


def coco(*arguments, **options):
    """Runs a command to its end; gives exit code and output."""
    command = [str(COCO), *map(str, arguments)]
    return subprocess.run(command, **{"capture_output": True, "text": True, "timeout": 120} | options)


class Node:
    """One validating node of a sandbox."""

    def __init__(self, network, facts):
        self.network = network
        self.owner = facts["owner"]
        self.address = facts["address"]
        self.admin = facts["admin"]
        self.metrics = facts["metrics"]
        self.ports = facts["protocols"]
        self.identity = facts["identity"]
        self.directory = pathlib.Path(facts["directory"])
        self.ledger = self.directory / "data" / "ledger"
        self.supervisor = next(
            pid
            for pid in processes.tree(network.process.pid)
            if str(self.directory / "node.toml") in processes.argv(pid)
        )

    def processes(self):
        """All of this node, by what they run."""
        return {processes.image(pid): pid for pid in processes.tree(self.supervisor)}

    def pid(self, image):
        return self.processes()[image]

    def status(self):
        """What the node's manager told its host last."""
        with urllib.request.urlopen(f"http://{self.metrics}/status", timeout=5) as answer:
            return json.load(answer)

    def log(self):
        return (self.directory / "log.txt").read_text(errors="replace")

    def kill(self):
        """kill -9 of everything that this node is."""
        processes.kill(*processes.tree(self.supervisor))

    def chunks(self):
        return sorted(path for path in self.ledger.iterdir() if path.is_file())


class Network:
    """A running sandbox."""

    def __init__(self, directory, *arguments):
        self.directory = pathlib.Path(directory)
        self.port = free_port(8)
        self.output = self.directory.with_suffix(".out")
        self.errors = self.directory.with_suffix(".err")
        began = time.monotonic()
        with self.output.open("w") as output, self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [COCO, "sandbox", "--json", "--dir", directory, "--rpc-port", str(self.port), *arguments],
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        self.facts = processes.wait_until("the sandbox is up", self._facts, 90)
        self.took = time.monotonic() - began
        self.nodes = [Node(self, facts) for facts in self.facts["nodes"]]
        # The first of each protocol is the first participant's.
        self.gateways = {entry["protocol"]: entry["address"] for entry in reversed(self.facts["gateways"])}
        self.rpc = f"http://{self.gateways['ethereum']}"
        self.ws = f"ws://{self.gateways['ethereum']}"
        self.participants = {entry["name"]: entry["identity"] for entry in self.facts["participants"]}
        self.more = []

    def _facts(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the sandbox ended with {self.process.returncode}:\n{self.said()}")
        try:
            return json.loads(self.output.read_text())
        except json.JSONDecodeError:
            return None

    def said(self):
        return self.errors.read_text(errors="replace")

    def node(self, owner):
        return next(node for node in self.nodes if node.owner == owner)

    def leader(self, among=None):
        """The node that leads, once all that live agree on it."""

        def look():
            states = [(node, node.status()) for node in among or self.nodes]
            leading = [node for node, status in states if status["phase"] == "leading"]
            followed = {status["leader"] for _, status in states}
            return leading[0] if len(leading) == 1 and len(followed) == 1 else None

        return processes.wait_until("one leader", look)

    def gateway(self, protocol, nodes, participant=0):
        """A gateway of its own that knows these nodes only; gives its address."""
        port = free_port()
        identity = list(self.participants.values())[participant]
        command = [COCO, "gateway", "--identity", identity]
        command += ["--network", self.facts["network_certificate"], "--protocol", protocol]
        command += ["--constitution", self.facts["constitution"], "--listen", f"127.0.0.1:{port}"]
        command += ["--vn", *(f"127.0.0.1:{node.ports[protocol]}" for node in nodes)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.more.append(process)

        def listens():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        processes.wait_until("the gateway listens", listens)
        return f"127.0.0.1:{port}"

    def quiesce(self, nodes):
        """Waits until these nodes have committed all that they have, the same on each."""

        def look():
            states = [node.status() for node in nodes]
            ends = {(status["last"], status["committed"]) for status in states}
            return len(ends) == 1 and all(last == committed for last, committed in ends) and ends

        before = None
        while True:
            ends = processes.wait_until("all nodes stand at the same entry", look)
            if ends == before:
                return next(iter(ends))[1]
            before = ends
            time.sleep(0.3)

    def everything(self):
        return [pid for pid in processes.tree(self.process.pid)]

    def stop(self, signal_=signal.SIGINT):
        """Asks the sandbox to end; gives its exit code."""
        for process in self.more:
            process.kill()
            process.wait()
        self.process.send_signal(signal_)
        try:
            return self.process.wait(30)
        finally:
            processes.kill(*self.everything())


@contextlib.contextmanager
def running(*arguments):
    """A fresh network in a fresh directory, gone at the end, shown if the test failed."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="coco-e2e-"))
    # The hosts run as a user of their own when root runs this.
    directory.chmod(0o711)
    network = None
    try:
        network = Network(directory / "network", *arguments)
        yield network
    except BaseException:
        for log in sorted(directory.glob("network/nodes/*/log.txt")):
            lines = log.read_text(errors="replace").splitlines()
            print(f"--- {log}", *lines[-25:], sep="\n")
        raise
    finally:
        if network is not None and network.process.poll() is None:
            network.stop()
        shutil.rmtree(directory, ignore_errors=True)


class KeyValue:
    """A client of the key-value protocol that keeps its connection."""

    def __init__(self, address, timeout=10):
        self.address = address
        self.timeout = timeout
        self.connection = None

    def request(self, method, path, body=None, headers=None):
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.address, timeout=self.timeout)
            self.connection.request(method, path, body, headers or {})
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def put(self, key, value, request_id):
        return self.request("PUT", f"/kv/{key}", value, {"Coco-Request-Id": request_id})

    def read(self, key, consistency="local"):
        return self.request("GET", f"/kv/{key}?consistency={consistency}")

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None


def rpc(url, method, *params, timeout=15):
    """One JSON-RPC call; gives the result, or raises RuntimeError with the error."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        reply = json.load(answer)
    if "error" in reply:
        raise RuntimeError(reply["error"])
    return reply["result"]


def batch(url, calls):
    """Answers of many calls, in order: results, or errors."""
    body = [
        {"jsonrpc": "2.0", "id": place, "method": method, "params": params}
        for place, (method, params) in enumerate(calls)
    ]
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        replies = sorted(json.load(answer), key=lambda reply: reply["id"])
    assert len(replies) == len(calls)
    return replies
