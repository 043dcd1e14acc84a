"""An Ethernet switch in user space whose wires can be cut, slow and lossy.

Started by `isolated.py` in a network namespace of its own, with one interface for each port. Every line on
standard input is a JSON object that says how it treats frames from then on:

    {"cut": [["a", "b"], ...], "loss": 0.05, "delay_ms": 20, "jitter_ms": 10, "toll_free": ["c", ...]}

`cut` is one-way: frames from a to b go nowhere. Loss, delay and jitter are of every frame, but for those of
the ports in `toll_free`. The kernel's own means (netem, nftables) are not on every machine; raw sockets are.
"""

import heapq
import json
import os
import random
import select
import socket
import sys
import time

ETH_P_ALL = 3
OUTGOING = 4


def main():
    ports = sys.argv[1:]
    sockets, names, stations = {}, {}, {}
    poll = select.epoll()
    for name in ports:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        raw.bind((name, 0))
        raw.setblocking(False)
        sockets[name], names[raw.fileno()] = raw, name
        poll.register(raw, select.EPOLLIN)
    os.set_blocking(0, False)
    poll.register(0, select.EPOLLIN)
    cut, loss, delay, jitter, free = set(), 0.0, 0.0, 0.0, set()
    # Frames do not overtake one another on a wire: jitter would be loss to TCP.
    last, waiting, number = {}, [], 0
    text = b""
    dice = random.Random(1)

    def send(port, frame):
        try:
            sockets[port].send(frame)
        except OSError:
            pass  # a full or absent port loses frames, as wires do

    print("ready", flush=True)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, port, frame = heapq.heappop(waiting)
            send(port, frame)
        timeout = max(0.0, waiting[0][0] - now) if waiting else -1
        for ready, _ in poll.poll(timeout):
            if ready == 0:
                more = os.read(0, 65536)
                if not more:
                    return
                *lines, text = (text + more).split(b"\n")
                for line in lines:
                    rules = json.loads(line)
                    cut = {tuple(pair) for pair in rules.get("cut", [])}
                    loss, delay = rules.get("loss", 0.0), rules.get("delay_ms", 0) / 1000
                    jitter, free = rules.get("jitter_ms", 0) / 1000, set(rules.get("toll_free", []))
                    print("done", flush=True)
                continue
            source = names[ready]
            for _ in range(64):
                try:
                    frame, address = sockets[source].recvfrom(65536)
                except BlockingIOError:
                    break
                except OSError:
                    break
                if address[2] == OUTGOING:
                    continue
                stations[frame[6:12]] = source
                known = stations.get(frame[:6])
                for port in [known] if known else ports:
                    if port == source or (source, port) in cut:
                        continue
                    if source in free or port in free or not (loss or delay or jitter):
                        send(port, frame)
                        continue
                    if dice.random() < loss:
                        continue
                    wire = (source, port)
                    at = time.monotonic() + delay + dice.random() * jitter
                    at = last[wire] = max(at, last.get(wire, 0.0))
                    number += 1
                    heapq.heappush(waiting, (at, number, port, frame))


main()
