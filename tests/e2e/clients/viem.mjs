// viem: deploy, transfer, read back, filter logs, watch events and heads, revert reasons; nothing of others.
import assert from "node:assert/strict";
import {
  ContractFunctionRevertedError,
  ContractFunctionZeroDataError,
  TransactionNotFoundError,
  TransactionReceiptNotFoundError,
  createPublicClient,
  createWalletClient,
  defineChain,
  http,
  parseEther,
  webSocket,
} from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { abi, bytecode, each, under, until } from "./cases.mjs";

// The token is in the path: `batch` joins the requests of all clients of one URL, and would send those of one account
// with the header of another.
const connect = (url, token) =>
  url.startsWith("ws") ? webSocket(under(url, token)) : http(under(url, token), { batch: true });

await each("viem", async ({ url, token, key, funded, hidden }) => {
  const chain = defineChain({
    id: 31337,
    name: "Coco sandbox",
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [url] } },
  });
  const account = privateKeyToAccount(key);
  const friend = privateKeyToAccount(generatePrivateKey()).address;
  const transport = connect(url, token);
  const reader = createPublicClient({ chain, transport, pollingInterval: 50 });
  const writer = createWalletClient({ account, chain, transport });
  assert.equal(await reader.getChainId(), 31337);

  const failed = [];
  const onError = (error) => failed.push(error);
  const heads = [];
  const stopHeads = reader.watchBlocks({ onBlock: (block) => heads.push(block), onError });

  const deployment = await writer.deployContract({ abi, bytecode, args: [1000n] });
  const deployed = await reader.waitForTransactionReceipt({ hash: deployment });
  assert.equal(deployed.status, "success");
  const address = deployed.contractAddress;
  const read = (functionName, ...args) => reader.readContract({ address, abi, functionName, args });
  assert.deepEqual(await Promise.all([read("name"), read("totalSupply")]), ["Consortium Token", 1000n]);

  const transfers = [];
  const stopTransfers = reader.watchContractEvent({
    address,
    abi,
    eventName: "Transfer",
    args: { to: friend },
    onLogs: (logs) => transfers.push(...logs),
    fromBlock: deployed.blockNumber,
    onError,
  });
  // By WebSocket the subscriptions are asked for on the same socket, so this answer comes after theirs.
  await reader.getBlockNumber({ cacheTime: 0 });

  const { request } = await reader.simulateContract({ account, address, abi, functionName: "transfer", args: [friend, 41n] });
  const hash = await writer.writeContract(request);
  const receipt = await reader.waitForTransactionReceipt({ hash });
  assert.equal(receipt.status, "success");
  assert.equal(await read("balanceOf", friend), 41n);
  await until(() => failed.length || heads.some((head) => head.number >= receipt.blockNumber), "head");
  await until(() => failed.length || transfers.length, "transfer");
  assert.deepEqual(failed, []);
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
  assert.equal((await reader.getBlock({ blockNumber: receipt.blockNumber })).hash, receipt.blockHash);

  const reverted = (promise, kind, check = () => true) =>
    assert.rejects(promise, (error) => {
      const cause = error.walk((cause) => cause instanceof kind);
      return cause !== null && check(cause);
    });
  await reverted(read("refuse"), ContractFunctionRevertedError, (cause) => cause.reason === "not in this consortium");
  await reverted(
    reader.simulateContract({ account, address, abi, functionName: "transfer", args: [friend, 5000n] }),
    ContractFunctionRevertedError,
    (cause) => cause.data.errorName === "ERC20InsufficientBalance" && cause.data.args[1] === 959n,
  );

  if (funded) {
    const plain = await writer.sendTransaction({ to: friend, value: parseEther("1.5") });
    assert.equal((await reader.waitForTransactionReceipt({ hash: plain })).status, "success");
    assert.equal(await reader.getBalance({ address: friend }), hidden ? 0n : parseEther("1.5"));
  } else {
    assert.equal(await reader.getBalance({ address: account.address }), 0n);
  }

  for (const other of hidden ?? []) {
    const theirs = { address: other.address, abi };
    await assert.rejects(reader.getTransaction({ hash: other.transaction }), TransactionNotFoundError);
    await assert.rejects(reader.getTransactionReceipt({ hash: other.transaction }), TransactionReceiptNotFoundError);
    assert.deepEqual(await reader.getContractEvents({ ...theirs, eventName: "Transfer", fromBlock: 0n }), []);
    await reverted(
      reader.readContract({ ...theirs, functionName: "balanceOf", args: [other.holder] }),
      ContractFunctionZeroDataError,
    );
    if (!other.code) assert.equal(await reader.getCode({ address: other.address }), undefined);
  }
  stopHeads();
  stopTransfers();
});
