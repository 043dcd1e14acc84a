"""Ethereum's own tools against the gateway: each does what its users do every day."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from network import ROOT, rpc

HERE = pathlib.Path(__file__).parent
MODULES = HERE / "node_modules"
# The native binary itself: its wrapper for Node loses the exit status.
CAST = next(MODULES.glob("@foundry-rs/cast-linux-*/bin"), MODULES / ".bin")


@pytest.fixture(scope="session")
def token():
    """An OpenZeppelin ERC-20, compiled here."""
    assert MODULES.is_dir(), f"run `npm ci` in {HERE}"
    out = ROOT / "target" / "e2e" / "Token.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["node", "contracts/compile.mjs", str(out)], cwd=HERE, check=True, timeout=120)
    return out


@pytest.mark.parametrize(
    "place, command",
    [
        (1, ["clients/cast.sh"]),
        (2, ["node", "clients/ethers.mjs"]),
        (3, ["node", "clients/viem.mjs"]),
        (4, [sys.executable, "clients/web3_client.py"]),
    ],
    ids=["cast", "ethers", "viem", "web3.py"],
)
def test_a_token_is_deployed_used_and_watched(shared, token, place, command):
    environment = os.environ | {
        "RPC": shared.rpc,
        "WS": shared.ws,
        "TOKEN": str(token),
        "KEY": shared.facts["accounts"][place]["private_key"],  # one each: nonces do not meet
        "PATH": f"{CAST}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all as expected" in done.stdout


def test_every_node_answers_the_same(shared):
    """Right after a write through one node, a linear answer of any other knows it."""
    own = [f"http://{shared.gateway('ethereum', [node])}" for node in shared.nodes]
    account = shared.facts["accounts"][0]
    from eth_account import Account

    friend = Account.create().address
    nonce = int(rpc(own[0], "eth_getTransactionCount", account["address"], "pending"), 16)
    for place, url in enumerate(own):
        signed = Account.sign_transaction(
            {
                "chainId": 31337,
                "nonce": nonce + place,
                "to": friend,
                "value": 7,
                "gas": 21000,
                "maxFeePerGas": 10**11,
                "maxPriorityFeePerGas": 0,
            },
            account["private_key"],
        )
        assert rpc(url, "eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
    last = shared.quiesce(shared.nodes)
    assert last > 0
    blocks = [rpc(url, "eth_getBlockByNumber", "latest", True) for url in own]
    assert blocks[0] == blocks[1] == blocks[2]
    assert [int(rpc(url, "eth_getBalance", friend, "latest"), 16) for url in own] == [21, 21, 21]
    # Batches answer in the order of their requests.
    import urllib.request

    batch = [{"jsonrpc": "2.0", "id": n, "method": "eth_chainId", "params": []} for n in range(9)]
    request = urllib.request.Request(
        own[1], json.dumps(batch).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert [reply["id"] for reply in json.load(answer)] == list(range(9))
