import assert from "node:assert/strict";
import { test } from "node:test";

import { arrangement, sideName } from "../../../pbrl/viewer/static/layout.js";
import { inWords } from "../../../pbrl/viewer/static/states.js";

test("clips stand side by side in wide windows and one above the other in high ones", () => {
  for (const [width, height] of [[1280, 800], [1366, 625], [640, 400], [683, 312], [844, 390]]) {
    assert.equal(arrangement({ width, height, ratio: 1 }), "row", width);
  }
  for (const [width, height] of [[390, 844], [360, 640], [820, 1180]]) {
    assert.equal(arrangement({ width, height, ratio: 1 }), "column", width);
  }
});

test("clips of an unusual shape stand as they are larger", () => {
  assert.equal(arrangement({ width: 390, height: 844, ratio: 0.3 }), "row");
  assert.equal(arrangement({ width: 1280, height: 1000, ratio: 4 }), "column");
});

test("words name the place where a clip is", () => {
  assert.deepEqual(["left", "right"].map((side) => sideName(side, "column")), ["Top", "Bottom"]);
  assert.equal(inWords("right", "slight", "column"), "bottom is slightly better");
  assert.equal(inWords("left"), "left is better");
  assert.equal(inWords("equal", "slight", "column"), "equally good");
});
