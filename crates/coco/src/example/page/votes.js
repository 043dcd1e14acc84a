// Open votes, and what the auditor read.

async function votesPanel() {
  await doing(null, async () => showVotes(await get("/api/votes")));
}

function showVotes({ members, proposals }) {
  if (!proposals.length) return $("votes").replaceChildren(nothing("Nothing is proposed."));
  const cards = [...proposals].reverse().map((proposal) => {
    const open = proposal.status === "open";
    const tally = proposal.tally ?? {};
    const rows = members.map((member) => {
      const ballot = proposal.ballots?.[member];
      const cast = ballot ? h("span", { class: `chip ${ballot.choice === "for" ? "good" : "bad"}` }, ballot.choice) : h("span", { class: "chip plain" }, "not yet");
      return [member, cast, open ? ballotButtons(member, proposal.number) : ""];
    });
    return h("article", { class: "card vote", "data-proposal": proposal.number },
      h("div", { class: "titles" },
        h("h3", {}, `${proposal.number}. ${proposal.title}`),
        h("span", { class: `chip ${open ? "ordered" : proposal.status === "accepted" ? "good" : "plain"}` }, proposal.status)),
      h("ul", {}, ...(proposal.effect ?? []).map((line) => h("li", {}, line))),
      h("p", {}, `For ${tally.in_favour ?? 0}, against ${tally.against ?? 0}, needed ${tally.needed ?? "?"}. Proposed by ${proposal.proposer}.`),
      table([["Member"], ["Ballot"], [""]], rows));
  });
  $("votes").replaceChildren(...cards);
}

function ballotButtons(member, proposal) {
  const cast = (in_favour) => (event) => doing(event.target, async () => {
    showVotes(await post("/api/vote", { member, proposal, in_favour }));
  });
  return h("span", {},
    h("button", { class: "small", click: cast(true), "aria-label": `${member} votes for` }, "For"), " ",
    h("button", { class: "small", click: cast(false), "aria-label": `${member} votes against` }, "Against"));
}

async function auditPanel() {
  const auditor = facts.roles.find((r) => r.kind === "auditor");
  const read = h("button", { class: "main", id: "audit", click: () => doing(read, async () => { await get(`/api/view?role=${auditor.name}`); await readings(); }) },
    `Read as ${auditor.title}`);
  const again = h("button", { click: () => doing(again, readings) }, "Look at the record again");
  $("audit-bar").replaceChildren(read, again);
  await doing(null, readings);
}

async function readings() {
  const { from, readings: list } = await get("/api/readings");
  if (!list.length) {
    return $("readings").replaceChildren(nothing(`No reading since block ${count(quantity(from))}. Read as the auditor, here or in a view.`));
  }
  const rows = [...list].reverse().slice(0, 60).map((r) => [
    count(quantity(r.blockNumber)),
    facts.roles.find((one) => one.actor === r.actor)?.title ?? short(r.actor),
    h("span", { class: "mono" }, JSON.stringify(r.calls).slice(0, 300)),
  ]);
  $("readings").replaceChildren(h("div", { class: "card" }, table([["Block", true], ["Actor"], ["What it asked"]], rows)));
}
