"""The paper's demonstration: each role sees its own part of one block, and no known way to cheat teaches more."""

import json
import os
import pathlib
import shutil
import subprocess
import urllib.request

import processes
import pytest
import supply
from network import ROOT, rpc

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def example():
    with supply.running() as running:
        yield running


# As examples are filled: retailer, supplier, item, sacks, price in cents, stage.
ORDERS = {
    ("tailspin", "litware", 1, 120, 41_200, "delivered"),
    ("wingtip", "proseware", 3, 60, 30_250, "delivered"),
    ("tailspin", "proseware", 2, 80, 9_990, "shipped"),
    ("wingtip", "litware", 1, 300, 39_900, "ordered"),
    ("wingtip", "fourthcoffee", 1, 45, 40_500, "shipped"),
    ("tailspin", "fourthcoffee", 3, 150, 27_900, "ordered"),
}


def told(view):
    return {
        (o["retailer"], o["supplier"], o["item"], o["quantity"], o["price"], o["stage"]) for o in view["seen"]["orders"]
    }


def test_each_role_sees_what_it_should_at_one_height(example):
    height = example.view("tailspin")["height"]
    views = {name: example.view(name, height) for name in example.roles}
    assert {view["height"] for view in views.values()} == {height}
    assert len({view["block"]["hash"] for view in views.values()}) == 1
    for name, view in views.items():
        kind = example.roles[name]["kind"]
        orders, prices, moves = told(view), view["seen"]["prices"], view["seen"]["moves"]
        match kind:
            case "retailer" | "supplier":
                assert orders == {order for order in ORDERS if name in order[:2]}, name
                assert prices and all(name in (price["supplier"], price["retailer"]) for price in prices)
                assert moves and all(name in (move["from"], move["to"]) for move in moves)
            case "carrier":
                # What and how much, and never the price; nothing that was not handed to it.
                moved = {order[:4] + (None, order[5]) for order in ORDERS if order[5] != "ordered"}
                assert orders == moved and prices == [] and moves == []
            case "auditor":
                assert orders == ORDERS and len(prices) == 12 and len(moves) == 5
    # Two retailers pay one supplier different prices, and neither knows.
    price = lambda view: {p["price"] for p in view["seen"]["prices"] if (p["supplier"], p["item"]) == ("litware", 1)}
    assert price(views["tailspin"]) == {41_200} and price(views["wingtip"]) == {39_900}
    # A view of the past is the same as it was.
    again = example.view("wingtip", height)
    assert again["seen"] == views["wingtip"]["seen"]


def test_an_order_runs_from_the_retailer_to_the_door(example):
    def order_of(view):
        return next(o for o in view["seen"]["orders"] if o["quantity"] == 7)

    action = {"action": "order", "role": "tailspin", "supplier": "litware", "item": 2, "quantity": 7}
    first = example.post("/api/do", action)
    order = order_of(example.view("tailspin"))
    assert order["price"] == 9_850 and order["stage"] == "ordered"
    assert not any(o["quantity"] == 7 for o in example.view("adatum")["seen"]["orders"])
    example.post("/api/do", {"action": "ship", "role": "litware", "id": order["id"]})
    assert order_of(example.view("adatum"))["price"] is None
    last = example.post("/api/do", {"action": "deliver", "role": "adatum", "id": order["id"]})
    assert last["block"] > first["block"]
    # The stock became the retailer's in the carrier's transaction, which the carrier cannot read of.
    moved = [m for m in example.view("tailspin")["seen"]["moves"] if m["block"] == last["block"]]
    assert [(m["from"], m["to"], m["amount"]) for m in moved] == [("litware", "tailspin", 7)]
    assert not example.view("adatum")["seen"]["moves"]
    for name in ("wingtip", "proseware", "fourthcoffee"):
        assert not any(o["quantity"] == 7 for o in example.view(name)["seen"]["orders"])
    # Each step is that of one party, and nothing is ordered without a price.
    status, answer = example.ask("/api/do", {"action": "deliver", "role": "adatum", "id": order["id"]})
    assert status == 409, answer
    status, answer = example.ask("/api/do", action | {"supplier": "proseware", "item": 1})
    assert status == 409, answer


@pytest.mark.parametrize("thief", ["wingtip", "tailspin", "fourthcoffee", "adatum"])
def test_no_known_way_to_cheat_teaches_anything(example, thief):
    cheats = example.get("/api/cheats")
    assert len(cheats) >= 27
    for cheat in cheats:
        outcome = example.post("/api/cheat", {"role": thief, "name": cheat["name"]})
        assert outcome["held"], json.dumps(outcome, indent=2)
        pair = [e["reply"] for e in outcome["exchanges"] if e["label"].startswith("about ")]
        assert len(set(pair)) <= 1
        assert outcome["exchanges"] and outcome["thief"] == thief != outcome["victim"]


def test_what_the_cheats_ask_for_is_there(example):
    """The same requests by those who may: the cheats miss because of who asks."""
    victim = {}
    for name in ("receipt", "balance-of", "storage", "transaction"):
        outcome = example.post("/api/cheat", {"role": "wingtip", "name": name})
        assert outcome["victim"] == "tailspin"
        victim[name] = json.loads(outcome["exchanges"][0]["request"])
    gate = {name: role["gateway"] for name, role in example.roles.items()}

    def ask(who, name):
        return rpc(gate[who], victim[name]["method"], *victim[name]["params"])

    assert ask("tailspin", "receipt")["status"] == "0x1" and len(ask("tailspin", "receipt")["logs"]) == 1
    assert int(ask("tailspin", "balance-of"), 16) >= 120
    assert ask("tailspin", "transaction")["from"] == example.roles["tailspin"]["account"].lower()
    # Where the price is: an auditor reads the slot, nobody else does.
    assert int(ask("woodgrove", "storage"), 16) == 41_200
    assert int(ask("tailspin", "storage"), 16) == 0


