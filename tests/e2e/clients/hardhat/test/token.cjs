// Hardhat's own test runner: deploy, transfer, read back, watch events, revert reasons; nothing of others.
const assert = require("node:assert/strict");
const { ethers } = require("hardhat");

const hidden = JSON.parse(process.env.HIDDEN || "null");

describe("a token on a Coco network", () => {
  let owner, friend, token;

  before(async () => {
    [owner] = await ethers.getSigners();
    friend = ethers.Wallet.createRandom().address;
    token = await ethers.deployContract("Token", [1000n]);
    await token.waitForDeployment();
  });

  it("is there", async () => {
    assert.equal(await token.balanceOf(owner.address), 1000n);
    assert.notEqual(await ethers.provider.getCode(token.target), "0x");
    assert.equal((await ethers.provider.getNetwork()).chainId, 31337n);
  });

  it("transfers, and its event is heard", async () => {
    const heard = new Promise((resolve) => token.once("Transfer", (from, to, value) => resolve([from, to, value])));
    await ethers.provider.getBlockNumber();
    const receipt = await (await token.transfer(friend, 41n)).wait();
    assert.equal(receipt.status, 1);
    assert.deepEqual(await heard, [owner.address, friend, 41n]);
    assert.equal(await token.balanceOf(friend), 41n);
    const logs = await token.queryFilter(token.filters.Transfer(null, friend));
    assert.deepEqual(logs.map((log) => log.transactionHash), [receipt.hash]);
  });

  it("reverts with its reason", async () => {
    await assert.rejects(token.refuse(), /not in this consortium/);
    const isShort = ({ data }) => token.interface.parseError(data).name === "ERC20InsufficientBalance";
    await assert.rejects(token.transfer(friend, 5000n), isShort);
    await assert.rejects(token.transfer.staticCall(friend, 5000n), isShort);
  });

  it("needs no ether, and sends some if there is", async () => {
    if (!process.env.FUNDED) {
      assert.equal(await ethers.provider.getBalance(owner.address), 0n);
      return;
    }
    const receipt = await (await owner.sendTransaction({ to: friend, value: 7n })).wait();
    assert.equal(receipt.status, 1);
  });

  for (const other of hidden ?? []) {
    it(`sees nothing of ${other.address}`, async () => {
      const theirs = token.attach(other.address);
      assert.equal(await ethers.provider.getTransactionReceipt(other.transaction), null);
      assert.deepEqual(await theirs.queryFilter("Transfer", 0), []);
      await assert.rejects(theirs.balanceOf(other.holder), /could not decode result data/);
      if (!other.code) assert.equal(await ethers.provider.getCode(other.address), "0x");
    });
  }
});
