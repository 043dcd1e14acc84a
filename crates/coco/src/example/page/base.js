// What all parts of the page use: asking the local process, making elements, saying what went wrong.
"use strict";

const $ = (id) => document.getElementById(id);

/** An element: h("p", {class: "none"}, "text", child, …). Texts are texts: nothing is parsed. */
function h(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "polyline"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

async function get(path) {
  return answer(await fetch(path));
}

async function post(path, body) {
  return answer(await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }));
}

async function answer(response) {
  const text = await response.text();
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Error(text.trim() || `the answer was ${response.status}`);
  }
  if (!response.ok) throw new Error(body.error || `the answer was ${response.status}`);
  return body;
}

let toastTimer;
function say(text, fine = false) {
  const toast = $("toast");
  toast.textContent = text;
  toast.className = fine ? "toast fine" : "toast";
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { toast.hidden = true; }, fine ? 3500 : 8000);
}

/** Runs something that may fail, with its button switched off meanwhile. */
async function doing(button, what) {
  if (button) button.disabled = true;
  try {
    return await what();
  } catch (error) {
    say(error.message);
    return undefined;
  } finally {
    if (button) button.disabled = false;
  }
}

/** What the page knows of the network; set at the start. */
let facts;
const role = (name) => facts.roles.find((r) => r.name === name);
const title = (name) => role(name)?.title ?? name;
const item = (number) => facts.items.find((i) => i.number === Number(number))?.name ?? `item ${number}`;
const money = (cents) => (cents / 100).toLocaleString("en-US", { style: "currency", currency: "USD" });
const count = (number) => Number(number).toLocaleString("en-US");
const short = (hash) => `${hash.slice(0, 8)}…${hash.slice(-6)}`;
const quantity = (hex) => parseInt(hex, 16);

function choice(label, options, selected, onchange, attributes = {}) {
  const select = h("select", { change: () => onchange?.(select.value), ...attributes });
  for (const [value, text] of options) select.append(h("option", { value, selected: value === selected }, text));
  return h("label", {}, label, select);
}

function table(heads, rows) {
  const head = h("tr", {}, ...heads.map(([text, number]) => h("th", { class: number && "number", scope: "col" }, text)));
  const body = rows.map((cells) => h("tr", {}, ...cells.map((cell, place) => h("td", { class: heads[place][1] && "number" }, cell))));
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...body)));
}
