// ethers 6: deploy, transfer, read back, filter logs, watch events and heads, revert reasons; nothing of others.
import assert from "node:assert/strict";
import { Contract, ContractFactory, FetchRequest, JsonRpcProvider, Wallet, WebSocketProvider, parseEther } from "ethers";
import { abi, bytecode, each, until, within } from "./cases.mjs";

function connect(url, token) {
  if (url.startsWith("ws")) return new WebSocketProvider(within(url, token), undefined, { cacheTimeout: -1 });
  const request = new FetchRequest(url);
  // A gateway on this machine speaks plain HTTP, and ethers asks whether that is meant.
  request.allowInsecureAuthentication = url.startsWith("http://127.0.0.1:");
  if (token) request.setCredentials("coco", token);
  return new JsonRpcProvider(request, undefined, { pollingInterval: 50, cacheTimeout: -1 });
}

await each("ethers", async ({ url, token: carried, key, funded, hidden }) => {
  const provider = connect(url, carried);
  const wallet = new Wallet(key, provider);
  const owner = wallet.address;
  const friend = Wallet.createRandom().address;
  assert.equal((await provider.getNetwork()).chainId, 31337n);

  const token = await new ContractFactory(abi, bytecode, wallet).deploy(1000n);
  await token.waitForDeployment();
  const deployed = await token.deploymentTransaction().wait();
  assert.equal(deployed.status, 1);
  assert.equal(await token.balanceOf(owner), 1000n);
  assert.equal(await token.symbol(), "CTK");

  const heads = [];
  const heard = [];
  await provider.on("block", (number) => heads.push(number));
  await token.on("Transfer", (from, to, value) => heard.push({ from, to, value }));
  // By WebSocket the subscription is asked for on the same socket, so this answer comes after its.
  await provider.getBlockNumber();

  const sent = await token.transfer(friend, 41n);
  const receipt = await sent.wait();
  assert.equal(receipt.status, 1);
  assert.equal(receipt.logs.length, 1);
  assert.equal(await token.balanceOf(friend), 41n);
  assert.equal(await token.balanceOf(owner), 959n);
  await until(() => heads.some((head) => head >= receipt.blockNumber), "head");
  await until(() => heard.length, "transfer");
  assert.deepEqual(heard, [{ from: owner, to: friend, value: 41n }]);

  const logs = await token.queryFilter(token.filters.Transfer(owner, friend), deployed.blockNumber);
  assert.equal(logs.length, 1);
  assert.equal(logs[0].args.value, 41n);
  assert.equal(logs[0].transactionHash, sent.hash);
  const none = await token.queryFilter(token.filters.Transfer(friend, owner), deployed.blockNumber);
  assert.equal(none.length, 0);

  const block = await provider.getBlock(receipt.blockNumber, true);
  assert.equal(block.hash, receipt.blockHash);
  assert.ok(block.prefetchedTransactions.some((transaction) => transaction.hash === sent.hash));

  await assert.rejects(token.refuse.staticCall(), (error) => error.reason === "not in this consortium");
  await assert.rejects(
    token.transfer.staticCall(friend, 5000n),
    (error) => error.revert?.name === "ERC20InsufficientBalance" && error.revert.args[2] === 5000n,
  );
  // With its own gas limit it is not estimated: it is mined and fails.
  const failing = await token.transfer(friend, 5000n, { gasLimit: 100000n });
  await assert.rejects(failing.wait(), (error) => error.receipt?.status === 0);

  if (funded) {
    await (await wallet.sendTransaction({ to: friend, value: parseEther("1.5") })).wait();
    assert.equal(await provider.getBalance(owner) > 0n, true);
    // Whose balance it is sees it; others do on a transparent network.
    assert.equal(await provider.getBalance(friend), hidden ? 0n : parseEther("1.5"));
  } else {
    assert.equal(await provider.getBalance(owner), 0n);
  }

  for (const other of hidden ?? []) {
    const theirs = new Contract(other.address, abi, wallet);
    assert.equal(await provider.getTransaction(other.transaction), null);
    assert.equal(await provider.getTransactionReceipt(other.transaction), null);
    assert.deepEqual(await theirs.queryFilter("Transfer", 0), []);
    await assert.rejects(theirs.balanceOf(other.holder), { code: "BAD_DATA" });
    if (!other.code) assert.equal(await provider.getCode(other.address), "0x");
  }
  await provider.destroy();
});
