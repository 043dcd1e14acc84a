"""Who asks: wallets that sign in straight at a node, and end users behind a gateway with an issuer's tokens."""

import base64
import contextlib
import http.server
import json
import os
import pathlib
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import network as networks
import processes
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from eth_account import Account
from eth_account.messages import encode_defunct
from network import COCO, free_port
from web3 import Web3

HERE = pathlib.Path(__file__).parent
IDENTITY = "0x00000000000000000000000000000000C0c00002"

# No certificate of the client's, and the node's is checked elsewhere (test_clients, test_refusals).
ANY = ssl.create_default_context()
ANY.check_hostname = False
ANY.verify_mode = ssl.CERT_NONE


@pytest.fixture(scope="module")
def network():
    with networks.running() as running:
        yield running


def ask(url, body=None, headers=None):
    """Status and JSON of one request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"} | (headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=20, context=ANY if url.startswith("https") else None) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def call(method, *params):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def node_url(network, place):
    return f"https://127.0.0.1:{network.nodes[place].ports['ethereum']}"


def transact(rpc, account, to, data, headers=None):
    status, answer = ask(rpc, call("eth_getTransactionCount", account.address, "pending"), headers)
    assert status == 200, answer
    signed = account.sign_transaction(
        {
            "chainId": 31337,
            "nonce": int(answer["result"], 16),
            "gas": 500_000,
            "maxFeePerGas": 1,
            "maxPriorityFeePerGas": 1,
            "to": to,
            "value": 0,
            "data": data,
        }
    )
    status, answer = ask(rpc, call("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex()), headers)
    assert status == 200 and "result" in answer, answer
    status, receipt = ask(rpc, call("eth_getTransactionReceipt", answer["result"]), headers)
    assert receipt["result"]["status"] == "0x1", receipt


def selector(signature):
    return Web3.keccak(text=signature)[:4].hex().removeprefix("0x")


def bind(network, account):
    """By the first participant's session."""
    rpc = f"http://{network.gateway('ethereum', network.nodes)}"
    _, answer = ask(rpc, call("coco_principal"))
    actor = answer["result"]["actor"]
    transact(rpc, account, IDENTITY, "0x" + selector("bind(bytes32)") + actor[2:])


def sign_in(url, account):
    status, challenge = ask(f"{url}/siwe")
    assert status == 200, challenge
    message = (
        f"localhost:3000 wants you to sign in with your Ethereum account:\n{account.address}\n\n"
        f"Orders and prices.\n\nURI: http://localhost:3000\nVersion: 1\nChain ID: {challenge['chainId']}\n"
        f"Nonce: {challenge['nonce']}\nIssued At: {challenge['issuedAt']}"
    )
    signature = account.sign_message(encode_defunct(text=message)).signature
    return ask(f"{url}/siwe", {"message": message, "signature": "0x" + bytes(signature).hex()})


