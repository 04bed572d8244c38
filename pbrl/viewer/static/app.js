/** Wires the page: server, pairs, player, keys, panels. */

import { Api, Faulty, NoSession, OtherRun, Refused, Unreachable, takeToken } from "./api.js";
import { Asker } from "./asker.js";
import { makeDesk } from "./desk.js";
import { $, readJson, safeStorage, saveAs, setText, writeJson } from "./dom.js";
import { HistoryDrawer } from "./history.js";
import { KeyGuard } from "./keys.js";
import { listen } from "./input.js";
import { layout, watchLayout } from "./layout.js";
import { LearnedPanel } from "./learned.js";
import { emptyState, notice, refusalOf } from "./states.js";
import { StudyPanel, inPlaces } from "./study.js";
import { drawTheme, nextTheme } from "./toggle.js";
import { drawEmpty, drawNotice, drawPerson, drawRun, drawSides, drawStrip, drawTitle, enableButtons, flash, offerNames } from "./view.js";

const POLL_MS = 1_000;
const HIDDEN_POLL_MS = 5_000;
const IDLE_MS = 120_000; // without a key or a touch, nobody is taken to be here
const RENEW_MS = 30_000; // a pair is kept for this page for two minutes
const NOBODY = "-"; // whose counts are asked for before the person has given a name
const MOVED = "pbrl.moved";
const PERSON = "pbrl.person";
const participant = new URLSearchParams(location.search).get("PROLIFIC_PID"); // who comes from Prolific

const api = new Api();
const guard = new KeyGuard();
const tab = safeStorage("sessionStorage");
const canPlay = document.createElement("video").canPlayType('video/mp4; codecs="avc1.64001f"') !== "";

let token = takeToken(location, history);
let person = readJson(tab, PERSON, null); // whose link this tab has opened; null: who is here types a name
let link = "connecting"; // "ok" | "down" | "nosession" | "otherrun"
let status = null;
let statusAt = 0; // when it came, performance.now()
let refused = null; // of what is no answer
let statusFault = null; // why the server could not say how things are
let moved = readJson(tab, MOVED, null); // the run that this tab showed before: {from, kept}
let desk = null; // what exists once the run is known
let started = false;
let ratio = 1; // of a clip
let activeAt = performance.now();

// ---- the server ----------------------------------------------------------------------------------------------

async function poll() {
  await look();
  setTimeout(poll, document.hidden ? HIDDEN_POLL_MS : POLL_MS);
}

/** Asks how things are. */
async function look() {
  try {
    if (link !== "ok") takePerson(await api.post("/api/session", { token, annotator: person }));
    takeStatus(await api.get(`/api/status?annotator=${encodeURIComponent(person ?? (desk?.who.name || NOBODY))}`));
    statusFault = null;
    if (link === "ok" && started) desk.pairs.fill();
  } catch (error) {
    if (error instanceof Faulty) statusFault = error.message;
    unreachable(error);
  }
  draw();
}

/** The server says whose link was opened. */
function takePerson(reply) {
  const before = person;
  person = reply?.person ?? null;
  writeJson(tab, PERSON, person);
  if (desk !== null && before !== person) location.reload(); // another person's link, in the same tab
}

function takeStatus(fresh) {
  if (desk !== null && desk.run !== fresh.run) return changeRun();
  const back = link !== "ok";
  link = "ok";
  status = fresh;
  statusAt = performance.now();
  if (desk === null) begin();
  desk.stage.holdS = status.hold_s;
  desk.cameras.names = status.cameras;
  if (started) study.told(fresh.study ?? null);
  if (back) desk.outbox.resume();
}

/** Another run took over the port: nothing that is here belongs to it. */
function changeRun() {
  link = "otherrun";
  desk.outbox.stopped = true;
  writeJson(tab, MOVED, { from: status.name ?? "the run of before", kept: kept() });
  location.reload();
}

