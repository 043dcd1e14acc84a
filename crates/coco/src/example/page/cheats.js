// Every known way to cheat, tried on the running network, with the raw replies.

let thief = "wingtip";
let cheats = [];

async function cheatPanel() {
  cheats = await get("/api/cheats");
  const options = facts.roles.filter((r) => r.kind !== "auditor").map((r) => [r.name, r.title]);
  const all = h("button", { class: "main", id: "cheat-all", click: () => tryAll(all) }, `Try all ${cheats.length}`);
  $("cheat-bar").replaceChildren(
    choice("Who cheats", options, thief, (name) => { thief = name; listCheats(); }, { id: "thief" }), all);
  listCheats();
}

function listCheats() {
  $("cheat-sum").textContent = "";
  $("cheat-sum").className = "same";
  $("cheats").replaceChildren(...cheats.map(cheatLine));
}

function cheatLine(cheat) {
  const button = h("button", { class: "small", click: (event) => { event.preventDefault(); tryOne(cheat.name, button); } }, "Try");
  return h("li", { id: `cheat-${cheat.name}`, "data-cheat": cheat.name },
    h("details", {},
      h("summary", {}, h("h3", {}, cheat.title), h("p", {}, cheat.idea), h("span", { class: "verdict" }, button)),
      h("div", { class: "raw" }, h("p", { class: "none" }, "Not tried yet."))));
}

async function tryOne(name, button) {
  const done = await doing(button, () => post("/api/cheat", { role: thief, name }));
  if (!done) return null;
  const line = $(`cheat-${name}`);
  line.dataset.held = done.held;
  line.querySelector(".verdict").replaceChildren(
    h("span", { class: `chip ${done.held ? "good" : "bad"}` }, done.held ? "Nothing learnt" : "LEAK"));
  line.querySelector(".raw").replaceChildren(
    h("p", {}, `${title(done.thief)} on ${title(done.victim)}: ${done.why}`),
    h("div", { class: "replies" }, ...done.exchanges.map((exchange) => h("figure", {},
      h("figcaption", {}, exchange.label),
      h("pre", { tabindex: 0, "aria-label": "request" }, exchange.request),
      h("pre", { class: "reply", tabindex: 0, "aria-label": "reply" }, exchange.reply || "(nothing)")))));
  return done.held;
}

async function tryAll(button) {
  listCheats();
  await doing(button, async () => {
    let held = 0;
    let failed = 0;
    for (const [place, cheat] of cheats.entries()) {
      $("cheat-sum").textContent = `Trying ${place + 1} of ${cheats.length} …`;
      const one = await tryOne(cheat.name, null);
      if (one === null) failed += 1;
      else if (one) held += 1;
    }
    $("cheat-sum").className = held === cheats.length ? "same good" : "same bad";
    $("cheat-sum").textContent = held === cheats.length
      ? `✓ ${held} of ${cheats.length} tried by ${title(thief)}: nothing was learnt`
      : `${held} of ${cheats.length} taught nothing, ${cheats.length - held - failed} leaked, ${failed} could not be tried`;
  });
}
