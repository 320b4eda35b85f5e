// One row at a time: shows it, sends the answer, and waits until Python says that it is saved.
//
// A channel has send(message) and onView(callback), which returns a function that stops it. Python
// answers every message with a whole view; `uid` says which message it answers. Data never become
// markup: every text goes through textContent, and pictures are PNG data URLs made in Python.

const PATIENCE = 5000; // ms without an answer before saying so
const NO_ANSWER =
  "No answer from Python: the last answer may not be saved. Run the cell (or the command) again, " +
  "or press “Try again”, which never stores an answer twice.";
const SKIP = { s: "skip", l: "later", u: "undo", backspace: "undo" };
const STATES = {
  training: "The model is training or choosing. The next rows come by themselves.",
  waiting: "The rows that are open now are with other people. More come by themselves.",
  failed: "The training failed. All answers are saved.",
  finished: "There is no row left to ask about.",
};

export default {
  render({ model, el }) {
    const root = document.createElement("div");
    el.append(root);
    return mount(root, {
      send: (message) => model.send(message),
      onView(callback) {
        model.on("msg:custom", callback);
        return () => model.off("msg:custom", callback);
      },
    });
  },
};

export function mount(root, channel) {
  const parts = build(root);
  let view = null;
  let pending = null; // the message in flight: there is never more than one
  let timer = 0;
  let shownAt = performance.now();
  let hiddenSince = document.hidden ? shownAt : null;

  const send = (message) => {
    if (pending) return;
    pending = { uid: freshUid(), token: view?.token ?? null, seconds: seconds(), ...message };
    transmit();
  };

  const transmit = () => {
    root.setAttribute("aria-busy", "true");
    parts.retry.hidden = true;
    clearTimeout(timer);
    timer = setTimeout(() => {
      say(NO_ANSWER, true);
      parts.retry.hidden = false;
    }, PATIENCE);
    channel.send(pending);
  };

  const seconds = () => {
    const hidden = hiddenSince === null ? 0 : performance.now() - hiddenSince;
    return Math.max(0, (performance.now() - shownAt - hidden) / 1000);
  };

  const say = (text, isError) => {
    parts.status.textContent = (isError && text ? "⚠ " : "") + text;
    parts.status.classList.toggle("skal-error", Boolean(isError));
  };

  const receive = (next) => {
    if (pending && next.uid === pending.uid) {
      pending = null;
      clearTimeout(timer);
      parts.retry.hidden = true;
      root.removeAttribute("aria-busy");
    }
    const hadFocus = root.contains(document.activeElement);
    const isNew = view === null || next.token !== view.token || next.state !== view.state;
    view = next;
    if (isNew) {
      shownAt = performance.now();
      if (document.hidden) hiddenSince = shownAt;
      showItem(parts, view);
      showAnswers(parts, view);
    }
    parts.guide.textContent = view.guide;
    parts.progress.max = Math.max(view.total, 1);
    parts.progress.value = view.done;
    parts.count.textContent = view.count;
    const asks = view.state === "asking";
    for (const button of [parts.skip, parts.later]) button.disabled = !asks;
    parts.enter.hidden = !asks || view.answer === "one";
    say([view.message, STATES[view.state]].filter(Boolean).join(" "), view.error);
    if (hadFocus) focus();
  };

  const focus = () => {
    const target = view?.state === "asking" && view.answer === "number" ? parts.input() : root;
    (target ?? root).focus({ preventScroll: true });
  };

  const answer = (choice) => {
    if (view?.state !== "asking") return;
    if (view.answer === "one") send({ act: "label", choice });
    else if (view.answer === "many" && !pending) toggle(parts.buttons()[choice]);
  };

  const enter = () => {
    if (view?.state !== "asking") return;
    if (view.answer === "number") send({ act: "number", text: parts.input().value });
    if (view.answer === "many") send({ act: "label", choices: chosen(parts.buttons()) });
  };

  const act = (name) => {
    if (name === "undo" || view?.state === "asking") send({ act: name });
  };

  const onKey = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    event.stopPropagation(); // no plain key inside reaches the notebook around it
    const inInput = event.target.tagName === "INPUT";
    const onButton = event.target.tagName === "BUTTON";
    const key = event.key.toLowerCase();
    let run = null;
    if (key === "enter" && !onButton) run = enter;
    else if (inInput && key === "escape") run = () => root.focus();
    else if (!inInput && view) {
      const choice = view.keys.findIndex((keys) => keys.includes(key));
      if (choice >= 0 && view.answer !== "number") run = () => answer(choice);
      else if (key in SKIP) run = () => act(SKIP[key]);
    }
    if (!run) return;
    event.preventDefault();
    if (!event.repeat) run();
  };

  const onClick = (event) => {
    const button = event.target.closest("button");
    if (!button || !root.contains(button)) return;
    if (button.dataset.choice !== undefined) answer(Number(button.dataset.choice));
    else if (button === parts.enter) enter();
    else if (button === parts.retry) transmit();
    else act(button.dataset.act);
    focus();
  };

  const onVisibility = () => {
    if (document.hidden) hiddenSince = performance.now();
    else {
      if (hiddenSince !== null) shownAt += performance.now() - hiddenSince;
      hiddenSince = null;
      send({ act: "hello" }); // another tab may have answered meanwhile
    }
  };

  root.addEventListener("keydown", onKey);
  root.addEventListener("click", onClick);
  document.addEventListener("visibilitychange", onVisibility);
  const silence = channel.onView(receive);
  send({ act: "hello" });

  return () => {
    clearTimeout(timer);
    silence();
    root.removeEventListener("keydown", onKey);
    root.removeEventListener("click", onClick);
    document.removeEventListener("visibilitychange", onVisibility);
    root.remove();
  };
}

