// Shows notifications, and opens the page when one is pressed. It keeps nothing and answers no request.

self.addEventListener("notificationclick", event => {
  event.notification.close();
  event.waitUntil(self.clients.matchAll({ type: "window" }).then(([page]) => page ? page.focus() : self.clients.openWindow("./")));
});
