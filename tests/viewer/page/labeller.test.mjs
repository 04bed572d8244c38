import assert from "node:assert/strict";
import { test } from "node:test";

import { KeyGuard } from "../../../pbrl/viewer/static/keys.js";
import { Labeller, newId } from "../../../pbrl/viewer/static/labeller.js";
import { PairQueue } from "../../../pbrl/viewer/static/queue.js";

const pair = (query, swapped = false) => ({
  query, repeat: null, swapped, fps: 20, left: { clip: `l${query}`, frames: 5 }, right: { clip: `r${query}`, frames: 5 },
});

class FakePlayer {
  constructor() { this.suspended = new Set(); this.plays = { left: 0, right: 0 }; this.next = null; }
  async prepare(p) { this.next = p; }
  isPrepared(p) { return this.next === p; }
  swap() { [this.pair, this.next] = [this.next, null]; this.plays = { left: 0, right: 0 }; }
  flip() {}
  hide() { this.pair = null; }
  suspend(reason, yes) { if (yes) this.suspended.add(reason); else this.suspended.delete(reason); }
}

const settle = async () => { for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve)); };

async function setUp({ queries = [1, 2, 3], swapped = false, memory = {}, name = () => "me", withdrawn = false } = {}) {
  const [sent, said] = [[], []];
  const outbox = {
    queries: [], add: (path, body) => sent.push({ path, ...body }), withdraw: () => withdrawn,
  };
  const clips = { all: async () => [], trim() {} };
  const player = new FakePlayer();
  const pairs = new PairQueue({ clips, heldElsewhere: () => [], next: async () => ({ pairs: [], gone: [] }) });
  pairs.pairs = queries.map((q) => pair(q, swapped));
  let count = 0;
  const saved = {};
  const labeller = new Labeller({
    outbox, pairs, clips, player, guard: new KeyGuard(), annotator: name, now: () => 1000 * ++count, uuid: () => `id${++count}`,
    memory: { load: () => memory, save: (s) => Object.assign(saved, s) },
    on: { shown() {}, empty() {}, said: (text) => said.push(text), changed() {} },
  });
  await labeller.advance();
  await settle();
  return { labeller, sent, player, pairs, saved, said };
}

test("answers go out for the pairs in their order", async () => {
  const { labeller, sent } = await setUp();
  for (const choice of ["left", "equal", "skip"]) {
    labeller.answer(choice);
    await settle();
  }
  assert.deepEqual(sent.map((a) => [a.query, a.choice]), [[1, "left"], [2, "equal"], [3, "skip"]]);
  assert.equal(labeller.current, null);
  assert.equal(labeller.answer("left"), false);
  assert.equal(labeller.times.length, 2); // a skip is no label
});

test("the next pair is shown in the same task as the answer", async () => {
  const { labeller } = await setUp();
  labeller.answer("left");
  assert.equal(labeller.current.pair.query, 2); // no await: the clips were ready
});

test("swapped is as on the screen when answered", async () => {
  for (const swapped of [false, true]) {
    const { labeller, sent } = await setUp({ swapped });
    labeller.answer("left");
    await settle();
    labeller.flip();
    labeller.player.plays = { left: 2, right: 5 };
    labeller.answer("left");
    assert.deepEqual(sent.map((a) => a.swapped), [swapped, !swapped]);
    assert.deepEqual([sent[1].plays_left, sent[1].plays_right], [5, 2]); // in screen terms too
  }
});

test("undo goes further back each time, and what was on show comes after", async () => {
  const { labeller, sent, pairs } = await setUp();
  labeller.answer("left");
  await settle();
  labeller.answer("right");
  await settle();
  await labeller.undo();
  await settle();
  assert.equal(labeller.current.pair.query, 2);
  await labeller.undo();
  await settle();
  assert.equal(labeller.current.pair.query, 1);
  assert.deepEqual(pairs.pairs.map((p) => p.query), [2, 3]);
  assert.deepEqual(sent.slice(2).map((a) => [a.path, a.id]), [["/api/undo", sent[1].id], ["/api/undo", sent[0].id]]);
  await labeller.undo();
  assert.equal(sent.length, 4); // nothing left to take back
});

test("an undo goes out under the name of its answer", async () => {
  let name = "ada";
  const { labeller, sent } = await setUp({ name: () => name });
  labeller.answer("left");
  await settle();
  name = "ben";
  await labeller.undo();
  assert.deepEqual(sent.map((a) => [a.path, a.annotator]), [["/api/answer", "ada"], ["/api/undo", "ada"]]);
});

test("taken back is said once it is, and what was not found was not", async () => {
  const { labeller, sent, said } = await setUp();
  labeller.answer("left");
  await settle();
  labeller.answer("equal");
  await settle();
  await labeller.undo();
  await labeller.undo();
  assert.deepEqual(said.slice(2), ["Taking back: equally good", "Taking back: left is better"]);
  labeller.takenBack(sent[1].id, pair(2));
  assert.equal(said.at(-1), "Taken back: equally good");
  labeller.takenBack(sent[0].id, null);
  assert.match(said.at(-1), /^Nothing was taken back, the answer was not found: left is better$/);
  const unsent = await setUp({ withdrawn: true });
  unsent.labeller.answer("left");
  await settle();
  await unsent.labeller.undo();
  assert.deepEqual([unsent.said.at(-1), unsent.sent.length], ["Taken back: left is better", 1]);
});

test("looking again and answering replaces; leaving does not", async () => {
  const { labeller, sent } = await setUp();
  labeller.answer("left");
  await settle();
  const entry = labeller.given[0];
  await labeller.review(entry);
  await settle();
  assert.equal(labeller.current.review, entry);
  assert.equal(labeller.leaveReview(), true);
  await settle();
  assert.deepEqual([labeller.current.pair.query, sent.length], [2, 1]);
  await labeller.review(entry);
  await settle();
  labeller.answer("right");
  await settle();
  assert.deepEqual([sent[1].query, sent[1].choice], [1, "right"]);
  assert.notEqual(sent[1].id, sent[0].id);
  assert.equal(labeller.current.pair.query, 2);
});

test("what a reload needs is saved: the pair on show first, and the answers that can be taken back", async () => {
  const { labeller, saved } = await setUp();
  labeller.answer("left");
  await settle();
  assert.deepEqual(saved.known.map((p) => p.query), [2, 3]);
  const again = await setUp({ queries: [2, 3], memory: structuredClone(saved) });
  await again.labeller.undo();
  await settle();
  assert.equal(again.labeller.current.pair.query, 1);
});

test("ids are UUIDs of version 4, all different", () => {
  const ids = Array.from({ length: 200 }, () => newId());
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(new Set(ids).size, 200);
});
