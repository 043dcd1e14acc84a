"""Clients of the key-value protocol that write, read and swap a few keys, and record what they were told."""

import contextlib
import http.client
import json
import math
import random
import threading
import time
import uuid

from linear import ABSENT, CAS, READ, WRITE, Operation
from network import KeyValue


class Registers:
    """So many clients at each gateway; each works on the same keys and asks a write again until it is answered."""

    def __init__(self, places, clients=4, keys=6, timeout=2.0, pause=0.0):
        """`places` are (context manager that a thread works in, address of a gateway)."""
        self.history = []
        self.problems = []
        self.running = True
        self.keys = [f"register-{uuid.uuid4().hex[:6]}-{n}" for n in range(keys)]
        self.timeout, self.pause = timeout, pause
        self.retried = 0
        self.threads = []
        for place, (where, address) in enumerate(places):
            for number in range(clients):
                client = place * 100 + number
                thread = threading.Thread(target=self._guarded, args=(client, where, address))
                self.threads.append(thread)
                thread.start()

    def _guarded(self, client, where, address):
        try:
            with where() if where else contextlib.nullcontext():
                self._work(client, address)
        except Exception as error:  # noqa: BLE001 - told by stop()
            self.problems.append(f"client {client}: {error!r}")

    def _work(self, client, address):
        dice = random.Random(client)
        connection = KeyValue(address, timeout=self.timeout)
        seen = {}
        number = 0
        while self.running:
            key = dice.choice(self.keys)
            number += 1
            value = f"{client}.{number}"
            kind = dice.choices([READ, WRITE, CAS], [4, 3, 3])[0]
            began = time.monotonic()
            if kind == READ:
                found = self._read(connection, key)
                if found is not None:
                    value = found[0]
                    seen[key] = value
                    self._note(client, key, READ, began, value=value)
            elif kind == WRITE:
                done = self._write(connection, key, value)
                if done:
                    seen[key] = value
                self._note(client, key, WRITE, began, value=value, answered=done is not None)
            else:
                expected = seen.get(key, ABSENT)
                if expected is ABSENT:
                    continue
                done = self._write(connection, key, value, expected)
                if done:
                    seen[key] = value
                else:
                    seen.pop(key)
                answered = done is not None
                self._note(client, key, CAS, began, value, expected, done, answered)
            if self.pause:
                time.sleep(self.pause)

    def _note(self, client, key, kind, began, value=ABSENT, expected=ABSENT, swapped=None, answered=True):
        ended = time.monotonic() if answered else math.inf
        self.history.append(Operation(client, key, kind, began, ended, value, expected, swapped))

    def _read(self, connection, key):
        """The value in a tuple; None if no answer came."""
        try:
            status, body = connection.read(key, "linear")
        except (OSError, http.client.HTTPException):
            return None
        if status == 200:
            return (body.decode(),)
        if status == 404:
            return (ABSENT,)
        if status < 500 and status != 429:
            raise AssertionError(f"read: {status} {body}")
        return None

    def _write(self, connection, key, value, expected=ABSENT):
        """True or False as answered; None if the test ended before an answer came."""
        name = uuid.uuid4().hex
        command = {"op": "put", "key": key, "value": value}
        if expected is not ABSENT:
            command["expect"] = {"value": expected}
        body = json.dumps({"commands": [command]})
        while True:
            try:
                status, answer = connection.request("POST", "/batch", body, {"Coco-Request-Id": name})
            except (OSError, http.client.HTTPException):
                status, answer = 599, b""
            if status == 200:
                return True
            if status in (409, 412):
                return False
            if status < 500 and status != 429:
                raise AssertionError(f"write: {status} {answer}")
            self.retried += 1
            if not self.running:
                return None
            time.sleep(0.01)

    def count(self, clients=None):
        assert not self.problems, self.problems
        return sum(1 for o in list(self.history) if o.known() and (clients is None or o.client // 100 == clients))

    def stop(self):
        """Ends the clients; gives the history."""
        self.running = False
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"
        assert not self.problems, self.problems
        return self.history
