/** Writes the page's state into the page. */

import { $, make, setText } from "./dom.js";
import { sideName } from "./layout.js";
import { countdown, remaining, strip } from "./states.js";

const KEYS = [
  ["← or A", "left"], ["→ or D", "right"], ["↓ or S", "equally good"],
  ["↑ or W", "can’t tell"], ["X", "skip this pair"], ["Z or Backspace", "take back the last answer; again: the one before"],
  ["Space", "pause or play"], [", and .", "one frame back or on"], ["[ and ]", "slower or faster"],
  ["R", "restart both clips"], ["F", "exchange the sides"], ["C", "next camera"],
  ["H", "history: look at an answer again, change it"], ["?", "this overview"],
];

/** What stays as it is while the run is served. */
export function drawRun({ slight, cameras, instructions, question, study = null }) {
  const skip = study === null || study.skip;
  if (study !== null) document.documentElement.dataset.study = "yes";
  document.documentElement.dataset.skip = skip ? "yes" : "no";
  for (const id of ["start-keys", "help-keys", "study-keys"]) fillKeys($(id), { slight, cameras: cameras.length, skip });
  for (const id of ["start-instructions", "help-instructions"]) setText($(id), instructions);
  setText($("start-question"), question);
  for (const button of document.querySelectorAll("[data-strength]")) button.hidden = !slight;
  $("camera").hidden = cameras.length < 2;
}

/** The key overview; `slight`: with the "slightly better" keys; `cameras`: how many there are; `skip`: with that. */
function fillKeys(node, { slight, cameras, skip }) {
  const keys = KEYS.filter(([key]) => (key !== "C" || cameras > 1) && (key !== "X" || skip));
  if (slight) keys.splice(2, 0, ["Shift + ← or →", "slightly better"]);
  const words = (what) => (what === "left" || what === "right" ? `${sideName(what).toLowerCase()} is better` : what);
  node.replaceChildren(...keys.map(([key, what]) => make("p", {}, make("kbd", {}, key), make("span", {}, words(what)))));
}

/** What depends on where the clips are. */
export function drawSides() {
  for (const node of document.querySelectorAll("[data-words]")) {
    setText(node, `${sideName(node.dataset.words)} is ${node.dataset.than ?? "better"}`);
  }
  for (const button of document.querySelectorAll("[data-strength]")) {
    button.setAttribute("aria-label", `${sideName(button.dataset.action)} is slightly better`);
  }
}

/** Whoever has opened a link of their own need not say who they are. */
export function drawPerson(person) {
  for (const id of ["name", "name-label"]) $(id).hidden = person !== null;
  $("start-person").hidden = person === null;
  setText($("start-person-name"), person ?? "");
}

/** Names to choose from; the field itself stays empty. */
export function offerNames(names) {
  $("names").replaceChildren(...names.map((name) => make("option", { value: name })));
}

export function drawStrip(status, session) {
  const facts = strip(status, session);
  for (const name of ["mine", "labels", "rate", "eta", "queue", "steps"]) {
    $(`strip-${name}`).closest("div").hidden = facts[name] === null;
    setText($(`strip-${name}`), facts[name] ?? "");
  }
  setText($("labels-name"), status.budget == null ? "Labels" : "Labels · asked / budget");
  $("budget").value = facts.share;
  $("budget").classList.toggle("none", status.budget == null);
  setText($("run"), status.name === null ? status.env : `${status.env} · ${status.name}`);
  $("run").title = status.name ?? "";
}

/** The line above the clips; the room is kept, so nothing jumps. */
export function drawNotice(now, { reviewing }) {
  const line = $("notice");
  line.dataset.tone = now?.tone ?? "none";
  line.dataset.id = now?.id ?? "";
  // a countdown that a screen reader spoke every second would drown out everything else
  line.setAttribute("aria-live", now?.id === "waiting" ? "off" : "polite");
  setText($("notice-text"), now?.text ?? "");
  $("continue").hidden = !now?.goOn;
  $("dismiss").hidden = !now?.dismiss;
  for (const id of ["send-again", "save-refused"]) $(id).hidden = !now?.again;
  $("leave").hidden = !reviewing;
}

export function drawEmpty(state) {
  $("empty").hidden = state === null;
  $("empty").dataset.state = state?.id ?? "";
  if (state === null) return;
  setText($("empty-title"), state.title);
  setText($("empty-text"), state.text);
  $("empty-busy").hidden = !state.busy;
}

export function drawTitle(status, ageS) {
  const time = status === null ? null : remaining(status, ageS);
  const waits = status?.trainer === "waiting" && status.open > 0;
  const title = waits ? `● waiting for you${time === null ? "" : ` ${countdown(time)}`} – pbrl` : `pbrl ${status?.env ?? ""}`;
  if (document.title !== title) document.title = title;
}

export function drawPlayer({ playing, speed }) {
  const button = $("pause");
  setText(button.firstChild, playing ? "Pause " : "Play ");
  setText($("speed"), `${speed}×`);
}

export function drawFrame(frame, frames, fps) {
  const slider = $("scrub");
  slider.max = frames - 1;
  slider.value = frame;
  slider.setAttribute("aria-valuetext", `frame ${frame + 1} of ${frames}`);
  const digits = String(frames).length;
  setText($("frame"), `${String(frame + 1).padStart(digits, "\u2007")} / ${frames} · ${(frame / fps).toFixed(2)} s`);
}

/** Buttons that only mean something while a pair is on show; watched: whether it may be answered yet. */
export function enableButtons(shown, canUndo, watched) {
  for (const button of document.querySelectorAll(".answers button, .transport button, .kind-answers button, .tags button")) {
    // aria-disabled keeps the focus where it is, which `disabled` would drop between two pairs
    const answers = button.closest(".answers, .kind-answers") !== null && button.dataset.action !== "skip";
    const usable = button.dataset.action === "undo" ? canUndo : shown && (watched || !answers);
    button.setAttribute("aria-disabled", String(!usable));
  }
  $("scrub").disabled = !shown;
}

/** Lights up what was used, whether by key or by mouse. */
export function flash(name, strength = "clear") {
  const kind = strength === "slight" ? "[data-strength]" : ":not([data-strength])";
  for (const button of document.querySelectorAll(`[data-action="${name}"]${kind}`)) {
    button.classList.remove("flash");
    void button.offsetWidth; // starts the animation anew
    button.classList.add("flash");
    clearTimeout(button.flashTimer);
    button.flashTimer = setTimeout(() => button.classList.remove("flash"), 220);
  }
}
