"""Receipts from running nodes, verified by `coco receipt verify` and by a verifier that is not ours.

That one is PyPI `ccf`, Microsoft's own for the COSE profile. It is given the signer's key, which
`cryptography` takes from the receipt's certificate after it has checked that the network issued it.
"""

import copy
import hashlib
import json
import re
import subprocess

import cbor2
import network as networks
import processes
import pytest
from ccf.cose import verify_receipt
from cryptography import x509
from eth_account import Account
from network import COCO, KeyValue, coco, rpc

X5CHAIN, VDP, INCLUSION, LEAF, PATH = 33, 396, -1, 1, 2
SINK = "0x000000000000000000000000000000000000dEaD"


def unhex(text):
    return bytes.fromhex(text.removeprefix("0x"))


class Receipt:
    """What a front answered."""

    def __init__(self, answer):
        self.answer = answer
        self.cose = unhex(answer["receipt"])
        self.claim = unhex(answer["claim"]["digest"])

    def with_cose(self, cose):
        answer = copy.deepcopy(self.answer)
        answer["receipt"] = cose.hex()
        return Receipt(answer)

    def parts(self):
        """Protected header, unprotected header, payload, signature."""
        return copy.deepcopy(cbor2.loads(self.cose).value)

    def rebuilt(self, parts):
        return self.with_cose(cbor2.dumps(cbor2.CBORTag(18, parts)))

    def proof(self):
        return cbor2.loads(self.parts()[1][VDP][INCLUSION][0])

    def with_proof(self, proof):
        parts = self.parts()
        parts[1][VDP][INCLUSION][0] = cbor2.dumps(proof)
        return self.rebuilt(parts)

    def signer(self):
        return x509.load_der_x509_certificate(self.parts()[1][X5CHAIN])

    def statement(self):
        return cbor2.loads(self.parts()[0])["coco.v1"]


class Verifiers:
    """Both verifiers, and how often they agreed."""

    def __init__(self, network, directory):
        self.pem = network.facts["network_certificate"]
        with open(self.pem, "rb") as file:
            self.network = x509.load_pem_x509_certificate(file.read())
        self.file = directory / "receipt.json"
        self.count = 0

    def ours(self, receipt, *more):
        self.file.write_text(json.dumps(receipt.answer))
        done = coco("receipt", "verify", self.file, "--network", self.pem, "--json", *more)
        return done.returncode, done.stdout + done.stderr

    def theirs(self, receipt, key=None):
        signer = receipt.signer()
        signer.verify_directly_issued_by(self.network)
        verify_receipt(receipt.cose, key or signer.public_key(), receipt.claim)

    def both(self, receipt):
        code, said = self.ours(receipt)
        assert code == 0, said
        self.theirs(receipt)
        self.count += 1
        return json.loads(said)


class Front:
    """One node's two fronts."""

    def __init__(self, network, node):
        self.kv = KeyValue(network.gateway("kv", [node]))
        self.rpc = f"http://{network.gateway('ethereum', [node])}"

    def of_place(self, height, position):
        status, body = self.kv.request("GET", f"/receipt/{height}/{position}")
        assert status == 200, body
        return Receipt(json.loads(body))

    def of_hash(self, hash_):
        answer = rpc(self.rpc, "coco_getReceipt", hash_)
        return answer and Receipt(answer)


