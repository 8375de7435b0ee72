// What hearth says about itself every second, and that it does not answer.

import { $, clock, make, minute, tell } from "./dom.js";

let cpu = null; // where the measurement of processor time began
let version = null;

function span(s) {
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  return s < 86400 ? `${Math.floor(s / 3600)} h ${Math.round(s % 3600 / 60)} min` : `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}

function goingOn({ stage, room, compared_tokens }) {
  const fresh = room ? `a fresh state for ${room}` : "a fresh state";
  if (stage === "reading") return `${fresh} is read`;
  if (stage === "comparing") return `${fresh} is compared, over ${compared_tokens.toLocaleString()} tokens so far`;
  return `${fresh} waits: it could not be saved, which needs space on the disk`;
}

function soundness({ surprise, renewal }) {
  return [
    ...(surprise.risen ? [surprise.young === null ? "predicts no better than chance" : `surprised more than when it was young (${surprise.young.toFixed(2)} nats a token)`] : []),
    ...(renewal.stage ? [goingOn(renewal)] : []),
    ...(renewal.count ? [`renewed ${renewal.count} times, last ${clock(renewal.last)}`] : []),
  ];
}

// The level of a room: from −60 dB on the left to full scale on the right. A room that delivers nothing has none.
function level(name, room) {
  const meter = make("div", name, "level");
  if (!room.delivers) {
    meter.append(make("em", "no sound"));
    return meter;
  }
  const bar = make("i");
  bar.style.width = `${Math.max(0, Math.min(100, 100 + room.level_db * 100 / 60))}%`;
  if (room.level_db > -3) meter.classList.add("loud");
  meter.title = `${Math.round(room.level_db)} dB`;
  meter.append(make("span"));
  meter.lastChild.append(bar);
  return meter;
}

function troubles({ hears, reads, tells }) {
  const rooms = hears.listening ? Object.entries(hears.rooms) : [];
  return [
    ...rooms.filter(([, room]) => !room.delivers).map(([name]) => `${name}: nothing is heard from there; hearth goes on trying.`),
    ...rooms.filter(([, room]) => room.delivers && room.dead).map(([name]) => `${name}: its microphone is dead, or muted at itself.`),
    ...(tells.store_ok ? [] : ["The disk takes nothing: it is full or read-only, and what is heard waits."]),
    ...(tells.forget_ok === false ? ["A file may still hold what was to be forgotten: hearth’s log says which."] : []),
    ...(tells.connected && tells.commands_ok === false ? [tells.commands_needed
      ? `Commands do not come through from the broker: its access list must let hearth ${tells.commands_needed}.`
      : "Commands have not come through from the broker yet: if this lasts, hearth’s log says why."] : []),
    ...(tells.connected ? [] : [`The broker ${tells.broker} is away; ${tells.waiting.toLocaleString()} messages wait for it.`]),
    ...(hears.dropped_s >= 1 ? [`Hearing was too slow: ${Math.round(hears.dropped_s)} s of sound were dropped since the start.`] : []),
    ...(reads?.unread > 16 ? [`The model is ${reads.unread} utterances behind.`] : []),
  ];
}

// A screen reader announces these, so they are replaced only when they change.
function list(sentences) {
  const shown = [...$("troubles").children].map(li => li.textContent);
  if (shown.join("\n") !== sentences.join("\n")) $("troubles").replaceChildren(...sentences.map(sentence => make("li", sentence)));
}

function pill(id, text, good) {
  if ($(id).textContent !== text) $(id).textContent = text;
  $(id).className = `pill ${good ? "on" : "off"}`;
}

/** Shows the status. Returns whether listening is off. */
export function draw(status) {
  const { hears, reads, tells } = status;
  $("node").textContent = status.node;
  document.title = status.alerts.length ? `(${status.alerts.length}) hearth ${status.node}` : `hearth ${status.node}`;
  const muted = hears.ears && !hears.listening;
  pill("ears", !hears.ears ? "without a microphone" : hears.paused_until ? `paused until ${minute(hears.paused_until)}` : muted ? "muted" : hears.source_ok ? "listening" : "waiting for sound",
    hears.ears && !muted && hears.source_ok);
  pill("link", tells.connected ? "connected" : "waiting for the broker", tells.connected);
  $("link").hidden = false;
  $("mute").hidden = !hears.ears;
  $("pause").hidden = !hears.ears || muted;
  $("mute").textContent = muted ? "Listen again" : "Mute";
  $("levels").replaceChildren(...Object.entries(muted ? {} : hears.rooms).map(([name, room]) => level(name, room)));
  version ??= status.version;
  list([...troubles(status), ...(status.version === version ? [] : [`hearth ${status.version} runs now, and this page is of ${version}: load it again.`])]);
  $("lag").textContent = hears.lag_s === null ? "–" : `${hears.lag_s.toFixed(1)} s, p95 ${hears.lag_p95_s.toFixed(1)} s`;
  const others = hears.others ? `, ${hears.others.taken.toLocaleString()} utterances and gaps of other machines` : "";
  $("words").textContent = hears.words.toLocaleString() + others;
  $("model").textContent = reads ? reads.model : "none";
  $("tokens").textContent = reads ? reads.tokens.toLocaleString() + (reads.unread ? `, ${reads.unread} behind` : "") : "nothing reads";
  $("state").textContent = reads ? [`${Math.round(reads.state_bytes / 1024).toLocaleString()} KiB, always`, ...soundness(reads.state)].join("; ") : "–";
  $("memory").textContent = `${Math.round(status.rss_bytes / 2 ** 20)} MiB`;
  const now = { s: status.uptime_s, cpu: status.cpu_s };
  // After a restart both begin at zero.
  if (cpu && now.s < cpu.s) cpu = null;
  $("cpu").textContent = cpu && now.s > cpu.s ? `${(100 * (now.cpu - cpu.cpu) / (now.s - cpu.s)).toFixed(0)} % of a core` : "–";
  cpu = cpu && now.s - cpu.s < 10 ? cpu : now;
  $("messages").textContent = `${tells.acknowledged.toLocaleString()} sent, ${tells.waiting} waiting`;
  $("up").textContent = span(status.uptime_s);
  return muted;
}

/** Shows that hearth does not answer, since when, and what it said last if it said why. */
export function silent({ since, error }) {
  const when = since ? ` since ${clock(since)}` : "";
  pill("ears", `no answer${when}`, false);
  $("link").hidden = true;
  $("levels").replaceChildren();
  document.title = `no answer: hearth ${$("node").textContent}`;
  list([error ? `${error}. This page tries again.`
    : `hearth does not answer${when}. ${since ? "What is shown is as it was then" : "Nothing can be shown"}; this page tries again.`]);
  tell("up", "–");
}
