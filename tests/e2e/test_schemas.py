"""Every reply of every method has the form that Ethereum's specification gives it.

A network of one node with Ethereum's own roots and old states is filled with transactions of every type. Then every
method is asked, in every form, by requests that the specification allows; every result is held against its schema and
searched for members that the specification does not have. What is deliberately otherwise is in DIFFERENCES.

The schemas are those of @metamask/api-specs, which `npm install` brings, and those of the specification itself where
`COCO_EXECUTION_APIS` is a clone of github.com/ethereum/execution-apis. `crates/adapter-ethereum/tests/common/shapes.txt`
says the same by hand, for the methods that no specification has, too, and needs no network.
"""

import collections
import http.client
import itertools
import json
import os

import network as networks
import pytest
import schemas
from eth_account import Account
from eth_utils import to_checksum_address
from network import ROOT, batch, rpc
from principals import Asker
from websockets.sync.client import connect

CLONE = os.environ.get("COCO_EXECUTION_APIS")
GENESIS = {"roots": "plain", "statesKept": "0x100"}

# Methods of a specification that Coco does not have, by the reason.
ABSENT = {
    "nodes hold no user keys": ["eth_sendTransaction", "eth_sign", "eth_signTransaction"],
    "nobody mines": ["eth_coinbase"],
    "it prepares what a node would sign": ["eth_fillTransaction"],
    "Amsterdam's; the newest fork here is Osaka": ["eth_getBlockAccessList", "debug_getRawBlockAccessList"],
    "no block is ever bad: it is executed before it is one": ["debug_getBadBlocks"],
    "a wallet's": [
        "personal_sign",
        "eth_signTypedData_v4",
        "eth_requestAccounts",
        "eth_decrypt",
        "eth_getEncryptionPublicKey",
        "wallet_addEthereumChain",
        "wallet_switchEthereumChain",
        "wallet_getPermissions",
        "wallet_requestPermissions",
        "wallet_revokePermissions",
        "wallet_registerOnboarding",
        "wallet_watchAsset",
        "wallet_scanQRCode",
        "wallet_sendCalls",
        "wallet_getCallsStatus",
        "wallet_getCapabilities",
        "wallet_requestExecutionPermissions",
        "wallet_getGrantedExecutionPermissions",
        "wallet_getSupportedExecutionPermissions",
    ],
}

# Methods without a schema whose results are those of another.
LIKE = {
    "eth_sendRawTransactionSync": "eth_getTransactionReceipt",
    "eth_getRawTransactionByHash": "debug_getRawTransaction",
    "debug_traceCall": "debug_traceTransaction",
}

# What a reply has otherwise than a schema says: in which schemas, why, methods, what is wrong. docs/ethereum-conformance.md
# has the reasons.
UNPLACED = [f"{name}: null instead of string" for name in ("blockHash", "blockNumber", "blockTimestamp", "transactionIndex")]
BLOCKS = ["eth_getBlockByNumber", "eth_getBlockByHash"]
PLACED = ["eth_getTransactionByBlockNumberAndIndex", "eth_getTransactionByBlockHashAndIndex", "eth_getTransactionByHash"]
LOGS = ["eth_getLogs", "eth_getFilterLogs", "eth_getFilterChanges"]
RECEIPTS = ["eth_getTransactionReceipt", "eth_sendRawTransactionSync"]
WAITING = "a waiting transaction has no block"
EITHER = "an empty list is one of hashes and one of logs"
OLDER = "the published schemas are older than Prague and than `blockTimestamp`"
UNKNOWN, MORE = "not in the specification", "is not in the schema"
DIFFERENCES = [
    ("assembled", WAITING, ["eth_getTransactionByHash"], UNPLACED),
    ("assembled", EITHER, ["eth_getFilterChanges"], ["result: more than one alternative fits"]),
    ("assembled", "vectors have a revert's data, the schema has not", ["eth_simulateV1"], [f"*.calls.*.error.data: {UNKNOWN}"]),
    # Its transactions may have members that it does not name, so `blockTimestamp` is no null there.
    ("published", WAITING, ["eth_getTransactionByHash"], [what for what in UNPLACED if "Timestamp" not in what]),
    ("published", EITHER, ["eth_getFilterChanges"], ["result: more than one alternative fits"]),
    ("published", OLDER, BLOCKS, [f"result: requestsHash {MORE}", f"requestsHash: {UNKNOWN}"]),
    # It takes what a delegation has for a blob transaction without blobs.
    ("published", OLDER, BLOCKS, ["transactions.*: maxFeePerBlobGas and blobVersionedHashes is missing"]),
    ("published", OLDER, BLOCKS, [f"transactions.*.{name}: {UNKNOWN}" for name in ("authorizationList", "blockTimestamp")]),
    ("published", OLDER, PLACED, ["result: maxFeePerBlobGas and blobVersionedHashes is missing"]),
    ("published", OLDER, PLACED, [f"{name}: {UNKNOWN}" for name in ("authorizationList", "blockTimestamp")]),
    ("published", OLDER, LOGS, [f"*: blockTimestamp {MORE}", f"*.blockTimestamp: {UNKNOWN}"]),
    ("published", OLDER, RECEIPTS, [f"logs.*: blockTimestamp {MORE}", f"logs.*.blockTimestamp: {UNKNOWN}"]),
]

