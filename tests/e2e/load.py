"""Clients that write without pause and keep their own list of what was acknowledged."""

import http.client
import itertools
import json
import threading
import time
import urllib.error
import uuid

from eth_account import Account
from network import KeyValue, rpc


class Load:
    """Key-value and Ethereum writers; each goes on with the same request until it has an answer."""

    def __init__(self, network, gateways):
        self.network = network
        self.acknowledged = []  # (time, client, key, value) and (time, client, hash)
        self.problems = []
        self.running = True
        self.threads = []
        writers = [
            (self._key_value, number, gateway)
            for number, gateway in enumerate(gateways["kv"] * 2)
        ]
        writers += [
            (self._ethereum, number, gateway) for number, gateway in enumerate(gateways["ethereum"])
        ]
        for writer, number, gateway in writers:
            thread = threading.Thread(target=self._guarded, args=(writer, number, gateway))
            self.threads.append(thread)
            thread.start()

    def _guarded(self, writer, number, gateway):
        try:
            writer(number, gateway)
        except Exception as error:  # noqa: BLE001 - told by stop()
            self.problems.append(f"client {number} of {gateway}: {error!r}")

    def _key_value(self, number, gateway):
        client = KeyValue(gateway, timeout=5)
        for count in itertools.count():
            key, value, name = f"load/{number}/{count}", uuid.uuid4().hex, uuid.uuid4().hex
            while self.running:
                try:
                    status, body = client.put(key, value, name)
                except (OSError, http.client.HTTPException):
                    continue  # outcome unknown: asked again under the same request id
                if status == 200:
                    self.acknowledged.append((time.monotonic(), f"kv {number}", key, value))
                    break
                if status < 500:
                    raise AssertionError(f"{status} {body}")
            if not self.running:
                return

    def _ethereum(self, number, gateway):
        url = f"http://{gateway}"
        account = self.network.facts["accounts"][number]
        sink = "0x000000000000000000000000000000000000dEaD"
        for nonce in itertools.count():
            transaction = {
                "chainId": 31337,
                "nonce": nonce,
                "to": sink,
                "value": 1,
                "gas": 21000,
                "maxFeePerGas": 10**12,
                "maxPriorityFeePerGas": 0,
            }
            signed = Account.sign_transaction(transaction, account["private_key"])
            raw, expected = "0x" + signed.raw_transaction.hex(), "0x" + signed.hash.hex()
            while self.running:
                try:
                    answer = rpc(url, "eth_sendRawTransaction", raw, timeout=5)
                except (OSError, http.client.HTTPException, json.JSONDecodeError):
                    continue
                except urllib.error.HTTPError:
                    continue
                except RuntimeError as error:
                    # An answer that is no word on the outcome; the receipt is.
                    if not self._mined(url, expected):
                        self.refused = error
                        continue
                    answer = expected
                assert answer == expected
                self.acknowledged.append((time.monotonic(), f"eth {number}", expected))
                break
            if not self.running:
                return

    @staticmethod
    def _mined(url, transaction):
        try:
            return rpc(url, "eth_getTransactionReceipt", transaction, timeout=5) is not None
        except (OSError, http.client.HTTPException, RuntimeError, json.JSONDecodeError):
            return False

    def count(self):
        assert not self.problems, self.problems
        return len(self.acknowledged)

    def stop(self):
        """Ends the clients; gives every acknowledgement in the order of time."""
        self.running = False
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"
        assert not self.problems, self.problems
        return sorted(self.acknowledged)


def longest_pause(acknowledged, after, seconds):
    """Longest time without an acknowledgement for anybody, from `after` on; and who waited longest."""
    times = [entry[0] for entry in acknowledged if after - 0.5 <= entry[0] <= after + seconds]
    pause = max(later - earlier for earlier, later in itertools.pairwise(times))
    clients = {entry[1] for entry in acknowledged}
    waits = {}
    for client in clients:
        own = [e[0] for e in acknowledged if e[1] == client and e[0] >= after - 0.5]
        waits[client] = max((b - a for a, b in itertools.pairwise(own)), default=float("inf"))
    return pause, max((wait, client) for client, wait in waits.items())


def missing(acknowledged, key_value, ethereum):
    """What was acknowledged and is not there, asked of one node's own gateways."""
    client = KeyValue(key_value)
    lost = []
    for _, _, *what in acknowledged:
        if len(what) == 2:
            key, value = what
            status, body = client.read(key)
            if status != 200 or body != value.encode():
                lost.append((key, status, body))
        else:
            receipt = rpc(ethereum, "eth_getTransactionReceipt", what[0])
            if receipt is None or receipt["status"] != "0x1":
                lost.append((what[0], receipt))
    client.close()
    return lost
