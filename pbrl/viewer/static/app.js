/** Wires the page: server, pairs, player, keys, panels. */

import { Api, NoSession, Refused, Unreachable, takeToken } from "./api.js";
import { Cameras } from "./camera.js";
import { $, readJson, safeStorage, setText, writeJson } from "./dom.js";
import { HistoryDrawer } from "./history.js";
import { KeyGuard } from "./keys.js";
import { listen } from "./input.js";
import { Labeller } from "./labeller.js";
import { LearnedPanel } from "./learned.js";
import { Player } from "./player.js";
import { ClipStore, Outbox, PairQueue } from "./queue.js";
import { emptyState, notice } from "./states.js";
import { drawTheme, nextTheme } from "./toggle.js";
import { recordTiming } from "./timings.js";
import { drawEmpty, drawFrame, drawNotice, drawPlayer, drawStrip, drawTitle, enableButtons, fillKeys, flash } from "./view.js";

const POLL_MS = 1_000;
const HIDDEN_POLL_MS = 5_000;
const SHOW_LEARNED_AFTER = 30; // answers: enough for the reward to have something to show

const api = new Api();
const guard = new KeyGuard();
const canPlay = document.createElement("video").canPlayType('video/mp4; codecs="avc1.64001f"') !== "";

let token = takeToken(location, history);
let link = "connecting"; // "ok" | "down" | "nosession"
let status = null;
let statusAt = 0; // when it came, performance.now()
let refused = null;
let desk = null; // what exists once the run is known: {run, outbox, pairs, player, labeller, cameras}
let started = false;

const annotator = () => localName() || "me";

function localName() {
  return readJson(safeStorage(), "pbrl.annotator", "");
}

/** Everything that belongs to one run; made when its name is known, so that nothing kept for another is used. */
function makeDesk(run) {
  const memoryKey = `pbrl.session.${run}`;
  const outbox = new Outbox({
    run, storage: safeStorage(), post: (path, body) => api.post(path, body),
    on: { acknowledged, refused: (entry, error) => refusedAnswer(error), changed: drawLine },
  });
  const clips = new ClipStore({ load: (hash) => api.clip(hash) });
  const pairs = new PairQueue({
    clips, on: { failed: unreachable },
    next: async (n, holding) => (await api.post("/api/next", { annotator: annotator(), n, holding })).pairs,
    heldElsewhere: () => [...outbox.queries, ...(labeller.current === null ? [] : [labeller.current.pair.query])],
  });
  const player = new Player([...document.querySelectorAll(".deck")], {
    on: {
      frame: (frame, frames) => drawFrame(frame, frames, player.active.pair?.fps ?? 1),
      state: drawPlayer,
      loop: (turning) => $("stage").classList.toggle("turning", turning),
      played: () => labeller.played(),
    },
  });
  const labeller = new Labeller({
    outbox, pairs, clips, player, guard, annotator,
    memory: { load: () => readJson(sessionStorage, memoryKey, {}), save: (s) => writeJson(sessionStorage, memoryKey, s) },
    on: { shown, empty: draw, said: (text) => setText($("said"), text), changed: draw, timed: (keyAt) => recordTiming(keyAt, player.active.videos.left) },
  });
  const cameras = new Cameras({ post: (path, body) => api.post(path, body), labeller, say: (t) => setText($("said"), t) });
  return { run, outbox, pairs, player, labeller, cameras, known: readJson(sessionStorage, memoryKey, {}).known ?? [] };
}

// ---- the server ----------------------------------------------------------------------------------------------

async function poll() {
  try {
    if (link !== "ok") await openSession();
    takeStatus(await api.get(`/api/status?annotator=${encodeURIComponent(annotator())}`));
  } catch (error) {
    unreachable(error);
  }
  if (desk !== null && started) desk.pairs.fill();
  draw();
  setTimeout(poll, document.hidden ? HIDDEN_POLL_MS : POLL_MS);
}

async function openSession() {
  await api.post("/api/session", { token });
}

function takeStatus(fresh) {
  const back = link !== "ok";
  link = "ok";
  status = fresh;
  statusAt = performance.now();
  if (desk !== null && desk.run !== status.run) return location.reload(); // another run took over the port
  if (desk === null) begin();
  desk.player.holdS = status.hold_s;
  desk.cameras.names = status.cameras;
  if (back) desk.outbox.kick();
}

function unreachable(error) {
  if (error instanceof NoSession) {
    link = "nosession";
    token = null; // of no use: from here on a cookie that another tab has got may do
  }
  else if (error instanceof Unreachable) link = "down";
  else if (error instanceof Refused) refusedAnswer(error);
  else console.error(error);
  draw();
}

function acknowledged(entry, reply) {
  refused = null;
  if (entry.path === "/api/undo") desk?.labeller.takenBack(reply?.pair ?? null);
  if (reply && "labels" in reply && status !== null) status = { ...status, labels: reply.labels, mine: reply.mine };
  draw();
}

function refusedAnswer(error) {
  refused = `The server refused something: ${error.message}`;
  draw();
}

// ---- the person ----------------------------------------------------------------------------------------------