def test_the_comparison_of_the_cheats_can_fail(example):
    """An auditor who asks the same pairs of questions gets answers that differ, wherever something is answered at all."""
    gate, differ = example.roles["woodgrove"]["gateway"], set()
    for cheat in example.get("/api/cheats"):
        outcome = example.post("/api/cheat", {"role": "wingtip", "name": cheat["name"]})
        pair = [e["request"] for e in outcome["exchanges"] if e["label"].startswith("about ")]
        replies = set()
        for body in pair:
            request = urllib.request.Request(gate, body.encode(), {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=20) as answer:
                replies.add(answer.read())
        if len(replies) == 2:
            differ.add(cheat["name"])
    assert differ >= {
        "transaction", "receipt", "raw-transaction", "proof", "position", "block-receipts", "logs", "balance-of",
        "spoofed-from", "call-without-to", "creation-call", "storage", "balance", "nonce",
    }  # fmt: skip


def test_what_the_auditor_reads_is_on_the_ledger(example):
    before = len(example.get("/api/readings")["readings"])
    example.view("woodgrove")
    record = example.get("/api/readings")["readings"]
    assert len(record) > before
    assert any("eth_getLogs" in json.dumps(entry["calls"]) for entry in record[before:]), record
    # The record is the members': a participant is told nothing.
    assert rpc(example.roles["wingtip"]["gateway"], "coco_readings", "0x0", "0x9") == []


def test_votes_are_those_of_the_members(example):
    votes = example.get("/api/votes")
    assert votes["members"] == ["contoso", "fabrikam", "northwind"]
    (proposal,) = votes["proposals"]
    assert proposal["status"] == "open" and proposal["title"].startswith("Alpine")
    assert proposal["tally"]["in_favour"] == 1 and "alpineski" in " ".join(proposal["effect"])
    status, _ = example.ask("/api/vote", {"member": "tailspin", "proposal": proposal["number"], "in_favour": True})
    assert status == 400
    # Two of three are a majority.
    example.post("/api/vote", {"member": "fabrikam", "proposal": proposal["number"], "in_favour": True})
    accepted = lambda: example.get("/api/votes")["proposals"][0]["status"] == "accepted"
    processes.wait_until("the proposal is accepted", accepted)


def test_the_load_is_bounded_and_measured(example):
    assert example.ask("/api/load", {"seconds": 600, "connections": 4})[0] == 400
    assert example.ask("/api/load", {"seconds": 2, "connections": 9999})[0] == 400
    before = example.get("/api/head")["head"]
    example.post("/api/load", {"seconds": 2, "connections": 8})
    assert example.ask("/api/load", {"seconds": 1, "connections": 1})[0] == 409
    done = processes.wait_until("the load ended", lambda: (f := example.get("/api/load"))["running"] is False and f, 60)
    assert done["committed"] > 0 and done["failed"] == 0 and done["points"]
    assert 0 < done["latency_ms"]["p50"] <= done["latency_ms"]["p99"]
    assert example.get("/api/head")["head"] > before


def test_the_page_is_for_itself_alone(example):
    with urllib.request.urlopen(example.url, timeout=10) as answer:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
    action = {"action": "order", "role": "tailspin", "supplier": "litware", "item": 1, "quantity": 1}
    for headers in (
        {"host": "evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"content-type": "text/plain"},
    ):
        assert example.ask("/api/do", action, headers)[0] == 403, headers
    # It signs its few actions, within bounds, and nothing else.
    for bad in (
        action | {"quantity": 0},
        action | {"quantity": 10**9},
        action | {"item": 99},
        action | {"role": "litware"},
        action | {"role": "nobody"},
        action | {"to": "0x0000000000000000000000000000000000000001"},
        {"action": "sign", "role": "tailspin", "data": "0x00"},
        [],
    ):
        assert example.ask("/api/do", bad)[0] == 400, bad
    assert example.ask("/api/cheat", {"role": "woodgrove", "name": "receipt"})[0] == 400
    assert example.ask("/nothing")[0] == 404


def test_artefacts_are_what_their_sources_compile_to():
    modules = HERE / "node_modules"
    assert modules.is_dir(), f"run `npm install` in {HERE}"
    command = ["node", str(ROOT / "examples/supply-chain/compile.mjs"), "--check", "--modules", str(modules)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "all as expected" in done.stdout, done.stdout + done.stderr


def test_it_goes_on_in_its_directory():
    with supply.directory() as place:
        first = supply.Example(place)
        try:
            before = first.view("tailspin")
            # Before, nobody could open the keys again.
            processes.wait_until("the keys are sealed", first.is_sealed, 60)
        finally:
            assert first.stop() == 0, first.errors.read_text()
        again = supply.Example(place)
        try:
            after = again.view("tailspin")
            assert after["seen"]["orders"] == before["seen"]["orders"]
            assert again.facts["contracts"] == first.facts["contracts"]
            again.post("/api/do", {"action": "order", "role": "wingtip", "supplier": "litware", "item": 1, "quantity": 2})
        finally:
            assert again.stop() == 0, again.errors.read_text()


def test_a_person_uses_the_page_in_a_browser():
    """In a network of its own: views, an order, every cheat, the speedometer, votes, the audit trail."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert chromium, "install chromium (`.ci/run clients` does), or name a browser of its kind with CHROMIUM"
    with supply.running() as example:
        environment = os.environ | {"PAGE": example.url, "CHROMIUM": chromium}
        command = ["node", "browser/supply_chain.mjs"]
        done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and "all as expected" in done.stdout, done.stdout + done.stderr
