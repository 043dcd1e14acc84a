"""A running `coco example supply-chain`, as its page sees it."""

import contextlib
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import tomllib
import urllib.error
import urllib.request

import processes
from network import COCO, free_port


class Example:
    def __init__(self, directory):
        self.directory = directory
        self.port = free_port(8)
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = directory.with_suffix(".out")
        self.errors = directory.with_suffix(".err")
        with self.output.open("w") as output, self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [COCO, "example", "supply-chain", "--json", "--dir", directory, "--port", str(self.port)],
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        self.facts = processes.wait_until("the example is up", self._facts, 120)
        self.roles = {role["name"]: role for role in self.facts["roles"]}

    def _facts(self):
        if self.process.poll() is not None:
            raise AssertionError(f"it ended with {self.process.returncode}:\n{self.errors.read_text()}")
        try:
            return json.loads(self.output.read_text())
        except json.JSONDecodeError:
            return None

    def ask(self, path, body=None, headers=None):
        """Status and JSON (or text) of a request of the page."""
        data = None if body is None else json.dumps(body).encode()
        headers = ({"content-type": "application/json"} if body is not None else {}) | (headers or {})
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except json.JSONDecodeError:
            return status, text.decode()

    def get(self, path):
        status, answer = self.ask(path)
        assert status == 200, answer
        return answer

    def post(self, path, body):
        status, answer = self.ask(path, body)
        assert status == 200, answer
        return answer

    def view(self, role, height=None):
        return self.get(f"/api/view?role={role}" + ("" if height is None else f"&height={height}"))

    def is_sealed(self):
        """The session keys are sealed to the actors, at every node."""
        ports = [tomllib.loads(file.read_text())["listen"]["metrics"] for file in self.directory.glob("nodes/*/node.toml")]
        epochs = [json.load(urllib.request.urlopen(f"http://{port}/status", timeout=5))["epoch"] for port in ports]
        return len(epochs) == 3 and min(epochs) > 1

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(30)
        finally:
            processes.kill(*processes.tree(self.process.pid))


@contextlib.contextmanager
def directory():
    """One that hosts, which run as another user when root runs this, can enter."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="coco-e2e-"))
    made.chmod(0o711)
    try:
        yield made / "network"
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def running():
    with directory() as place:
        example = Example(place)
        try:
            yield example
        except BaseException:
            for log in sorted(place.glob("nodes/*/log.txt")):
                print(f"--- {log}", *log.read_text(errors="replace").splitlines()[-25:], sep="\n")
            raise
        finally:
            if example.process.poll() is None:
                example.stop()
