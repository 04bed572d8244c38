import assert from "node:assert/strict";
import { test } from "node:test";

import { countdown, emptyState, inWords, mergeHistory, notice, ratePerMinute, refusalOf, strip } from "../../../pbrl/viewer/static/states.js";

const status = (more = {}) => ({
  mode: "async", trainer: "training", env_steps: 1200, steps: 5000, next_questions_at: 2000, budget: 100, spent: 40, labels: 30, open: 0,
  ready: 0, can_continue: false, waiting_s: null, timeout_s: null, renderer: { state: "ok", message: null }, ...more,
});
const empty = (more, rest = {}) => emptyState({ link: "ok", status: status(more), ...rest });

test("one answer every four seconds is fifteen a minute, and a long break does not count in full", () => {
  const steady = Array.from({ length: 10 }, (_, i) => 4 * i);
  assert.equal(ratePerMinute(steady), 15);
  assert.equal(ratePerMinute([0, 5]), null);
  assert.equal(ratePerMinute([0, 3600, 7200]), 1);
});

test("the strip: sixty questions to go at fifteen a minute take four minutes, whatever became labels", () => {
  const times = Array.from({ length: 10 }, (_, i) => 4 * i);
  const facts = strip(status(), { answers: 10, times });
  assert.deepEqual(facts, {
    mine: "10", labels: "30 labels · 40 / 100", rate: "15", eta: "4 min", queue: "0 / 0", steps: "1,200 / 5,000", share: 0.4,
  });
  const none = strip(status({ budget: null, spent: null }), { answers: 0, times });
  assert.deepEqual([none.eta, none.labels, none.share], [null, "30", 0]);
  const blind = strip(status({ budget: null, spent: null, labels: null, env_steps: null, steps: null }), { answers: 10, times });
  assert.deepEqual([blind.mine, blind.rate, blind.eta, blind.labels, blind.steps], ["10", "15", null, null, null]);
  const asked = strip(status({ budget: 6, spent: 6, labels: 5, open: 3 }), { answers: 0, times }); // three still wait
  assert.deepEqual([asked.labels, asked.share, asked.eta], ["5 labels · 6 / 6", 1, "12 s"]);
  assert.equal(strip(status({ budget: 6, spent: 6, labels: 5 }), { answers: 0, times }).eta, "done");
});

test("every empty state is told apart", () => {
  const id = (more, rest) => empty(more, rest).id;
  assert.equal(emptyState({ link: "connecting", status: null }).id, "connecting");
  assert.equal(id({ trainer: "collecting" }), "collecting");
  assert.equal(id({ open: 4 }), "drawing");
  assert.equal(id({ open: 4, ready: 4 }, { loading: true }), "loading");
  assert.equal(id({ open: 4, ready: 4 }), "elsewhere");
  assert.equal(id({}), "answered");
  assert.equal(id({ labels: 100 }), "answered"); // imported ones cost nothing
  assert.equal(id({ labels: 90, spent: 100, done: true }), "spent");
  assert.equal(id({ labels: null, spent: null, budget: null, done: true }), "spent");
  assert.equal(id({ spent: 100, done: true, open: 1 }), "drawing");
  assert.equal(id({}, { link: "otherrun" }), "otherrun");
  for (const trainer of ["finished", "interrupted", "stopped"]) assert.equal(id({ trainer }), "ended");
  assert.equal(id({ mode: "labels only", trainer: "stopped" }), "answered");
  assert.equal(id({ open: 2, renderer: { state: "failed", message: "no OpenGL" } }), "renderer");
  assert.equal(id({}, { link: "down" }), "offline");
  assert.equal(id({}, { link: "nosession" }), "nosession");
  assert.equal(id({}, { canPlay: false }), "codec");
});

test("an empty state says what comes next", () => {
  assert.match(empty({ trainer: "collecting" }).text, /at step 2,000 \(now at 1,200\)/);
  assert.match(empty({ trainer: "collecting", next_questions_at: null }).text, /as soon as/);
  for (const link of ["down", "otherrun"]) assert.match(empty({}, { link, kept: 3 }).text, /3 answers are kept/);
  assert.match(empty({ open: 2, renderer: { state: "failed", message: "no OpenGL" } }).text, /no OpenGL/);
});

