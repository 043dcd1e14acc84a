"""The same random transactions and calls on Coco and on anvil: the same results.

anvil is Foundry's node for development, in the same fork and without fees. One account's transactions go
out together, so that both have one order. What is compared: status, gas, created address and logs of
every receipt, the answer or the revert of every call, and at the end every account: balance, nonce, code
and the slots that the programs use. What is allowed to differ is in ALLOWED, with its reason.

A failure prints the seed. `DIFFERENTIAL_SEED=7 DIFFERENTIAL_ROUNDS=200` runs others, and more.
"""

import contextlib
import os
import pathlib
import random
import subprocess

import processes
import pytest
from eth_account import Account
from eth_utils import to_checksum_address
from network import ROOT, batch, free_port, rpc
from programs import Programs

HERE = pathlib.Path(__file__).parent
ANVIL = next((HERE / "node_modules").glob("@foundry-rs/anvil-linux-*/bin/anvil"), None)
SEED = int(os.environ.get("DIFFERENTIAL_SEED", "1"))
ROUNDS = int(os.environ.get("DIFFERENTIAL_ROUNDS", "60"))
TRANSACTIONS = 20  # a round
CALLS = 20
SENDERS = 7  # of ten accounts; the others are delegated

# Members of a receipt that are not compared.
ALLOWED = {
    "blockHash": "a header's hash holds keyed roots",
    "blockNumber": "anvil makes a block for every transaction, Coco for every batch",
    "blockTimestamp": "ledger time",
    "transactionIndex": "as blockNumber",
    "logIndex": "as blockNumber",
    "cumulativeGasUsed": "Coco gives the transaction's own gas: the sum would tell of others",
    "effectiveGasPrice": "no fees",
    "blobGasPrice": "no blobs",
    "blobGasUsed": "no blobs",
    "authorizationList": "of no standard",
}


