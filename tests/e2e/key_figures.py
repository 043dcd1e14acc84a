"""How long a network of real processes takes to go on after all power failed: docs/performance.md, "Keys".

    COCO_RELEASE=target/release python tests/e2e/key_figures.py 3 5 9

All nodes share this machine. "votes" is from a node's start until it is a voter again, three seconds of which it
looks for somebody to join; "messages" is what all nodes together heard from one another about the restart.
"""

import os
import pathlib
import shutil
import statistics
import sys
import tempfile

import network as networks
import processes


def gauges(node):
    return node.status()["gauges"]


def sealed(node):
    """The keys are sealed to the actors: nobody could start the network again before."""
    return gauges(node).get("key_threshold", 0) > 0 and node.status()["epoch"] > 1


def cold_start(nodes):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="coco-figures-"))
    directory.chmod(0o711)
    running = []
    try:
        first = networks.Network(directory / "network", "--nodes", str(nodes))
        running.append(first)
        for node in first.nodes:
            processes.wait_until(f"{node.owner} can open the keys again", lambda node=node: sealed(node), 120)
        processes.kill(*first.everything())
        first.process.wait()
        again = networks.Network(directory / "network")
        running.append(again)
        for node in again.nodes:
            processes.wait_until(f"{node.owner} votes", lambda node=node: gauges(node).get("voter_ms", 0) > 0, 120)
        votes = [gauges(node)["voter_ms"] for node in again.nodes]
        messages = sum(gauges(node).get("cold_messages", 0) for node in again.nodes)
        again.stop()
        return statistics.median(votes), max(votes), messages
    finally:
        for network in running:
            processes.kill(*network.everything())
        shutil.rmtree(directory, ignore_errors=True)


for nodes in map(int, sys.argv[1:] or ("3", "5", "9")):
    median, last, messages = cold_start(nodes)
    load = os.getloadavg()[0]
    print(f"N = {nodes}: votes after {median:.0f} ms (median), {last} ms (last); {messages} messages; load {load:.0f}", flush=True)
