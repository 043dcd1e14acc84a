"""Ethereum's own tools: each does what its users do every day, on every way into a network.

The ways: a gateway to a transparent network; on a confidential one a gateway that knows its end users, and a node
itself, by a token of Sign-In with Ethereum over TLS that trusts the network's certificate and nothing else. By HTTP
and by WebSocket; for accounts with ether and without.
"""

import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading

import processes
import pytest
from eth_account import Account
from network import ROOT, free_port, rpc
from principals import POLICY, Asker, Issuer, end_users, selector, word
from web3 import Web3

HERE = pathlib.Path(__file__).parent
MODULES = HERE / "node_modules"
OUT = ROOT / "target" / "e2e"


def native(name):
    """The directory of a native binary: its wrapper for Node loses the exit status."""
    return next(MODULES.glob(f"@foundry-rs/{name}-linux-*/bin"), MODULES / ".bin")


@pytest.fixture(scope="session")
def contracts():
    """An OpenZeppelin ERC-20 and a policy for it, compiled here: `{abi, bytecode}` by name."""
    assert MODULES.is_dir(), f"run `npm ci` in {HERE}"
    OUT.mkdir(parents=True, exist_ok=True)
    subprocess.run(["node", "contracts/compile.mjs", str(OUT)], cwd=HERE, check=True, timeout=120)
    return {name: json.loads((OUT / f"{name}.json").read_text()) for name in ("Token", "ERC20Policy")}


class Purse:
    """Gives ether to new accounts; it alone uses its account, so it counts nonces itself."""

    def __init__(self, asker, url, place):
        self.asker, self.url = asker, url
        self.account = Account.from_key(asker.network.facts["accounts"][place]["private_key"])
        self.nonce = 0

    def account_with(self, funded):
        account = Account.create()
        if funded:
            self.asker.transact(self.url, self.account, account.address, "0x", nonce=self.nonce, value=10**19)
            self.nonce += 1
        return account


class Way:
    """A way into a network: whose accounts use it, where they connect, what they carry."""

    hidden = None

    def __init__(self, asker, url, place):
        self.asker, self.purse = asker, Purse(asker, url, place)

    def account(self, funded):
        return self.purse.account_with(funded)

    @contextlib.contextmanager
    def open(self, accounts):
        """For these accounts: the addresses of HTTP and WebSocket, and the token of each account."""
        yield self.asker.network.rpc, self.asker.network.ws, [None] * len(accounts)

    @contextlib.contextmanager
    def cases(self):
        """Both transports, with ether and without, each for an account of its own."""
        plan = [(live, funded) for live in (False, True) for funded in (False, True)]
        accounts = [self.account(funded) for _, funded in plan]
        with self.open(accounts) as (http, ws, tokens):
            yield [
                {
                    "name": f"{'WebSocket' if live else 'HTTP'} {self.name}{' with ether' if funded else ''}",
                    "url": ws if live else http,
                    "token": token,
                    "key": "0x" + bytes(account.key).hex(),
                    "funded": funded,
                    "hidden": self.hidden,
                }
                for (live, funded), account, token in zip(plan, accounts, tokens, strict=True)
            ]


class Gateway(Way):
    name = "through a gateway"


class Bound(Way):
    """Of a confidential network: accounts are an organisation's."""

    def __init__(self, asker, url, place, hidden):
        super().__init__(asker, url, place)
        self.hidden = hidden

    def account(self, funded):
        account = super().account(funded)
        self.asker.bind(account)
        return account


class Node(Bound):
    name = "with a token at a node"

    @contextlib.contextmanager
    def open(self, accounts):
        # What one node gave counts at another.
        tokens = [self.asker.token(self.asker.node(1), account) for account in accounts]
        yield self.asker.node(0), self.asker.node(0, "wss"), tokens


class FrontEnd(Bound):
    name = "through a gateway that knows its users"

    @contextlib.contextmanager
    def open(self, accounts):
        users = {f"user{place}@tailspin.example": account for place, account in enumerate(accounts)}
        with contextlib.ExitStack() as stack:
            issuer = Issuer(stack)
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            address = stack.enter_context(end_users(self.asker.network, issuer, directory, users))
            yield f"http://{address}", f"ws://{address}", [issuer.token(email=name) for name in users]


