import assert from "node:assert/strict";
import { test } from "node:test";

import { begin, gridOf, press, progress, said, steps } from "../../../pbrl/viewer/static/kinds.js";

const items = (k) => Array.from({ length: k }, () => ({ clip: "c", frames: 5 }));
const choice = (wanted, k = 4) => ({ kind: "choice", wanted, items: items(k), places: [...Array(k).keys()] });

/** Presses number keys until the answer is complete. */
function type(card, digits) {
  let state = begin(card);
  for (const digit of digits) {
    const done = press(card, state, { name: "digit", digit });
    if (done?.value) return done.value;
    if (done !== null) state = done.state;
  }
  return state.picks;
}

test("a ranking is complete once all but one are named", () => {
  assert.deepEqual(type(choice("ranking"), [3, 1, 4]), [2, 0, 3, 1]);
  assert.deepEqual(type(choice("ranking", 6), [6, 5, 4, 3, 2]), [5, 4, 3, 2, 1, 0]);
  assert.deepEqual(type(choice("best"), [2]), [1]);
  assert.deepEqual(type(choice("best_and_worst"), [4, 1]), [3, 0]);
});

test("a second press takes a choice back, and numbers without a clip mean nothing", () => {
  assert.deepEqual(type(choice("ranking"), [3, 9, 0, 3]), []);
  const two = { picks: [2, 0], mark: null };
  assert.deepEqual(press(choice("ranking"), two, { name: "undo" }), { state: { picks: [2], mark: null } });
  assert.equal(press(choice("ranking"), begin(choice("ranking")), { name: "undo" }), null); // then the last answer is undone
  assert.equal(press(choice("best"), begin(choice("best")), { name: "left" }), null); // of pairs
});

test("few whole grades have keys, all other scales a slider", () => {
  assert.deepEqual(steps({ low: 1, high: 5 }), [1, 2, 3, 4, 5]);
  for (const scale of [{ low: 0, high: 20 }, { low: 0, high: 0.5 }, { low: -1, high: 1 }]) assert.equal(steps(scale), null);
  const slider = { kind: "rating", low: 0, high: 1, scale: "share", items: items(1) };
  assert.deepEqual(press(slider, { ...begin(slider), slider: 0.25 }, { name: "confirm" }), { value: [0.25] });
  assert.equal(press(slider, begin(slider), { name: "digit", digit: 1 }), null);
});

test("the moment of an outcome is a step, not a frame", () => {
  const card = { kind: "outcome", every: 3, items: items(1) };
  const { state } = press(card, begin(card), { name: "mark", frame: 4 });
  assert.equal(progress(card, state), "marked: frame 5");
  assert.deepEqual(press(card, state, { name: "right" }), { value: [1, 12] });
  assert.deepEqual(press(card, begin(card), { name: "left" }), { value: [0, -1] });
});

test("an answer about items is told by the places at which they stood", () => {
  const card = { ...choice("ranking"), places: [2, 0, 3, 1] };
  assert.equal(said(card, "answer", [2, 3, 0, 1], { ofItems: true }), "ranking: 1, 3, 2, 4");
  const triplet = { kind: "triplet", places: [0, 2, 1] };
  assert.equal(said(triplet, "answer", [1], { ofItems: true }), "left is closer"); // the second one stood first
  assert.equal(said(triplet, "answer", [1], { way: "column" }), "bottom is closer");
  assert.equal(said(triplet, "answer", [0.5]), "equally close");
  assert.equal(said(card, "skip", []), "skipped");
});

test("clips are as large as the stage lets them be", () => {
  assert.equal(gridOf(6, { width: 1200, height: 250, ratio: 1 }).columns, 6);
  assert.equal(gridOf(6, { width: 600, height: 400, ratio: 1 }).columns, 3);
  assert.equal(gridOf(4, { width: 390, height: 500, ratio: 1 }).columns, 2);
  assert.equal(gridOf(1, { width: 390, height: 500, ratio: 1 }).columns, 1);
});
