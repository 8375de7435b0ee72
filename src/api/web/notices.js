// Notifications of the browser, while the page is open. They are asked for by a button only.

import { $, tell } from "./dom.js";

const WANTED = "notify";

// Browsers give them to pages over https and of this machine itself alone.
const possible = () => isSecureContext && "Notification" in window && "serviceWorker" in navigator;
const on = () => possible() && Notification.permission === "granted" && localStorage.getItem(WANTED) !== null;
// On phones a notification belongs to a service worker. This one does nothing else.
const service = () => navigator.serviceWorker.getRegistration("./");

function draw() {
  $("notify").textContent = on() ? "Stop notifying me" : "Notify me of alerts";
}

async function toggle() {
  if (!possible()) return tell("notice", "Browsers notify only for pages over https, and for those of this machine itself: open hearth’s page by https or at localhost.");
  if (on()) {
    localStorage.removeItem(WANTED);
    await withdraw();
  } else if (await Notification.requestPermission() === "granted") {
    await navigator.serviceWorker.register("service.js");
    localStorage.setItem(WANTED, "on");
    tell("notice", "Alerts are notified while a page of hearth is open.");
  } else {
    tell("notice", "The browser does not let this page notify: its settings for this page say so.");
  }
  draw();
}

/** Notifies of an alert that has begun; of several pages the last one counts. An alert for information makes no noise. */
export async function give(alert, words) {
  if (!on() || alert.severity === "info") return;
  const where = alert.room ? ` in the ${alert.room}` : "";
  await (await service())?.showNotification(`${alert.severity}: ${alert.rule}${where}`, {
    body: words,
    tag: alert.id,
    icon: "icon-192.png",
    requireInteraction: alert.severity === "critical",
  });
}

/** Takes back the notification of an alert, or of all. */
export async function withdraw(id) {
  if (!possible()) return;
  const given = await (await service())?.getNotifications(id ? { tag: id } : {});
  given?.forEach(notification => notification.close());
}

export function begin() {
  $("notify").addEventListener("click", toggle);
  draw();
}
