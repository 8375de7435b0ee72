// Shows the live events of hearth. All data comes over one event stream, and is inserted as text, never as markup.

const $ = id => document.getElementById(id);
const KEEP = 200;
const FOLLOW = 40; // the transcript scrolls with new text if it is within so many pixels of its end

// The token is in the address after the # the first time, and is then stored for this page.
const hash = new URLSearchParams(location.hash.slice(1));
if (hash.has("token")) {
  localStorage.setItem("token", hash.get("token"));
  history.replaceState(null, "", location.pathname);
}

const headers = () => ({ Authorization: `Bearer ${localStorage.getItem("token") ?? ""}` });

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function clock(time) {
  const then = new Date(time);
  const style = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const today = then.toDateString() === new Date().toDateString();
  return then.toLocaleString([], today ? { ...style, second: "2-digit" } : { day: "numeric", month: "short", ...style });
}

const minute = time => new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

function item(time, ...inside) {
  const li = make("li");
  li.append(make("time", clock(time)), make("div"));
  li.lastChild.append(...inside);
  return li;
}

const several = () => view.rooms.size > 1;
const view = { rooms: new Set(), alerts: new Map(), judged: new Map(), readings: new Map(), costs: [], muted: false, cpu: null, loading: false };

const show = {
  utterance(u) {
    view.rooms.add(u.room);
    const list = $("transcript");
    const follow = list.scrollHeight - list.scrollTop - list.clientHeight < FOLLOW;
    const line = item(u.start, ...(several() ? [make("span", `${u.room}  `, "room")] : []), u.text);
    line.dataset.at = Date.parse(u.start);
    // Utterances of two rooms may arrive in another order than they were spoken.
    let before = list.lastChild;
    while (before?.dataset.at > line.dataset.at) before = before.previousSibling;
    if (before) before.after(line); else list.prepend(line);
    while (list.children.length > KEEP) list.firstChild.remove();
    if (follow) list.scrollTop = list.scrollHeight;
    saying.delete(u.room);
    drawSaying();
  },
  hypothesis(h) {
    if (h.committed.length || h.tentative) saying.set(h.room, h); else saying.delete(h.room);
    drawSaying();
  },
  gap(gap) {
    const seconds = Math.round((new Date(gap.to) - new Date(gap.from)) / 1000);
    $("transcript").append(item(gap.from, make("span", `${several() ? `${gap.room}: ` : ""}${seconds} s were not heard: ${gap.reason.replace("_", " ")}`, "gap")));
  },
  digest(d) {
    // Each sentence opens what it rests on.
    const sentences = (d.sentences ?? []).map(sentence => withEvidence(sentence.text, sentence.evidence));
    const body = sentences.length ? sentences : [d.text];
    $("digests").prepend(item(d.time, ...(d.room ? [make("span", `${d.room}  `, "room")] : []), ...body));
    while ($("digests").children.length > 20) $("digests").lastChild.remove();
  },
  alert(alert) {
    const known = view.alerts.get(alert.id);
    // The end of one that was forgotten: there is nothing to show of it.
    if (alert.phase === "end" && !known) return;
    const evidence = alert.evidence.length ? alert.evidence : known?.evidence ?? [];
    view.alerts.set(alert.id, alert.phase === "end" ? { ...known, phase: "end" } : { ...alert, evidence });
    while (view.alerts.size > 50) view.alerts.delete(view.alerts.keys().next().value);
    if (!known && !view.loading) $("announced").textContent = `Alert, ${alert.severity}: ${alert.rule}. ${quoted(alert)}`;
    drawAlerts();
  },
  reading(reading) {
    const name = reading.room ? `${reading.rule} · ${reading.room}` : reading.rule;
    const readings = view.readings.get(name) ?? [];
    readings.push(reading);
    view.readings.set(name, readings.slice(-500));
    drawRules();
  },
  cost(cost) {
    view.costs = [...view.costs, cost].slice(-500);
    drawCost();
  },
  // Request what is left again.
  forgotten: () => stream.restart(),
};

const saying = new Map();

function drawSaying() {
  $("saying").replaceChildren(...[...saying].map(([room, h]) => {
    const line = make("p");
    if (several()) line.append(make("span", `${room}  `, "room"));
    line.append(make("b", h.committed.join(" ")), ` ${h.tentative} …`);
    return line;
  }));
}