test("waiting training counts down to the moment it goes on", () => {
  const waiting = status({ trainer: "waiting", open: 5, waiting_s: 30, timeout_s: 120, can_continue: true });
  const line = notice({ link: "ok", status: waiting, ageS: 2 });
  assert.match(line.text, /waiting for you: 5 questions left.*1:28/);
  assert.ok(line.goOn);
  assert.equal(countdown(59.2), "1:00");
  assert.match(notice({ link: "ok", status: { ...waiting, timeout_s: null } }).text, /5 questions left\.$/);
});

test("what has gone wrong comes before what is usual", () => {
  const waiting = status({ trainer: "waiting", open: 5 });
  assert.equal(notice({ link: "down", status: waiting, kept: 2 }).id, "offline");
  assert.equal(notice({ link: "ok", status: waiting, refused: { text: "no", answers: true } }).id, "refused");
  assert.equal(notice({ link: "ok", status: status({ trainer: "stopped", open: 3 }) }).id, "ended");
  assert.equal(notice({ link: "ok", status: status() }), null);
  assert.equal(notice({ link: "down", status: waiting, reviewing: { choice: "left" } }).id, "review");
});

test("a refusal, another run and answers that do not get through are told", () => {
  const entry = (path) => ({ path, error: "no such query" });
  assert.equal(refusalOf([]), null);
  assert.match(refusalOf([entry("/api/answer"), entry("/api/answer")]).text, /refused 2 answers: no such query\. Kept in this browser/);
  assert.equal(refusalOf([entry("/api/undo")]).text, "The server refused 1 undo: no such query.");
  const refused = notice({ link: "down", status: status(), kept: 2, refused: { text: "no", answers: true } });
  assert.deepEqual([refused.id, refused.text, refused.dismiss, refused.again], ["refused", "no", true, true]); // stays over an outage
  assert.match(notice({ link: "otherrun", status: status(), kept: 1 }).text, /Another run is served here now\. 1 answer is kept/);
  const moved = notice({ link: "ok", status: status(), moved: { from: "runs/a", kept: 2 } });
  assert.ok(moved.dismiss && /no longer runs\/a\. 2 answers are kept/.test(moved.text), moved.text);
  const stuck = notice({ link: "ok", status: status(), kept: 2, stuck: "too large" });
  assert.match(stuck.text, /2 answers are kept.*\(too large\)/);
  assert.equal(notice({ link: "ok", status: status(), stuck: "too large" }), null); // nothing waits
});

test("answers in words", () => {
  assert.equal(inWords("left", "slight"), "left is slightly better");
  assert.equal(inWords("equal", "slight"), "equally good");
});

test("the history joins both sides' answers, newest first, without what was taken back or replaced", () => {
  const entry = (id, query, at) => ({ id, query, answered_at: at, pair: { repeat: null } });
  const server = [entry("c", 3, 30), entry("b", 2, 20), entry("a", 1, 10)];
  const local = [entry("c", 3, 30), entry("d", 1, 40)]; // d changes a
  const merged = mergeHistory(server, local, new Set(["b"]));
  assert.deepEqual(merged.map((e) => e.id), ["d", "c"]);
});

test("a fault is named wherever there is nothing else to see, and never called loading", () => {
  const fault = "labels.sqlite: database or disk is full";
  for (const rest of [{ status: null }, { loading: true }, { status: status({ open: 4, ready: 4 }) }]) {
    const state = emptyState({ link: "ok", status: status({ open: 4 }), fault, kept: 2, ...rest });
    assert.equal(state.id, "fault");
    assert.match(state.text, /disk is full.*\n2 answers are kept in this browser/);
  }
  assert.equal(emptyState({ link: "ok", status: status({ open: 4, ready: 4 }), loading: true, trouble: "no such clip" }).id, "trouble");
  assert.match(notice({ link: "ok", status: status(), fault, kept: 1 }).text, /disk is full.*1 answer is kept/);
  assert.equal(notice({ link: "ok", status: status(), fault, empty: true }), null); // the panel says it
  assert.match(notice({ link: "ok", status: status(), unsaved: 1 }).text, /Leave this page open: 1 answer/);
});