def conceal(asker, contracts):
    """Two contracts of another organisation's user: one in a domain, one with a policy. Both have logs."""
    eve = Account.create()
    asker.bind(eve, participant=1)
    url = asker.node(2)
    headers = {"authorization": f"Bearer {asker.token(url, eve)}"}

    def send(to, data, gas=3_000_000):
        return asker.transact(url, eve, to, data, headers, gas=gas)

    def deploy(name, arguments):
        return send(None, contracts[name]["bytecode"] + arguments)

    def pay(token):
        return send(token, "0x" + selector("transfer(address,uint256)") + word(POLICY) + word(7))

    found = "0x" + selector("newDomain(bytes32[])") + word(32) + word(1) + word(eve.address)
    asked = {"from": eve.address, "to": POLICY, "data": found}
    domain = asker.result(url, "eth_call", asked, "latest", headers=headers)
    send(POLICY, found)
    home = "0x" + selector("setHome(uint64)")
    send(POLICY, home + domain[2:])
    private = deploy("Token", word(1000))
    send(POLICY, home + word(0))
    guarded = deploy("Token", word(1000))
    nonce = int(asker.result(url, "eth_getTransactionCount", eve.address, "latest", headers=headers), 16) - 1
    policy = deploy("ERC20Policy", word(guarded["contractAddress"]))
    attach = selector("attach(address,address,uint64)")
    parts = (guarded["contractAddress"], policy["contractAddress"], nonce)
    send(POLICY, "0x" + attach + "".join(map(word, parts)))
    hidden = []
    for deployed, code in ((private, False), (guarded, True)):
        token = deployed["contractAddress"]
        asked = {"from": eve.address, "to": token, "data": "0x" + selector("balanceOf(address)") + word(eve.address)}
        paid = pay(token)
        # It is there for Eve: what follows is not about something absent.
        assert int(asker.result(url, "eth_call", asked, "latest", headers=headers), 16) == 993
        assert len(asker.result(url, "eth_getLogs", {"address": token, "fromBlock": "0x0"}, headers=headers)) == 2
        checksummed = Web3.to_checksum_address(token)
        hidden.append(
            {"address": checksummed, "transaction": paid["transactionHash"], "holder": eve.address, "code": code}
        )
    return hidden


@pytest.fixture(scope="session")
def ways(shared, confidential, contracts):
    closed = Asker(confidential)
    hidden = conceal(closed, contracts)
    return [
        Gateway(Asker(shared), shared.rpc, 1),
        Node(closed, closed.gateway(), 1, hidden),
        FrontEnd(closed, closed.gateway(), 2, hidden),
    ]


