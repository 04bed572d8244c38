/** Wires the page: server, pairs, player, keys, panels. */

import { makeActions } from "./actions.js";
import { Api, Refused } from "./api.js";
import { Asker } from "./asker.js";
import { Connection } from "./connection.js";
import { makeDesk } from "./desk.js";
import { $, safeStorage, setText } from "./dom.js";
import { draw as drawPage, drawLine as drawPageLine } from "./drawing.js";
import { listen } from "./input.js";
import { KeyGuard } from "./keys.js";
import { watchLayout } from "./layout.js";
import { watchPresence } from "./presence.js";
import { StudyPanel } from "./study.js";
import { drawTheme } from "./toggle.js";
import { drawPerson, drawRun, drawSides, offerNames } from "./view.js";

const participant = new URLSearchParams(location.search).get("PROLIFIC_PID"); // who comes from Prolific
const api = new Api();
const guard = new KeyGuard();
const page = {
  desk: null, // what exists once the run is known
  started: false,
  study: null,
  asker: null,
};
const connection = new Connection({ api, page, tab: safeStorage("sessionStorage"), on: { begin, draw } });
let ratio = 1; // of a clip

page.study = new StudyPanel({
  take: (step) => page.desk.post("/api/study", { annotator: page.desk.who.name, step }).then((reply) => reply.study, (error) => {
    if (!(error instanceof Refused)) connection.unreachable(error); // the panel is pressed again
    return page.study.study;
  }),
  kept: () => connection.kept,
  changed: () => {
    page.desk.labeller.suspend("study", page.study.covers);
    if (!page.study.covers) page.desk.pairs.fill();
    draw();
  },
});
page.asker = new Asker({
  answer: give,
  stage: { get frame() { return page.desk.stage.frame; }, get grid() { return page.desk.stage.grid; } },
  tags: () => connection.status?.tags ?? [],
});

// ---- the person ----------------------------------------------------------------------------------------------

/** The run is known now. */
function begin() {
  const { status, person } = connection;
  const desk = (page.desk = makeDesk({
    run: status.run, api, guard,
    on: {
      acknowledged: (entry, reply) => connection.acknowledged(entry, reply),
      failed: (error) => connection.unreachable(error),
      shown, changed: draw, line: drawLine,
    },
  }));
  drawRun(status);
  drawPerson(person);
  $("name").value = person ?? ""; // also where the browser remembers what was in it: somebody else may sit here now
  offerNames(desk.who.offered);
  desk.outbox.kick();
  const known = person ?? (status.study?.prolific ? participant : null); // then nobody is asked for a name
  if (status.study && known !== null) desk.who.take(known);
  if (desk.who.isHere(person)) return start();
  if (status.study?.prolific) return page.study.told({ ...status.study, stage: "unknown" });
  draw();
  (person === null ? $("name") : $("start-button")).focus();
}

function start() {
  const { desk } = page;
  page.started = true;
  if (connection.status.study) connection.look(); // where this person is
  desk.labeller.advance();
  desk.pairs.fill(desk.known).then(() => desk.pairs.renew()); // known ones may have been answered meanwhile
  draw();
}

function shown() {
  const { videoWidth, videoHeight } = page.desk.stage.firstVideo;
  ratio = videoWidth / videoHeight;
  $("stage").style.setProperty("--ratio", ratio);
  fitLayout();
  page.asker.show(page.desk.labeller.current.pair);
  page.desk.cameras.keep();
  draw();
}

/** Whether the question on show may be answered yet. */
function watched() {
  return !page.study.fullPlay || page.desk?.labeller.current?.playedAt != null;
}

function give(choice, how) {
  if (choice === "skip" ? !page.study.noSkip : watched()) {
    return page.desk.labeller.answer(choice, { ...how, tags: [...page.asker.chosen] });
  }
  if (choice !== "skip") setText($("said"), "Watch the clips to their end first");
  return false;
}

function draw() {
  drawPage({ page, connection, watched });
}

function drawLine() {
  drawPageLine({ page, connection });
}

// ---- start ---------------------------------------------------------------------------------------------------

listen({
  act: makeActions({ page, api, connection, give }), guard,
  slight: () => connection.status?.slight ?? false,
  covering: () => [$("start"), $("study")].find((card) => !card.hidden) ?? null,
});
watchPresence({ page, api });
$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  page.desk.who.take(connection.person ?? $("name").value);
  start();
});
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("close", () => page.desk?.labeller.suspend("dialog", false));
}
$("scrub").addEventListener("input", () => page.desk?.stage.seek(Number($("scrub").value)));
const fitLayout = watchLayout({
  ratio: () => ratio,
  changed: () => {
    drawSides();
    if (connection.status !== null) drawRun(connection.status);
    page.desk?.player.decks.forEach((deck) => deck.name());
  },
});
setInterval(() => {
  drawLine();
  page.study.draw(); // a break's time runs
}, 500);
drawTheme();
fitLayout();
draw();
connection.poll();
