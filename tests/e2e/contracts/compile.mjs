// Compiles Token.sol and a policy for it with the pinned solc; writes NAME.json, {abi, bytecode}, into the directory
// named on the command line.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const solc = require("solc");
const here = dirname(fileURLToPath(import.meta.url));
const policies = "../../../contracts/src/policies";

const read = (path) => ({ content: readFileSync(join(here, path), "utf8") });
const input = {
  language: "Solidity",
  sources: {
    "Token.sol": read("Token.sol"),
    "policies/ERC20Policy.sol": read(`${policies}/ERC20Policy.sol`),
    "policies/Policy.sol": read(`${policies}/Policy.sol`),
    "ICocoAccess.sol": read(`${policies}/../ICocoAccess.sol`),
  },
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: "cancun",
    outputSelection: { "*": { Token: ["abi", "evm.bytecode.object"], ERC20Policy: ["abi", "evm.bytecode.object"] } },
  },
};
const imports = (path) => ({
  contents: readFileSync(join(here, "..", "node_modules", path), "utf8"),
});
const output = JSON.parse(solc.compile(JSON.stringify(input), { import: imports }));
const errors = (output.errors ?? []).filter((error) => error.severity === "error");
if (errors.length) {
  throw new Error(errors.map((error) => error.formattedMessage).join("\n"));
}
for (const contracts of Object.values(output.contracts)) {
  for (const [name, { abi, evm }] of Object.entries(contracts)) {
    writeFileSync(join(process.argv[2], `${name}.json`), JSON.stringify({ abi, bytecode: "0x" + evm.bytecode.object }));
  }
}
