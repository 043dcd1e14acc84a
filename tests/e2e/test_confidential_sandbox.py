"""`coco sandbox --profile confidential`: useful at once, each participant through a gateway of its own."""

import json
import shutil
import ssl
import tempfile
import pathlib
import urllib.error
import urllib.request

import network as networks
import processes
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from network import coco, free_port, rpc
from web3 import Web3

ANY = ssl.create_default_context()
ANY.check_hostname = False
ANY.verify_mode = ssl.CERT_NONE


@pytest.fixture(scope="module")
def network():
    with networks.running("--profile", "confidential") as running:
        yield running


def gates(network):
    """Endpoint of each participant for Ethereum."""
    return {
        gate["actor"]: f"http://{gate['address']}" for gate in network.facts["gateways"] if gate["protocol"] == "ethereum"
    }


def accounts(network, owner):
    return [account for account in network.facts["accounts"] if account["owner"] == owner]


def pay(url, sender, receiver, value=7):
    """As any wallet: asks for the nonce, signs, sends, waits for the receipt."""
    web3 = Web3(Web3.HTTPProvider(url))
    key = Account.from_key(sender["private_key"])
    signed = key.sign_transaction(
        {
            "chainId": 31337,
            "nonce": web3.eth.get_transaction_count(key.address),
            "to": receiver["address"],
            "value": value,
            "gas": 21_000,
            "maxFeePerGas": 1,
            "maxPriorityFeePerGas": 1,
        }
    )
    found = web3.eth.send_raw_transaction(signed.raw_transaction)
    return web3.eth.wait_for_transaction_receipt(found, timeout=20)


def test_everybody_has_accounts_and_a_gateway_and_is_told_of_it(network):
    facts = network.facts
    assert facts["profile"] == "confidential"
    assert set(gates(network)) == {"tailspin", "wingtip", "litware", "woodgrove"}
    assert [entry["name"] for entry in facts["participants"] if entry["auditor"]] == ["woodgrove"]
    assert len(facts["accounts"]) == 10 and all(account["owner"] for account in facts["accounts"])
    for actor, url in gates(network).items():
        own = sorted(account["address"].lower() for account in accounts(network, actor))
        # Naming accounts would narrow what an auditor sees.
        assert sorted(rpc(url, "eth_accounts")) == ([] if actor == "woodgrove" else own)
        principal = rpc(url, "coco_principal")
        assert principal["actor"] == next(p["actor"] for p in facts["participants"] if p["name"] == actor)
        for address in own:
            assert int(rpc(url, "eth_getBalance", address, "latest"), 16) == 10_000 * 10**18


def test_two_participants_see_different_parts_of_one_block(network):
    own = gates(network)
    sender, receiver = accounts(network, "tailspin")[0], accounts(network, "litware")[0]
    receipt = pay(own["tailspin"], sender, receiver)
    found, number = "0x" + bytes(receipt.transactionHash).hex(), hex(receipt.blockNumber)
    blocks = {actor: rpc(url, "eth_getBlockByNumber", number, False) for actor, url in own.items()}
    assert len({block["hash"] for block in blocks.values()}) == 1
    seen = {actor: found in block["transactions"] for actor, block in blocks.items()}
    assert seen == {"tailspin": True, "litware": True, "wingtip": False, "woodgrove": True}
    # Denied is absent, and nobody else's balance is anybody's business.
    assert rpc(own["wingtip"], "eth_getTransactionByHash", found) is None
    assert rpc(own["wingtip"], "eth_getBalance", receiver["address"], "latest") == "0x0"
    with pytest.raises(RuntimeError):
        rpc(own["wingtip"], "eth_call", {"from": sender["address"], "to": receiver["address"]}, "latest")
    # The auditor sees it, and the network remembers that it looked.
    readings = rpc(own["woodgrove"], "coco_readings", number, "latest")
    auditor = next(p["actor"] for p in network.facts["participants"] if p["auditor"])
    assert any(entry["actor"] == auditor and number in json.dumps(entry["calls"]) for entry in readings), readings
    assert rpc(own["wingtip"], "coco_readings", number, "latest") == []


def test_a_wallet_signs_in_at_a_node_without_gateway_or_binding(network):
    def ask(path, body=None, headers=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url + path, data, {"content-type": "application/json"} | (headers or {}))
        with urllib.request.urlopen(request, timeout=20, context=ANY) as answer:
            return json.load(answer)

    url = f"https://127.0.0.1:{network.nodes[1].ports['ethereum']}"
    wallet = Account.from_key(accounts(network, "wingtip")[1]["private_key"])
    challenge = ask("/siwe")
    message = (
        f"localhost:3000 wants you to sign in with your Ethereum account:\n{wallet.address}\n\n\nURI: http://localhost:3000\n"
        f"Version: 1\nChain ID: {challenge['chainId']}\nNonce: {challenge['nonce']}\nIssued At: {challenge['issuedAt']}"
    )
    signature = wallet.sign_message(encode_defunct(text=message)).signature
    token = ask("/siwe", {"message": message, "signature": "0x" + bytes(signature).hex()})["token"]
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_accounts", "params": []}
    assert ask("/", body, {"authorization": f"Bearer {token}"})["result"] == [wallet.address.lower()]
    with pytest.raises(urllib.error.HTTPError):
        ask("/", body)


def test_it_goes_on_in_its_directory_and_stays_confidential():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="coco-e2e-"))
    directory.chmod(0o711)
    try:
        first = networks.Network(directory / "network", "--profile", "confidential")
        try:
            sender, receiver = accounts(first, "tailspin")[0], accounts(first, "wingtip")[0]
            receipt = pay(gates(first)["tailspin"], sender, receiver)
            for node in first.nodes:
                # Before, nobody could open the keys again.
                processes.wait_until("the keys are sealed", lambda node=node: node.status()["epoch"] > 1, 60)
        finally:
            assert first.stop() == 0, first.said()
        refused = coco("sandbox", "--dir", first.directory, "--rpc-port", free_port(8), "--profile", "transparent")
        assert refused.returncode == 2 and "is confidential" in refused.stderr
        genesis = directory / "genesis.json"
        genesis.write_text("{}")
        refused = coco("sandbox", "--dir", first.directory, "--rpc-port", free_port(8), "--genesis", genesis)
        assert refused.returncode == 2 and "has its genesis" in refused.stderr
        again = networks.Network(first.directory)
        try:
            assert again.facts["profile"] == "confidential"
            found, own = "0x" + bytes(receipt.transactionHash).hex(), gates(again)
            assert set(own) == set(gates(first))
            assert rpc(own["wingtip"], "eth_getTransactionByHash", found)["value"] == "0x7"
            assert rpc(own["litware"], "eth_getTransactionByHash", found) is None
            assert pay(own["wingtip"], receiver, sender).status == 1
        finally:
            assert again.stop() == 0, again.said()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
