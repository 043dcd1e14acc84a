// A Hardhat 2 project against a Coco network; URL, BEARER and KEY are of one case.
const path = require("node:path");
const { subtask } = require("hardhat/config");
const { TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD } = require("hardhat/builtin-tasks/task-names");
require("@nomicfoundation/hardhat-ethers");

// The compiler from npm, so that nothing is downloaded from elsewhere.
subtask(TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD, async ({ solcVersion }) => ({
  compilerPath: require.resolve("solc/soljson.js"),
  isSolcJs: true,
  version: solcVersion,
  longVersion: require("solc").version(),
}));

const { URL, BEARER, KEY } = process.env;
const root = path.join(__dirname, "../..");
const out = path.join(root, "../../target/e2e/hardhat");
module.exports = {
  solidity: { version: "0.8.37", settings: { optimizer: { enabled: true, runs: 200 }, evmVersion: "cancun" } },
  paths: { root, sources: "contracts", tests: "clients/hardhat/test", cache: `${out}/cache`, artifacts: `${out}/artifacts` },
  networks: {
    coco: {
      url: URL ?? "http://127.0.0.1:8545",
      accounts: KEY ? [KEY] : [],
      httpHeaders: BEARER ? { authorization: `Bearer ${BEARER}` } : {},
    },
  },
};
