// The alerts, and what a person answers to them.

import { $, button, item, make, percent, tell } from "./dom.js";
import { command } from "./hearth.js";
import * as notices from "./notices.js";

const KEEP = 50;
const alerts = new Map();
const judged = new Map();

export const quoted = alert => alert.evidence.map(e => e.text).join(" ");

/** How important it is: in words, and by its look. */
export const severity = of => make("span", of, `severity ${of}`);

// What a person can answer to an alert: that it is known, that it was none, that its rule is to be silent for an hour.
function answers(alert, over) {
  const judge = (name, said) => button(said, async () => {
    if (!await command({ command: name, value: alert.id })) return;
    judged.set(alert.id, said);
    tell("notice", `${alert.rule}: ${said.toLowerCase()}.`);
    notices.withdraw(alert.id);
    draw();
  });
  const known = judged.get(alert.id);
  const row = make("p", known && `${known}.`, "answers");
  if (!known && !over) row.append(judge("acknowledge", "Acknowledged"));
  if (!known) row.append(judge("false_alarm", "False alarm"));
  if (!over) row.append(button("Silence for an hour", async () => {
    if (await command({ command: "snooze", value: 60, rule: alert.rule })) tell("notice", `${alert.rule}: no alerts for an hour.`);
  }));
  return row;
}

function shown(alert) {
  const over = alert.phase === "end";
  const where = alert.room ? ` in the ${alert.room}` : "";
  const likely = alert.probability === null ? "" : ` ${percent(alert.probability)}`;
  const title = make("p");
  title.append(make("b", alert.rule), `${where} `, severity(alert.severity), `${likely}${over ? ", over" : ""}`);
  // The sentence says what is so; that the answer is yes shows in the alert itself.
  const sentence = alert.answer?.replace(/^Yes[.,]?\s*/, "");
  const told = sentence ? [make("p", sentence)] : [];
  const words = quoted(alert) ? [make("q", quoted(alert))] : [];
  const li = item(alert.time, title, ...words, ...told, answers(alert, over));
  li.className = `${over ? "over" : "now"} ${alert.severity}`;
  return li;
}

function draw() {
  const lines = [...alerts.values()].reverse().map(shown);
  const now = lines.filter(line => line.classList.contains("now"));
  const over = lines.filter(line => line.classList.contains("over"));
  $("alerts").replaceChildren(...now);
  $("no-alerts").hidden = now.length > 0;
  $("earlier").hidden = !over.length;
  $("earlier").firstElementChild.textContent = `Earlier: ${over.length}`;
  $("earlier").lastElementChild.replaceChildren(...over);
}

function keep(alert) {
  const known = alerts.get(alert.id);
  // The end of one that was forgotten: there is nothing to show of it.
  if (alert.phase === "end" && !known) return false;
  const evidence = alert.evidence.length ? alert.evidence : known?.evidence ?? [];
  alerts.set(alert.id, alert.phase === "end" ? { ...known, phase: "end" } : { ...alert, evidence });
  while (alerts.size > KEEP) alerts.delete(alerts.keys().next().value);
  return !known;
}

/** Shows an alert that has begun, changed or ended; one that has begun is announced. */
export function update(alert) {
  if (keep(alert)) {
    tell("announced", `Alert, ${alert.severity}: ${alert.rule}. ${quoted(alert)}`);
    notices.give(alert, quoted(alert));
  }
  if (alert.phase === "end") notices.withdraw(alert.id);
  draw();
}

/** Begins anew with what hearth remembers, and announces nothing of it. */
export function begin(all, later) {
  alerts.clear();
  [...all, ...later].forEach(keep);
  draw();
}

/** Takes back every word of alerts that stands outside of their list. */
export function forget() {
  tell("announced", "");
  notices.withdraw();
}
