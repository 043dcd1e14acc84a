"""1,000,000 writes to 10,000 keys: memory follows the live state, not the history. A script: see docs/testing.md.

    python tests/e2e/memory.py [WRITES] [KEYS]
"""

import shutil
import sys
import time

import isolated
import processes
from network import coco
from pipeline import Writers

GROWTH_MAX = 1.5


def resident(node):
    """Resident bytes of each process of a node."""
    found = {}
    for pid in processes.tree(node.process.pid):
        with open(f"/proc/{pid}/status") as file:
            lines = [line for line in file if line.startswith("VmRSS:")]
        if lines:
            image = processes.image(pid)
            found[image] = found.get(image, 0) + int(lines[0].split()[1]) * 1024
    return found


def told(what, sizes):
    parts = ", ".join(f"{image} {size / 1e6:.0f}" for image, size in sorted(sizes.items()))
    print(f"{what}: {sum(sizes.values()) / 1e6:.0f} MB ({parts})", flush=True)


def main():
    writes = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    keys = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    with isolated.running(namespaces=False) as network:
        ways = [network.gateway(network.nodes[n:] + network.nodes[:n]) for n in range(3)]
        began = time.monotonic()
        work = Writers(ways, in_flight=400, prefix="memory", keys=keys, count=writes)
        first = min(100_000, writes // 10)
        processes.wait_until("the first writes", lambda: work.count() >= first, 300)
        before = {node.owner: resident(node) for node in network.nodes}
        for owner, sizes in before.items():
            told(f"{owner} after {first} writes", sizes)
        while work.thread.is_alive():
            work.thread.join(5)
            told(f"{network.nodes[0].owner} after {work.count()} writes", resident(network.nodes[0]))
        work.join()
        assert not work.failed, work.failed[:5]
        took = time.monotonic() - began
        size = network.nodes[0].ledger_bytes()
        print(f"{writes} writes to {keys} keys in {took:.0f} s, {writes / took:.0f} a second; {size / 1e6:.0f} MB of ledger")
        grown = {}
        for node in network.nodes:
            after = resident(node)
            told(f"{node.owner} at the end", after)
            grown[node.owner] = sum(after.values()) / sum(before[node.owner].values())
        print("memory grew", ", ".join(f"{owner} {factor:.2f}-fold" for owner, factor in grown.items()), flush=True)

        joiner = network.nodes[2] if network.leader() is not network.nodes[2] else network.nodes[1]
        joiner.stop()
        shutil.rmtree(joiner.directory / "data")
        began = time.monotonic()
        joiner.start()
        processes.wait_until(f"{joiner.owner} votes again", joiner.votes, 600)
        gauges = joiner.gauges()
        print(
            f"{joiner.owner} with an empty disk voted after {time.monotonic() - began:.1f} s; "
            f"fetched {gauges['fetched_bytes'] / 1e6:.1f} MB of {size / 1e6:.0f} MB; {gauges}"
        )
        began = time.monotonic()
        done = coco("ledger", "verify", network.nodes[0].directory / "data", "--constitution", network.constitution)
        print(done.stdout, done.stderr, f"audited in {time.monotonic() - began:.1f} s")
        assert done.returncode == 0
        assert max(grown.values()) <= GROWTH_MAX, f"memory grew {grown}"


main()
