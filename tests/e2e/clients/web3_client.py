"""web3.py: deploy, transfer, read back, filter logs, subscribe to heads, revert reasons."""

import asyncio
import json
import os

from web3 import AsyncWeb3, Web3, WebSocketProvider
from web3.exceptions import ContractCustomError, ContractLogicError
from web3.middleware import SignAndSendRawMiddlewareBuilder

TOKEN = json.load(open(os.environ["TOKEN"]))


async def main():
    web3 = Web3(Web3.HTTPProvider(os.environ["RPC"]))
    assert web3.is_connected() and web3.eth.chain_id == 31337
    account = web3.eth.account.from_key(os.environ["KEY"])
    friend = web3.eth.account.create().address
    web3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
    web3.eth.default_account = account.address

    async with AsyncWeb3(WebSocketProvider(os.environ["WS"])) as socket:
        subscription = await socket.eth.subscribe("newHeads")

        def mined(transaction):
            return web3.eth.wait_for_transaction_receipt(transaction, timeout=15, poll_latency=0.05)

        factory = web3.eth.contract(abi=TOKEN["abi"], bytecode=TOKEN["bytecode"])
        deployed = mined(factory.constructor(1000).transact())
        assert deployed["status"] == 1
        token = web3.eth.contract(deployed["contractAddress"], abi=TOKEN["abi"])
        assert token.functions.balanceOf(account.address).call() == 1000

        watching = token.events.Transfer.create_filter(from_block="latest")
        receipt = mined(token.functions.transfer(friend, 41).transact())
        assert receipt["status"] == 1
        assert token.functions.balanceOf(friend).call() == 41
        (event,) = token.events.Transfer().process_receipt(receipt)
        assert event["args"]["value"] == 41
        news = [entry for entry in watching.get_new_entries() if entry["args"]["to"] == friend]
        assert len(news) == 1 and news[0]["transactionHash"] == receipt["transactionHash"]
        logs = token.events.Transfer().get_logs(
            from_block=deployed["blockNumber"], argument_filters={"to": friend}
        )
        assert [log["args"]["value"] for log in logs] == [41]

        async def head():
            async for message in socket.socket.process_subscriptions():
                assert message["subscription"] == subscription
                if message["result"]["number"] >= receipt["blockNumber"]:
                    return message["result"]

        found = await asyncio.wait_for(head(), 15)
        assert found["hash"] == web3.eth.get_block(found["number"])["hash"]

    try:
        token.functions.refuse().call()
        raise SystemExit("refuse() did not revert")
    except ContractLogicError as error:
        assert "not in this consortium" in str(error), error
    try:
        token.functions.transfer(friend, 5000).call()
        raise SystemExit("a transfer of too much did not revert")
    except ContractCustomError as error:
        assert error.data.startswith("0xe450d38c"), error  # ERC20InsufficientBalance

    mined(web3.eth.send_transaction({"to": friend, "value": Web3.to_wei(1.5, "ether")}))
    assert web3.eth.get_balance(friend) == Web3.to_wei(1.5, "ether")
    print("web3.py: all as expected")


asyncio.run(main())