def pay(network, nonce):
    """Sends one wei; gives the hash once it is committed."""
    account = network.facts["accounts"][0]
    transaction = {"chainId": 31337, "nonce": nonce, "to": SINK, "value": 1, "gas": 21000}
    transaction |= {"maxFeePerGas": 10**12, "maxPriorityFeePerGas": 0}
    signed = Account.sign_transaction(transaction, account["private_key"])
    return rpc(network.rpc, "eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())


def put(client, number):
    status, body = client.put(f"key-{number}", f"value-{number}", f"request-{number}")
    assert status == 200, body
    answer = json.loads(body)
    return answer["height"], answer["position"], answer["unit"]


def check(verifiers, front, payments, writes):
    """Every transaction, from one node."""
    for hash_ in payments:
        receipt = processes.wait_until("the node has it", lambda: front.of_hash(hash_))  # noqa: B023
        proven = verifiers.both(receipt)
        assert proven["transaction"] == hash_ and proven["outcome"] == "success"
        assert proven["gas_used"] == 21000
    for number, (height, position, unit) in enumerate(writes):
        proven = verifiers.both(front.of_place(height, position))
        assert (proven["batch"], proven["position"]) == (height, position)
        assert proven["transaction"] == unit and proven["request"] == f"request-{number}"


def forgeries(receipt, other):
    """Receipts that prove nothing: what was changed, the receipt, and what of ours it breaks."""
    flip = lambda data, at=0: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]  # noqa: E731

    proof = receipt.proof()
    proof[LEAF][2] = flip(proof[LEAF][2])
    yield "the claim in the leaf", receipt.with_proof(proof), "another claim"

    proof = receipt.proof()
    proof[LEAF][0] = flip(proof[LEAF][0])
    yield "the internal hash in the leaf", receipt.with_proof(proof), "place"

    proof = receipt.proof()
    proof[LEAF][1] = proof[LEAF][1][:-1] + ("0" if proof[LEAF][1][-1] != "0" else "1")
    yield "the commit evidence", receipt.with_proof(proof), "signature"

    proof = receipt.proof()
    if proof[PATH]:
        proof[PATH][0][1] = flip(proof[PATH][0][1])
        yield "a digest of the path", receipt.with_proof(proof), "signature"
        proof = receipt.proof()
        proof[PATH][0][0] = not proof[PATH][0][0]
        yield "a side of the path", receipt.with_proof(proof), "signature"

    parts = receipt.parts()
    parts[3] = flip(parts[3], 40)
    yield "the signature", receipt.rebuilt(parts), "signature"

    parts = receipt.parts()
    header = cbor2.loads(parts[0])
    header["coco.v1"]["time"] += 1
    parts[0] = cbor2.dumps(header)
    yield "the time that was signed", receipt.rebuilt(parts), "signature"

    forged = Receipt(copy.deepcopy(receipt.answer))
    forged.answer["claim"] = copy.deepcopy(other.answer["claim"])
    yield "another transaction", Receipt(forged.answer), "claim"


def test_receipts_of_each_node_convince_a_verifier_that_is_not_ours(tmp_path, capsys):
    with networks.running() as network:
        verifiers = Verifiers(network, tmp_path)
        writer = KeyValue(network.gateways["kv"])
        payments = [pay(network, nonce) for nonce in range(8)]
        writes = [put(writer, number) for number in range(12)]
        fronts = {node.owner: Front(network, node) for node in network.nodes}
        for front in fronts.values():
            check(verifiers, front, payments, writes)

        # The same proof from every node, up to the certificate's signature.
        parts = [front.of_hash(payments[3]).parts() for front in fronts.values()]
        for each in parts:
            certificate = x509.load_der_x509_certificate(each[1].pop(X5CHAIN))
            each.append(certificate.tbs_certificate_bytes)
        assert parts[0] == parts[1] == parts[2]

        front = fronts[network.nodes[0].owner]
        good = [front.of_hash(payments[0]), front.of_place(*writes[5][:2])]
        refused = 0
        for receipt, other in (good, good[::-1]):
            key = receipt.signer().public_key()
            for what, forged, reason in forgeries(receipt, other):
                code, said = verifiers.ours(forged)
                assert code == 5 and reason in said, f"{what}: {code} {said}"
                with pytest.raises((AssertionError, ValueError)):
                    verifiers.theirs(forged, key)
                refused += 1

        # What only ours looks at: the place, parts of the claim, the network.
        receipt = good[1]
        parts = receipt.parts()
        place = bytearray(parts[1]["coco.place"])
        place[23] ^= 1
        parts[1]["coco.place"] = bytes(place)
        code, said = verifiers.ours(receipt.rebuilt(parts))
        assert code == 5 and "place" in said, said
        for field, value in (("position", receipt.answer["position"] + 1), ("height", 4000)):
            code, said = verifiers.ours(Receipt(receipt.answer | {field: value}))
            assert code == 5 and field in said, said
        for field in ("transaction", "result", "actor"):
            answer = copy.deepcopy(receipt.answer)
            answer["claim"][field] = ("01" if answer["claim"][field][:2] == "00" else "00") + answer[
                "claim"
            ][field][2:]
            code, said = verifiers.ours(Receipt(answer))
            assert code == 5 and "claim" in said, f"{field}: {said}"
        answer = copy.deepcopy(good[0].answer)
        answer["claim"]["transaction"] += "00"
        code, said = verifiers.ours(Receipt(answer))
        assert code == 5 and "hash" in said, said
        with networks.running("--nodes", "1") as foreign:
            stranger = Verifiers(foreign, tmp_path)
            code, said = stranger.ours(receipt)
            assert code == 5 and "not endorsed" in said, said

        with capsys.disabled():
            print(f"\n  receipts cross-verified: {verifiers.count}; forgeries refused by both: {refused}")


