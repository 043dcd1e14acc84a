"""What the host and the disk see: ciphertext, sizes and addresses, and never a transaction's content."""

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

import cbor2
import network as networks
import processes
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_account import Account
from network import KeyValue, coco, rpc

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="memory of other users' processes: run as root")


def forms(marker):
    """A marker as it may stand somewhere: as bytes, in both hexadecimal alphabets, in base64."""
    found = {marker, marker.hex().encode(), marker.hex().upper().encode()}
    for shift in range(3):  # base64 depends on what stands before; its inner part is enough
        found.add(base64.b64encode(b"\0" * shift + marker)[4:-4])
    return found


@needs_root
def test_a_marker_is_found_in_no_file_and_in_no_host(capsys):
    with networks.running() as network:
        kv, calldata = secrets.token_bytes(24), secrets.token_bytes(24)
        client = KeyValue(network.gateways["kv"])
        name = f"marked/{secrets.token_hex(8)}"
        assert client.put(urllib.parse.quote(name), kv, "marked")[0] == 200
        account = network.facts["accounts"][0]
        signed = Account.sign_transaction(
            {
                "chainId": 31337,
                "nonce": 0,
                "to": account["address"],
                "value": 0,
                "data": calldata,
                "gas": 100_000,
                "maxFeePerGas": 10**11,
                "maxPriorityFeePerGas": 0,
            },
            account["private_key"],
        )
        sent = rpc(network.rpc, "eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
        assert rpc(network.rpc, "eth_getTransactionReceipt", sent)["status"] == "0x1"
        network.quiesce(network.nodes)
        markers = forms(kv) | forms(calldata) | {name.encode()}

        scanned = 0
        for node in network.nodes:
            # The scan can find: the worker has both in clear, as it must.
            for worker, marker in (("coco-worker-kv", kv), ("coco-worker-ethereum", calldata)):
                found, _ = processes.memory_holds(node.pid(worker), forms(marker))
                assert marker in found, f"the scan does not see {worker} of {node.owner}"
            found, read = processes.memory_holds(node.pid("coco-host"), markers)
            assert not found, f"the host of {node.owner} holds {found}"
            # The scan saw the host's memory: its own configuration stands there.
            control, _ = processes.memory_holds(node.pid("coco-host"), {node.address.encode()})
            assert control and read > 1 << 20
            scanned += read
        found, read = processes.files_holding(network.directory, markers)
        assert not found, found
        assert read > 10_000
        with capsys.disabled():
            print(f"\n  no marker in {scanned >> 20} MiB of hosts' memory and {read} bytes of files")
        # The files can be searched: a public name is there.
        assert processes.files_holding(network.directory, {b"contoso"})[0]


def pem(path):
    """What the one block of a PEM file holds."""
    lines = [line for line in open(path).read().splitlines() if line and not line.startswith("-----")]
    return base64.b64decode("".join(lines))


def opened_epochs(network, node, directory):
    """The session keys of a network by epoch: M actors' files open a copy of its ledger."""
    shares = sorted(network.directory.rglob("*-share.pem"))
    needed = len(network.nodes) // 2 + 1
    copy = directory / "copy"

    def attempt():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(node.ledger, copy / "ledger")
        for old in directory.glob("*.part"):
            old.unlink()
        of = ["--ledger", copy, "--constitution", network.facts["constitution"]]
        parts = [directory / f"{share.stem}.part" for share in shares[:needed]]
        for share, part in zip(shares, parts, strict=False):
            # Until the actors have made their key, nothing is sealed to them.
            done = coco("recover", "partial", *of, "--share-key", share, "--out", part)
            if done.returncode != 0:
                return None
        keys = directory / "keys.pem"
        keys.unlink(missing_ok=True)
        done = coco("recover", "open", *of, "--partials", *parts, "--out", keys)
        assert keys.exists(), done.stderr
        return keys

    keys = processes.wait_until("an epoch is sealed to the actors", attempt, 60)
    network_id, epochs = cbor2.loads(pem(keys))
    assert len(network_id) == 32 and 1 in epochs and len(epochs) >= 2
    return epochs


def listed_keys(node):
    """Public keys that the ledger names: those of nodes, and the network's."""
    done = coco("ledger", "export", node.ledger)
    assert done.returncode in (0, 6), done.stderr
    nodes, network = set(), None
    for line in done.stdout.splitlines():
        record = json.loads(line)
        for fact in record.get("public") or [] if record["record"] == "entry" else []:
            if not isinstance(fact, dict):
                continue
            if "node" in fact and "key" in fact:
                nodes.add(bytes.fromhex(fact["key"]))
            if "network_certificate" in fact:
                certificate = x509.load_der_x509_certificate(bytes.fromhex(fact["network_certificate"]))
                network = certificate.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return nodes, network


def derived(secret, context, *info):
    """`crypto::derive`: HKDF-SHA-256 over parts, each after its length."""
    bound = b"".join(len(part).to_bytes(8, "big") + part for part in (context, *info))
    return HKDF(hashes.SHA256(), 32, None, bound).derive(secret)


def scalar(window, public):
    """A private key as it was found, big-endian."""
    for order in ("big", "little"):
        try:
            key = ec.derive_private_key(int.from_bytes(window, order), ec.SECP256R1())
        except ValueError:
            continue
        if key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) == public:
            return window if order == "big" else window[::-1]
    raise AssertionError("it is the key of that point")


