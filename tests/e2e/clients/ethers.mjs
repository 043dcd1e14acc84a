// ethers 6: deploy, transfer, read back, filter logs, subscribe to heads, revert reasons.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { ContractFactory, JsonRpcProvider, NonceManager, Wallet, WebSocketProvider, parseEther } from "ethers";

const { RPC, WS, TOKEN, KEY } = process.env;
const { abi, bytecode } = JSON.parse(readFileSync(TOKEN, "utf8"));
const provider = new JsonRpcProvider(RPC, undefined, { pollingInterval: 50 });
const wallet = new NonceManager(new Wallet(KEY, provider));
const owner = await wallet.getAddress();
const friend = Wallet.createRandom().address;

const network = await provider.getNetwork();
assert.equal(network.chainId, 31337n);

// Heads over WebSocket, from before the first transaction.
const socket = new WebSocketProvider(WS);
const heads = [];
await socket.on("block", (number) => heads.push(number));
const seen = (number) =>
  new Promise((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`no head ${number}; heads: ${heads}`)), 15000);
    const look = setInterval(() => {
      if (heads.some((head) => head >= number)) {
        clearTimeout(limit);
        clearInterval(look);
        resolve();
      }
    }, 10);
  });

const token = await new ContractFactory(abi, bytecode, wallet).deploy(1000n);
await token.waitForDeployment();
const deployed = await token.deploymentTransaction().wait();
assert.equal(deployed.status, 1);
assert.equal(await token.balanceOf(owner), 1000n);
assert.equal(await token.symbol(), "CTK");

const sent = await token.transfer(friend, 41n);
const receipt = await sent.wait();
assert.equal(receipt.status, 1);
assert.equal(receipt.logs.length, 1);
assert.equal(await token.balanceOf(friend), 41n);
assert.equal(await token.balanceOf(owner), 959n);
await seen(receipt.blockNumber);

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

const plain = await wallet.sendTransaction({ to: friend, value: parseEther("1.5") });
await plain.wait();
assert.equal(await provider.getBalance(friend), parseEther("1.5"));

await socket.destroy();
provider.destroy();
console.log("ethers: all as expected");
