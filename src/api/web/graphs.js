// The probability of each rule, what a token costs, and how much the state is surprised.

import { $, line, make, percent, svg } from "./dom.js";

const KEEP = 500;
const SHOWN = 120;
let readings = new Map();
let costs = [];

export function reading(reading) {
  const name = reading.room ? `${reading.rule} · ${reading.room}` : reading.rule;
  readings.set(name, [...(readings.get(name) ?? []), reading].slice(-KEEP));
}

export function cost(cost) {
  costs = [...costs, cost].slice(-KEEP);
}

function row([rule, all]) {
  const last = all.at(-1);
  const tr = make("tr", undefined, last.active ? "on" : "");
  const from = typeof last.threshold === "number" ? percent(last.threshold) : undefined;
  const graph = svg("svg");
  graph.setAttribute("viewBox", "0 0 200 24");
  graph.setAttribute("preserveAspectRatio", "none");
  graph.setAttribute("role", "img");
  graph.setAttribute("aria-label", `${rule}: the probability of its last ${Math.min(all.length, SHOWN)} readings, now ${percent(last.probability)}${from ? `; alerts from ${from} on` : ""}`);
  if (from) {
    const threshold = line([last.threshold], 200, 24);
    threshold.setAttribute("class", "threshold");
    graph.append(threshold);
  }
  graph.append(line(all.slice(-SHOWN).map(r => r.probability), 200, 24));
  const name = make("th", rule);
  name.scope = "row";
  const middle = make("td");
  middle.append(graph);
  tr.append(name, middle, make("td", percent(last.probability)), make("td", from ? `from ${from}` : ""));
  return tr;
}

export function drawRules() {
  const rows = [...readings].sort(([a], [b]) => a < b ? -1 : 1).filter(([, all]) => all.length).map(row);
  $("rules").replaceChildren(...rows);
}

// The axis begins at zero, so that a constant value looks flat.
function figure(id, name, values, unit) {
  const top = 1.5 * Math.max(...values, 0.1);
  $(id).setAttribute("role", "img");
  $(id).setAttribute("aria-label", name);
  $(id).replaceChildren(line(values.map(y => y / top), 600, 90));
  $(`${id}-name`).textContent = name;
  $(`${id}-top`).textContent = `${top.toLocaleString([], { maximumSignificantDigits: 2 })} ${unit}`;
  $(id).closest("figure").hidden = false;
}

export function drawCosts() {
  if (!costs.length) return;
  const [first, last] = [costs[0], costs.at(-1)];
  figure("cost", `Time per token: ${Math.round(first.us_per_token)} µs after ${first.tokens.toLocaleString()} tokens, `
    + `${Math.round(last.us_per_token)} µs after ${last.tokens.toLocaleString()}`, costs.map(c => c.us_per_token), "µs");
  const nats = costs.map(c => c.surprise).filter(s => s !== null);
  if (nats.length) figure("surprise", `Surprise of the state by what is said: ${nats.at(-1).toFixed(2)} nats a token`, nats, "nats");
}

export function begin(all) {
  readings = new Map(Object.entries(all.readings));
  costs = all.costs;
}
