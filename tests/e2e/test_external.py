"""Contracts that call HTTPS systems outside: a real server with certificates made here, behind a recorder that sees
what a host sees."""

import contextlib
import datetime
import hashlib
import http.server
import ipaddress
import json
import socket
import ssl
import threading
import urllib.error
import urllib.request

import network as networks
import processes
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from eth_account import Account
from network import coco
from web3 import Web3

def selector(signature):
    return Web3.keccak(text=signature)[:4].hex().removeprefix("0x")


EXTERNAL = "00000000000000000000000000000000c0c00004"
# Gives its input to EXTERNAL. Slots: 0 whether that succeeded (1 no, 2 yes), then words of what came back: 1 status, 2
# where the reply is, 3 its first word. After a failure 1 begins with the selector of Failed(uint8), and 2 with its end.
RUNTIME = (
    f"365f5f37" f"6080612000365f5f73{EXTERNAL}5af1" f"6001015f55" f"61200051600155" f"61202051600255" f"61206051600355" f"00"
)
SECRET = "whatever-the-host-must-not-see"
FAILED = selector("Failed(uint8)")
NOT_ALLOWED, UNREACHABLE, UNTRUSTED, TIMED_OUT, TOO_LARGE = range(1, 6)
TIME_MAX_MS = 2_000


def call(method, *params):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def ask(url, body):
    """Status and JSON of one request."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


class Server:
    """Answers, holds back, says too much; behind a recorder of every byte that passes."""

    def __init__(self, stack, directory, key, certificate):
        self.asked = []
        self.released = threading.Event()
        self.seen = bytearray()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.asked.append((self.command, self.path, self.headers.get("idempotency-key"), body))
                if self.path.startswith("/v1/held"):
                    outer.released.wait(60)
                reply = b"x" * 100_000 if self.path.startswith("/v1/huge") else b"42 " + SECRET.encode()
                self.send_response(404 if self.path.startswith("/v1/none") else 200)
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(reply)

            do_GET = do_POST = respond

            def log_message(self, *_):
                pass

        chain, private = directory / "chain.pem", directory / "key.pem"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(chain, private)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        stack.callback(self.released.set)
        self.behind = server.server_address[1]
        recorder = socket.create_server(("127.0.0.1", 0))
        stack.callback(recorder.close)
        self.port = recorder.getsockname()[1]
        threading.Thread(target=self.record, args=[recorder], daemon=True).start()

    def record(self, recorder):
        with contextlib.suppress(OSError):
            while True:
                near, _ = recorder.accept()
                far = socket.create_connection(("127.0.0.1", self.behind))
                for one, other in [(near, far), (far, near)]:
                    threading.Thread(target=self.pump, args=[one, other], daemon=True).start()

    def pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.seen += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def certificate(key, issuer=None, authority=False):
    """Certified by itself or by (name, key)."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority" if authority else "server")])
    now = datetime.datetime.now(datetime.UTC)
    signer_name, signer = issuer or (name, key)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(signer, hashes.SHA256())
    )


def fingerprint(key):
    encoded = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(encoded).hexdigest()


class Caller:
    """A contract that asks, and the account that has it ask."""

    def __init__(self, rpc):
        self.rpc = rpc
        self.account = Account.create()
        init = f"60{len(RUNTIME) // 2:02x}8060095f395ff3"
        deployed = self.receipt(self.send(None, "0x" + init + RUNTIME))
        assert deployed["status"] == "0x1", deployed
        self.address = deployed["contractAddress"]

    def send(self, to, data, account=None, gas=3_000_000):
        account = account or self.account
        _, answer = ask(self.rpc, call("eth_getTransactionCount", account.address, "pending"))
        transaction = {"chainId": 31337, "nonce": int(answer["result"], 16), "gas": gas, "value": 0, "data": data}
        transaction |= {"maxFeePerGas": 1, "maxPriorityFeePerGas": 1} | ({"to": to} if to else {})
        signed = account.sign_transaction(transaction)
        # The answer to a transaction that waits comes when it is there: another thread may want to go on.
        raw = "0x" + bytes(signed.raw_transaction).hex()
        hash_ = "0x" + bytes(signed.hash).hex()
        thread = threading.Thread(target=ask, args=[self.rpc, call("eth_sendRawTransaction", raw)], daemon=True)
        thread.start()
        return hash_

    def receipt(self, hash_, seconds=30):
        def look():
            return ask(self.rpc, call("eth_getTransactionReceipt", hash_))[1]["result"]

        return processes.wait_until(f"a receipt of {hash_}", look, seconds)

    def has_receipt(self, hash_):
        return ask(self.rpc, call("eth_getTransactionReceipt", hash_))[1]["result"] is not None

    def asks(self, endpoint, target, method="GET", body=""):
        return self.send(Web3.to_checksum_address(self.address), question(endpoint, method, target, body))

    def outcome(self, hash_):
        """What the contract kept: status and the begin of the reply, or the number of a failure."""
        receipt = self.receipt(hash_)
        assert receipt["status"] == "0x1", receipt
        slots = []
        for slot in range(4):
            _, answer = ask(self.rpc, call("eth_getStorageAt", self.address, hex(slot), "latest"))
            slots.append(bytes.fromhex(answer["result"].removeprefix("0x").zfill(64)))
        if slots[0][31] == 2:
            return int.from_bytes(slots[1], "big"), slots[3].rstrip(b"\0")
        assert slots[1][:4].hex() == FAILED, slots
        return "failed", slots[2][3]