def run(command, case, **environment):
    """A program of one case, or of all."""
    tools = [str(native(name)) for name in ("cast", "forge")]
    own = {
        "PATH": ":".join([*tools, os.environ["PATH"]]),
        "TOKEN": str(OUT / "Token.json"),
        "HARDHAT_DISABLE_TELEMETRY_PROMPT": "true",
        "NO_COLOR": "1",
    }
    whole = os.environ | own | {name: str(value) for name, value in environment.items()}
    done = subprocess.run(list(map(str, command)), cwd=HERE, env=whole, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{case}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@contextlib.contextmanager
def tunnel(url, network):
    """socat, as a tool's user would run it: plain on this machine, TLS to the node, which must be of the network."""
    address = url.removeprefix("wss://")
    port = free_port()
    node = f"OPENSSL:{address},cafile={network.facts['network_certificate']},verify=1"
    process = subprocess.Popen(["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", node])

    def listens():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True

    try:
        processes.wait_until("socat listens", listens)
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def trusting(network):
    """The network's certificate, as each tool is told of an authority to trust: it stands beside no other."""
    certificate = network.facts["network_certificate"]
    return dict.fromkeys(("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), certificate)


@pytest.mark.parametrize(
    "command",
    [
        ["node", "clients/ethers.mjs"],
        ["node", "clients/viem.mjs"],
        ["node", "clients/web3.mjs"],
        [sys.executable, "clients/web3_client.py"],
    ],
    ids=["ethers", "viem", "web3.js", "web3.py"],
)
def test_a_library_deploys_uses_and_watches_a_token(confidential, ways, tmp_path, command):
    """One program goes every way at once."""
    with contextlib.ExitStack() as stack:
        cases = [case for way in ways for case in stack.enter_context(way.cases())]
        path = tmp_path / "cases.json"
        path.write_text(json.dumps(cases))
        said = run(command, command, CASES=path, **trusting(confidential))
    assert len(cases) == 12 and "all as expected" in said, said


@pytest.mark.parametrize("tool", ["cast", "forge", "hardhat"])
def test_a_tool_deploys_and_uses_a_token(shared, confidential, ways, tmp_path, tool):
    """A program for each case, on both networks at once."""

    def go(place, case, **more):
        one = more | {"KEY": case["key"], "FUNDED": "1" if case["funded"] else ""} | trusting(confidential)
        if tool == "hardhat":
            hidden = json.dumps(case["hidden"]) if case["hidden"] else ""
            one |= {"URL": case["url"], "BEARER": case["token"] or "", "HIDDEN": hidden}
            command = [MODULES / ".bin" / "hardhat", "--config", "clients/hardhat/hardhat.config.cjs"]
            return run([*command, "test", "--no-compile", "--network", "coco"], case["name"], **one)
        lines = [
            f"{other['address']} {other['transaction']} {other['holder']} {'code' if other['code'] else '-'}"
            for other in case["hidden"] or []
        ]
        url = case["url"]
        if case["token"]:
            scheme, address = url.split("://")
            # Either carrier, by turns.
            url = f"{url}/t/{case['token']}" if place % 2 else f"{scheme}://coco:{case['token']}@{address}"
        one |= {"URL": url, "HIDDEN": "\n".join(lines), "OUT": tmp_path / str(place)}
        return run([f"clients/{tool}.sh"], case["name"], **one)

    with contextlib.ExitStack() as stack:
        cases = [case for way in ways for case in stack.enter_context(way.cases())]
        live = [case for case in cases if case["url"].startswith("ws")]
        if tool == "hardhat":
            # It knows HTTP only.
            cases = [case for case in cases if case not in live]
            run([MODULES / ".bin" / "hardhat", "--config", "clients/hardhat/hardhat.config.cjs", "compile"], "compile")
            with pytest.raises(AssertionError, match="the URL must start with `http:` or `https:`"):
                go(0, live[0])
        else:
            # By WebSocket Foundry's tools trust public authorities only, whatever they are told.
            foreign = next(case for case in live if case["url"].startswith("wss"))
            if tool == "cast":
                for flag in ({}, {"ETH_RPC_ACCEPT_INVALID_CERTS": "true"}):
                    with pytest.raises(AssertionError, match="invalid peer certificate: UnknownIssuer"):
                        go(0, foreign, **flag)
            if tool == "cast":
                elsewhere = stack.enter_context(tunnel(foreign["url"], shared))
                with pytest.raises(AssertionError):
                    go(0, foreign | {"url": elsewhere})
            near = stack.enter_context(tunnel(foreign["url"], confidential))
            cases = [case | {"url": near} if case["url"] == foreign["url"] else case for case in cases]
        first, *more = enumerate(cases)
        # The first compiles; the others find what it made. Then all at once on the transparent network, and one after the
        # other on the confidential one: what a script of forge forks is the state of one block, which is shown there to
        # nobody but auditors once somebody else's transaction has made the next.
        said = [go(*first)]
        open_, closed = ([one for one in more if (one[1]["hidden"] is None) == is_open] for is_open in (True, False))
        queues = [[one] for one in open_] + [closed]
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for done in pool.map(lambda queue: [go(*one) for one in queue], queues):
                said += done
    expected = "passing" if tool == "hardhat" else f"{tool}: all as expected"
    assert len(cases) == (6 if tool == "hardhat" else 12) and all(expected in text for text in said), said


def test_a_script_keeps_to_its_block_while_others_send(shared, contracts, tmp_path):
    """On a transparent sandbox: it keeps the states of the blocks before (`statesKept`)."""
    other = Account.create()
    done = threading.Event()

    def send():
        """One block after the other; gives how many."""
        for nonce in itertools.count():
            if done.is_set():
                return nonce
            made = {"chainId": 31337, "nonce": nonce, "to": other.address, "value": 0, "gas": 21000, "gasPrice": 0}
            rpc(shared.rpc, "eth_sendRawTransaction", "0x" + other.sign_transaction(made).raw_transaction.hex())

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send)
        try:
            key = "0x" + bytes(Account.create().key).hex()
            said = run(["clients/forge.sh"], "forge", URL=shared.rpc, KEY=key, FUNDED="", HIDDEN="", OUT=tmp_path)
        finally:
            done.set()
    assert "forge: all as expected" in said and sent.result() > 10


def test_the_page_names_the_versions_that_are_tested():
    page = (ROOT / "docs" / "ethereum-clients.md").read_text()
    npm = json.loads((HERE / "package.json").read_text())["dependencies"]
    pypi = dict(line.split("==") for line in (HERE / "requirements.txt").read_text().split() if "==" in line)
    tested = {name: npm[name] for name in ("ethers", "viem", "hardhat")}
    tested |= {"web3.js": npm["web3"], "web3.py": pypi["web3"], "forge script": npm["@foundry-rs/forge"]}
    tested |= {"hardhat-ethers": npm["@nomicfoundation/hardhat-ethers"]}
    assert [name for name, version in tested.items() if f"{name} {version}" not in page] == []
    assert npm["@foundry-rs/cast"] == npm["@foundry-rs/forge"]


def test_every_node_answers_the_same(shared):
    """Right after a write through one node, a linear answer of any other knows it."""
    own = [f"http://{shared.gateway('ethereum', [node])}" for node in shared.nodes]
    account = shared.facts["accounts"][0]
    from eth_account import Account

    friend = Account.create().address
    nonce = int(rpc(own[0], "eth_getTransactionCount", account["address"], "pending"), 16)
    for place, url in enumerate(own):
        signed = Account.sign_transaction(
            {
                "chainId": 31337,
                "nonce": nonce + place,
                "to": friend,
                "value": 7,
                "gas": 21000,
                "maxFeePerGas": 10**11,
                "maxPriorityFeePerGas": 0,
            },
            account["private_key"],
        )
        assert rpc(url, "eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
    last = shared.quiesce(shared.nodes)
    assert last > 0
    blocks = [rpc(url, "eth_getBlockByNumber", "latest", True) for url in own]
    assert blocks[0] == blocks[1] == blocks[2]
    assert [int(rpc(url, "eth_getBalance", friend, "latest"), 16) for url in own] == [21, 21, 21]
    # Batches answer in the order of their requests.
    import urllib.request

    batch = [{"jsonrpc": "2.0", "id": n, "method": "eth_chainId", "params": []} for n in range(9)]
    request = urllib.request.Request(
        own[1], json.dumps(batch).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert [reply["id"] for reply in json.load(answer)] == list(range(9))
