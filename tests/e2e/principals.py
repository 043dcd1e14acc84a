"""Who asks: wallets that bind their accounts, sign in and transact; an organisation's identity provider."""

import base64
import contextlib
import http.server
import json
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from eth_account.messages import encode_defunct
from network import COCO, free_port
from web3 import Web3

IDENTITY = "0x00000000000000000000000000000000C0c00002"
POLICY = "0x00000000000000000000000000000000C0C00005"


def call(method, *params):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def selector(signature):
    return Web3.keccak(text=signature)[:4].hex().removeprefix("0x")


def word(value):
    """A number, or an address or word in hex, as 32 bytes of call data."""
    text = f"{value:x}" if isinstance(value, int) else value.lower().removeprefix("0x")
    return text.rjust(64, "0")


class Asker:
    """What asks a network: it trusts the network's certificate and no other, and knows its gateways."""

    def __init__(self, network):
        self.network = network
        self.trust = ssl.create_default_context(cafile=network.facts["network_certificate"])
        self.gateways = {}

    def node(self, place, scheme="https"):
        """The address of a node for clients without a certificate."""
        return f"{scheme}://127.0.0.1:{self.network.nodes[place].ports['ethereum']}"

    def gateway(self, participant=0):
        """A gateway that acts as a participant."""
        if participant not in self.gateways:
            self.gateways[participant] = self.network.gateway("ethereum", self.network.nodes, participant)
        return f"http://{self.gateways[participant]}"

    def ask(self, url, body=None, headers=None):
        """Status and JSON of one request."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"content-type": "application/json"} | (headers or {}))
        try:
            context = self.trust if url.startswith("https") else None
            with urllib.request.urlopen(request, timeout=20, context=context) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def result(self, url, method, *params, headers=None):
        status, answer = self.ask(url, call(method, *params), headers)
        assert status == 200 and "result" in answer, answer
        return answer["result"]

    def transact(self, url, account, to, data, headers=None, nonce=None, value=0, gas=500_000):
        """Signs, sends and gives the receipt; a session that does not see its nonce states it."""
        if nonce is None:
            nonce = int(self.result(url, "eth_getTransactionCount", account.address, "pending", headers=headers), 16)
        fields = {
            "chainId": 31337,
            "nonce": nonce,
            "gas": gas,
            "maxFeePerGas": 0,
            "maxPriorityFeePerGas": 0,
            "value": value,
            "data": data,
        }
        signed = account.sign_transaction(fields | ({"to": Web3.to_checksum_address(to)} if to else {}))
        raw = "0x" + bytes(signed.raw_transaction).hex()
        sent = self.result(url, "eth_sendRawTransaction", raw, headers=headers)
        receipt = self.result(url, "eth_getTransactionReceipt", sent, headers=headers)
        assert receipt and receipt["status"] == "0x1", receipt
        return receipt

    def bind(self, account, participant=0, nonce=0):
        """Binds the account to a participant's actor, by that actor's session; gives the actor."""
        url = self.gateway(participant)
        actor = self.result(url, "coco_principal")["actor"]
        self.transact(url, account, IDENTITY, "0x" + selector("bind(bytes32)") + word(actor), nonce=nonce)
        return actor

    def sign_in(self, url, account):
        """Status and answer of signing in as a wallet does."""
        status, challenge = self.ask(f"{url}/siwe")
        assert status == 200, challenge
        message = (
            f"localhost:3000 wants you to sign in with your Ethereum account:\n{account.address}\n\n"
            f"Orders and prices.\n\nURI: http://localhost:3000\nVersion: 1\nChain ID: {challenge['chainId']}\n"
            f"Nonce: {challenge['nonce']}\nIssued At: {challenge['issuedAt']}"
        )
        signature = account.sign_message(encode_defunct(text=message)).signature
        return self.ask(f"{url}/siwe", {"message": message, "signature": "0x" + bytes(signature).hex()})

    def token(self, url, account):
        status, answer = self.sign_in(url, account)
        assert status == 200, answer
        return answer["token"]


class Issuer:
    """An OpenID Connect provider as far as a gateway sees it: discovery, keys, signed tokens."""

    def __init__(self, stack):
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                found = issuer.documents.get(self.path)
                body = json.dumps(found).encode()
                self.send_response(200 if found else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.keys = {}
        self.documents = {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": []},
        }
        self.add("1", "RS256")

    def add(self, kid, algorithm):
        """A further key, published at once."""
        self.keys[kid] = new_key(algorithm)
        self.publish(*self.keys)

    def publish(self, *kids):
        self.documents["/keys"] = {"keys": [self.public(kid) for kid in kids]}

    def public(self, kid):
        algorithm, key = self.keys[kid]
        numbers = key.public_key().public_numbers()
        parts = {"kid": kid, "alg": algorithm, "use": "sig"}
        if algorithm == "RS256":
            return parts | {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        return parts | {"kty": "EC", "crv": "P-256", "x": number(numbers.x, 32), "y": number(numbers.y, 32)}

    def claims(self, **claims):
        return {"iss": self.url, "aud": "coco", "exp": int(time.time()) + 600} | claims

    def token(self, kid="1", head=None, **claims):
        algorithm, key = self.keys[kid]
        said = {name: value for name, value in self.claims(**claims).items() if value is not None}
        signed = parts({"alg": algorithm, "kid": kid} | (head or {}), said)
        if algorithm == "RS256":
            signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        else:
            r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{signed}.{text(signature)}"


def new_key(algorithm):
    """A signing key with its algorithm: RS256 or ES256."""
    if algorithm == "RS256":
        return algorithm, rsa.generate_private_key(65537, 2048)
    return algorithm, ec.generate_private_key(ec.SECP256R1())


def parts(head, claims):
    """The signed part of a JSON Web Token."""
    return f"{text(json.dumps(head).encode())}.{text(json.dumps(claims).encode())}"


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, length=None):
    return text(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


@contextlib.contextmanager
def gateway(network, *options, identity=None, environment=None):
    """A running `coco gateway` with these options; gives its address."""
    port = free_port()
    command = [
        COCO, "gateway", "--identity", identity or next(iter(network.participants.values())),
        "--network", network.facts["network_certificate"], "--listen", f"127.0.0.1:{port}",
        "--vn", *(f"127.0.0.1:{node.ports['ethereum']}" for node in network.nodes), *options,
    ]  # fmt: skip
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment)
    try:
        said = process.stdout.readline()
        assert "lead to ethereum" in said, said
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def end_users(network, issuer, directory, accounts, *options, **more):
    """A gateway for the end users of an organisation: `accounts` by the name in the claim `email`."""
    users = directory / "users.toml"
    users.write_text(
        f'issuer = "{issuer.url}"\naudience = "coco"\nclaim = "email"\n[accounts]\n'
        + "".join(f'"{name}" = ["{account.address}"]\n' for name, account in accounts.items())
    )
    with gateway(network, "--users", users, *options, **more) as address:
        yield address