const quoted = alert => alert.evidence.map(e => e.text).join(" ");

function button(text, press) {
  const element = make("button", text);
  element.type = "button";
  element.addEventListener("click", async () => {
    element.disabled = true;
    await press();
    element.disabled = false;
  });
  return element;
}

// What a person can answer to an alert: that it is known, that it was none, that its rule is to be silent for an hour.
function answers(alert, over) {
  const judge = (name, said) => button(said, async () => {
    if (!await command({ command: name, value: alert.id })) return;
    view.judged.set(alert.id, said);
    drawAlerts();
  });
  const judged = view.judged.get(alert.id);
  const row = make("p", judged && `${judged}.`, "answers");
  if (!judged && !over) row.append(judge("acknowledge", "Acknowledged"));
  if (!judged) row.append(judge("false_alarm", "False alarm"));
  if (!over) row.append(button("Silence for an hour", async () => {
    if (await command({ command: "snooze", value: 60, rule: alert.rule })) $("notice").textContent = `${alert.rule}: no alerts for an hour.`;
  }));
  return row;
}

function drawAlerts() {
  const percent = p => p === null ? "" : ` ${Math.round(100 * p)} %`;
  const lines = [...view.alerts.values()].reverse().map(alert => {
    const over = alert.phase === "end";
    const where = alert.room ? ` in the ${alert.room}` : "";
    const title = [make("b", alert.rule), `${where}, ${alert.severity}${percent(alert.probability)}${over ? ", over  " : "  "}`];
    const sentence = alert.answer?.replace(/^Yes[.,]?\s*/, "");
    const told = sentence ? [make("p", sentence)] : [];
    const li = item(alert.time, ...title, make("q", quoted(alert)), ...told, answers(alert, over));
    li.className = `${over ? "over" : "now"} ${alert.severity}`;
    return li;
  });
  const now = lines.filter(line => line.classList.contains("now"));
  const over = lines.filter(line => line.classList.contains("over"));
  $("alerts").replaceChildren(...(now.length ? now : [make("p", "None now.", "none")]));
  $("earlier").hidden = !over.length;
  $("earlier").firstElementChild.textContent = `Earlier: ${over.length}`;
  $("earlier").lastElementChild.replaceChildren(...over);
}

// A line through points whose y is 0 … 1, in a box of `width` by `height`.
function line(points, width, height) {
  const step = width / Math.max(points.length - 1, 1);
  const at = (y, i) => `${(i * step).toFixed(1)} ${(height - 1 - y * (height - 2)).toFixed(1)}`;
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", points.length === 1 ? `M${at(points[0], 0)} H${width}` : `M${points.map(at).join(" L")}`);
  return path;
}

