// A worker that all open pages share: they have one connection to hearth, because a browser allows six.

import { Stream } from "./stream.js";

const pages = new Set();
let stream;

const deliver = message => {
  if (message.kind === "refused") stream = undefined;
  pages.forEach(page => page.postMessage(message));
};

self.addEventListener("connect", ({ ports: [page] }) => {
  page.onmessage = ({ data }) => {
    if (data.leave) {
      pages.delete(page);
      if (!pages.size) stream = stream?.stop();
      return;
    }
    pages.add(page);
    if (stream?.token === data.token) return stream.past().forEach(message => page.postMessage(message));
    stream?.stop();
    stream = new Stream(data.token, deliver);
  };
});
