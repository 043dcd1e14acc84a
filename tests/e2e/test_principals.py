"""Who asks: wallets that sign in straight at a node, services that sign each query, and end users behind a gateway with
an issuer's tokens, whose own key is in a hardware module."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import subprocess
import time

import principals
import processes
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_account import Account
from eth_account.messages import encode_typed_data
from network import COCO
from principals import IDENTITY, Asker, Issuer, bearer, call, end_users, selector, text, word
from web3 import Web3
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


@pytest.fixture(scope="module")
def asker(shared):
    return Asker(shared)


def test_the_certificate_of_tls_says_which_actor_asks(asker):
    """Through two gateways: the same question, two actors. A gateway holds its actor's certificate."""
    names = list(asker.network.participants)
    for place in range(2):
        found = asker.result(asker.gateway(place), "coco_principal")
        assert found["accounts"] == [] and len(found["actor"]) == 66
    first, second = (asker.result(asker.gateway(place), "coco_principal")["actor"] for place in range(2))
    assert first != second, names
    # The node that has seen no certificate knows nobody.
    assert asker.ask(asker.node(0), call("coco_principal"))[0] == 401


def test_a_wallet_signs_in_at_one_node_and_is_known_at_all(asker):
    wallet = Account.create()
    first, second = asker.node(0), asker.node(1)
    assert asker.ask(first, call("eth_blockNumber"))[0] == 401
    assert asker.sign_in(first, wallet)[0] == 403, "nobody's account"
    asker.bind(wallet)

    token = asker.token(first, wallet)
    for url in (first, second):
        status, answer = asker.ask(url, call("eth_accounts"), bearer(token))
        assert status == 200 and answer["result"] == [wallet.address.lower()], answer
        assert asker.ask(f"{url}/t/{token}", call("eth_accounts"))[1] == answer
        basic = {"authorization": f"Basic {base64.b64encode(f'coco:{token}'.encode()).decode()}"}
        assert asker.ask(url, call("eth_accounts"), basic)[1] == answer
        for changed in (token[:-1], token[:-2] + "00", token[:9] + "f" + token[10:], ""):
            if changed != token:
                assert asker.ask(url, call("eth_accounts"), bearer(changed))[0] == 401, changed

    # Its own transactions go out by the token alone, and the last one ends the token everywhere.
    asker.transact(first, wallet, wallet.address, "0x", bearer(token))
    send = "0x" + bytes(revocation(asker, first, wallet, bearer(token))).hex()
    assert "result" in asker.ask(first, call("eth_sendRawTransaction", send), bearer(token))[1]
    for url in (first, second):
        void = lambda url=url: asker.ask(url, call("eth_accounts"), bearer(token))[0] == 401  # noqa: E731
        processes.wait_until("the token is void", void)


def revocation(asker, url, wallet, headers):
    """Signed, not sent: all tokens of the wallet end."""
    nonce = int(asker.result(url, "eth_getTransactionCount", wallet.address, "latest", headers=headers), 16)
    signed = wallet.sign_transaction(
        {
            "chainId": 31337,
            "nonce": nonce,
            "gas": 500_000,
            "maxFeePerGas": 0,
            "maxPriorityFeePerGas": 0,
            "to": IDENTITY,
            "value": 0,
            "data": "0x" + selector("revoke(address)") + word(wallet.address),
        }
    )
    return signed.raw_transaction