def test_a_wallet_signs_in_at_one_node_and_is_known_at_all(network):
    wallet = Account.create()
    first, second = node_url(network, 0), node_url(network, 1)
    assert ask(first, call("eth_blockNumber"))[0] == 401
    assert sign_in(first, wallet)[0] == 403, "nobody's account"
    bind(network, wallet)

    status, answer = sign_in(first, wallet)
    assert status == 200, answer
    token = answer["token"]
    for url in (first, second):
        status, answer = ask(url, call("eth_accounts"), bearer(token))
        assert status == 200 and answer["result"] == [wallet.address.lower()], answer
        assert ask(f"{url}/t/{token}", call("eth_accounts"))[1] == answer
    basic = base64.b64encode(f"coco:{token}".encode()).decode()
    assert ask(second, call("eth_chainId"), {"authorization": f"Basic {basic}"})[1]["result"] == "0x7a69"

    # web3.py and ethers as their users configure them: credentials in the URL.
    within = first.replace("https://", f"https://coco:{token}@")
    web3 = Web3(Web3.HTTPProvider(within, request_kwargs={"verify": False}))
    assert web3.eth.chain_id == 31337 and web3.eth.accounts == [wallet.address]
    environment = os.environ | {
        "RPC": second,
        "TOKEN_TEXT": token,
        "KEY": "0x" + bytes(wallet.key).hex(),
        "EXPECTED": wallet.address,
        "NODE_TLS_REJECT_UNAUTHORIZED": "0",
    }
    done = subprocess.run(
        ["node", "clients/signed_in.mjs"], cwd=HERE, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "all as expected" in done.stdout, done.stdout + done.stderr

    # Its own transactions go out by the token alone, and the last one ends the token everywhere.
    data = "0x" + selector("revoke(address)") + wallet.address[2:].lower().rjust(64, "0")
    status, answer = ask(first, call("eth_getTransactionCount", wallet.address, "latest"), bearer(token))
    signed = wallet.sign_transaction(
        {
            "chainId": 31337,
            "nonce": int(answer["result"], 16),
            "gas": 500_000,
            "maxFeePerGas": 1,
            "maxPriorityFeePerGas": 1,
            "to": IDENTITY,
            "value": 0,
            "data": data,
        }
    )
    raw = "0x" + bytes(signed.raw_transaction).hex()
    assert "result" in ask(first, call("eth_sendRawTransaction", raw), bearer(token))[1]
    for url in (first, second):
        processes.wait_until("the token is void", lambda url=url: ask(url, call("eth_accounts"), bearer(token))[0] == 401, 20)


class Issuer:
    """An OpenID Connect provider as far as a gateway sees it: discovery, keys, RS256."""

    def __init__(self, stack):
        self.key = rsa.generate_private_key(65537, 2048)
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = json.dumps(issuer.documents[self.path]).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        numbers = self.key.public_key().public_numbers()
        self.documents = {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {
                "keys": [
                    {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": number(numbers.n), "e": number(numbers.e)}
                ]
            },
        }

    def token(self, **claims):
        claims = {"iss": self.url, "aud": "coco", "exp": int(time.time()) + 600} | claims
        head = text(json.dumps({"alg": "RS256", "kid": "1"}).encode())
        signed = f"{head}.{text(json.dumps(claims).encode())}"
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{text(signature)}"


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def test_end_users_of_an_organisation_come_through_its_gateway(network, tmp_path):
    """The paper's figure 4: the front end knows its users, the network knows the front end."""
    ada, eve = Account.create(), Account.create()
    bind(network, ada)
    with contextlib.ExitStack() as stack:
        issuer = Issuer(stack)
        users = tmp_path / "users.toml"
        users.write_text(
            f'issuer = "{issuer.url}"\naudience = "coco"\nclaim = "email"\n[accounts]\n'
            f'"ada@contoso.example" = ["{ada.address}"]\n"eve@contoso.example" = ["{eve.address}"]\n'
        )
        port = free_port()
        command = [
            COCO, "gateway", "--identity", network.participants[next(iter(network.participants))],
            "--network", network.facts["network_certificate"], "--users", users, "--listen", f"127.0.0.1:{port}",
            "--vn", *(f"127.0.0.1:{node.ports['ethereum']}" for node in network.nodes),
        ]  # fmt: skip
        gateway = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        stack.callback(gateway.wait)
        stack.callback(gateway.terminate)
        assert "lead to ethereum" in gateway.stdout.readline()
        url = f"http://127.0.0.1:{port}"

        status, answer = ask(url, call("eth_accounts"), bearer(issuer.token(email="ada@contoso.example")))
        assert status == 200 and answer["result"] == [ada.address.lower()], answer
        # What a client says about accounts by itself does not count.
        headers = bearer(issuer.token(email="ada@contoso.example")) | {"coco-accounts": eve.address}
        assert ask(url, call("eth_accounts"), headers)[1]["result"] == [ada.address.lower()]
        # The file names an account that is not the organisation's: the nodes do not believe it.
        assert ask(url, call("eth_accounts"), bearer(issuer.token(email="eve@contoso.example")))[0] == 401
        for token in (
            "x",
            issuer.token(email="bob@contoso.example"),
            issuer.token(email="ada@contoso.example", aud="another"),
            issuer.token(email="ada@contoso.example", iss="https://evil.example"),
            issuer.token(email="ada@contoso.example", exp=int(time.time()) - 600),
        ):
            assert ask(url, call("eth_accounts"), bearer(token))[0] == 401, token
        assert ask(url, call("eth_accounts"))[0] == 401