function drawRules() {
  const rows = [...view.readings].sort(([a], [b]) => a < b ? -1 : 1).filter(([, r]) => r.length).map(([rule, readings]) => {
    const last = readings.at(-1);
    const row = make("tr", undefined, last.active ? "on" : "");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 200 24");
    svg.setAttribute("preserveAspectRatio", "none");
    if (typeof last.threshold === "number") {
      const threshold = line([last.threshold], 200, 24);
      threshold.setAttribute("class", "threshold");
      svg.append(threshold);
    }
    svg.append(line(readings.slice(-120).map(r => r.probability), 200, 24));
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${rule}: probability ${Math.round(100 * last.probability)} %, alerts from ${typeof last.threshold === "number" ? Math.round(100 * last.threshold) : "–"} % on`);
    const middle = make("td");
    middle.append(svg);
    row.append(make("td", rule), middle, make("td", `${Math.round(100 * last.probability)} %`));
    return row;
  });
  $("rules").replaceChildren(...rows);
}

function drawCost() {
  if (!view.costs.length) return;
  const us = view.costs.map(c => c.us_per_token);
  // The axis begins at zero, so that a constant value looks flat.
  const top = 1.5 * Math.max(...us);
  $("cost").replaceChildren(line(us.map(y => y / top), 600, 90));
  const [first, last] = [view.costs[0], view.costs.at(-1)];
  $("cost-caption").textContent =
    `Time per token: ${Math.round(first.us_per_token)} µs after ${first.tokens.toLocaleString()} tokens, `
    + `${Math.round(last.us_per_token)} µs after ${last.tokens.toLocaleString()}`;
  const nats = view.costs.map(c => c.surprise).filter(s => s !== null);
  if (!nats.length) return;
  const most = 1.5 * Math.max(...nats, 0.1);
  $("surprise").replaceChildren(line(nats.map(y => y / most), 600, 90));
  $("surprise-caption").textContent = `Surprise of the state by what is said: ${nats.at(-1).toFixed(2)} nats a token`;
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

function span(s) {
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  return s < 86400 ? `${Math.floor(s / 3600)} h ${Math.round(s % 3600 / 60)} min` : `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}

// The level of a room: from −60 dB on the left to full scale on the right.
function level(name, room) {
  const meter = make("div", name, "level");
  const bar = make("i");
  bar.style.width = room.delivers ? `${Math.max(0, Math.min(100, 100 + room.level_db * 100 / 60))}%` : "0";
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
    ...(tells.connected && tells.commands_ok === false ? ["Commands do not come through from the broker: if this lasts, hearth’s log says what its access list lacks."] : []),
    ...(tells.connected ? [] : [`The broker ${tells.broker} is away; ${tells.waiting.toLocaleString()} messages wait for it.`]),
    ...(hears.dropped_s >= 1 ? [`Hearing was too slow: ${Math.round(hears.dropped_s)} s of sound were dropped since the start.`] : []),
    ...(reads?.unread > 16 ? [`The model is ${reads.unread} utterances behind.`] : []),
  ];
}

function figures(status) {
  const { hears, reads, tells } = status;
  $("node").textContent = status.node;
  document.title = status.alerts.length ? `(${status.alerts.length}) hearth ${status.node}` : `hearth ${status.node}`;
  view.muted = hears.ears && !hears.listening;
  $("ears").textContent = !hears.ears ? "without a microphone" : hears.paused_until ? `paused until ${minute(hears.paused_until)}` : view.muted ? "muted" : hears.source_ok ? "listening" : "waiting for sound";
  $("ears").className = `pill ${!hears.ears || view.muted || !hears.source_ok ? "off" : "on"}`;
  $("link").textContent = tells.connected ? "connected" : "waiting for the broker";
  $("link").className = `pill ${tells.connected ? "on" : "off"}`;
  $("mute").hidden = !hears.ears;
  $("pause").hidden = !hears.ears || view.muted;
  $("mute").textContent = view.muted ? "Listen again" : "Mute";
  $("levels").replaceChildren(...Object.entries(view.muted ? {} : hears.rooms).map(([name, room]) => level(name, room)));
  $("troubles").replaceChildren(...troubles(status).map(trouble => make("li", trouble)));
  $("lag").textContent = hears.lag_s === null ? "–" : `${hears.lag_s.toFixed(1)} s, p95 ${hears.lag_p95_s.toFixed(1)} s`;
  const others = hears.others ? `, ${hears.others.taken.toLocaleString()} utterances and gaps of other machines` : "";
  $("words").textContent = hears.words.toLocaleString() + others;
  $("tokens").textContent = reads ? reads.tokens.toLocaleString() + (reads.unread ? `, ${reads.unread} behind` : "") : "nothing reads";
  $("state").textContent = reads ? [`${Math.round(reads.state_bytes / 1024).toLocaleString()} KiB, always`, ...soundness(reads.state)].join("; ") : "–";
  $("memory").textContent = `${Math.round(status.rss_bytes / 2 ** 20)} MiB`;
  const now = { s: status.uptime_s, cpu: status.cpu_s };
  if (view.cpu && now.s > view.cpu.s) $("cpu").textContent = `${(100 * (now.cpu - view.cpu.cpu) / (now.s - view.cpu.s)).toFixed(0)} % of a core`;
  view.cpu = view.cpu && now.s - view.cpu.s < 10 ? view.cpu : now;
  $("messages").textContent = `${tells.acknowledged.toLocaleString()} sent, ${tells.waiting} waiting`;
  $("up").textContent = span(status.uptime_s);
}

function recent(all) {
  ["transcript", "digests", "alerts", "rules"].forEach(id => $(id).replaceChildren());
  view.rooms = new Set(all.utterances.map(u => u.room));
  Object.assign(view, { alerts: new Map(), readings: new Map(), costs: [] });
  saying.clear();
  view.loading = true;
  all.utterances.forEach(show.utterance);
  Object.values(all.hypotheses).forEach(show.hypothesis);
  all.digests.forEach(show.digest);
  all.alerts.forEach(show.alert);
  Object.entries(all.readings).forEach(([rule, readings]) => view.readings.set(rule, readings));
  view.costs = all.costs;
  view.loading = false;
  drawAlerts();
  drawRules();
  drawCost();
  drawSaying();
  $("transcript").scrollTop = $("transcript").scrollHeight;
}

const heed = {
  recent,
  status: figures,
  scene: scene => Object.entries(scene).forEach(([kind, what]) => show[kind]?.(what)),
};

// Server-sent events over fetch: EventSource cannot send the token in a header, and a token in a URL would be logged.
const SILENT = "hearth does not answer; trying again …";
const stream = {
  abort: new AbortController(),
  silent: false,
  restart() { this.abort.abort("restart"); },
  async run() {
    for (;;) {
      this.abort = new AbortController();
      try {
        const response = await fetch("events", { headers: headers(), signal: this.abort.signal });
        if (response.status === 401) return enter((await response.json()).error);
        $("enter").hidden = true;
        $("content").hidden = false;
        if (this.silent) $("notice").textContent = "";
        this.silent = false;
        await this.read(response.body.pipeThrough(new TextDecoderStream()).getReader());
      } catch (error) {
        if (error === "restart") continue;
      }
      this.silent = true;
      $("notice").textContent = SILENT;
      await new Promise(done => setTimeout(done, 2000));
    }
  },
  async read(reader) {
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const fields = event.split("\n").map(l => l.split(/: ?(.*)/s));
        const name = fields.find(([key]) => key === "event")?.[1];
        const data = fields.filter(([key]) => key === "data").map(([, data]) => data).join("\n");
        heed[name]?.(JSON.parse(data));
      }
    }
  },
};

