"""What the host and the disk see: ciphertext, sizes and addresses, and never a transaction's content."""

import base64
import os
import secrets
import subprocess
import sys
import urllib.parse

import network as networks
import processes
import pytest
from eth_account import Account
from network import KeyValue, rpc

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
