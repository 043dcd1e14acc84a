// Two roles' views of one height, side by side, and what each may do.

const sides = ["tailspin", "wingtip"];
let height = null; // null: the newest

function heightBar() {
  const field = h("input", {
    type: "number", min: 0, id: "height", "aria-label": "Height",
    change: () => { height = field.value === "" ? null : Math.max(0, Number(field.value)); showViews(); },
  });
  const step = (by) => () => { height = Math.max(0, Number(field.value) + by); showViews(); };
  $("height-bar").replaceChildren(
    h("label", {}, "Block at height", field),
    h("button", { click: step(-1), "aria-label": "One block earlier" }, "◂ Earlier"),
    h("button", { click: step(1), "aria-label": "One block later" }, "Later ▸"),
    h("button", { id: "newest", click: () => { height = null; showViews(); } }, "Newest"),
  );
}

let showing = 0;
async function showViews() {
  const turn = ++showing;
  await doing(null, async () => {
    let wanted = height;
    if (wanted == null) wanted = (await get(`/api/view?role=${quick()}`)).head;
    const both = await Promise.all(sides.map((name) => get(`/api/view?role=${name}&height=${wanted}`)));
    if (turn !== showing) return; // asked again meanwhile
    const at = Math.min(both[0].height, both[1].height);
    $("height").value = at;
    $("head").textContent = count(Math.max(both[0].head, both[1].head));
    const hashes = both.map((view) => view.block?.hash);
    const same = both[0].height === both[1].height && hashes[0] === hashes[1];
    $("same").className = `same ${same ? "good" : "bad"}`;
    $("same").textContent = same
      ? `✓ Same block, same hash for both: ${short(hashes[0])}`
      : "The two nodes stand at different blocks";
    // Whoever chooses by keyboard goes on where it was.
    const focused = document.activeElement?.id;
    $("pair").replaceChildren(...both.map((view, place) => card(view, place)));
    if (focused && focused !== document.activeElement?.id) $(focused)?.focus();
  });
}

/** A role whose reading is not recorded: only the height is wanted. */
const quick = () => sides.find((name) => role(name).kind !== "auditor") ?? "tailspin";

function card(view, place) {
  const who = role(view.role);
  const seen = view.seen;
  const options = facts.roles.map((r) => [r.name, r.title]);
  const pick = (name) => { sides[place] = name; showViews(); };
  const mine = view.block.transactions.length;
  return h("article", { class: "card", "data-role": view.role, "aria-label": `What ${who.title} sees` },
    h("div", { class: "who" },
      choice("Seen by", options, view.role, pick, { id: `side-${place}` }),
      h("span", { class: "chip" }, who.kind)),
    h("dl", { class: "header" },
      h("div", {}, h("dt", {}, "Block"), h("dd", { "data-height": true }, count(view.height))),
      h("div", {}, h("dt", {}, "Hash"), h("dd", { class: "mono", "data-hash": view.block.hash }, short(view.block.hash))),
      h("div", {}, h("dt", {}, "Transactions seen"), h("dd", {}, String(mine))),
      h("div", {}, h("dt", {}, "Events seen so far"), h("dd", {}, count(view.logs)))),
    h("h4", {}, "Orders and deliveries"), orders(view),
    h("h4", {}, "Price lists"), prices(view),
    h("h4", {}, "Stock moved (sacks)"), moves(view),
    height == null ? actions(who, view) : null);
}

const nothing = (text) => h("p", { class: "none" }, text);

function orders(view) {
  const list = view.seen.orders;
  if (!list.length) return nothing("None that this role may see.");
  return table(
    [["Retailer"], ["Supplier"], ["Goods"], ["Sacks", true], ["Unit price", true], ["Stage"]],
    list.map((o) => [
      title(o.retailer), title(o.supplier), item(o.item), count(o.quantity),
      o.price == null ? h("span", { class: "chip plain" }, "not told") : money(o.price),
      stage(view.role, o),
    ]));
}

function stage(name, order) {
  const chip = h("span", { class: `chip ${order.stage}` }, order.stage);
  const may = height == null && (
    (order.stage === "ordered" && order.supplier === name && "ship") ||
    (order.stage === "shipped" && order.carrier === name && "deliver"));
  if (!may) return chip;
  const button = h("button", { class: "small", click: () => act(button, { action: may, role: name, id: order.id }) },
    may === "ship" ? "Hand to the carrier" : "Delivered");
  return button;
}

function prices(view) {
  const list = view.seen.prices;
  if (!list.length) return nothing("None that this role may see.");
  return table([["Supplier"], ["For"], ["Goods"], ["Unit price", true]],
    list.map((p) => [title(p.supplier), title(p.retailer), item(p.item), money(p.price)]));
}

function moves(view) {
  const list = view.seen.moves;
  if (!list.length) return nothing("None that this role may see.");
  const from = (name) => (/^0x0+$/.test(name) ? "first stock" : title(name));
  return table([["From"], ["To"], ["Sacks", true], ["Block", true]],
    list.map((m) => [from(m.from), title(m.to), count(m.amount), count(m.block)]));
}

async function act(button, action) {
  const done = await doing(button, () => post("/api/do", action));
  if (done) {
    say(`Committed in block ${done.block}`, true);
    height = null;
    await showViews();
  }
}

function actions(who, view) {
  const goods = (items) => items.map((number) => [String(number), item(number)]);
  if (who.kind === "retailer") {
    const offers = view.seen.prices.filter((p) => p.retailer === who.name && p.price > 0);
    if (!offers.length) return null;
    const options = offers.map((p) => [`${p.supplier} ${p.item}`, `${item(p.item)}: ${title(p.supplier)}, ${money(p.price)}`]);
    return form("Order", [choice("Goods", options), amount("Sacks", 25, 10000)], "Place the order", ([offer, sacks]) => {
      const [supplier, number] = offer.split(" ");
      return { action: "order", role: who.name, supplier, item: Number(number), quantity: Number(sacks) };
    });
  }
  if (who.kind === "supplier") {
    const items = [...new Set(view.seen.prices.map((p) => p.item))];
    const retailers = facts.roles.filter((r) => r.kind === "retailer").map((r) => [r.name, r.title]);
    return form("Set a price", [choice("For", retailers), choice("Goods", goods(items)), amount("US dollars", 250, 10000)], "Tell the retailer",
      ([retailer, number, dollars]) => ({ action: "price", role: who.name, retailer, item: Number(number), price: Math.round(dollars * 100) }));
  }
  return null;
}

const amount = (label, value, max) =>
  h("label", {}, label, h("input", { type: "number", min: 1, max, value, required: true }));

function form(heading, fields, verb, read) {
  const button = h("button", { class: "main" }, verb);
  const submit = (event) => {
    event.preventDefault();
    act(button, read(fields.map((field) => field.querySelector("select, input").value)));
  };
  return h("div", {}, h("h4", {}, heading), h("form", { class: "act", submit }, ...fields, button));
}
