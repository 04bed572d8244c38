import assert from "node:assert/strict";
import { test } from "node:test";

import { pushOf, toldBy } from "../../../pbrl/viewer/static/watch_keys.js";

const two = { keys: 2 };

test("arrows are actions, and opposite ones cancel out", () => {
  assert.deepEqual(pushOf(new Set(["ArrowRight"]), two), [1, 0]);
  assert.deepEqual(pushOf(new Set(["ArrowLeft", "ArrowUp"]), two), [-1, 1]);
  assert.deepEqual(pushOf(new Set(["ArrowLeft", "ArrowRight", "ArrowDown"]), two), [0, -1]);
  assert.deepEqual(pushOf(new Set(["ArrowRight"]), { keys: 1 }), [1]);
});

test("without a key, or where keys mean nothing, the policy acts", () => {
  assert.equal(pushOf(new Set(), two), null);
  assert.equal(pushOf(new Set(["ArrowUp"]), { keys: 1 }), null);
  assert.equal(pushOf(new Set(["ArrowRight"]), { keys: 0 }), null);
  const told = toldBy({ over: false, wrong: true, held: new Set(), frame: two });
  assert.deepEqual(told, { over: false, wrong: true, push: null });
  assert.equal(toldBy({ over: false, wrong: false, held: new Set(["ArrowUp"]), frame: two }).over, true);
  assert.equal(toldBy({ over: true, wrong: false, held: new Set(), frame: two }).push, null);
});
