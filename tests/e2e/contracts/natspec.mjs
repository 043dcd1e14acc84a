// Names every part of a Solidity package that others use and that natspec does not explain: contracts without a title,
// functions, events, structures and public variables without a notice, parameters and results without a word.
// The directory of the sources stands on the command line.
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const solc = createRequire(import.meta.url)("solc");
const directory = process.argv[2];
const names = readdirSync(directory, { recursive: true }).filter((name) => name.endsWith(".sol"));
const input = {
  language: "Solidity",
  sources: Object.fromEntries(names.map((name) => [name, { content: readFileSync(join(directory, name), "utf8") }])),
  settings: { outputSelection: { "*": { "": ["ast"] } } },
};
const { errors = [], sources } = JSON.parse(solc.compile(JSON.stringify(input)));
const fatal = errors.filter(({ severity }) => severity === "error");
if (fatal.length) throw new Error(fatal.map(({ formattedMessage }) => formattedMessage).join("\n"));

const missing = [];
let explained = 0;
function explains(where, node, needed) {
  const text = node.documentation?.text ?? "";
  if (/@inheritdoc/.test(text)) return;
  explained += 1;
  // A text that begins without a tag is a notice.
  const said = /^\s*[^@\s]/.test(text) ? `@notice ${text}` : text;
  for (const tag of needed) {
    if (!said.match(new RegExp(`${tag}(?![A-Za-z0-9_])`))) missing.push(`${where}: ${tag}`);
  }
}
const named = ({ parameters }) => parameters.filter(({ name }) => name).map(({ name }) => `@param ${name}`);
const isOpen = ({ visibility }) => visibility === "public" || visibility === "external";

for (const [file, { ast }] of Object.entries(sources)) {
  for (const node of ast.nodes) {
    const where = `${file}: ${node.name}`;
    if (node.nodeType === "StructDefinition") {
      explains(where, node, ["@notice", ...node.members.map(({ name }) => `@param ${name}`)]);
    }
    if (node.nodeType !== "ContractDefinition") continue;
    explains(where, node, ["@title"]);
    for (const part of node.nodes) {
      const place = `${where}.${part.name || part.kind}`;
      if (part.nodeType === "EventDefinition") explains(place, part, ["@notice", ...named(part.parameters)]);
      if (part.nodeType === "VariableDeclaration" && isOpen(part)) explains(place, part, ["@notice"]);
      if (part.nodeType !== "FunctionDefinition") continue;
      if (part.kind === "constructor") explains(place, part, named(part.parameters));
      else if (isOpen(part)) {
        const results = part.returnParameters.parameters.length ? ["@return"] : [];
        explains(place, part, ["@notice", ...named(part.parameters), ...results]);
      }
    }
  }
}
if (missing.length) {
  console.error(missing.join("\n"));
  process.exit(1);
}
console.log(`${explained} parts of ${names.length} files are explained`);