def test_old_receipts_survive_a_restart_and_the_death_of_their_signer(tmp_path, capsys):
    with networks.running() as network:
        verifiers = Verifiers(network, tmp_path)
        writer = KeyValue(network.gateway("kv", network.nodes))
        payments = [pay(network, nonce) for nonce in range(4)]
        writes = [put(writer, number) for number in range(6)]
        leader = network.leader()
        old = Front(network, leader).of_place(*writes[0][:2])
        network.quiesce(network.nodes)

        # The signer of these dies, others go on, and it comes back with another key.
        command = processes.argv(leader.supervisor)
        leader.kill()
        others = [node for node in network.nodes if node is not leader]
        network.leader(among=others)
        writer = KeyValue(network.gateway("kv", others))
        for number in range(6, 40):
            writes.append(put(writer, number))
        # It founded the network, which is done once; now it joins.
        config = leader.directory / "node.toml"
        peers = json.dumps([node.address for node in others])
        text = config.read_text().replace("create = true", "create = false")
        config.write_text(re.sub(r"(?m)^peers = .*$", f"peers = {peers}", text))
        log = (tmp_path / "restarted.txt").open("w")
        again = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:

            def caught_up():
                try:
                    here, there = leader.status(), others[0].status()
                except OSError:
                    return False
                return here["phase"] == "following" and here["committed"] == there["committed"]

            processes.wait_until("the restarted node has caught up", caught_up, 60)
            front = Front(network, leader)
            check(verifiers, front, payments, writes)
            receipt = front.of_place(*writes[0][:2])
            assert receipt.signer().public_key() == old.signer().public_key(), "a dead node's key"
            assert receipt.proof() == old.proof()
            for node in others:
                check(verifiers, Front(network, node), payments[:1], writes[:1])
        finally:
            processes.kill(*processes.tree(again.pid))
            again.wait()
        with capsys.disabled():
            print(f"\n  receipts cross-verified after a restart: {verifiers.count}")


def test_the_command_fetches_what_it_verifies(tmp_path):
    with networks.running("--nodes", "1") as network:
        node = network.nodes[0]
        hash_ = pay(network, 0)
        height, position, _ = put(KeyValue(network.gateways["kv"]), 0)
        identity = next(iter(network.participants.values()))
        pem = network.facts["network_certificate"]

        def get(protocol, *which, out):
            return coco(
                *("receipt", "get", "--identity", identity, "--network", pem),
                *("--vn", f"127.0.0.1:{node.ports[protocol]}", "--protocol", protocol),
                *(*which, "-o", tmp_path / out, "--cose", tmp_path / f"{out}.cose"),
            )

        for protocol, which in (
            ("ethereum", ("--transaction", hash_)),
            ("kv", ("--at", f"{height}/{position}")),
            ("kv", ("--request", "request-0")),
        ):
            out = f"{protocol}-{which[0]}"
            done = get(protocol, *which, out=out)
            assert done.returncode == 0 and "the receipt is valid" in done.stdout, done.stderr
            claim = json.loads((tmp_path / out).read_text())["claim"]["digest"]
            alone = coco("receipt", "verify", tmp_path / f"{out}.cose", "--network", pem, "--claim", claim)
            assert alone.returncode == 0, alone.stderr
            wrong = hashlib.sha256(b"another").hexdigest()
            alone = coco("receipt", "verify", tmp_path / f"{out}.cose", "--network", pem, "--claim", wrong)
            assert alone.returncode == 5 and "another claim" in alone.stderr
        done = get("ethereum", "--transaction", "0x" + "11" * 32, out="none")
        assert done.returncode == 3 and "no transaction" in done.stderr, done.stderr
        done = get("kv", "--at", "4000/0", out="none")
        assert done.returncode == 3 and "no such batch" in done.stderr, done.stderr
