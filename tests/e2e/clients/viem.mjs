// viem: deploy, transfer, read back, filter logs, subscribe to heads, revert reasons.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import {
  ContractFunctionRevertedError,
  createPublicClient,
  createWalletClient,
  defineChain,
  http,
  parseEther,
  webSocket,
} from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";

const { RPC, WS, TOKEN, KEY } = process.env;
const { abi, bytecode } = JSON.parse(readFileSync(TOKEN, "utf8"));
const chain = defineChain({
  id: 31337,
  name: "Coco sandbox",
  nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [RPC], webSocket: [WS] } },
});
const account = privateKeyToAccount(KEY);
const friend = privateKeyToAccount(generatePrivateKey()).address;
const reader = createPublicClient({ chain, transport: http(RPC, { batch: true }), pollingInterval: 50 });
const listener = createPublicClient({ chain, transport: webSocket(WS) });
const writer = createWalletClient({ account, chain, transport: http(RPC) });

assert.equal(await reader.getChainId(), 31337);

const heads = [];
const transfers = [];
const limited = (promise, what) =>
  Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(new Error(`no ${what}`)), 15000).unref())]);
const until = async (condition, what) =>
  limited(
    (async () => {
      while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
    })(),
    what,
  );
const onError = (error) => {
  throw error;
};
const stopHeads = listener.watchBlocks({ onBlock: (block) => heads.push(block), onError });
await until(() => listener.transport.getRpcClient, "WebSocket");
await listener.getBlockNumber();

const deployment = await writer.deployContract({ abi, bytecode, args: [1000n] });
const deployed = await reader.waitForTransactionReceipt({ hash: deployment });
assert.equal(deployed.status, "success");
const address = deployed.contractAddress;
const read = (functionName, ...args) => reader.readContract({ address, abi, functionName, args });
assert.deepEqual(await Promise.all([read("name"), read("totalSupply")]), ["Consortium Token", 1000n]);

const stopTransfers = listener.watchContractEvent({
  address,
  abi,
  eventName: "Transfer",
  onLogs: (logs) => transfers.push(...logs),
  onError,
});
// Both subscriptions are asked for on one socket in order, so this answer comes after theirs.
await listener.getBlockNumber();

const { request } = await reader.simulateContract({ account, address, abi, functionName: "transfer", args: [friend, 41n] });
const hash = await writer.writeContract(request);
const receipt = await reader.waitForTransactionReceipt({ hash });
assert.equal(receipt.status, "success");
assert.equal(await read("balanceOf", friend), 41n);

await until(() => heads.some((head) => head.number >= receipt.blockNumber), "head");
assert.equal(heads.find((head) => head.number === receipt.blockNumber).hash, receipt.blockHash);
await until(() => transfers.length > 0, "event");
assert.equal(transfers[0].args.value, 41n);

const logs = await reader.getContractEvents({
  address,
  abi,
  eventName: "Transfer",
  args: { to: friend },
  fromBlock: deployed.blockNumber,
});
assert.equal(logs.length, 1);
assert.equal(logs[0].transactionHash, hash);
const filter = await reader.createContractEventFilter({ address, abi, eventName: "Transfer", fromBlock: deployed.blockNumber });
assert.equal((await reader.getFilterLogs({ filter })).length, 2);

const reverted = (promise, check) =>
  assert.rejects(promise, (error) => check(error.walk((cause) => cause instanceof ContractFunctionRevertedError)));
await reverted(read("refuse"), (cause) => cause.reason === "not in this consortium");
await reverted(
  reader.simulateContract({ account, address, abi, functionName: "transfer", args: [friend, 5000n] }),
  (cause) => cause.data.errorName === "ERC20InsufficientBalance" && cause.data.args[1] === 959n,
);

const plain = await writer.sendTransaction({ to: friend, value: parseEther("1.5") });
await reader.waitForTransactionReceipt({ hash: plain });
assert.equal(await reader.getBalance({ address: friend }), parseEther("1.5"));

stopHeads();
stopTransfers();
console.log("viem: all as expected");
process.exit(0);
