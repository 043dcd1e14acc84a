"""A confidential Ethereum network of three nodes and two participants, made as its operators make it."""

import json

import byhand
import network as networks
import processes
from eth_account import Account
from network import coco

PARTICIPANTS = ("tailspin", "wingtip")
RICH = 4  # accounts with ether in the first state


class Confidential(byhand.ByHand):
    """What tests ask of it is what they ask of a sandbox: nodes, participants, facts, gateways."""

    protocol, access = "ethereum", "confidential"
    protocol_lines = ("[protocols.settings]", 'clients-without-certificate = "allowed"')
    gateway = networks.Network.gateway

    def __init__(self, directory):
        self.rich = [Account.create() for _ in range(RICH)]
        self._customers = {name: byhand.keys(name, directory / "actors") for name in PARTICIPANTS}
        super().__init__(directory)
        self.nodes.append(self.start("northwind"))
        processes.wait_until("the third node follows", lambda: self.nodes[2].phase() == "following")
        for node in self.nodes:
            node.ports = {name: int(address.split(":")[1]) for name, address in node.ports.items()}
        self.participants = {name: files["identity"] for name, files in self._customers.items()}
        certificate = directory / "network.pem"
        pin = ["network", "pin", "--constitution", self.constitution, "--out", certificate]
        done = coco(*pin, "--identity", self.participants["tailspin"], "--vn", self.nodes[0].admin)
        assert done.returncode == 0, done.stderr
        self.facts = {
            "network_certificate": str(certificate),
            "constitution": str(self.constitution),
            "accounts": [{"private_key": "0x" + bytes(account.key).hex()} for account in self.rich],
        }
        self.more = []

    @property
    def customers(self):
        return self._customers

    @property
    def genesis(self):
        settings = {
            "chainId": 31337,
            "alloc": {account.address: {"balance": hex(10**22)} for account in self.rich},
            "signIn": {"domains": ["localhost:*"]},
            "profile": {"confidential": {}},
        }
        return json.dumps(settings)

    def stop(self):
        for process in self.more:
            process.kill()
            process.wait()
        super().stop()


def running():
    return byhand.running(Confidential)
