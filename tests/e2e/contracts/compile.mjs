// Compiles Token.sol with the pinned solc and writes {abi, bytecode} to the file named on the command line.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const solc = require("solc");
const here = dirname(fileURLToPath(import.meta.url));

const input = {
  language: "Solidity",
  sources: { "Token.sol": { content: readFileSync(join(here, "Token.sol"), "utf8") } },
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: "cancun",
    outputSelection: { "*": { Token: ["abi", "evm.bytecode.object"] } },
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
const token = output.contracts["Token.sol"].Token;
writeFileSync(process.argv[2], JSON.stringify({ abi: token.abi, bytecode: "0x" + token.evm.bytecode.object }));
