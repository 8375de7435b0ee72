// Shows the live events of hearth. All data comes over one event stream, and is inserted as text, never as markup.

import * as alerts from "./alerts.js";
import * as day from "./day.js";
import { $, clock, item, make, percent, tell, whileBusy, withEvidence } from "./dom.js";
import * as figures from "./figures.js";
import * as graphs from "./graphs.js";
import { answering, command, listen } from "./hearth.js";
import * as notices from "./notices.js";
import * as said from "./said.js";
import * as search from "./search.js";

const DIGESTS = 20;
const FORGOTTEN = ": forgotten.";
let muted = false;

function digest(d) {
  // Each sentence opens what it rests on.
  const sentences = (d.sentences ?? []).map(sentence => withEvidence(sentence.text, sentence.evidence));
  const body = sentences.length ? sentences : [d.text];
  $("digests").prepend(item(d.time, ...(d.room ? [make("span", `${d.room}  `, "room")] : []), ...body));
  while ($("digests").children.length > DIGESTS) $("digests").lastChild.remove();
}

// What each kind of event shows.
const show = {
  ...said.show,
  digest,
  alert: alerts.update,
  reading(reading) {
    graphs.reading(reading);
    graphs.drawRules();
  },
  cost(cost) {
    graphs.cost(cost);
    graphs.drawCosts();
  },
  // What is left is sent anew; what stands elsewhere on the page may quote what was forgotten.
  forgotten() {
    alerts.forget();
    search.forget();
    $("answer").replaceChildren();
    if (!$("notice").textContent.endsWith(FORGOTTEN)) tell("notice", "");
  },
};

/** Begins anew with what hearth remembers, and with the events after that. */
function begin(all, later = []) {
  const of = kind => later.filter(scene => kind in scene).map(scene => scene[kind]);
  said.begin(all, later);
  $("digests").replaceChildren();
  [...all.digests, ...of("digest")].forEach(digest);
  alerts.begin(all.alerts, of("alert"));
  graphs.begin(all);
  of("reading").forEach(graphs.reading);
  of("cost").forEach(graphs.cost);
  graphs.drawRules();
  graphs.drawCosts();
  day.load();
}

const heed = {
  recent: begin,
  status(status) {
    muted = figures.draw(status);
    day.listening(!muted, status.time);
  },
  scene(scene) {
    for (const [kind, what] of Object.entries(scene)) {
      show[kind]?.(what);
      day.happened(kind, what);
    }
  },
};

function open(is) {
  $("enter").hidden = is;
  $("content").hidden = !is;
}

const join = listen(message => {
  answering(message.kind === "event");
  day.answering(message.kind === "event");
  if (message.kind === "refused") {
    open(false);
    $("refused").textContent = localStorage.getItem("token") ? message.error : "";
    localStorage.removeItem("token");
  } else {
    open(true);
    if (message.kind === "silent") figures.silent(message);
    else heed[message.name]?.(message.data, message.later);
  }
});

$("enter").addEventListener("submit", event => {
  event.preventDefault();
  localStorage.setItem("token", $("token").value.trim());
  join();
});
$("mute").addEventListener("click", () => command({ command: "listening", value: muted }));
$("pause").addEventListener("click", () => command({ command: "pause", value: 60 }));
$("summarise").addEventListener("click", event => whileBusy(event.target, async () => {
  const answer = await command({ command: "summarise" });
  if (answer && !answer.words) tell("notice", "Nothing was said since the last summary.");
}));
$("ask").addEventListener("submit", event => {
  event.preventDefault();
  const { question, at } = event.target.elements;
  whileBusy(event.target.querySelector("button"), async () => {
    $("answer").replaceChildren(make("p", "Asking …", "none"));
    const answer = await command({ command: "ask", value: question.value, ...(at.value.trim() ? { at: at.value.trim() } : {}) });
    const likely = answer && answer.probability !== null ? [make("p", `Yes: ${percent(answer.probability)}, by the model alone.`, "none")] : [];
    const until = answer?.at ? [make("p", `As of ${clock(answer.at)}.`, "none")] : [];
    $("answer").replaceChildren(...(answer ? [withEvidence(answer.text, answer.evidence), ...likely, ...until] : []));
  });
});
$("forget").addEventListener("submit", async event => {
  event.preventDefault();
  const choice = event.target.elements.minutes;
  const words = choice.selectedOptions[0].textContent.trim();
  if (!confirm(`Forget the last ${words}? The words, what was told of them and what the model made of them are deleted for good.`)) return;
  if (await command({ command: "forget", value: Number(choice.value) })) tell("notice", `The last ${words}${FORGOTTEN}`);
});
day.begin();
search.begin();
notices.begin();