function build(root) {
  root.className = "skal-labeler";
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Labeller: press a key or a button to label the row");
  // Without it, JupyterLab takes plain keys for its own: m makes the cell Markdown, d d deletes it.
  root.dataset.lmSuppressShortcuts = "true";
  const parts = {
    guide: make("div", "skal-guide"),
    item: make("div", "skal-item"),
    answers: make("div", "skal-answers"),
    enter: makeButton("⏎", "Save", "enter"),
    skip: makeButton("S", "Cannot tell", "skip"),
    later: makeButton("L", "Later", "later"),
    undo: makeButton("U", "Undo", "undo"),
    progress: make("progress", "skal-progress"),
    count: make("span", "skal-count"),
    status: make("div", "skal-status"),
    retry: makeButton("", "Try again", "retry"),
  };
  parts.buttons = () => [...parts.answers.querySelectorAll("button")];
  parts.input = () => parts.answers.querySelector("input");
  parts.retry.hidden = parts.enter.hidden = true;
  parts.progress.setAttribute("aria-label", "Answered rows of this batch");
  parts.status.setAttribute("role", "status");
  parts.status.setAttribute("aria-live", "polite");
  const tools = make("div", "skal-tools");
  tools.append(parts.enter, parts.skip, parts.later, parts.undo);
  const foot = make("div", "skal-foot");
  foot.append(parts.progress, parts.count);
  root.append(parts.guide, parts.item, parts.answers, tools, foot, parts.status, parts.retry);
  return parts;
}

function showItem(parts, { item }) {
  parts.item.replaceChildren();
  parts.item.hidden = !item;
  if (!item) return;
  if (item.kind === "image") {
    const picture = make("img", "skal-image");
    picture.src = item.src;
    picture.alt = item.alt;
    parts.item.append(picture);
  } else if (item.kind === "row") {
    const table = make("table", "skal-row");
    for (const [name, text] of item.cells) {
      const line = table.insertRow();
      const head = make("th", "");
      head.scope = "row";
      head.textContent = name;
      line.append(head);
      const cell = line.insertCell();
      cell.textContent = text ?? "missing";
      if (text === null) cell.className = "skal-missing";
    }
    parts.item.append(table);
  } else {
    const text = make("div", "skal-text");
    text.textContent = item.text;
    parts.item.append(text);
  }
  parts.item.scrollTop = 0;
}

function showAnswers(parts, view) {
  parts.answers.replaceChildren();
  parts.answers.hidden = view.state !== "asking";
  if (parts.answers.hidden) return;
  if (view.answer === "number") {
    const label = make("label", "skal-number");
    const input = make("input", "");
    input.type = "text";
    input.inputMode = "decimal";
    input.autocomplete = "off";
    label.append("Value ", input);
    if (view.proposal !== null) label.append(` suggested: ${view.proposal}`);
    parts.answers.append(label);
    return;
  }
  const proposed = [view.proposal].flat();
  view.classes.forEach((name, place) => {
    const button = makeButton(view.keys[place][0] ?? "", name, "");
    delete button.dataset.act;
    button.dataset.choice = place;
    if (view.answer === "many") button.setAttribute("aria-pressed", "false");
    if (proposed.includes(place)) {
      const mark = make("small", "");
      mark.textContent = "suggested";
      button.append(mark);
    }
    parts.answers.append(button);
  });
}

function toggle(button) {
  const pressed = button.getAttribute("aria-pressed") === "true";
  button.setAttribute("aria-pressed", String(!pressed));
}

function chosen(buttons) {
  return buttons.flatMap((button, place) =>
    button.getAttribute("aria-pressed") === "true" ? [place] : [],
  );
}

function make(tag, className) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  return element;
}

function makeButton(key, text, act) {
  const button = make("button", "skal-button");
  button.type = "button";
  button.dataset.act = act;
  if (key && key !== text.toLowerCase()) {
    const hint = make("kbd", "");
    hint.textContent = key.toUpperCase();
    button.append(hint);
  }
  const name = make(key && key === text.toLowerCase() ? "kbd" : "span", "");
  name.textContent = text;
  button.append(name);
  return button;
}

function freshUid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
