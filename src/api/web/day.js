// One day as a band: talk, what was not heard, alerts and summaries; and the same as a list.

import { $, item, make, minute, tell } from "./dom.js";
import { quoted } from "./alerts.js";
import { request } from "./hearth.js";
import { reason } from "./said.js";

const PAUSE_MS = 60000; // as hearth joins utterances to a stretch of talk
const HOUR_MS = 3600000;
const LANES = ["alert", "talk", "gap", "digest"];

const none = () => ({ talk: [], gaps: [], alerts: [], digests: [] });
let record = none();
let day = midnight(new Date());
let following = true; // the day that is shown is today
let muted = null; // since when listening is off: a time, or "before" where this page has not seen it begin
let away = false;

function midnight(time, days = 0) {
  return new Date(time.getFullYear(), time.getMonth(), time.getDate() + days);
}

/** What is shown, in milliseconds. */
function range() {
  const [from, to] = [+day, +midnight(day, 1)];
  if ($("span").value === "day" || !following) return [from, to];
  return [Date.now() - HOUR_MS, Date.now()];
}

/** Requests the day from hearth. */
export async function load() {
  if (following) day = midnight(new Date());
  const asked = day;
  const to = midnight(day, 1);
  const answer = await request("day", { method: "POST", body: JSON.stringify({ from: day.toISOString(), to: to.toISOString() }) });
  if (asked !== day) return; // another day was chosen meanwhile
  record = answer.day ?? none();
  tell("day-fault", answer.error ?? (record.cut ? "More happened on this day than is shown." : ""));
  draw();
}

const within = time => Date.parse(time) >= +day && Date.parse(time) < +midnight(day, 1);

export const show = {
  utterance({ room, start: from, end: to }) {
    const last = record.talk.findLast(span => span.room === room);
    if (last && Date.parse(from) - Date.parse(last.to) < PAUSE_MS) Object.assign(last, { to, utterances: last.utterances + 1 });
    else record.talk.push({ room, from, to, utterances: 1 });
  },
  gap: gap => record.gaps.push(gap),
  digest: digest => record.digests.push(digest),
  alert(alert) {
    const known = record.alerts.find(other => other.id === alert.id);
    if (!known && alert.phase === "new") record.alerts.push({ ...alert, until: null });
    else if (known && alert.phase === "end") known.until = alert.time;
  },
};

/** Shows something that happened now. */
export function happened(kind, what) {
  if (!show[kind] || !within(what.time ?? what.start ?? what.from)) return;
  show[kind](what);
  draw();
}

/** Notes whether listening is off. */
export function listening(on, time) {
  const was = muted;
  muted = on ? null : muted ?? (listening.known ? time : "before");
  listening.known = true;
  if (was !== muted) draw();
}

/** Notes whether hearth answers. */
export function answering(yes) {
  away = !yes;
  // What happened meanwhile is not known.
  if (away) listening.known = muted = null;
}

function marks() {
  const severity = { critical: "!", warning: "▲", info: "•" };
  const rooms = new Set([...record.talk, ...record.gaps].map(span => span.room));
  const where = span => rooms.size > 1 ? ` in the ${span.room}` : "";
  const many = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
  const all = [
    ...record.talk.map(span => ({ lane: "talk", look: "talk", from: span.from, to: span.to, text: [`talk${where(span)}, ${many(span.utterances, "utterance")}`] })),
    ...record.gaps.map(gap => ({ lane: "gap", look: gap.reason === "muted" ? "muted" : "gap", from: gap.from, to: gap.to, text: [`not heard${where(gap)}: ${reason(gap)}`] })),
    ...record.alerts.map(alert => ({
      lane: "alert", look: alert.severity, sign: severity[alert.severity], from: alert.time, to: alert.until ?? alert.time,
      text: [`alert ${alert.rule}, ${alert.severity}: `, make("q", quoted(alert))],
    })),
    ...record.digests.map(digest => ({ lane: "digest", look: "digest", sign: "≡", from: digest.time, to: digest.time, text: [`summary: ${digest.text}`] })),
  ];
  if (muted && following && !away) {
    const now = new Date().toISOString();
    all.push({ lane: "gap", look: "muted", from: muted === "before" ? now : muted, to: now, now: true, text: [muted === "before" ? "muted; since when is known when it ends" : "muted since then"] });
  }
  return all.sort((a, b) => Date.parse(a.from) - Date.parse(b.from));
}

