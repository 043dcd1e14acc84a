// The supply chain's page in a real browser, headless: what a person sees and does there.
// PAGE is its address; SHOTS, if set, a directory for screenshots.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const page_url = process.env.PAGE;
const shots = process.env.SHOTS;
const profile = mkdtempSync(join(tmpdir(), "coco-browser-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  viewport: { width: 1360, height: 900 },
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
const page = await browser.newPage();
page.setDefaultTimeout(120_000);
const problems = [];
page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(message.text()));
page.on("pageerror", (error) => problems.push(String(error)));
page.on("request", (request) => new URL(request.url()).origin === page_url || problems.push(`asks ${request.url()}`));

const shot = async (name, options = {}) => {
  if (shots) await page.screenshot({ path: join(shots, `supply-chain-${name}.png`), ...options });
};
const texts = (selector) => page.locator(selector).allInnerTexts();

try {
  await page.goto(page_url);

  // Two views of one block.
  const left = page.locator("article[data-role=tailspin]");
  const right = page.locator("article[data-role=wingtip]");
  await left.waitFor();
  await right.waitFor();
  assert.match(await page.locator("#same").innerText(), /Same block, same hash/);
  const hashes = await page.locator("[data-hash]").evaluateAll((all) => all.map((one) => one.dataset.hash));
  assert.equal(hashes.length, 2);
  assert.equal(hashes[0], hashes[1]);
  assert.ok((await left.innerText()).includes("$412.00"));
  assert.ok(!(await right.innerText()).includes("$412.00"), "a rival's price");
  assert.ok((await right.innerText()).includes("$399.00"));
  await shot("views", { fullPage: true });

  // By keyboard alone: to the first view's role, and down to the carrier.
  await page.locator("#side-0").focus();
  for (let i = 0; i < 5; i++) await page.keyboard.press("ArrowDown");
  const carrier = page.locator("article[data-role=adatum]");
  await carrier.waitFor();
  assert.ok((await carrier.innerText()).includes("not told"));
  assert.ok(!/\$\d/.test(await carrier.innerText()), "a carrier sees no price");
  await page.locator("#side-0").selectOption("tailspin");
  await left.waitFor();

  // An order, which the other retailer does not see.
  const before = (await right.locator("table").first().innerText()).length;
  await left.getByLabel("Sacks").fill("33");
  await left.getByRole("button", { name: "Place the order" }).click();
  await page.locator("#toast.fine").waitFor();
  await left.getByRole("cell", { name: "33", exact: true }).waitFor();
  assert.equal((await right.locator("table").first().innerText()).length, before);

  // Every cheat.
  await page.getByRole("tab", { name: "Two views" }).focus();
  await page.keyboard.press("ArrowRight");
  await page.locator("#cheat-all").click();
  await page.locator("#cheat-sum.good").waitFor();
  const cheats = await page.locator("li[data-cheat]").count();
  assert.equal(await page.locator("li[data-held=true]").count(), cheats);
  for (const name of ["spoofed-from", "call-without-to"]) await page.locator(`#cheat-${name} summary`).click();
  const replies = await texts("#cheat-spoofed-from pre.reply");
  assert.equal(replies.length, 2);
  assert.equal(replies[0], replies[1]);
  await page.locator("#cheat-spoofed-from").scrollIntoViewIfNeeded();
  await page.locator("#toast").waitFor({ state: "hidden" });
  await shot("cheats");

  // The speedometer.
  await page.getByRole("tab", { name: "Speed" }).click();
  await page.getByLabel("Seconds").fill("4");
  await page.locator("#load").click();
  await page.waitForFunction(() => document.querySelector("#load").disabled);
  await page.waitForFunction(() => !document.querySelector("#load").disabled);
  const committed = Number((await page.locator("#committed").innerText()).replaceAll(",", ""));
  assert.ok(committed > 0);
  assert.match(await page.locator("#p50").innerText(), /ms$/);
  await shot("speed");

  // The members vote.
  await page.getByRole("tab", { name: "Votes" }).click();
  await page.getByText("Alpine Ski House joins as a supplier").waitFor();
  await shot("votes");
  await page.getByRole("button", { name: "fabrikam votes for" }).click();
  await page.locator(".vote .chip.good", { hasText: "accepted" }).waitFor();

  // The auditor reads, and the ledger has it.
  await page.getByRole("tab", { name: "Audit trail" }).click();
  await page.locator("#audit").click();
  await page.locator("#readings td", { hasText: "eth_getLogs" }).first().waitFor();
  await shot("audit");

  // On a telephone nothing is wider than the screen.
  await page.setViewportSize({ width: 390, height: 844 });
  for (const name of ["Two views", "Try to cheat", "Speed", "Votes", "Audit trail"]) {
    await page.getByRole("tab", { name }).click();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
  }
  await page.getByRole("tab", { name: "Two views" }).click();
  await left.waitFor();
  await shot("phone");
  assert.deepEqual(problems, []);
  console.log("all as expected");
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
}
