/** A policy acts live; the person takes over, or says that it goes wrong. One call for each picture. */

import { Api, Faulty, NoSession, OtherRun, Refused, Unreachable, takeToken } from "./api.js";
import { $, readJson, safeStorage, setText, writeJson } from "./dom.js";
import { drawTheme, nextTheme } from "./toggle.js";
import { pushOf, toldBy } from "./watch_keys.js";

const NAME = "pbrl.watcher";
const AGAIN_MS = 1_000; // after a call that failed
const WRONG_MS = 600; // how long the frame says that it was heard

const api = new Api();
const tab = safeStorage("sessionStorage");
let token = takeToken(location, history);
let run = null;
let name = null;
let frame = null; // what the server told last
let paused = false;
let over = false; // the person has taken over by T
let wrong = false; // said since the last call
const held = new Set(); // arrow keys

// ---- the server ----------------------------------------------------------------------------------------------

const post = (path, body) => api.post(`/api/watch/${path}`, { run, annotator: name, ...body });

async function enter() {
  const reply = await api.post("/api/session", { token, annotator: readJson(tab, NAME, null) });
  token = null;
  const about = await api.get("/api/watch?annotator=-");
  run = about.run;
  setText($("run"), about.env);
  const known = reply?.person ?? about.person;
  if (known !== null) return start(known);
  if (readJson(tab, NAME, null) !== null) return start(readJson(tab, NAME, null));
  $("start").hidden = false;
  $("name").focus();
}

/** Calls again and again until it works: what is stored is stored once, since each call names the step that it saw. */
async function patiently(call) {
  for (;;) {
    try {
      const done = await call();
      setText($("notice-text"), "");
      return done;
    } catch (error) {
      setText($("notice-text"), why(error));
      if (!(error instanceof Unreachable)) throw error;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

function why(error) {
  if (error instanceof Faulty) return `The server cannot go on now (${error.message}). This page tries again by itself.`;
  if (error instanceof Unreachable) return "The server does not answer. This page tries again by itself.";
  if (error instanceof NoSession) return "This page needs the address with its token: open the one that pbrl printed.";
  if (error instanceof OtherRun) return "Something else is served here now: open the address that pbrl printed.";
  return error instanceof Refused ? `The server refused something: ${error.message}` : String(error);
}

async function start(who) {
  name = who;
  writeJson(tab, NAME, name);
  $("start").hidden = true;
  $("watch").hidden = false;
  show(await patiently(() => post("begin", {})));
  for (;;) {
    const since = performance.now();
    if (!paused && !document.hidden) await next();
    const left = 1000 * frame.frame_s - (performance.now() - since);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, left)));
  }
}

async function next() {
  const told = toldBy({ over, wrong, held, frame });
  wrong = false;
  show(await patiently(() => post("step", { episode: frame.episode, at: frame.step, ...told })), told);
}

async function end(path) {
  if (frame === null) return;
  const episode = frame.episode;
  show(await patiently(() => post(path, path === "end" ? { episode } : {})));
}

// ---- drawing -------------------------------------------------------------------------------------------------

function show(fresh, told = null) {
  if (frame !== null && fresh.episode !== frame.episode) over = false;
  frame = fresh;
  $("watch-picture").src = fresh.picture;
  $("watch-picture").dataset.step = fresh.step;
  $("watch-picture").dataset.who = told?.over ? "person" : "policy";
  setText($("watch-step"), `${fresh.step} / ${fresh.horizon}`);
  setText($("watch-episodes"), `${fresh.episodes}`);
  if (fresh.kept) setText($("said"), `Episode of ${fresh.kept} steps kept`);
  draw();
}

function draw() {
  const acts = pushOf(held, frame) !== null ? "you" : over ? "the expert" : "the policy";
  setText($("watch-who"), acts);
  $("watch-over").setAttribute("aria-pressed", String(over));
  $("watch-over").setAttribute("aria-disabled", String(!frame?.expert));
  setText($("watch-over").firstChild, over ? "Give back " : "Take over ");
  $("watch-pause").setAttribute("aria-pressed", String(paused));
  setText($("watch-pause").firstChild, paused ? "Go on " : "Pause ");
  $("watch-keys").hidden = !frame?.keys;
}

// ---- what the person says ------------------------------------------------------------------------------------

const actions = {
  over: () => { if (frame?.expert) over = !over; },
  wrong: () => {
    wrong = true;
    setText($("said"), `Said at step ${frame.step}: this is going wrong`);
    $("watch-picture").dataset.wrong = "yes";
    setTimeout(() => delete $("watch-picture").dataset.wrong, WRONG_MS);
  },
  pause: () => { paused = !paused; },
  next: () => end("end"),
  discard: () => end("begin"),
  theme: nextTheme,
};
const KEYS = { t: "over", w: "wrong", " ": "pause", n: "next", x: "discard" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT" || frame === null) return;
  if (event.key.startsWith("Arrow")) {
    event.preventDefault();
    held.add(event.key);
    return draw();
  }
  const action = KEYS[event.key.toLowerCase()];
  if (action === undefined || (event.key === " " && event.target.closest("button"))) return;
  event.preventDefault();
  if (!event.repeat) act(action);
});
document.addEventListener("keyup", (event) => {
  held.delete(event.key);
  draw();
});
window.addEventListener("blur", () => held.clear()); // the keys' release may never be told
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (button === null) return;
  if (event.detail > 0) button.blur(); // else the next Space would press it again
  act(button.dataset.action);
});

function act(action) {
  if (frame === null && action !== "theme") return;
  actions[action]();
  draw();
}

$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  start($("name").value.trim()).catch(() => {}); // the line above says why
});
drawTheme();
enter().catch((error) => setText($("notice-text"), why(error)));
