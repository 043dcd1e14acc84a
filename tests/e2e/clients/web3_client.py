"""web3.py: deploy, transfer, read back, filter logs, watch events and heads, revert reasons; nothing of others."""

import asyncio
import json
import os
import sys
import traceback
from urllib.parse import urlsplit, urlunsplit

from web3 import AsyncWeb3, Web3, WebSocketProvider
from web3.exceptions import (
    BadFunctionCallOutput,
    ContractCustomError,
    ContractLogicError,
    TransactionNotFound,
)
from web3.middleware import SignAndSendRawMiddlewareBuilder

TOKEN = json.load(open(os.environ["TOKEN"]))


def within(url, token):
    """The token as the password of HTTP Basic."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"coco:{token}@{parts.netloc}")) if token else url


def under(url, token):
    """The token in the path."""
    return f"{url}/t/{token}" if token else url


def by_http(case):
    """As most programs use it: without asyncio."""
    web3 = Web3(Web3.HTTPProvider(within(case["url"], case["token"])))
    assert web3.is_connected() and web3.eth.chain_id == 31337
    account = web3.eth.account.from_key(case["key"])
    friend = web3.eth.account.create().address
    web3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
    web3.eth.default_account = account.address

    def mined(transaction):
        return web3.eth.wait_for_transaction_receipt(transaction, timeout=30, poll_latency=0.05)

    factory = web3.eth.contract(abi=TOKEN["abi"], bytecode=TOKEN["bytecode"])
    deployed = mined(factory.constructor(1000).transact())
    assert deployed["status"] == 1
    token = web3.eth.contract(deployed["contractAddress"], abi=TOKEN["abi"])
    assert token.functions.balanceOf(account.address).call() == 1000

    watching = token.events.Transfer.create_filter(from_block="latest")
    heads = web3.eth.filter("latest")
    receipt = mined(token.functions.transfer(friend, 41).transact())
    assert receipt["status"] == 1
    assert token.functions.balanceOf(friend).call() == 41
    (event,) = token.events.Transfer().process_receipt(receipt)
    assert event["args"]["value"] == 41
    news = [entry for entry in watching.get_new_entries() if entry["args"]["to"] == friend]
    assert len(news) == 1 and news[0]["transactionHash"] == receipt["transactionHash"]
    assert receipt["blockHash"] in heads.get_new_entries()
    logs = token.events.Transfer().get_logs(from_block=deployed["blockNumber"], argument_filters={"to": friend})
    assert [log["args"]["value"] for log in logs] == [41]
    assert web3.eth.get_block(receipt["blockNumber"])["hash"] == receipt["blockHash"]

    try:
        token.functions.refuse().call()
        raise AssertionError("refuse() did not revert")
    except ContractLogicError as error:
        assert "not in this consortium" in str(error), error
    try:
        token.functions.transfer(friend, 5000).call()
        raise AssertionError("a transfer of too much did not revert")
    except ContractCustomError as error:
        assert error.data.startswith("0xe450d38c"), error  # ERC20InsufficientBalance

    if case["funded"]:
        value = Web3.to_wei(1.5, "ether")
        assert mined(web3.eth.send_transaction({"to": friend, "value": value}))["status"] == 1
        assert web3.eth.get_balance(friend) == (0 if case["hidden"] else value)
    else:
        assert web3.eth.get_balance(account.address) == 0

    for other in case["hidden"] or []:
        theirs = web3.eth.contract(other["address"], abi=TOKEN["abi"])
        for look in (web3.eth.get_transaction, web3.eth.get_transaction_receipt):
            try:
                look(other["transaction"])
                raise AssertionError("another's transaction is seen")
            except TransactionNotFound:
                pass
        assert theirs.events.Transfer().get_logs(from_block=0) == []
        try:
            theirs.functions.balanceOf(other["holder"]).call()
            raise AssertionError("another's balance is told")
        except BadFunctionCallOutput:
            pass
        assert other["code"] or web3.eth.get_code(other["address"]) == b""


async def by_websocket(case):
    """With asyncio, and subscriptions."""
    async with AsyncWeb3(WebSocketProvider(under(case["url"], case["token"]))) as web3:
        assert await web3.eth.chain_id == 31337
        account = web3.eth.account.from_key(case["key"])
        friend = web3.eth.account.create().address
        web3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
        web3.eth.default_account = account.address
        heads = await web3.eth.subscribe("newHeads")

        async def mined(transaction):
            return await web3.eth.wait_for_transaction_receipt(transaction, timeout=30, poll_latency=0.05)

        factory = web3.eth.contract(abi=TOKEN["abi"], bytecode=TOKEN["bytecode"])
        deployed = await mined(await factory.constructor(1000).transact())
        assert deployed["status"] == 1
        token = web3.eth.contract(deployed["contractAddress"], abi=TOKEN["abi"])
        assert await token.functions.balanceOf(account.address).call() == 1000
        transfers = await web3.eth.subscribe("logs", {"address": token.address})

        receipt = await mined(await token.functions.transfer(friend, 41).transact())
        assert receipt["status"] == 1
        assert await token.functions.balanceOf(friend).call() == 41

        async def heard():
            head = log = None
            async for message in web3.socket.process_subscriptions():
                if message["subscription"] == heads:
                    if message["result"]["number"] == receipt["blockNumber"]:
                        head = message["result"]
                else:
                    assert message["subscription"] == transfers
                    log = token.events.Transfer().process_log(message["result"])
                if head and log:
                    return head, log

        head, log = await asyncio.wait_for(heard(), 30)
        assert head["hash"] == receipt["blockHash"]
        assert log["args"]["to"] == friend and log["args"]["value"] == 41
        logs = await token.events.Transfer().get_logs(
            from_block=deployed["blockNumber"], argument_filters={"to": friend}
        )
        assert [log["args"]["value"] for log in logs] == [41]

        try:
            await token.functions.refuse().call()
            raise AssertionError("refuse() did not revert")
        except ContractLogicError as error:
            assert "not in this consortium" in str(error), error

        if case["funded"]:
            value = Web3.to_wei(1.5, "ether")
            assert (await mined(await web3.eth.send_transaction({"to": friend, "value": value})))["status"] == 1
        else:
            assert await web3.eth.get_balance(account.address) == 0

        for other in case["hidden"] or []:
            theirs = web3.eth.contract(other["address"], abi=TOKEN["abi"])
            try:
                await web3.eth.get_transaction_receipt(other["transaction"])
                raise AssertionError("another's receipt is seen")
            except TransactionNotFound:
                pass
            assert await theirs.events.Transfer().get_logs(from_block=0) == []
            try:
                await theirs.functions.balanceOf(other["holder"]).call()
                raise AssertionError("another's balance is told")
            except BadFunctionCallOutput:
                pass
            assert other["code"] or await web3.eth.get_code(other["address"]) == b""


async def main():
    cases = json.load(open(os.environ["CASES"]))
    runs = [
        by_websocket(case) if case["url"].startswith("ws") else asyncio.to_thread(by_http, case) for case in cases
    ]
    code = 0
    for case, done in zip(cases, await asyncio.gather(*runs, return_exceptions=True), strict=True):
        if done is not None:
            code = 1
            print(f"web3.py, {case['name']}:", file=sys.stderr)
            traceback.print_exception(done)
    if not code:
        print("web3.py: all as expected in", ", ".join(case["name"] for case in cases))
    return code


sys.exit(asyncio.run(main()))
