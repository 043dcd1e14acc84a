// Tabs, and the beginning.

const TABS = [["views", "Two views"], ["cheats", "Try to cheat"], ["speed", "Speed"], ["votes", "Votes"], ["audit", "Audit trail"]];
const opened = new Set();
const panels = { cheats: cheatPanel, speed: speedPanel, votes: votesPanel, audit: auditPanel };

function tabs() {
  const bar = document.querySelector(".tabs");
  const buttons = TABS.map(([name, text]) => h("button", {
    role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, click: () => openTab(name), keydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (TABS.findIndex(([other]) => other === name) + step + TABS.length) % TABS.length;
      openTab(TABS[next][0]);
      buttons[next].focus();
    },
  }, text));
  bar.replaceChildren(...buttons);
}

function openTab(name) {
  for (const [other] of TABS) {
    $(`tab-${other}`).setAttribute("aria-selected", String(other === name));
    $(`tab-${other}`).tabIndex = other === name ? 0 : -1;
    $(`panel-${other}`).hidden = other !== name;
  }
  history.replaceState(null, "", `#${name}`);
  // Votes and the record change by themselves.
  if (panels[name] && (name === "votes" || name === "audit" || !opened.has(name))) panels[name]();
  if (name === "views") showViews();
  opened.add(name);
}

async function begin() {
  facts = await get("/api/facts");
  $("chain").textContent = facts.chain_id;
  tabs();
  heightBar();
  const wanted = location.hash.slice(1);
  openTab(TABS.some(([name]) => name === wanted) ? wanted : "views");
}

/** The height goes on by itself while the page is looked at. */
async function pulse() {
  if (!document.hidden) {
    try {
      $("head").textContent = count((await get("/api/head")).head);
    } catch {
      $("head").textContent = "?";
    }
  }
  setTimeout(pulse, 2000);
}

doing(null, begin).then(pulse);
