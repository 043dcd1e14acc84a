// What the clients for Node share: the cases that one run goes through, all at once.
//
// A case is one way into one network: { name, url, token, key, funded, hidden }. `url` is plain; `token`, if any,
// is for the client to carry in the way that suits it. `hidden` are contracts of somebody else.
import { readFileSync } from "node:fs";

const { TOKEN, CASES } = process.env;
export const { abi, bytecode } = JSON.parse(readFileSync(TOKEN, "utf8"));

/// An URL with the token as the password of HTTP Basic.
export function within(url, token) {
  const written = new URL(url);
  if (token) [written.username, written.password] = ["coco", token];
  return written.href;
}

/// An URL with the token in the path.
export const under = (url, token) => (token ? `${url}/t/${token}` : url);

/// Waits for something that a case hears of.
export async function until(condition, what) {
  const limit = Date.now() + 30_000;
  while (!condition()) {
    if (Date.now() > limit) throw new Error(`heard of no ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/// Runs all cases; the process ends with what became of them.
export async function each(client, run) {
  const cases = JSON.parse(readFileSync(CASES, "utf8"));
  const done = await Promise.allSettled(cases.map(run));
  let code = 0;
  done.forEach(({ reason }, place) => {
    if (!reason) return;
    code = 1;
    // Some errors repeat whole requests.
    const told = [reason.shortMessage, reason.details, reason.stack].filter(Boolean).join("\n");
    console.error(`${client}, ${cases[place].name}: ${told.slice(0, 2000)}`);
  });
  if (!code) console.log(`${client}: all as expected in ${cases.map(({ name }) => name).join(", ")}`);
  process.exit(code);
}