def keys_of_the_ledger(epochs, nodes, term):
    """Of each epoch: what seals entries, salts leaves and seeds batches, for every node that may have led."""
    restarts, term = (0).to_bytes(4, "big"), term.to_bytes(8, "big")
    for key in epochs.values():
        for node in nodes:
            yield derived(key, b"coco/1 ledger seal", node, restarts, term)
        yield derived(key, b"coco/1 commit evidence", restarts, term)
        for protocol in (b"kv", b"ethereum"):
            yield derived(key, b"coco/1 batch entropy", term, protocol)


@needs_root
def test_no_key_of_the_inventory_is_in_a_host_or_in_a_file(capsys):
    """docs/keys.md, "Who holds what": session keys and what is derived of them, share-transport keys, VN keys, the
    network's key, the keys of workers."""
    elsewhere = tempfile.TemporaryDirectory(prefix="coco-e2e-keys-")
    with networks.running() as network, elsewhere as directory:
        directory = type(network.directory)(directory)
        epochs = opened_epochs(network, network.nodes[0], directory)
        network.quiesce(network.nodes)
        shares = {share: pem(share) for share in network.directory.rglob("*-share.pem")}
        assert shares and all(len(key) == 32 for key in shares.values())

        # What only a node has is looked up where it must be: in the memory of its manager.
        nodes, identity = listed_keys(network.nodes[0])
        private = {}
        for node in network.nodes:
            private |= processes.private_scalars(node.pid("coco-manager"), nodes | {identity})
        assert identity in private, "no manager holds the network's key"
        assert len(private) == len(network.nodes) + 1, "each manager holds the key of its node"

        # What a worker is given of the network's key; its worker has it, as it must.
        root = scalar(private[identity], identity)
        workers = {protocol: derived(root, b"coco/1 worker key", protocol.encode()) for protocol in ("kv", "ethereum")}
        held = [
            key in processes.memory_holds(node.pid(f"coco-worker-{protocol}"), {key})[0]
            for node in network.nodes
            for protocol, key in workers.items()
        ]
        assert any(held), "the scan sees the key of no worker"
        ledger = set(keys_of_the_ledger(epochs, nodes, network.nodes[0].status()["term"]))

        keys = [*epochs.values(), *shares.values(), *private.values(), *workers.values(), *ledger]
        keys += [key[::-1] for key in private.values()]
        markers = set().union(*(forms(key) for key in keys))
        scanned = 0
        for node in network.nodes:
            held, _ = processes.memory_holds(node.pid("coco-manager"), {*epochs.values(), *shares.values()})
            assert set(epochs.values()) <= held, f"the scan does not see the session keys of {node.owner}"
            assert held & set(shares.values()), f"the manager of {node.owner} has no share-transport key"
            found, read = processes.memory_holds(node.pid("coco-host"), markers)
            assert not found, f"the host of {node.owner} holds a key"
            scanned += read
        # An actor's own file holds its share-transport key, and nothing else does.
        found, read = processes.files_holding(network.directory, markers)
        others = [path for path, _ in found if not path.endswith("-share.pem")]
        assert not others, others
        assert found and read > 10_000
        with capsys.disabled():
            print(f"\n  none of {len(keys)} keys in {scanned >> 20} MiB of hosts' memory and {read} bytes of files")


@needs_root
def test_enclaves_are_another_user_whose_memory_the_host_cannot_open(shared):
    attempt = """
import ctypes, os, sys
pid, user = map(int, sys.argv[1:])
os.setgroups([]); os.setgid(user); os.setuid(user)
refused = 0
for path in (f"/proc/{pid}/mem", f"/proc/{pid}/environ", f"/proc/{pid}/maps"):
    try:
        with open(path, "rb") as file:
            file.read(1)
    except PermissionError:
        refused += 1
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH = 16
if libc.ptrace(PTRACE_ATTACH, pid, 0, 0) == -1 and ctypes.get_errno() == 1:
    refused += 1
try:
    os.kill(pid, 0)
except PermissionError:
    refused += 1
print(refused)
"""
    for node in shared.nodes:
        host = processes.uid(node.pid("coco-host"))
        for image in ("coco-manager", "coco-worker-kv", "coco-worker-ethereum", "coco-launcher"):
            pid = node.pid(image)
            assert processes.uid(pid) != host and processes.uid(pid) != 0
            done = subprocess.run(
                [sys.executable, "-c", attempt, str(pid), str(host)], capture_output=True, text=True
            )
            assert done.stdout.strip() == "5", f"{image}: {done.stdout} {done.stderr}"
