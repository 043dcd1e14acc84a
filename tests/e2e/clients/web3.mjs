// web3.js 4: deploy, transfer, read back, filter logs, watch events and heads, revert reasons; nothing of others.
import assert from "node:assert/strict";
import { Web3 } from "web3";
import { abi, bytecode, each, until, within } from "./cases.mjs";

await each("web3.js", async ({ url, token: carried, key, funded, hidden }) => {
  const web3 = new Web3(within(url, carried));
  const live = url.startsWith("ws");
  const owner = web3.eth.accounts.wallet.add(key)[0].address;
  const friend = web3.eth.accounts.create().address;
  web3.eth.transactionPollingInterval = 50;
  assert.equal(await web3.eth.getChainId(), 31337n);

  const unsent = new web3.eth.Contract(abi).deploy({ data: bytecode, arguments: [1000] });
  const token = await unsent.send({ from: owner });
  token.setConfig({ transactionPollingInterval: 50 });
  assert.equal(await token.methods.balanceOf(owner).call(), 1000n);
  assert.equal(await token.methods.symbol().call(), "CTK");

  // Subscriptions are WebSocket's; by HTTP web3.js has none.
  const heads = [];
  const heard = [];
  if (live) {
    const blocks = await web3.eth.subscribe("newBlockHeaders");
    blocks.on("data", (head) => heads.push(BigInt(head.number)));
    const transfers = token.events.Transfer({ filter: { to: friend } });
    transfers.on("data", (log) => heard.push(log));
    await new Promise((resolve, reject) => {
      transfers.on("connected", resolve);
      transfers.on("error", reject);
    });
  }

  const receipt = await token.methods.transfer(friend, 41).send({ from: owner });
  assert.equal(receipt.status, 1n);
  assert.equal(receipt.events.Transfer.returnValues.value, 41n);
  assert.equal(await token.methods.balanceOf(friend).call(), 41n);
  if (live) {
    await until(() => heads.some((head) => head >= receipt.blockNumber), "head");
    await until(() => heard.length, "transfer");
    assert.equal(heard[0].transactionHash, receipt.transactionHash);
    assert.equal(heard[0].returnValues.value, 41n);
  }

  const logs = await token.getPastEvents("Transfer", { fromBlock: 0n, filter: { to: friend } });
  assert.deepEqual(logs.map((log) => log.transactionHash), [receipt.transactionHash]);
  const block = await web3.eth.getBlock(receipt.blockNumber);
  assert.equal(block.hash, receipt.blockHash);
  assert.ok(block.transactions.includes(receipt.transactionHash));

  await assert.rejects(token.methods.refuse().call(), (error) => /not in this consortium/.test(error.cause?.message));
  await assert.rejects(
    token.methods.transfer(friend, 5000).call({ from: owner }),
    (error) => error.cause?.errorName === "ERC20InsufficientBalance" && error.cause.errorArgs.needed === 5000n,
  );

  if (funded) {
    const value = web3.utils.toWei("1.5", "ether");
    assert.equal((await web3.eth.sendTransaction({ from: owner, to: friend, value })).status, 1n);
    assert.equal(await web3.eth.getBalance(friend), hidden ? 0n : BigInt(value));
  } else {
    assert.equal(await web3.eth.getBalance(owner), 0n);
  }

  for (const other of hidden ?? []) {
    const theirs = new web3.eth.Contract(abi, other.address);
    await assert.rejects(web3.eth.getTransactionReceipt(other.transaction), /not found/i);
    await assert.rejects(web3.eth.getTransaction(other.transaction), /not found/i);
    assert.deepEqual(await theirs.getPastEvents("Transfer", { fromBlock: 0n }), []);
    await assert.rejects(theirs.methods.balanceOf(other.holder).call());
    if (!other.code) assert.equal(await web3.eth.getCode(other.address), "0x");
  }
  if (live) web3.provider.disconnect();
});