/** Keeps what this page has from others, as long as somebody looks at it. */
function renew() {
  if (started && !document.hidden && performance.now() - activeAt < IDLE_MS) desk.pairs.renew();
}

/** Somebody is here. */
function touched() {
  const away = performance.now() - activeAt > IDLE_MS;
  activeAt = performance.now();
  if (away) renew();
}

/** The page closes: what it has, others may have at once. */
function giveBack() {
  if (!started || desk.pairs.holding.length === 0) return;
  const sent = new Set(desk.outbox.queries);
  const body = { annotator: desk.who.name, holding: desk.pairs.holding.filter((query) => !sent.has(query)), run: desk.run };
  api.post("/api/release", body, { keepalive: true }).catch(() => {}); // the leases end by themselves
}

function unreachable(error) {
  if (error instanceof NoSession) {
    link = "nosession";
    token = null; // of no use: from here on a cookie that another tab has got may do
  } else if (error instanceof OtherRun) link = "otherrun"; // the next status tells which
  else if (error instanceof Faulty) link = link === "down" ? "ok" : link; // it answers, and said what is wrong
  else if (error instanceof Unreachable) link = "down";
  else if (error instanceof Refused) refused = { text: `The server refused something: ${error.message}`, answers: false };
  else reportError(error); // ours: errors.js shows it
  draw();
}

function acknowledged(entry, reply) {
  refused = null;
  if (entry.path === "/api/undo") desk?.labeller.takenBack(entry.body.id, reply.pair);
  if (reply?.study) study.told(reply.study);
  if (reply?.mine && status !== null) status = { ...status, labels: reply.labels, mine: reply.mine };
  draw();
}

function dismiss() {
  if (refusal() !== null) {
    refused = null;
    desk.outbox.dismiss();
  } else {
    moved = null;
    writeJson(tab, MOVED, null);
  }
  draw();
}

// ---- the person ----------------------------------------------------------------------------------------------

function begin() {
  desk = makeDesk({
    run: status.run, api, guard,
    on: { acknowledged, failed: unreachable, shown, changed: draw, line: drawLine },
  });
  drawRun(status);
  drawPerson(person);
  $("name").value = person ?? ""; // also where the browser remembers what was in it: somebody else may sit here now
  offerNames(desk.who.offered);
  desk.outbox.kick();
  const known = person ?? (status.study?.prolific ? participant : null); // then nobody is asked for a name
  if (status.study && known !== null) desk.who.take(known);
  if (desk.who.isHere(person)) return start();
  if (status.study?.prolific) return study.told({ ...status.study, stage: "unknown" });
  draw();
  (person === null ? $("name") : $("start-button")).focus();
}

function start() {
  started = true;
  if (status.study) look(); // where this person is
  desk.labeller.advance();
  desk.pairs.fill(desk.known).then(() => desk.pairs.renew()); // known ones may have been answered meanwhile
  draw();
}

function shown() {
  const { videoWidth, videoHeight } = desk.stage.firstVideo;
  ratio = videoWidth / videoHeight;
  $("stage").style.setProperty("--ratio", ratio);
  fitLayout();
  asker.show(desk.labeller.current.pair);
  desk.cameras.keep();
  draw();
}

/** Whether the question on show may be answered yet. */
const watched = () => !study.fullPlay || desk?.labeller.current?.playedAt != null;

function give(choice, how) {
  if (choice === "skip" ? !study.noSkip : watched()) return desk.labeller.answer(choice, { ...how, tags: [...asker.chosen] });
  if (choice !== "skip") setText($("said"), "Watch the clips to their end first");
  return false;
}

