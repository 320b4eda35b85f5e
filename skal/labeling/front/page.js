// The local page: the labeller over fetch. While a model trains it asks again every second.

import { mount } from "./labeler.js";

const POLL = 1000; // ms

let show = () => {};
let state = "asking";

async function send(message) {
  try {
    const answer = await fetch("api", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(message),
    });
    if (!answer.ok) return; // the labeller says that there is no answer
    const view = await answer.json();
    state = view.state;
    show(view);
  } catch {
    // Python has gone: the labeller says so, and the next try may find it again.
  }
}

const root = document.getElementById("labeler");
mount(root, {
  send,
  onView(callback) {
    show = callback;
    return () => (show = () => {});
  },
});
root.focus();
setInterval(() => {
  if (!document.hidden && ["training", "waiting"].includes(state)) send({ act: "hello" });
}, POLL);