def question(endpoint, method, target, body):
    parts = [endpoint, method, target, "accept: text/plain", body]
    head, tail = b"", b""
    for part in map(str.encode, parts):
        head += (len(parts) * 32 + len(tail)).to_bytes(32, "big")
        tail += len(part).to_bytes(32, "big") + part.ljust(-(-len(part) // 32) * 32, b"\0")
    return "0x" + selector("call(string,string,string,string,bytes)") + (head + tail).hex()


def decide(network, directory, title, *changes):
    """Two of three members want it."""
    text = f"title = {json.dumps(title)}\n"
    for change in changes:
        text += "\n[[changes]]\n" + "".join(f"{key} = {value}\n" for key, value in change.items())
    path = directory / "proposal.toml"
    path.write_text(text)

    def say(node, *arguments):
        session = ["--network", network.facts["network_certificate"], "--vn", node.admin]
        identity = ["--identity", node.identity, "--sign-with", node.identity]
        done = coco(*arguments, *identity, *session, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout[done.stdout.index("{") :])

    proposal = say(network.nodes[0], "propose", path)["proposal"]
    say(network.nodes[0], "vote", str(proposal), "--for")
    status = say(network.nodes[1], "vote", str(proposal), "--for")["status"]
    assert status == "accepted", status


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        directory = tmp_path_factory.mktemp("outside")
        authority = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        root = certificate(authority, authority=True)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        server = Server(stack, directory, key, certificate(key, issuer=(root.subject, authority)))
        network = stack.enter_context(networks.running())
        contract = Caller(network.rpc)

        def endpoint(name, **who):
            fields = {
                "name": json.dumps(name),
                "address": json.dumps(f"127.0.0.1:{server.port}"),
                "methods": '["GET", "POST"]',
                "paths": '["/v1"]',
                "callers": json.dumps([contract.address.lower()]),
                "request_bytes_max": 1000,
                "reply_bytes_max": 10_000,
                "time_max_ms": TIME_MAX_MS,
                "calls_max": 4,
            } | who
            inline = "{ " + ", ".join(f"{field} = {value}" for field, value in fields.items()) + " }"
            return {"change": '"set-endpoint"', "protocol": '"ethereum"', "endpoint": inline}

        def pem(certificate):
            return json.dumps(certificate.public_bytes(serialization.Encoding.PEM).decode())

        other = ec.generate_private_key(ec.SECP256R1())
        before = contract.outcome(contract.asks("rates", "/v1/eur"))
        decide(
            network,
            directory,
            "Systems outside",
            endpoint("rates", keys=json.dumps([fingerprint(key)])),
            endpoint("another-key", keys=json.dumps([fingerprint(other)])),
            endpoint("certified", authority=pem(root)),
            endpoint("certified-elsewhere", authority=pem(certificate(other, authority=True))),
            endpoint("nowhere", keys=json.dumps([fingerprint(key)]), address='"127.0.0.1:1"'),
            endpoint("slow", keys=json.dumps([fingerprint(key)]), time_max_ms=20_000),
        )
        yield network, contract, server, before, directory


def test_a_contract_gets_the_answer_and_the_host_sees_ciphertext(outside):
    network, contract, server, before, _ = outside
    assert before == ("failed", NOT_ALLOWED), "it was not listed yet"
    hash_ = contract.asks("rates", "/v1/eur?of=" + SECRET, "POST", SECRET)
    assert contract.outcome(hash_) == (200, b"42 " + SECRET.encode()[:29])
    # The ledger time of a test is short: one leader asked once.
    key = hash_.removeprefix("0x") + "-0"
    asked = [question for question in server.asked if question[2] == key]
    assert asked == [("POST", "/v1/eur?of=" + SECRET, key, SECRET.encode())]
    assert contract.outcome(contract.asks("rates", "/v1/none"))[0] == 404, "a status is an answer"
    assert contract.outcome(contract.asks("certified", "/v1/eur"))[0] == 200
    assert len(server.seen) > 4_000 and SECRET.encode() not in bytes(server.seen)
    for node in network.nodes:
        assert SECRET not in node.log()


def test_what_is_not_allowed_never_leaves_and_what_fails_is_an_outcome(outside):
    _, contract, server, _, _ = outside
    count = len(server.asked)
    for endpoint, target, method, failure in [
        ("rates", "/v2/eur", "GET", NOT_ALLOWED),
        ("rates", "/v1/../v2", "GET", NOT_ALLOWED),
        ("rates", "/v1/eur", "DELETE", NOT_ALLOWED),
        ("other", "/v1/eur", "GET", NOT_ALLOWED),
        ("another-key", "/v1/eur", "GET", UNTRUSTED),
        ("certified-elsewhere", "/v1/eur", "GET", UNTRUSTED),
        ("nowhere", "/v1/eur", "GET", UNREACHABLE),
    ]:
        assert contract.outcome(contract.asks(endpoint, target, method)) == ("failed", failure), (endpoint, target)
    stranger = Caller(contract.rpc)
    assert stranger.outcome(stranger.asks("rates", "/v1/eur")) == ("failed", NOT_ALLOWED)
    assert len(server.asked) == count, "nothing was asked"
    assert contract.outcome(contract.asks("rates", "/v1/huge")) == ("failed", TOO_LARGE)
    assert contract.outcome(contract.asks("rates", "/v1/held")) == ("failed", TIMED_OUT)
    assert len(server.asked) == count + 2


def test_an_account_that_is_no_listed_caller_gets_nowhere(outside):
    _, contract, _, _, _ = outside
    to = Web3.to_checksum_address("0x" + EXTERNAL)
    receipt = contract.receipt(contract.send(to, question("rates", "GET", "/v1/eur", "")))
    assert receipt["status"] == "0x0"


def test_others_go_on_while_one_waits(outside):
    _, contract, server, _, _ = outside
    server.released.clear()
    waiting = contract.asks("slow", "/v1/held/others")
    processes.wait_until("it is asked", lambda: any("others" in asked[1] for asked in server.asked))
    other = Account.create()
    for _ in range(3):
        hash_ = contract.send(Web3.to_checksum_address(contract.address), "0x", account=other)
        assert contract.receipt(hash_)["status"] == "0x1"
    assert not contract.has_receipt(waiting)
    server.released.set()
    assert contract.outcome(waiting)[0] == 200
    server.released.clear()


def test_a_simulation_calls_nobody_and_says_so(outside):
    _, contract, server, _, _ = outside
    count = len(server.asked)
    question_ = {"from": contract.account.address, "to": "0x" + EXTERNAL, "data": question("rates", "GET", "/v1/eur", "")}
    for method in ("eth_call", "eth_estimateGas"):
        _, answer = ask(contract.rpc, call(method, question_))
        assert "nothing is called outside in a simulation" in answer["error"]["message"], answer
    assert len(server.asked) == count


def test_the_next_leader_calls_again_under_the_same_key(outside):
    network, contract, server, _, directory = outside
    server.released.clear()
    waiting = contract.asks("slow", "/v1/held/leader")
    asked = lambda: [asked for asked in server.asked if "leader" in asked[1]]
    processes.wait_until("it is asked", asked)
    first = network.leader()
    first.kill()
    processes.wait_until("the next leader asks again", lambda: len(asked()) > 1, 30)
    server.released.set()
    keys = {asked[2] for asked in asked()}
    assert keys == {waiting.removeprefix("0x") + "-0"}
    # The gateway's node may be the dead one: it goes on with another.
    assert contract.outcome(waiting)[0] == 200
