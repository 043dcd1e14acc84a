"""Members are called when there is something new: a number and nothing else."""

import http.server
import json
import ssl
import subprocess
import threading

import processes
from consortium import lease, logs, running


class Receiver(http.server.ThreadingHTTPServer):
    """Somebody's web server. It refuses the first calls, as one that is being deployed does."""

    def __init__(self, refusals, identity=None):
        super().__init__(("127.0.0.1", 0), Call)
        self.refusals, self.heard, self.refused = refusals, [], []
        if identity:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]


class Call(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        taken = len(self.server.refused) >= self.server.refusals
        (self.server.heard if taken else self.server.refused).append((self.path, body))
        self.send_response(204 if taken else 503)
        self.end_headers()

    def log_message(self, *_):
        pass


def with_webhook(node, **section):
    """Restarts a node with a webhook."""
    node.process.terminate()
    node.process.wait(30)
    path = node.directory / "node.toml"
    lines = "".join(f"{key} = {json.dumps(str(value))}\n" for key, value in section.items())
    path.write_text(path.read_text() + f"[webhook]\n{lines}")
    node.start()


def test_members_are_called_with_the_number_of_the_newest_event(tmp_path):
    identity, ca = tmp_path / "receiver.pem", tmp_path / "receiver.crt"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    make += ["-subj", "/CN=receiver", "-addext", "subjectAltName=DNS:localhost"]
    make += ["-addext", "basicConstraints=CA:FALSE", "-keyout", identity, "-out", ca]
    subprocess.run(make, check=True, capture_output=True)
    identity.write_text(identity.read_text() + ca.read_text())
    plain, over_tls, stranger = Receiver(2), Receiver(0, identity), Receiver(0, identity)
    with running() as network:
        contoso, fabrikam, northwind = network.nodes
        with_webhook(northwind, url=f"http://127.0.0.1:{plain.port}/hook/secret")
        processes.wait_until("northwind votes again", northwind.votes, 60)
        with_webhook(fabrikam, url=f"https://localhost:{over_tls.port}/", ca=ca)
        processes.wait_until("fabrikam votes again", fabrikam.votes, 60)
        # The machine's roots do not know this receiver: its node says so, and works.
        with_webhook(contoso, url=f"https://localhost:{stranger.port}/")
        processes.wait_until("contoso votes again", contoso.votes, 60)
        network.decide(["contoso", "fabrikam"], "Longer leases", lease(7_200_000))
        for receiver in (plain, over_tls):
            told = lambda receiver=receiver: receiver.heard and events(receiver.heard)[-1] == same(network.nodes)
            processes.wait_until("the newest event was told", told)
            numbers = events(receiver.heard)
            assert numbers == sorted(set(numbers)), numbers
        assert len(plain.refused) == 2 and {path for path, _ in plain.refused + plain.heard} == {"/hook/secret"}
        logs(northwind, "hears again")
        assert "503" in northwind.log() and "secret" not in northwind.log()
        logs(contoso, "certificate")
        assert not stranger.heard


def same(nodes):
    """The number of the newest event, if each node's host was told the same one."""
    found = {status["events"] for status in (node.status() for node in nodes) if status}
    return found.pop() if len(found) == 1 else None


def events(heard):
    """The numbers; that there is nothing else is checked to the byte."""
    numbers = [json.loads(body)["events"] for _, body in heard]
    assert [body for _, body in heard] == [b'{"events": %d}' % number for number in numbers]
    return numbers
