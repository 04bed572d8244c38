import assert from "node:assert/strict";
import { test } from "node:test";

import { inPlaces, panelOf } from "../../../pbrl/viewer/static/study.js";
import { strip } from "../../../pbrl/viewer/static/states.js";

const study = (more) => ({ stage: "questions", done: 3, quota: 60, full_play: true, skip: false, ...more });

test("nothing stands over the clips while questions are asked", () => {
  assert.equal(panelOf(study()), null);
  assert.equal(panelOf(study({ stage: "practice" })), null);
  assert.equal(panelOf(null), null);
});

test("a break ends no sooner than it should", () => {
  const rest = study({ stage: "break", rest_s: 30 });
  assert.match(panelOf(rest, { ageS: 0.2 }).text, /3 of 60 questions.*in 0:30/);
  assert.equal(panelOf(rest, { ageS: 29 }).wait, true);
  assert.equal(panelOf(rest, { ageS: 30 }).wait, false);
});

test("the code is shown once every answer is stored", () => {
  const done = study({ stage: "done", code: "C1", url: "https://example.org" });
  assert.deepEqual([panelOf(done).code, panelOf(done).url], ["C1", "https://example.org"]);
  const waiting = panelOf(done, { kept: 2 });
  assert.deepEqual([waiting.code, waiting.url], [null, null]);
  assert.match(waiting.text, /2 answers are not stored yet/);
});

test("what practice tells names the side as it was on the screen, and stands before anything else", () => {
  const wrong = { right: false, side: "left", text: "It falls." };
  assert.equal(panelOf(study(), { feedback: wrong }).text, "Left was better. This pair comes once more.\nIt falls.");
  assert.match(panelOf(study(), { feedback: wrong, way: "column" }).text, /^Top was better/);
  assert.equal(panelOf(study(), { feedback: { right: true, side: "right", text: "" } }).text, "Right was better.");
  assert.match(panelOf(study(), { feedback: { ...wrong, side: "equal" } }).text, /^Both are equally good/);
});

test("sides in a text are called as the layout has them", () => {
  assert.equal(inPlaces("answer {left} or {right}, {up}", "row"), "answer Left or Right, {up}");
  assert.equal(inPlaces("{right}", "column"), "Bottom");
});

test("a study's strip says how far one is, and nothing of the run", () => {
  const facts = strip({ study: study(), budget: 100, spent: 1, labels: 7, open: 0, ready: 0 }, { answers: 9, times: [] });
  assert.deepEqual(facts, { mine: "3 / 60", labels: null, rate: null, eta: null, queue: null, steps: null, share: 0.05 });
});