@contextlib.contextmanager
def anvil():
    port = free_port()
    command = [ANVIL, "--port", str(port), "--chain-id", "31337", "--hardfork", "osaka", "--silent"]
    command += ["--gas-limit", "60000000", "--base-fee", "0", "--gas-price", "0", "--order", "fifo"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def answers():
        with contextlib.suppress(OSError):
            return rpc(url, "eth_chainId")

    try:
        processes.wait_until("anvil answers", answers)
        yield url
    finally:
        process.kill()
        process.wait()


def comparable(receipt):
    """What both must say of a transaction."""
    if receipt is None:
        return None
    kept = {name: value for name, value in receipt.items() if name not in ALLOWED}
    kept["logs"] = [
        {name: value for name, value in log.items() if name not in ALLOWED and name != "removed"}
        for log in receipt["logs"]
    ]
    # anvil leaves out what was not created.
    kept.setdefault("contractAddress", None)
    return kept


def outcome(reply):
    """A call's answer; of a failure only that it failed, and what the contract said."""
    if "error" not in reply:
        return reply["result"]
    data = reply["error"].get("data")
    return ["failed", data if isinstance(data, str) and data != "0x" else None]


class Pair:
    """Both nodes, asked the same."""

    def __init__(self, coco, other, accounts, seed):
        self.coco, self.other = coco, other
        self.accounts = accounts
        self.random = random.Random(seed)
        self.known = [account["address"] for account in accounts]
        self.programs = Programs(self.random, self.known)
        self.nonces = {account["address"]: 0 for account in accounts}
        self.seen = {"transactions": 0, "succeeded": 0, "calls": 0, "answered": 0, "logs": 0, "created": 0}

    def both(self, calls):
        return batch(self.coco, calls), batch(self.other, calls)

    def transaction(self, sender):
        choice = self.random.choice
        made = {"chainId": 31337, "nonce": self.nonces[sender["address"]], "gas": choice([60_000, 500_000, 2_000_000])}
        made["value"] = choice([0, 0, 1, 10**15])
        kind = self.random.randrange(8)
        if kind < 3:
            made |= {"data": self.programs.init(self.programs.program()), "gas": 2_000_000, "to": ""}
        elif kind == 3:
            made |= {"data": self.programs.program(), "gas": 2_000_000, "to": ""}  # as its constructor
        else:
            target = choice(self.known)
            made |= {"to": target, "data": self.programs.data()}
        form = self.random.randrange(4)
        if form == 0:
            made["gasPrice"] = 0
        elif form == 1:
            slots = [f"0x{self.random.randrange(8):064x}" for _ in range(2)]
            made |= {"gasPrice": 0, "accessList": [{"address": choice(self.known), "storageKeys": slots}]}
        else:
            made |= {"maxFeePerGas": 0, "maxPriorityFeePerGas": 0}
        if form == 3 and made["to"] and len(self.known) > 20:
            # An account takes the code of a contract. It sends nothing itself: its code may send its ether
            # away or create contracts, and so use up nonces, between two of its own transactions.
            authority = choice(self.accounts[SENDERS:])
            authorized = {"chainId": choice([0, 31337]), "address": choice(self.known[10:])}
            authorized["nonce"] = self.nonces[authority["address"]] + choice([0, 1])
            signed = Account.sign_authorization(authorized, authority["private_key"])
            made["authorizationList"] = [signed]
        return made

    def send(self):
        """One account's transactions, at once; then their receipts."""
        sender = self.random.choice(self.accounts[:SENDERS])
        for account in self.accounts:
            # An authorization uses up its authority's nonce.
            self.nonces[account["address"]] = int(rpc(self.coco, "eth_getTransactionCount", account["address"], "latest"), 16)
        raws = []
        for _ in range(TRANSACTIONS):
            made = self.transaction(sender)
            raws.append("0x" + Account.sign_transaction(made, sender["private_key"]).raw_transaction.hex())
            self.nonces[sender["address"]] += 1
        ours, theirs = self.both([("eth_sendRawTransaction", [raw]) for raw in raws])
        return raws, ours, theirs

    def round(self):
        raws, ours, theirs = self.send()
        hashes = []
        for raw, a, b in zip(raws, ours, theirs):
            assert ("error" in a) == ("error" in b), f"seed {SEED}: {raw}\n coco {a}\nanvil {b}"
            if "error" not in a:
                assert a["result"] == b["result"]
                hashes.append(a["result"])
        asked = [("eth_getTransactionReceipt", [hash]) for hash in hashes]
        # anvil answers before it has executed.
        mined = lambda: all(reply["result"] for reply in batch(self.other, asked))
        processes.wait_until("anvil has executed them", mined)
        ours, theirs = self.both(asked)
        for hash, a, b in zip(hashes, ours, theirs):
            a, b = comparable(a["result"]), comparable(b["result"])
            assert a == b, f"seed {SEED}: {rpc(self.coco, 'eth_getTransactionByHash', hash)}\n coco {a}\nanvil {b}"
            assert a is not None
            self.seen["transactions"] += 1
            self.seen["succeeded"] += a["status"] == "0x1"
            self.seen["logs"] += len(a["logs"])
            if a["contractAddress"] and a["status"] == "0x1":
                self.seen["created"] += 1
                self.known.append(to_checksum_address(a["contractAddress"]))
        asked = [
            (f"eth_get{what}", [account["address"], "latest"])
            for account in self.accounts
            for what in ("Balance", "TransactionCount")
        ]
        for call, a, b in zip(asked, *self.both(asked)):
            assert a["result"] == b["result"], f"seed {SEED}: {call}\n coco {a}\nanvil {b}"
        self.calls()

    def calls(self):
        calls = []
        for _ in range(CALLS):
            call = {"from": self.random.choice(self.accounts)["address"], "gas": hex(self.random.choice([60_000, 2_000_000]))}
            if self.random.randrange(3):
                call |= {"to": self.random.choice(self.known), "input": "0x" + self.programs.data().hex()}
            else:
                call["input"] = "0x" + self.programs.program().hex()
            calls.append(("eth_call", [call, "latest"]))
        for call, a, b in zip(calls, *self.both(calls)):
            assert outcome(a) == outcome(b), f"seed {SEED}: {call}\n coco {a}\nanvil {b}"
            self.seen["calls"] += 1
            self.seen["answered"] += "result" in a

    def state(self):
        """Every account that was met, whole."""
        asked = []
        for address in sorted(set(self.known)):
            asked += [(f"eth_get{what}", [address, "latest"]) for what in ("Balance", "TransactionCount", "Code")]
            asked += [("eth_getStorageAt", [address, hex(slot), "latest"]) for slot in range(8)]
        for first in range(0, len(asked), 500):
            part = asked[first : first + 500]
            for call, a, b in zip(part, *self.both(part)):
                assert a.get("result") == b.get("result"), f"seed {SEED}: {call}\n coco {a}\nanvil {b}"
        return len(asked)


def test_random_transactions_and_calls_end_as_on_anvil(shared):
    assert ANVIL, f"run `npm install --no-save` in {HERE}"
    # Accounts of its own: those of the sandbox have sent things already.
    with anvil() as other:
        source = random.Random(SEED)
        accounts = []
        for _ in range(10):
            key = source.randbytes(32)
            address = Account.from_key(key).address
            accounts.append({"address": address, "private_key": "0x" + key.hex()})
        fund(shared.rpc, other, shared.facts["accounts"], accounts)
        pair = Pair(shared.rpc, other, accounts, SEED)
        for _ in range(ROUNDS):
            pair.round()
        looked = pair.state()
    print(f"differential: seed {SEED}, {pair.seen}, {looked} facts of {len(set(pair.known))} accounts, no difference")
    seen = pair.seen
    assert seen["transactions"] + seen["calls"] >= 2000
    # Most of it does something.
    assert seen["succeeded"] * 3 > seen["transactions"] and seen["answered"] * 3 > seen["calls"]
    assert seen["created"] > 50 and seen["logs"] > 50


def fund(coco, other, rich, accounts):
    """100 ether for each of these accounts on both chains."""
    ether = 10**18
    start = int(rpc(coco, "eth_getTransactionCount", rich[0]["address"], "latest"), 16)
    raws = []
    for place, account in enumerate(accounts):
        made = {"chainId": 31337, "nonce": start + place, "to": account["address"], "value": 100 * ether}
        made |= {"gas": 21000, "gasPrice": 0}
        signed = Account.sign_transaction(made, rich[0]["private_key"])
        raws.append("0x" + signed.raw_transaction.hex())
        rpc(other, "anvil_setBalance", account["address"], hex(100 * ether))
    for reply in batch(coco, [("eth_sendRawTransaction", [raw]) for raw in raws]):
        assert "error" not in reply, reply


def test_a_difference_is_seen():
    receipt = {"status": "0x1", "gasUsed": "0x5208", "logs": [], "blockNumber": "0x1"}
    assert comparable(receipt) == comparable(receipt | {"blockNumber": "0x2"})
    assert comparable(receipt) != comparable(receipt | {"gasUsed": "0x5209"})
    with pytest.raises(AssertionError):
        assert outcome({"error": {"data": "0x01"}}) == outcome({"error": {"data": "0x02"}})


def test_what_may_differ_from_anvil_is_told_to_readers():
    page = (ROOT / "docs" / "ethereum-conformance.md").read_text().split("## anvil", 1)[1]
    told = {line.split("|")[1] for line in page.splitlines() if line.startswith("|")}
    assert [name for name in ALLOWED if not any(f"`{name}`" in row for row in told)] == []
