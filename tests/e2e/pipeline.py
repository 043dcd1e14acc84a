"""Writers that keep many requests under way on one connection, each asked again under its name until answered."""

import collections
import select
import socket
import threading
import time
import uuid


class Writers:
    """So many writers of fresh keys at each gateway, in one thread. `acknowledged`: key → value, with times.

    As documented for clients: a write has a name of its own (`Coco-Request-Id`) and is done once however
    often it is sent; a lost connection, 429 and 503 mean that the outcome is not known, so it is sent again.
    """

    def __init__(self, gateways, in_flight=32, rate=None, value_bytes=64, prefix="load", keys=None, count=None):
        self.gateways = gateways
        self.in_flight, self.rate, self.value_bytes = in_flight, rate, value_bytes
        self.prefix, self.keys, self.most = prefix, keys, count
        self.acknowledged = {}
        self.times = []  # of each acknowledgement
        self.waits = []  # seconds from a write's first sending to its acknowledgement
        self.again = 0  # writes sent again
        self.failed = []  # answers that are final and no acknowledgement
        self.problem = None
        self.running = True
        self.thread = threading.Thread(target=self._guarded)
        self.thread.start()

    def _guarded(self):
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - told by stop()
            self.problem = error

    def _work(self):
        connections = [_Connection(address) for address in self.gateways]
        began, made = time.monotonic(), 0
        while True:
            now = time.monotonic()
            busy = sum(len(c.waiting) for c in connections)
            finished = not self.running or (self.most is not None and made >= self.most)
            if finished and busy == 0:
                break
            if not self.running and now - self.stopped > 20:
                raise AssertionError(f"{busy} writes are without an answer 20 s after the end")
            for connection in connections:
                while not finished and len(connection.waiting) < self.in_flight:
                    if self.rate and made >= (now - began) * self.rate:
                        break
                    if self.most is not None and made >= self.most:
                        break
                    key = f"{self.prefix}/{made % self.keys if self.keys else made}"
                    made += 1
                    value = uuid.uuid4().hex * -(-self.value_bytes // 32)
                    connection.ask(key, value[: self.value_bytes], now)
                self.again += connection.keep(now)
            ready, _, _ = select.select([c.socket for c in connections if c.socket], [], [], 0.002)
            for connection in connections:
                if connection.socket in ready:
                    for request, status, body in connection.answers():
                        self._answered(connection, request, status, body)

    def _answered(self, connection, request, status, body):
        if status == 200:
            now = time.monotonic()
            self.acknowledged[request.key] = request.value
            self.times.append(now)
            self.waits.append(now - request.began)
        elif status in (429, 503):
            connection.later.append(request)
        else:
            self.failed.append((request.key, status, body[:200]))

    def count(self):
        assert self.problem is None, self.problem
        return len(self.times)

    def stop(self):
        """Ends when everything under way is answered."""
        self.stopped = time.monotonic()
        self.running = False
        self.join()

    def join(self, seconds=60):
        self.stopped = time.monotonic()
        self.thread.join(seconds)
        assert self.problem is None, self.problem
        assert not self.thread.is_alive(), "the writers hang"


class _Request:
    def __init__(self, key, value, now):
        self.key, self.value, self.began = key, value, now
        body = value.encode()
        head = f"PUT /kv/{key} HTTP/1.1\r\nhost: x\r\ncoco-request-id: {uuid.uuid4().hex}\r\n"
        self.wire = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class _Connection:
    """One connection; what waits for an answer on it, in order."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.address = (host, int(port))
        self.socket = None
        self.waiting = collections.deque()
        self.later = []
        self.out, self.got = bytearray(), bytearray()
        self.not_before = 0.0
        self.sent_at = 0.0

    def ask(self, key, value, now):
        request = _Request(key, value, now)
        self.waiting.append(request)
        self.out += request.wire

    def keep(self, now):
        """Connects if need be and sends; gives how many requests had to be sent again."""
        again = 0
        if self.later:
            # Answered that the outcome is unknown: sent again behind the others, a little later.
            again, late = len(self.later), self.later
            self.later = []
            for request in late:
                self.waiting.append(request)
                self.out += request.wire
            time.sleep(0.005)
        if self.socket is None:
            if now < self.not_before:
                return again
            try:
                self.socket = socket.create_connection(self.address, 2)
            except OSError:
                self.not_before = now + 0.05
                return again
            self.socket.setblocking(False)
            again += len(self.waiting) if self.sent_at else 0
            self.sent_at = now
            self.got.clear()
            self.out = bytearray(b"".join(request.wire for request in self.waiting))
        try:
            while self.out:
                sent = self.socket.send(memoryview(self.out)[: 1 << 18])
                del self.out[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.lost(now)
        return again

    def lost(self, now):
        self.socket.close()
        self.socket = None
        self.not_before = now + 0.02

    def answers(self):
        try:
            more = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            return self.lost(time.monotonic())
        self.got += more
        while (end := self.got.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.got[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.got) < end + 4 + length:
                return
            body = bytes(self.got[end + 4 : end + 4 + length])
            del self.got[: end + 4 + length]
            yield self.waiting.popleft(), int(head[9:12]), body


def slowest_second(times):
    """Fewest acknowledgements in a whole second between the first and the last."""
    first = min(times)
    counts = collections.Counter(int(at - first) for at in times)
    whole = int(max(times) - first)
    return min(counts[second] for second in range(whole)) if whole else len(times)
