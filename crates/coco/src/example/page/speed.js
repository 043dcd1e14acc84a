// The speedometer: a bounded load, and what the nodes answered.

const DIAL = 4000; // full scale to begin with; it grows
const ARC = Math.PI * 110;

function speedPanel() {
  const seconds = amount("Seconds", 8, 15);
  const connections = amount("Connections", 32, 64);
  const read = (label) => Number(label.querySelector("input").value);
  const button = h("button", { class: "main", id: "load", click: () => drive(button, { seconds: read(seconds), connections: read(connections) }) }, "Put load on it");
  $("speed-bar").replaceChildren(seconds, connections, button);
  showSpeed({ points: [], latency_ms: {}, committed: 0, failed: 0, rate_per_s: 0, running: false });
}

async function drive(button, wanted) {
  await doing(button, async () => {
    let figures = await post("/api/load", wanted);
    while (figures.running) {
      await new Promise((done) => setTimeout(done, 400));
      figures = await get("/api/load");
      showSpeed(figures);
    }
  });
}

function showSpeed(figures) {
  const last = figures.points.at(-1);
  const rate = figures.running && last ? last.rate_per_s : figures.rate_per_s;
  const top = [DIAL, 8000, 16000, 32000, 64000].find((limit) => limit >= Math.max(rate, ...figures.points.map((p) => p.rate_per_s))) ?? 128000;
  const ms = (value) => (value == null ? "–" : `${value.toFixed(value < 10 ? 1 : 0)} ms`);
  const pair = (name, value, id) => h("div", {}, h("dt", {}, name), h("dd", { id }, value));
  $("speed").replaceChildren(
    h("div", { class: "card gauge" },
      dial(rate, top),
      h("p", { class: "none" }, "The mark is the white paper's figure: 1,600 a second.")),
    h("div", { class: "card curve" },
      h("h3", {}, "Transactions a second, and half of them faster than"),
      curve(figures.points, top),
      h("dl", { class: "figures" },
        pair("committed", count(figures.committed), "committed"),
        pair("mean rate", `${count(Math.round(figures.rate_per_s))} /s`, "rate"),
        pair("half within", ms(figures.latency_ms.p50), "p50"),
        pair("99 % within", ms(figures.latency_ms.p99), "p99"),
        pair("refused", count(figures.failed), "failed"))));
}

function dial(rate, top) {
  const at = (value, radius) => {
    const angle = Math.PI * (1 - Math.min(value / top, 1));
    return `${(150 + radius * Math.cos(angle)).toFixed(1)} ${(150 - radius * Math.sin(angle)).toFixed(1)}`;
  };
  const arc = `M ${at(0, 110)} A 110 110 0 0 1 ${at(top, 110)}`;
  const [x1, y1] = at(1600, 97).split(" ");
  const [x2, y2] = at(1600, 123).split(" ");
  return h("svg", { viewBox: "0 0 300 185", role: "img", "aria-label": `${Math.round(rate)} transactions a second` },
    h("path", { class: "track", d: arc }),
    rate > 0 ? h("path", { class: "value", d: arc, "stroke-dasharray": `${ARC}`, "stroke-dashoffset": `${ARC * (1 - Math.min(rate / top, 1))}` }) : null,
    h("line", { class: "mark", x1, y1, x2, y2 }),
    h("text", { x: 150, y: 140 }, count(Math.round(rate))),
    h("text", { class: "unit", x: 150, y: 163 }, "transactions a second"),
    h("text", { class: "scale", x: 40, y: 178 }, "0"),
    h("text", { class: "scale", x: 260, y: 178 }, count(top)));
}

function curve(points, top) {
  const [width, high, left] = [640, 230, 52];
  const end = Math.max(5, ...points.map((p) => p.at_s));
  const slow = Math.max(10, ...points.map((p) => p.p50_ms ?? 0)) * 1.25;
  const x = (s) => left + (width - left - 60) * (s / end);
  const y = (share) => 12 + (high - 42) * (1 - Math.min(share, 1));
  const path = (of, all = points) => all.map((p) => `${x(p.at_s).toFixed(1)},${y(of(p)).toFixed(1)}`).join(" ");
  const lines = [0, 0.5, 1].flatMap((share) => [
    h("line", { class: "grid", x1: left, x2: width - 60, y1: y(share), y2: y(share) }),
    h("text", { x: left - 8, y: y(share) + 4, "text-anchor": "end" }, count(top * share)),
    h("text", { x: width - 52, y: y(share) + 4 }, `${(slow * share).toFixed(0)} ms`),
  ]);
  return h("svg", { viewBox: `0 0 ${width} ${high}`, role: "img", "aria-label": "rate and latency over time" },
    ...lines,
    h("polyline", { class: "line", points: path((p) => p.rate_per_s / top) }),
    h("polyline", { class: "late", points: path((p) => p.p50_ms / slow, points.filter((p) => p.p50_ms != null)) }),
    h("text", { x: left, y: high - 4 }, "0 s"),
    h("text", { x: width - 60, y: high - 4, "text-anchor": "end" }, `${end.toFixed(0)} s`),
    h("text", { x: width / 2, y: high - 4, "text-anchor": "middle" }, "solid: rate    dashed: half within"));
}