const study = new StudyPanel({
  take: (step) => desk.post("/api/study", { annotator: desk.who.name, step }).then((reply) => reply.study, (error) => {
    if (!(error instanceof Refused)) unreachable(error); // the panel is pressed again
    return study.study;
  }),
  kept: () => kept(),
  changed: () => {
    desk.labeller.suspend("study", study.covers);
    if (!study.covers) desk.pairs.fill();
    draw();
  },
});
const answer = (choice) => ({ strength, keyAt }) => give(choice, { strength, keyAt });
const asker = new Asker({ answer: give, stage: { get frame() { return desk.stage.frame; }, get grid() { return desk.stage.grid; } }, tags: () => status?.tags ?? [] });

/** What each action does: (how: {strength, keyAt}) => void. */
const actions = {
  left: answer("left"), right: answer("right"), equal: answer("equal"),
  incomparable: answer("incomparable"), skip: answer("skip"),
  undo: ({ keyAt }) => desk.labeller.undo(keyAt),
  pause: () => desk.stage.toggle(),
  restart: () => desk.stage.restart(),
  stepBack: () => desk.stage.step(-1),
  stepForward: () => desk.stage.step(1),
  slower: () => desk.stage.changeSpeed(-1),
  faster: () => desk.stage.changeSpeed(1),
  swap: () => desk.labeller.flip(),
  camera: () => desk.cameras.next(),
  leave: () => desk.labeller.leaveReview(),
  history: () => toggle(historyDrawer),
  help: () => toggle({ dialog: $("help"), open: () => $("help").showModal() }),
  learned: () => toggle(learnedPanel),
  theme: nextTheme,
  more: () => $("more").setAttribute("aria-expanded", $("more").parentElement.classList.toggle("open")),
  dismiss,
  sendAgain: () => desk.outbox.sendAgain(),
  saveRefused: () => saveAs(`pbrl-answers-${desk.run.slice(0, 8)}.json`, desk.outbox.refused.map(({ path, body, error }) => ({ path, body, error }))),
  continue: () => desk.post("/api/continue", {}).then(() => setText($("said"), "Training goes on"), (error) => {
    if (error instanceof OtherRun) setText($("said"), error.message); // or just too late: training does not wait any more
    else unreachable(error);
  }),
};
const PAIR_ONLY = new Set(["left", "right", "equal", "incomparable", "swap"]);
const NEEDS_PAIR = new Set(["digit", "confirm", "mark", "tag", "left", "right", "equal", "incomparable", "skip", "pause", "restart", "stepBack",
  "stepForward", "slower", "faster", "swap", "camera"]);

/** Does one action if it means anything now. Returns whether it did. */
function act(name, how = {}) {
  if (desk === null && !["theme", "help", "more"].includes(name)) return false;
  if (NEEDS_PAIR.has(name) && (desk.labeller.current === null || study.covers)) return false;
  if (name === "leave" && !desk.labeller.current?.review) return false;
  if ((name === "undo" || name === "history") && (!started || study.covers)) return false;
  if (dispatch(name, how)) return true;
  if (actions[name] === undefined || (asker.isOther && PAIR_ONLY.has(name))) return false;
  flash(name, how.strength);
  actions[name](how);
  return true;
}

/** Whether the question on show takes this action in its own way. */
function dispatch(name, how) {
  if (desk?.labeller.current == null) return false;
  return name === "tag" ? asker.tag(how.digit) : asker.takes(name, how);
}

function toggle(panel) {
  if (panel.dialog.open) panel.dialog.close();
  else {
    panel.open();
    desk?.labeller.suspend("dialog", true);
  }
}

const historyDrawer = new HistoryDrawer({
  fetch: (n) => api.get(`/api/history?annotator=${encodeURIComponent(desk.who.name)}&n=${n}`),
  local: () => desk.labeller,
  choose: (entry) => desk.labeller.review(entry),
});
const learnedPanel = new LearnedPanel({ fetch: () => api.get("/api/learned") });

// ---- drawing -------------------------------------------------------------------------------------------------