function begin() {
  desk = makeDesk(status.run);
  fillKeys($("start-keys"), { slight: status.slight, cameras: status.cameras.length });
  fillKeys($("help-keys"), { slight: status.slight, cameras: status.cameras.length });
  for (const id of ["start-instructions", "help-instructions"]) setText($(id), status.instructions);
  for (const id of ["start-question", "question"]) setText($(id), status.question);
  for (const button of document.querySelectorAll("[data-strength]")) button.hidden = !status.slight;
  $("camera").hidden = status.cameras.length < 2;
  $("name").value = annotator();
  desk.outbox.kick();
  if (readJson(sessionStorage, `pbrl.started.${desk.run}`, false)) return start();
  draw();
  $("name").focus();
  $("name").select();
}

function start() {
  writeJson(safeStorage(), "pbrl.annotator", $("name").value.trim() || "me");
  writeJson(sessionStorage, `pbrl.started.${desk.run}`, true);
  started = true;
  desk.labeller.advance();
  desk.pairs.fill(desk.known);
  draw();
}

function shown() {
  const { videoWidth, videoHeight } = desk.player.active.videos.left;
  $("stage").style.setProperty("--ratio", videoWidth / videoHeight);
  draw();
  const key = `pbrl.learned.${desk.run}`;
  if (!status?.learned || desk.labeller.times.length < SHOW_LEARNED_AFTER || readJson(sessionStorage, key, false)) return;
  writeJson(sessionStorage, key, true);
  actions.learned();
}

const answer = (choice) => ({ strength, keyAt }) => desk.labeller.answer(choice, { strength, keyAt });

/** What each action does: (how: {strength, keyAt}) => void. */
const actions = {
  left: answer("left"), right: answer("right"), equal: answer("equal"),
  incomparable: answer("incomparable"), skip: answer("skip"),
  undo: ({ keyAt }) => desk.labeller.undo(keyAt),
  pause: () => desk.player.toggle(),
  restart: () => desk.player.restart(),
  stepBack: () => desk.player.step(-1),
  stepForward: () => desk.player.step(1),
  slower: () => desk.player.changeSpeed(-1),
  faster: () => desk.player.changeSpeed(1),
  swap: () => desk.labeller.flip(),
  camera: () => desk.cameras.next(),
  leave: () => desk.labeller.leaveReview(),
  history: () => toggle(historyDrawer),
  help: () => toggle({ dialog: $("help"), open: () => $("help").showModal() }),
  learned: () => toggle(learnedPanel),
  theme: nextTheme,
  continue: () => api.post("/api/continue", {}).then(() => setText($("said"), "Training goes on"), unreachable),
};
const NEEDS_PAIR = new Set(["left", "right", "equal", "incomparable", "skip", "pause", "restart", "stepBack",
  "stepForward", "slower", "faster", "swap", "camera"]);

/** Does one action if it means anything now. Returns whether it did. */
function act(name, how = {}) {
  if (desk === null && name !== "theme" && name !== "help") return false;
  if (NEEDS_PAIR.has(name) && desk.labeller.current === null) return false;
  if (name === "leave" && !desk.labeller.current?.review) return false;
  if ((name === "undo" || name === "history") && !started) return false;
  flash(name, how.strength);
  actions[name](how);
  return true;
}

function toggle(panel) {
  if (panel.dialog.open) panel.dialog.close();
  else {
    panel.open();
    desk?.labeller.suspend("dialog", true);
  }
}

const historyDrawer = new HistoryDrawer({
  fetch: (n) => api.get(`/api/history?annotator=${encodeURIComponent(annotator())}&n=${n}`),
  local: () => desk.labeller,
  choose: (entry) => desk.labeller.review(entry),
});
const learnedPanel = new LearnedPanel({ fetch: () => api.get("/api/learned") });

// ---- drawing -------------------------------------------------------------------------------------------------

function draw() {
  const current = desk?.labeller.current ?? null;
  $("start").hidden = !(desk !== null && !started && canPlay);
  $("work").hidden = !$("start").hidden;
  if (status !== null) {
    drawStrip(status, { answers: desk?.labeller.times.length ?? 0, times: desk?.labeller.times ?? [] });
    $("learned-button").hidden = !status.learned;
  }
  const loading = desk !== null && (desk.labeller.advancing || (status?.ready > 0 && !desk.pairs.starved));
  drawEmpty(current !== null && canPlay ? null : emptyState({ link, status, kept: kept(), canPlay, loading }));
  $("question").classList.toggle("unasked", current === null);
  enableButtons(current !== null, started && (desk?.labeller.given.length ?? 0) > 0);
  drawLine();
}

function drawLine() {
  const ageS = (performance.now() - statusAt) / 1000;
  const review = desk?.labeller?.current?.review ?? null;
  const empty = desk?.labeller?.current == null && started;
  const line = notice({ link, status, kept: kept(), ageS, refused, reviewing: review, empty });
  if (line?.id === "waiting" && $("notice").dataset.id !== "waiting") setText($("said"), "Training is waiting for you");
  drawNotice(line, { reviewing: review !== null });
  drawTitle(status, ageS);
}

function kept() {
  return desk?.outbox?.size ?? 0;
}

// ---- start ---------------------------------------------------------------------------------------------------

listen({ act, guard, slight: () => status?.slight ?? false, starting: () => !$("start").hidden });
$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("close", () => desk?.labeller.suspend("dialog", false));
}
$("scrub").addEventListener("input", () => desk?.player.seek(Number($("scrub").value)));
document.addEventListener("visibilitychange", () => desk?.labeller.suspend("hidden", document.hidden));
window.addEventListener("online", () => desk?.outbox.kick());
window.addEventListener("hashchange", () => {
  token = takeToken(location, history) ?? token;
});
setInterval(drawLine, 500);
drawTheme();
draw();
poll();