def test_a_revocation_ends_live_sockets_and_their_subscriptions_before_they_hear_of_it(asker):
    ada, eve = Account.create(), Account.create()
    for wallet in (ada, eve):
        asker.bind(wallet)
    tokens = {wallet.address: asker.token(asker.node(0), wallet) for wallet in (ada, eve)}
    with contextlib.ExitStack() as stack:

        def listen(wallet, place):
            url = f"{asker.node(place, 'wss')}/t/{tokens[wallet.address]}"
            socket = stack.enter_context(connect(url, ssl=asker.trust))
            for kind in (["newHeads"], ["logs", {"address": IDENTITY}]):
                socket.send(json.dumps(call("eth_subscribe", *kind)))
                while "id" not in (answer := json.loads(socket.recv(20))):
                    pass
                assert "result" in answer, answer
            return socket

        # On the node where it is revoked, and on another.
        doomed = [listen(ada, 0), listen(ada, 1)]
        kept = [listen(eve, 0), listen(eve, 1)]
        mine = bearer(tokens[ada.address])
        raw = revocation(asker, asker.node(0), ada, mine)
        sent = asker.result(asker.node(0), "eth_sendRawTransaction", "0x" + bytes(raw).hex(), headers=mine)
        receipt = asker.result(asker.gateway(), "eth_getTransactionReceipt", sent)
        assert receipt["status"] == "0x1", receipt

        for socket in doomed:
            with pytest.raises(ConnectionClosed):
                while True:
                    heard = json.loads(socket.recv(20))["params"]["result"]
                    head = int(heard.get("number") or heard["blockNumber"], 16)
                    assert head < int(receipt["blockNumber"], 16), "it heard of the block of its revocation"
        # Others hear of it, and go on.
        for socket in kept:
            heard = None
            while heard != receipt["blockHash"]:
                heard = json.loads(socket.recv(20))["params"]["result"].get("hash")
        # A new socket gets nothing, either; a token that no node made does not even open one.
        void = stack.enter_context(connect(f"{asker.node(1, 'wss')}/t/{tokens[ada.address]}", ssl=asker.trust))
        for asked in (call("eth_chainId"), call("eth_subscribe", "newHeads")):
            void.send(json.dumps(asked))
            answer = json.loads(void.recv(20))
            assert "result" not in answer and "sign in again" in answer["error"]["message"], answer
        for path in ("", "/t/", f"/t/{tokens[ada.address][:-2]}00"):
            with pytest.raises(InvalidStatus, match="401"):
                connect(f"{asker.node(1, 'wss')}{path}", ssl=asker.trust)


def signed_query(wallet, body, deadline, chain_id=31337):
    """The header of a query signed by itself (EIP-712)."""
    typed = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
            ],
            "Query": [
                {"name": "account", "type": "address"},
                {"name": "body", "type": "bytes32"},
                {"name": "deadline", "type": "uint64"},
            ],
        },
        "primaryType": "Query",
        "domain": {"name": "Coco", "version": "1", "chainId": chain_id},
        "message": {"account": wallet.address, "body": Web3.keccak(body), "deadline": deadline},
    }
    signature = wallet.sign_message(encode_typed_data(full_message=typed)).signature
    packed = bytes.fromhex(wallet.address[2:]) + deadline.to_bytes(8, "big") + bytes(signature)
    return {"coco-query": "0x" + packed.hex()}


def test_a_service_signs_each_query_and_keeps_no_token(asker):
    wallet, stranger = Account.create(), Account.create()
    asker.bind(wallet)
    url = asker.node(2)
    body, soon = json.dumps(call("eth_accounts")).encode(), int(time.time()) + 60

    def ask(headers, asked=None):
        return asker.ask(url, asked or call("eth_accounts"), headers)

    status, answer = ask(signed_query(wallet, body, soon))
    assert status == 200 and answer["result"] == [wallet.address.lower()], answer
    good = signed_query(wallet, body, soon)["coco-query"]
    for headers, asked in (
        (signed_query(wallet, body, soon), call("eth_chainId")),  # another body
        (signed_query(wallet, body, int(time.time()) - 1), None),  # past
        (signed_query(wallet, body, int(time.time()) + 3600), None),  # too far ahead
        (signed_query(wallet, body, soon, chain_id=1), None),  # another network
        (signed_query(stranger, body, soon), None),  # bound to nobody
        ({"coco-query": "0x" + stranger.address[2:] + good[42:]}, None),  # signed by another than it says
        ({"coco-query": good[:-2] + "ff"}, None),
        ({"coco-query": good[:-2]}, None),
        ({"coco-query": good} | bearer("coco1"), None),  # two of them
    ):
        assert ask(headers, asked)[0] == 401, headers