function draw() {
  const current = desk?.labeller.current ?? null;
  study.draw();
  $("start").hidden = !(desk !== null && !started && canPlay && !status.owner && study.id !== "unknown");
  $("work").hidden = !$("start").hidden || !$("study").hidden;
  document.documentElement.dataset.view = $("work").hidden ? "start" : "work";
  if (status !== null) {
    drawStrip({ ...status, study: study.study ?? status.study }, { answers: desk?.labeller.times.length ?? 0, times: desk?.labeller.times ?? [] });
    $("learned-button").hidden = !status.learned;
  }
  const loading = desk !== null && (desk.labeller.advancing || (status?.ready > 0 && !desk.pairs.starved));
  const trouble = desk?.pairs.trouble?.cause === "clips" ? desk.pairs.trouble.text : null;
  const state = { link, status, kept: kept(), canPlay, loading, fault: fault(), trouble };
  drawEmpty(current !== null && canPlay ? null : emptyState(state));
  if (current === null && asker.card !== null) asker.show(null);
  const asked = current?.pair.question ?? status?.question ?? "";
  setText($("question"), `${current?.pair.practice ? "Practice: " : ""}${inPlaces(asked, layout())}`);
  $("question").classList.toggle("unasked", current === null);
  enableButtons(current !== null, started && (desk?.labeller.given.length ?? 0) > 0, watched());
  drawLine();
}

function drawLine() {
  const ageS = (performance.now() - statusAt) / 1000;
  const review = desk?.labeller?.current?.review ?? null;
  const empty = desk?.labeller?.current == null && started;
  const stuck = desk?.outbox?.stuck ?? null;
  const answers = { kept: kept(), stuck, unsaved: desk?.outbox?.unsaved ?? 0, refused: refusal(), fault: fault() };
  const line = notice({ link, status, ageS, moved, name: desk?.who.name, reviewing: review, empty, way: layout(), ...answers });
  if (line?.id === "waiting" && $("notice").dataset.id !== "waiting") setText($("said"), "Training is waiting for you");
  drawNotice(line, { reviewing: review !== null });
  drawTitle(status, ageS);
}

const kept = () => desk?.outbox?.size ?? 0;
const refusal = () => refusalOf(desk?.outbox?.refused ?? []) ?? refused;
const fault = () => statusFault ?? (desk?.pairs?.trouble?.cause === "server" ? desk.pairs.trouble.text : null);

// ---- start ---------------------------------------------------------------------------------------------------

listen({ act, guard, slight: () => status?.slight ?? false, covering: () => [$("start"), $("study")].find((card) => !card.hidden) ?? null });
$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  desk.who.take(person ?? $("name").value);
  start();
});
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("close", () => desk?.labeller.suspend("dialog", false));
}
$("scrub").addEventListener("input", () => desk?.stage.seek(Number($("scrub").value)));
document.addEventListener("visibilitychange", () => {
  desk?.labeller.suspend("hidden", document.hidden);
  if (!document.hidden) renew(); // a hidden tab's timers hardly run
});
for (const event of ["keydown", "pointerdown", "pointermove"]) {
  document.addEventListener(event, touched, { capture: true, passive: true });
}
window.addEventListener("pagehide", giveBack);
window.addEventListener("pageshow", (event) => event.persisted && renew());
window.addEventListener("beforeunload", (event) => {
  if (desk?.outbox.unsaved > 0) event.preventDefault(); // the browser asks whether to leave
});
window.addEventListener("online", () => desk?.outbox.kick());
window.addEventListener("hashchange", () => {
  token = takeToken(location, history) ?? token;
  if (token !== null) link = "connecting"; // it may be another person's
});
const fitLayout = watchLayout({
  ratio: () => ratio,
  changed: () => {
    drawSides();
    if (status !== null) drawRun(status);
    desk?.player.decks.forEach((deck) => deck.name());
  },
});
setInterval(() => {
  drawLine();
  study.draw(); // a break's time runs
}, 500);
setInterval(renew, RENEW_MS);
drawTheme();
fitLayout();
draw();
poll();