function enter(why) {
  $("content").hidden = true;
  $("enter").hidden = false;
  $("refused").textContent = localStorage.getItem("token") ? why : "";
  localStorage.removeItem("token");
}

$("enter").addEventListener("submit", event => {
  event.preventDefault();
  localStorage.setItem("token", $("token").value.trim());
  stream.run();
});

async function command(object) {
  const answer = await fetch("command", { method: "POST", headers: headers(), body: JSON.stringify(object) })
    .then(response => response.json(), () => ({ error: "hearth does not answer: nothing was done, as far as this page knows." }));
  $("notice").textContent = answer.status === "ok" ? "" : answer.error;
  return answer.status === "ok" && answer;
}

// The quotes behind a sentence, opened by a click on it.
function withEvidence(text, evidence) {
  if (!evidence.length) return make("p", text);
  const details = make("details");
  details.append(make("summary", text), ...evidence.map(e => item(e.time, make("q", e.text))));
  return details;
}

$("mute").addEventListener("click", () => command({ command: "listening", value: view.muted }));
$("pause").addEventListener("click", () => command({ command: "pause", value: 60 }));
$("summarise").addEventListener("click", async event => {
  event.target.disabled = true;
  const answer = await command({ command: "summarise" });
  if (answer && !answer.words) $("notice").textContent = "Nothing was said since the last summary.";
  event.target.disabled = false;
});
$("ask").addEventListener("submit", async event => {
  event.preventDefault();
  const { question, at } = event.target.elements;
  const submit = event.target.querySelector("button");
  submit.disabled = true;
  $("answer").replaceChildren(make("p", "Asking …", "none"));
  const answer = await command({ command: "ask", value: question.value, ...(at.value.trim() ? { at: at.value.trim() } : {}) });
  const likely = answer && answer.probability !== null ? [make("p", `Yes: ${Math.round(100 * answer.probability)} %, by the model alone.`, "none")] : [];
  const until = answer?.at ? [make("p", `As of ${clock(answer.at)}.`, "none")] : [];
  $("answer").replaceChildren(...(answer ? [withEvidence(answer.text, answer.evidence), ...likely, ...until] : []));
  submit.disabled = false;
});
$("forget").addEventListener("submit", async event => {
  event.preventDefault();
  const choice = event.target.elements.minutes;
  const words = choice.selectedOptions[0].textContent.trim();
  if (!confirm(`Forget the last ${words}? The words, what was told of them and what the model made of them are deleted for good.`)) return;
  if (await command({ command: "forget", value: Number(choice.value) })) $("notice").textContent = `The last ${words}: forgotten.`;
});

stream.run();