def test_a_manager_gives_roles_and_frees_accounts(asker):
    """The registry: an actor's first account is its manager. Here the second participant's, so that this knows it."""
    manager, clerk, stranger = Account.create(), Account.create(), Account.create()
    actor = asker.bind(manager, participant=1)
    assert asker.bind(clerk, participant=1) == actor
    asker.bind(stranger)
    url = asker.node(0)
    tokens = {wallet.address: asker.token(url, wallet) for wallet in (manager, clerk, stranger)}

    def roles():
        return int(asker.result(url, "coco_principal", headers=bearer(tokens[clerk.address]))["roles"], 16)

    def send(wallet, data):
        headers = bearer(tokens[wallet.address])
        nonce = int(asker.result(url, "eth_getTransactionCount", wallet.address, "latest", headers=headers), 16)
        fields = {"chainId": 31337, "nonce": nonce, "gas": 500_000, "maxFeePerGas": 0, "maxPriorityFeePerGas": 0}
        signed = wallet.sign_transaction(fields | {"to": IDENTITY, "value": 0, "data": data})
        sent = asker.result(url, "eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex(), headers=headers)
        return asker.result(url, "eth_getTransactionReceipt", sent, headers=headers)["status"] == "0x1"

    grant = "0x" + selector("setRoles(address,uint32)") + word(clerk.address) + word(5)
    plain = roles()
    assert plain & 5 == 0
    # Neither itself nor somebody else's account.
    assert not send(clerk, grant) and not send(stranger, grant) and roles() == plain
    assert send(manager, grant) and roles() == plain | 5
    # Roles of the constitution are not the manager's to give.
    assert not send(manager, "0x" + selector("setRoles(address,uint32)") + word(clerk.address) + word(1 << 30 | 4))
    assert roles() == plain | 5
    assert not send(stranger, "0x" + selector("unbind(address)") + word(clerk.address))
    assert send(manager, "0x" + selector("unbind(address)") + word(clerk.address))
    gone = lambda: asker.ask(url, call("eth_accounts"), bearer(tokens[clerk.address]))[0] == 401  # noqa: E731
    processes.wait_until("the token is void", gone)
    assert asker.sign_in(url, clerk)[0] == 403


def test_end_users_of_an_organisation_come_through_its_gateway(asker, tmp_path):
    """The paper's figure 4: the front end knows its users, the network knows the front end."""
    ada, eve = Account.create(), Account.create()
    asker.bind(ada)
    with contextlib.ExitStack() as stack:
        issuer = Issuer(stack)
        users = {"ada@contoso.example": ada, "eve@contoso.example": eve}
        url = "http://" + stack.enter_context(end_users(asker.network, issuer, tmp_path, users))

        def ask(token, **headers):
            return asker.ask(url, call("eth_accounts"), (bearer(token) if token else {}) | headers)

        def is_ada(token):
            status, answer = ask(token)
            return status == 200 and answer["result"] == [ada.address.lower()]

        token = issuer.token(email="ada@contoso.example")
        assert is_ada(token)
        # What a client says about accounts by itself does not count.
        assert ask(token, **{"coco-accounts": eve.address})[1]["result"] == [ada.address.lower()]
        # The file names an account that is not the organisation's: the nodes do not believe it.
        assert ask(issuer.token(email="eve@contoso.example"))[0] == 401
        assert ask(None)[0] == 401

        # Each of these is signed by the issuer's own key, and says something else.
        now = int(time.time())
        for claims in (
            {"email": "bob@contoso.example"},
            {"aud": "another"},
            {"aud": None},
            {"iss": "https://evil.example"},
            {"exp": now - 600},
            {"exp": None},
            {"nbf": now + 600},
            {"email": 7},
        ):
            token = issuer.token(**({"email": "ada@contoso.example"} | claims))
            assert ask(token)[0] == 401, claims

        # Forged: unsigned, signed with what everybody knows, by an unknown key, by a key of another kind.
        claims = issuer.claims(email="ada@contoso.example")
        public = issuer.keys["1"][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        unsigned = principals.parts({"alg": "HS256", "kid": "1"}, claims)
        forged = [unsigned + "." + text(hmac.digest(public, unsigned.encode(), hashlib.sha256))]
        for algorithm in ("none", "None", "RS256"):
            forged.append(principals.parts({"alg": algorithm, "kid": "1"}, claims) + ".")
        issuer.keys["unknown"] = principals.new_key("RS256")
        forged.append(issuer.token(kid="unknown", email="ada@contoso.example"))
        forged.append(issuer.token(kid="unknown", head={"kid": "1"}, email="ada@contoso.example"))
        forged.append(issuer.token(head={"alg": "ES256"}, email="ada@contoso.example"))
        signed = issuer.token(email="eve@contoso.example").split(".")
        forged.append(".".join([signed[0], unsigned.split(".")[1], signed[2]]))
        forged += ["x", "..", signed[0]]
        for token in forged:
            assert ask(token)[0] == 401, token


def test_an_issuer_changes_its_keys_and_the_gateway_follows(asker, tmp_path):
    ada = Account.create()
    asker.bind(ada)
    with contextlib.ExitStack() as stack:
        issuer = Issuer(stack)
        issuer.add("2", "ES256")
        address = stack.enter_context(end_users(asker.network, issuer, tmp_path, {"ada@contoso.example": ada}))

        def status(kid):
            token = issuer.token(kid=kid, email="ada@contoso.example")
            return asker.ask(f"http://{address}", call("eth_accounts"), bearer(token))[0]

        assert status("1") == status("2") == 200
        # The first is withdrawn and a third is there; a token that names it has the keys fetched.
        issuer.add("3", "ES256")
        issuer.publish("2", "3")
        processes.wait_until("the new key counts", lambda: status("3") == 200, 40)
        assert status("1") == 401 and status("2") == 200
        # While the issuer is away, what is known goes on to count.
        issuer.documents.clear()
        issuer.keys["4"] = principals.new_key("ES256")
        assert status("4") == 401 and status("2") == status("3") == 200


SOFTHSM = pathlib.Path("/usr/lib/softhsm/libsofthsm2.so")


def test_the_gateways_own_key_stays_in_a_hardware_module(asker, tmp_path):
    """SoftHSM by PKCS#11: the network believes whoever holds the key, and the file with it is gone."""
    if shutil.which("softhsm2-util") is None or not SOFTHSM.exists():
        return print("NOT TESTED: a gateway's key in a module, because SoftHSM is missing: install softhsm2")
    ada = Account.create()
    asker.bind(ada)
    identity = pathlib.Path(next(iter(asker.network.participants.values())))
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    (tmp_path / "pin").write_text("1234\n")
    environment = os.environ | {"SOFTHSM2_CONF": str(tmp_path / "softhsm2.conf")}

    def util(*arguments):
        subprocess.run(["softhsm2-util", *map(str, arguments)], env=environment, check=True, capture_output=True)

    util("--init-token", "--free", "--label", "tailspin", "--so-pin", "5678", "--pin", "1234")
    util("--import", identity, "--token", "tailspin", "--label", "gateway", "--id", "01", "--pin", "1234")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in x509.load_pem_x509_certificates(identity.read_bytes())))
    assert "PRIVATE" not in chain.read_text()
    key = f"pkcs11:token=tailspin;object=gateway;type=private?module-path={SOFTHSM}&pin-source={tmp_path / 'pin'}"
    options = {"identity": key, "environment": environment}
    actor = asker.result(asker.gateway(), "coco_principal")["actor"]
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(principals.gateway(asker.network, "--certificates", chain, **options))
        # Each connection is a handshake of its own, which the module signs.
        for _ in range(8):
            assert asker.result(f"http://{plain}", "coco_principal")["actor"] == actor
        issuer = Issuer(stack)
        users = {"ada@contoso.example": ada}
        address = stack.enter_context(
            end_users(asker.network, issuer, tmp_path, users, "--certificates", chain, **options)
        )
        token = issuer.token(email="ada@contoso.example")
        asked = asker.result(f"http://{address}", "eth_accounts", headers=bearer(token))
        assert asked == [ada.address.lower()]
    (tmp_path / "pin").write_text("4321\n")
    command = [COCO, "gateway", "--identity", key, "--certificates", chain, "--listen", "127.0.0.1:0"]
    command += ["--network", asker.network.facts["network_certificate"], "--vn", "127.0.0.1:1"]
    refused = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2 and "PIN" in refused.stderr, refused.stderr
