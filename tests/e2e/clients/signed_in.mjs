// ethers with a token in the URL, straight at a validating node: an unfunded account that only signed in.
import assert from "node:assert";
import { FetchRequest, JsonRpcProvider, Wallet } from "ethers";

const { RPC, TOKEN_TEXT, KEY, EXPECTED } = process.env;
const request = new FetchRequest(RPC);
request.setCredentials("coco", TOKEN_TEXT);
const provider = new JsonRpcProvider(request, undefined, { cacheTimeout: -1 });
const wallet = new Wallet(KEY, provider);
assert.equal(wallet.address.toLowerCase(), EXPECTED.toLowerCase());
assert.deepEqual((await provider.send("eth_accounts", [])).map((a) => a.toLowerCase()), [EXPECTED.toLowerCase()]);
const sent = await wallet.sendTransaction({ to: wallet.address, value: 0 });
const receipt = await sent.wait();
assert.equal(receipt.status, 1);
provider.destroy();
console.log("all as expected");