function place(element, from, to, [first, last]) {
  const share = time => Math.max(0, Math.min(100, 100 * (time - first) / (last - first)));
  element.style.setProperty("--from", `${share(from)}%`);
  element.style.setProperty("--long", `${share(to) - share(from)}%`);
  return element;
}

function hours([first, last]) {
  const step = last - first > 2 * HOUR_MS ? 3 * HOUR_MS : HOUR_MS / 6;
  const start = new Date(first);
  const times = [];
  for (let n = 1; ; n++) {
    // By the clock on the wall: a day may have 23 or 25 hours.
    const time = step > HOUR_MS ? +new Date(start.getFullYear(), start.getMonth(), start.getDate(), 3 * n) : Math.floor(first / step + n) * step;
    if (time >= last) return times;
    times.push(time);
  }
}

function draw() {
  const frame = range();
  const seen = marks().filter(mark => Date.parse(mark.to) >= frame[0] && Date.parse(mark.from) < frame[1]);
  const lanes = LANES.map(lane => {
    const row = make("div", undefined, `lane ${lane}`);
    row.append(...seen.filter(mark => mark.lane === lane).map(mark => {
      const element = make("i", mark.sign, mark.look);
      element.title = `${minute(mark.from)} ${mark.text.map(part => part.textContent ?? part).join("")}`;
      return place(element, Date.parse(mark.from), Date.parse(mark.to), frame);
    }));
    return row;
  });
  const scale = make("div", undefined, "lane scale");
  scale.append(...hours(frame).map(time => place(make("i", minute(time)), time, time, frame)));
  const now = Date.now() >= frame[0] && Date.now() <= frame[1] ? [place(make("i", undefined, "now"), Date.now(), Date.now(), frame)] : [];
  $("band").replaceChildren(scale, ...lanes, ...now);
  $("band").setAttribute("aria-label", spoken(seen));
  $("day-list").replaceChildren(...(seen.length ? seen.map(entry) : [make("li", "Nothing is stored of this time.", "none")]));
  $("date").value = [day.getFullYear(), day.getMonth() + 1, day.getDate()].map(n => String(n).padStart(2, "0")).join("-");
  $("day-after").disabled = following;
  $("span").disabled = !following;
}

function entry(mark) {
  const long = Date.parse(mark.to) - Date.parse(mark.from) >= PAUSE_MS;
  const text = make("span");
  text.append(...mark.text, ...(mark.now ? [] : long ? [`, until ${minute(mark.to)}`] : []));
  const li = item(mark.from, text);
  li.firstChild.textContent = minute(mark.from);
  return li;
}

// The band in one sentence, for who cannot see it.
function spoken(seen) {
  const minutes = look => Math.round(seen.filter(mark => mark.look === look).reduce((sum, mark) => sum + Date.parse(mark.to) - Date.parse(mark.from), 0) / 60000);
  const count = lane => seen.filter(mark => mark.lane === lane).length;
  return `${day.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" })}: talk for ${minutes("talk")} minutes, `
    + `${count("alert")} alerts, ${count("digest")} summaries, muted for ${minutes("muted")} minutes, for ${minutes("gap")} minutes not heard. The list below has the times.`;
}

function choose(other) {
  const today = midnight(new Date());
  following = +other >= +today;
  day = following ? today : other;
  record = none();
  load();
}

export function begin() {
  $("day-before").addEventListener("click", () => choose(midnight(day, -1)));
  $("day-after").addEventListener("click", () => choose(midnight(day, 1)));
  $("date").addEventListener("change", event => {
    const [year, month, date] = event.target.value.split("-").map(Number);
    if (year) choose(new Date(year, month - 1, date));
  });
  $("span").addEventListener("change", draw);
  // The time goes on though nothing happens, and at midnight another day begins.
  setInterval(() => {
    if (following && +day !== +midnight(new Date())) load();
    else if (following) draw();
  }, 30000);
}