# Stores how often it was called and logs the caller: one topic, no data.
COUNTER = "5f546001015f55335f5fa15f545f5260205ff3"
# Logs nothing in no topic, and something in four.
LOGGER = "5f5fa0" + "60046003600260015f5f5260205fa4" + "00"
# Reverts with Error("no").
REVERTER = "6064600a5f3960645ffd" + f"08c379a0{32:064x}{2:064x}6e6f{0:060x}"
# Never ends.
ENDLESS = "5b5f56"
# Creates an empty contract and calls the address in its input, with the value it was given.
CALLER = "5f5f5ff0505f5f5f5f345f355af100"

ABSENT_HASH = "0x" + "ab" * 32
ABSENT_NUMBER = "0xffffff"
NOBODY = "0x" + "77" * 20


def init(code):
    """Code that creates code."""
    return f"0x61{len(code) // 2:04x}80600a5f395ff3{code}"


class World:
    """A network, and what was done on it."""

    def __init__(self, network):
        self.url, self.ws = network.rpc, network.ws
        self.accounts = [Account.from_key(account["private_key"]) for account in network.facts["accounts"]]
        self.nonces = collections.Counter()
        self.hashes = {}
        self.fill()

    def signed(self, place, **fields):
        account = self.accounts[place]
        made = {"chainId": 31337, "nonce": self.nonces[place], "gas": 1_000_000, "value": 0, "data": "0x"} | fields
        if "gasPrice" not in made:
            made |= {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": 0}
        self.nonces[place] += 1
        return "0x" + account.sign_transaction(made).raw_transaction.hex()

    def send(self, name, place, **fields):
        """Commits a transaction; gives its receipt."""
        hash = rpc(self.url, "eth_sendRawTransaction", self.signed(place, **fields))
        self.hashes[name] = hash
        return rpc(self.url, "eth_getTransactionReceipt", hash)

    def deploy(self, name, code, **fields):
        receipt = self.send(name, 0, to=None, data=init(code), **fields)
        assert receipt["status"] == "0x1", receipt
        return receipt["contractAddress"]

    def fill(self):
        checksummed = to_checksum_address
        self.counter = self.deploy("a creation", COUNTER)
        self.logger = self.deploy("a legacy creation", LOGGER, gasPrice=0)
        self.reverter = self.deploy("a creation with an access list", REVERTER, gasPrice=0, accessList=[])
        self.endless = self.deploy("another creation", ENDLESS)
        self.caller = self.deploy("one more creation", CALLER)
        to = checksummed(self.counter)
        friend = self.accounts[9].address
        slots = [{"address": to, "storageKeys": ["0x" + "00" * 32]}]
        self.send("a legacy transfer", 1, to=friend, value=7, gas=21000, gasPrice=0)
        self.send("a legacy call", 1, to=to, gasPrice=0)
        self.send("an access list", 1, to=to, gasPrice=0, accessList=slots)
        self.send("a call with fees", 1, to=to)
        self.send("a call with fees and a list", 1, to=to, accessList=slots)
        self.send("logs", 1, to=checksummed(self.logger))
        reverted = self.send("a revert", 1, to=checksummed(self.reverter))
        assert reverted["status"] == "0x0"
        out = self.send("out of gas", 1, to=checksummed(self.endless), gas=50_000)
        assert out["status"] == "0x0"
        self.send("an inner creation", 1, to=checksummed(self.caller), value=1, data="0x" + self.counter[2:].rjust(64, "0"))
        grants = [
            self.accounts[8].sign_authorization({"chainId": chain, "address": to, "nonce": nonce})
            for chain, nonce in ((31337, 0), (0, 1))
        ]
        self.send("a delegation", 1, to=self.accounts[8].address, authorizationList=grants)
        # A block of several.
        many = [self.signed(place, to=to) for place in range(2, 8)]
        calls = [("eth_sendRawTransaction", [raw]) for raw in many]
        self.many = [reply["result"] for reply in batch(self.url, calls)]
        # Waiting: after a gap, of each type that may wait.
        for place, fields in enumerate([{"gasPrice": 0}, {"gasPrice": 0, "accessList": slots}, {}, {"to": None}]):
            self.nonces[place + 2] += 1
            made = {"to": to} | fields
            self.hashes[f"waiting {place}"] = rpc(self.url, "eth_sendRawTransaction", self.signed(place + 2, **made))
        self.nonces[6] += 1
        grant = self.accounts[7].sign_authorization({"chainId": 31337, "address": to, "nonce": 9})
        raw = self.signed(6, to=to, authorizationList=[grant])
        self.hashes["a waiting delegation"] = rpc(self.url, "eth_sendRawTransaction", raw)

    def asked(self):
        """Every method, in every form that the specification allows."""
        url = self.url
        head = rpc(url, "eth_getBlockByNumber", "latest", False)
        most = rpc(url, "eth_getTransactionReceipt", self.many[-1])
        blocks = [hex(number) for number in range(int(head["number"], 16) + 1)]
        tags = ["earliest", "finalized", "safe", "latest", "pending"]
        numbers = [*tags, *blocks, ABSENT_NUMBER]
        hashes = [rpc(url, "eth_getBlockByNumber", number, False)["hash"] for number in blocks] + [ABSENT_HASH]
        places = ["latest", "pending", head["number"], blocks[3], head["hash"]]
        transactions = [*self.hashes.values(), *self.many, ABSENT_HASH]
        addresses = [self.accounts[0].address, self.accounts[8].address, self.counter, NOBODY]

        for method in (
            "eth_accounts eth_baseFee eth_blobBaseFee eth_blockNumber eth_capabilities eth_chainId eth_config eth_gasPrice"
            " eth_maxPriorityFeePerGas eth_syncing net_version txpool_content txpool_status web3_clientVersion"
        ).split():
            yield method, []
        for number, full in itertools.product(numbers, (False, True)):
            yield "eth_getBlockByNumber", [number, full]
        for hash, full in itertools.product(hashes, (False, True)):
            yield "eth_getBlockByHash", [hash, full]
        for number in numbers:
            for method in ("eth_getBlockTransactionCountByNumber", "eth_getUncleCountByBlockNumber", "eth_getBlockReceipts"):
                yield method, [number]
            for method in ("debug_getRawHeader", "debug_getRawBlock", "debug_getRawReceipts"):
                yield method, [number]
            for index in ("0x0", "0x1", "0x63"):
                yield "eth_getTransactionByBlockNumberAndIndex", [number, index]
        for hash in hashes:
            for method in ("eth_getBlockTransactionCountByHash", "eth_getUncleCountByBlockHash", "eth_getBlockReceipts"):
                yield method, [hash]
            for index in ("0x0", "0x1", "0x63"):
                yield "eth_getTransactionByBlockHashAndIndex", [hash, index]
        for hash in transactions:
            for method in ("eth_getTransactionByHash", "eth_getTransactionReceipt", "eth_getRawTransactionByHash"):
                yield method, [hash]
            yield "debug_getRawTransaction", [hash]
        for address, place in itertools.product(addresses, places):
            for method in ("eth_getBalance", "eth_getTransactionCount", "eth_getCode"):
                yield method, [address, place]
            yield "eth_getStorageAt", [address, "0x" + "00" * 32, place]
            yield "eth_getStorageAt", [address, "0x0", place]
            yield "eth_getStorageValues", [{address: ["0x" + "00" * 32, "0x" + "01" * 32]}, place]
            yield "eth_getProof", [address, [], place]
            yield "eth_getProof", [address, ["0x" + "00" * 32, "0x0", "0x1"], place]
        for address in addresses:
            for method in ("eth_getBalance", "eth_getTransactionCount", "eth_getCode"):
                yield method, [address]
        for count, newest, shares in itertools.product(("0x0", "0x1", "0x5", "0x400"), ("latest", blocks[2]), ([], [20, 50.5])):
            yield "eth_feeHistory", [count, newest, shares]

        sender = self.accounts[5].address
        calls = [
            {"to": self.counter},
            {"from": sender, "to": self.counter, "gas": "0x186a0", "gasPrice": "0x0"},
            {"from": sender, "to": self.counter, "maxFeePerGas": "0x0", "maxPriorityFeePerGas": "0x0", "type": "0x2"},
            {"from": sender, "to": self.counter, "accessList": [{"address": self.counter, "storageKeys": ["0x" + "00" * 32]}]},
            {"from": sender, "input": init(COUNTER)},
            {"from": sender, "to": None, "input": init(LOGGER)},
            {"from": sender, "to": self.caller, "value": "0x1", "input": "0x" + self.counter[2:].rjust(64, "0")},
            {"from": sender, "to": NOBODY, "value": "0x1"},
            {"from": sender, "to": self.reverter},
            {"from": sender, "to": self.endless, "gas": "0xc350"},
        ]
        for call in calls:
            yield "eth_call", [call]
            for place in places:
                yield "eth_call", [call, place]
            for number in ("latest", blocks[-2]):
                yield "eth_estimateGas", [call, number]
                yield "eth_createAccessList", [call, number]
            yield "debug_traceCall", [call, "latest"]
            yield "debug_traceCall", [call, "latest", {"tracer": "callTracer"}]

        configs = [
            {},
            {"disableStack": True, "disableStorage": True},
            {"enableMemory": True, "enableReturnData": True},
            {"limit": 3},
            {"tracer": "callTracer", "tracerConfig": {"withLog": True}},
            {"tracer": "prestateTracer"},
            {"tracer": "prestateTracer", "tracerConfig": {"diffMode": True}},
            {"tracer": "flatCallTracer"},
        ]
        for config in configs:
            for hash in transactions:
                yield "debug_traceTransaction", [hash, config]
            for number in blocks[1:]:
                yield "debug_traceBlockByNumber", [number, config]
            for hash in hashes[1:]:
                yield "debug_traceBlockByHash", [hash, config]

        simulated = [
            {"blockStateCalls": [{"calls": [*calls[:-2]]}]},
            {"blockStateCalls": [{"calls": calls[-2:]}, {}], "traceTransfers": True},
            {"blockStateCalls": [{"calls": calls[-4:]}], "traceTransfers": True, "returnFullTransactions": True},
            {
                "blockStateCalls": [
                    {
                        "blockOverrides": {"number": hex(len(blocks) + 3), "gasLimit": "0x1c9c380", "feeRecipient": NOBODY},
                        "stateOverrides": {NOBODY: {"balance": "0x7", "code": "0x" + COUNTER, "state": {}}},
                        "calls": [{"from": NOBODY, "to": NOBODY}],
                    }
                ],
                "returnFullTransactions": True,
            },
            {"blockStateCalls": []},
            {"blockStateCalls": [{"blockOverrides": {"number": ABSENT_NUMBER}}]},
            # The answer is an error: the gas limit is beyond the block's.
            {"blockStateCalls": [{"blockOverrides": {"gasLimit": "0x5208"}, "calls": [calls[1] | {"gas": "0xffffff"}]}]},
        ]
        for payload in simulated:
            yield "eth_simulateV1", [payload]
            yield "eth_simulateV1", [payload, "latest"]

        filters = [
            {},
            {"fromBlock": "earliest", "toBlock": "latest"},
            {"fromBlock": "0x0", "address": self.counter},
            {"fromBlock": "0x0", "address": [self.counter, self.logger], "topics": []},
            {"fromBlock": "0x0", "topics": [None, ["0x" + f"{2:064x}", "0x" + f"{3:064x}"]]},
            {"fromBlock": "0x0", "topics": ["0x" + f"{1:064x}"], "address": None},
            {"blockHash": most["blockHash"]},
        ]
        for wanted in [*filters, {"blockHash": ABSENT_HASH}]:
            yield "eth_getLogs", [wanted]
        of_logs = [rpc(url, "eth_newFilter", wanted) for wanted in filters[:-1]]
        of_blocks = rpc(url, "eth_newBlockFilter")
        of_transactions = rpc(url, "eth_newPendingTransactionFilter")
        for wanted in filters[:-1]:
            yield "eth_newFilter", [wanted]
        yield "eth_newBlockFilter", []
        yield "eth_newPendingTransactionFilter", []
        raw = self.signed(1, to=to_checksum_address(self.logger))
        yield "eth_sendRawTransaction", [raw]
        yield "eth_sendRawTransaction", [raw]
        yield "eth_sendRawTransaction", ["0x02"]
        yield "eth_sendRawTransactionSync", [self.signed(1, to=to_checksum_address(self.logger))]
        for _ in range(2):
            for filter in (*of_logs, of_blocks, of_transactions):
                yield "eth_getFilterChanges", [filter]
        for filter in of_logs:
            yield "eth_getFilterLogs", [filter]
        for filter in (*of_logs, of_blocks, of_blocks):
            yield "eth_uninstallFilter", [filter]
        yield "eth_getFilterChanges", [of_blocks]
        for account in (*self.accounts[:4], self.accounts[9]):
            yield "txpool_contentFrom", [account.address]


class Talk:
    """Requests and their replies, in order."""

    def __init__(self, url):
        self.door = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        self.said = []

    def ask(self, method, params):
        reply = self.reply(method, params)
        self.said.append((method, params, reply))
        return reply

    def reply(self, method, params):
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self.door.request("POST", "/", json.dumps(body), {"content-type": "application/json"})
        return json.load(self.door.getresponse())

    def known(self, network, world):
        """The one method whose answer depends on who asks: at a node, with a token."""
        asker, account = Asker(network), world.accounts[0]
        asker.bind(account, nonce=world.nonces[0])
        url = asker.node(0)
        headers = {"authorization": f"Bearer {asker.token(url, account)}"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_accounts", "params": []}
        self.said.append(("eth_accounts", [], asker.ask(url, body, headers)[1]))

    def live(self, world):
        """Subscriptions, and what arrives by them: it has the form of what filters give."""
        arrived = collections.defaultdict(list)
        with connect(world.ws, max_size=None) as socket:
            counter = itertools.count()

            def ask(method, params):
                id = next(counter)
                socket.send(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
                while True:
                    heard = json.loads(socket.recv(30))
                    if heard.get("id") == id:
                        self.said.append((method, params, heard | {"id": 1}))
                        return heard
                    arrived[heard["params"]["subscription"]].append(heard["params"]["result"])

            kinds = [["newHeads"], ["logs", {"address": world.counter, "topics": []}], ["newPendingTransactions"]]
            ids = [ask("eth_subscribe", kind)["result"] for kind in kinds]
            ask("eth_sendRawTransaction", [world.signed(1, to=to_checksum_address(world.counter))])
            while not all(arrived[id] for id in ids):
                heard = json.loads(socket.recv(30))
                arrived[heard["params"]["subscription"]].append(heard["params"]["result"])
            for id in ids:
                ask("eth_unsubscribe", [id])
                for what in arrived[id] if id != ids[0] else ():
                    self.said.append(("eth_getFilterChanges", ["0x1"], {"jsonrpc": "2.0", "id": 1, "result": [what]}))


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    genesis = tmp_path_factory.mktemp("genesis") / "genesis.json"
    genesis.write_text(json.dumps(GENESIS))
    with networks.running("--nodes", "1", "--protocols", "ethereum", "--genesis", genesis) as network:
        world = World(network)
        talk = Talk(network.rpc)
        for method, params in world.asked():
            talk.ask(method, params)
        talk.live(world)
        talk.known(network, world)
        yield talk


@pytest.fixture(scope="module")
def closed():
    with networks.running("--nodes", "1", "--protocols", "ethereum", "--profile", "confidential") as network:
        talk, world = Talk(network.rpc), World(network)
        for method, params in world.asked():
            talk.ask(method, params)
        yield talk


@pytest.fixture(scope="module", params=["published", "assembled"])
def specification(request):
    if request.param == "published":
        assert schemas.PUBLISHED.exists(), f"run `npm install --no-save` in {schemas.HERE}"
        return schemas.published()
    if not CLONE:
        pytest.skip("COCO_EXECUTION_APIS names no clone of github.com/ethereum/execution-apis")
    return schemas.assembled(CLONE)


def allowed(specification):
    """What DIFFERENCES lists of these schemas: method and fault."""
    listed = [(methods, whats) for where, _, methods, whats in DIFFERENCES if where == specification.name]
    return {one for methods, whats in listed for one in itertools.product(methods, whats)}


def faults(specification, said):
    """What is wrong, by method, and one reply that shows it."""
    found = {}
    for method, params, reply in said:
        known = specification.methods
        # The published schemas are older than some of what is asked.
        wrong = []
        if specification.name == "assembled" and method in known:
            wrong += [f"asked: {what}" for what in specification.asked(method, params)]
        like = method if method in known else LIKE.get(method)
        if "error" in reply:
            error = reply["error"]
            if set(reply) != {"jsonrpc", "id", "error"} or not {"code", "message"} <= set(error) <= {"code", "message", "data"}:
                wrong.append("an error in another form")
            elif type(error["code"]) is not int or type(error["message"]) is not str:
                wrong.append("an error in another form")
            elif error["code"] == 3:
                wrong += [f"data: {what}" for what in specification.wrong(specification.schemas["bytes"], error.get("data"))]
        elif set(reply) != {"jsonrpc", "id", "result"} or reply["jsonrpc"] != "2.0":
            wrong.append("a reply in another form")
        elif like == method or like in known and reply["result"] is not None:
            wrong += specification.answered(like, reply["result"])
        for what in wrong:
            found.setdefault((method, what), (params, reply))
    return found


def test_every_reply_is_as_the_specification_says(talk, specification):
    found = faults(specification, talk.said)
    more = [
        f"{method}: {what}\n    {json.dumps(params)[:300]}\n    {json.dumps(reply)[:1500]}"
        for (method, what), (params, reply) in found.items()
        if (method, what) not in allowed(specification)
    ]
    assert not more, "\n".join(more)
    assert allowed(specification) <= set(found), f"not otherwise any more: {allowed(specification) - set(found)}"


def test_so_is_every_reply_of_a_confidential_network(closed, specification):
    """To one party, of its own doings: what is denied has the form of what is not there."""
    found = faults(specification, closed.said)
    assert set(found) <= allowed(specification), set(found) - allowed(specification)
    codes = {method: reply["error"]["code"] for method, _, reply in closed.said if "error" in reply}
    assert codes["eth_simulateV1"] == codes["debug_traceTransaction"] == codes["txpool_content"] == -32004
    results = {method for method, _, reply in closed.said if reply.get("result") not in (None, [])}
    assert {"eth_getTransactionReceipt", "eth_getLogs", "eth_call", "eth_getBlockByHash"} <= results


def test_every_method_of_the_specification_was_asked_and_answered(talk, specification):
    answered = {method for method, _, reply in talk.said if reply.get("result") not in (None, [], {}, "0x")}
    absent = [name for names in ABSENT.values() for name in names]
    assert [name for name in specification.methods if name not in answered and name not in absent] == []
    for name in specification.methods:
        if name in absent:
            assert talk.reply(name, [])["error"]["code"] == -32601, name


def test_what_the_requests_meet_is_not_empty(talk):
    """All that a schema distinguishes was in some reply."""
    results = [(method, reply["result"]) for method, _, reply in talk.said if "result" in reply]

    def of(wanted):
        return [result for method, result in results if method == wanted and result is not None]

    included = of("eth_getTransactionByHash")
    types = lambda whole: {transaction["type"] for transaction in included if (transaction["blockHash"] is not None) == whole}
    assert types(True) == types(False) == {"0x0", "0x1", "0x2", "0x4"}
    receipts = of("eth_getTransactionReceipt")
    assert {receipt["type"] for receipt in receipts} == {"0x0", "0x1", "0x2", "0x4"}
    assert {receipt["status"] for receipt in receipts} == {"0x0", "0x1"}
    assert any(receipt["contractAddress"] for receipt in receipts)
    assert {len(log["topics"]) for receipt in receipts for log in receipt["logs"]} == {0, 1, 4}
    full = [block for block in of("eth_getBlockByNumber") if block["transactions"] and isinstance(block["transactions"][0], dict)]
    assert any(len(block["transactions"]) > 1 for block in full)
    simulated = [call for blocks in of("eth_simulateV1") for block in blocks for call in block["calls"]]
    assert {call["status"] for call in simulated} == {"0x0", "0x1"}
    assert {call["error"]["code"] for call in simulated if "error" in call} == {3, -32015}
    assert any(proof["storageProof"] and proof["storageProof"][0]["proof"] for proof in of("eth_getProof"))
    assert any(listed.get("error") for listed in of("eth_createAccessList"))
    assert any(pool["queued"] for pool in of("txpool_content"))
    for method in ("eth_getBlockByHash", "eth_getTransactionByHash", "eth_getTransactionReceipt", "eth_getBlockReceipts"):
        assert (method, None) in results
    codes = collections.Counter(reply["error"]["code"] for _, _, reply in talk.said if "error" in reply)
    assert {3, -32000, -32602, -38015, -38026} <= set(codes), codes


def test_what_is_otherwise_is_told_to_readers():
    page = (ROOT / "docs" / "ethereum-conformance.md").read_text().split("## The specification's schemas", 1)[1]
    assert [why for _, why, _, _ in DIFFERENCES if f"| {why}" not in page] == []
    assert [why for why in ABSENT if f"| {why} |" not in page] == []


def test_a_broken_reply_is_seen(talk, specification):
    """Each of these breaks one reply in one place, and a fault is found that was not there."""
    before = set(faults(specification, talk.said))

    def seen(method, change):
        for asked, params, reply in talk.said:
            if asked == method and reply.get("result"):
                broken = json.loads(json.dumps(reply))
                change(broken)
                return set(faults(specification, [(asked, params, broken)])) - before
        raise AssertionError(f"nothing of {method}")

    def put(name, value):
        return lambda reply: reply["result"].__setitem__(name, value)

    assert seen("eth_getBlockByHash", put("number", "0x01"))
    assert seen("eth_getBlockByHash", lambda reply: reply["result"].pop("stateRoot"))
    assert seen("eth_getBlockByHash", put("colour", "blue"))
    assert seen("eth_getTransactionReceipt", lambda reply: reply["result"].pop("logsBloom"))
    assert seen("eth_getTransactionByHash", put("yParity", 1))
    assert seen("eth_getLogs", lambda reply: reply["result"][0].__setitem__("data", "0xA"))
    assert seen("eth_blockNumber", lambda reply: reply.__setitem__("result", 7))
    assert seen("eth_chainId", lambda reply: reply.pop("jsonrpc"))
