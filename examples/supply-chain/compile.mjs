// Compiles the example's contracts with the pinned solc.
//
//   node compile.mjs                  writes artefacts/*.json
//   node compile.mjs --check          compares with them instead, and fails where a byte differs
//   --modules DIR                     where solc and OpenZeppelin's contracts are; left out: node_modules here
//
// Artefacts hold the creation code without metadata, so that the same sources give the same bytes anywhere.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const flag = process.argv.indexOf("--modules");
const modules = resolve(flag < 0 ? join(here, "node_modules") : process.argv[flag + 1]);
if (!existsSync(join(modules, "solc"))) {
  console.error(`no solc in ${modules}: run \`npm install\` in ${here} first`);
  process.exit(2);
}
const solc = createRequire(join(modules, "x.js"))("solc");

const contracts = {
  "contracts/Trade.sol": "Trade",
  "contracts/Stock.sol": "Stock",
  "@coco/contracts/src/policies/ERC20Policy.sol": "ERC20Policy",
};
// Our own package is beside; everything else comes from npm.
const source = (path) =>
  readFileSync(
    path.startsWith("@coco/contracts/")
      ? join(here, "..", "..", "contracts", path.slice("@coco/contracts/".length))
      : path.startsWith("contracts/")
        ? join(here, path)
        : join(modules, path),
    "utf8",
  );

const input = {
  language: "Solidity",
  sources: Object.fromEntries(Object.keys(contracts).map((path) => [path, { content: source(path) }])),
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: "cancun",
    metadata: { appendCBOR: false, bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input), { import: (path) => ({ contents: source(path) }) }));
const errors = (output.errors ?? []).filter((error) => error.severity === "error");
if (errors.length) {
  throw new Error(errors.map((error) => error.formattedMessage).join("\n"));
}

let differ = 0;
for (const [path, name] of Object.entries(contracts)) {
  const artefact = {
    contract: name,
    source: path,
    compiler: solc.version(),
    bytecode: "0x" + output.contracts[path][name].evm.bytecode.object,
  };
  const file = join(here, "artefacts", `${name}.json`);
  const text = JSON.stringify(artefact, null, 2) + "\n";
  if (!process.argv.includes("--check")) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  } else if (readFileSync(file, "utf8") !== text) {
    console.error(`${file} is not what its source compiles to`);
    differ += 1;
  }
}
if (differ) process.exit(1);
console.log(process.argv.includes("--check") ? "all as expected" : "written");
