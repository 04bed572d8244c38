import assert from "node:assert/strict";
import { test } from "node:test";

import { Stopwatch, correction, frameAt, leaderOf, nextSpeed, timeOf } from "../../../pbrl/viewer/static/clock.js";

test("the middle of a frame belongs to that frame at any rate, and so does its presentation time", () => {
  for (const fps of [5, 12.5, 20, 24, 30, 50, 125]) {
    for (let frame = 0; frame < 500; frame++) {
      assert.equal(frameAt(timeOf(frame, fps, 500), fps, 500), frame);
      for (const base of [12800, 90000]) { // time bases of MP4 files: times are rounded to them
        assert.equal(frameAt(Math.floor((frame / fps) * base) / base, fps, 500), frame);
      }
    }
  }
});

test("frames outside the clip are its first and its last", () => {
  assert.equal(frameAt(-1, 20, 10), 0);
  assert.equal(frameAt(99, 20, 10), 9);
  assert.equal(timeOf(99, 20, 10), 9.5 / 20); // where the shorter clip waits
});

test("the longer clip leads", () => {
  assert.equal(leaderOf({ left: 3, right: 3 }), "left");
  assert.equal(leaderOf({ left: 3, right: 4 }), "right");
});

test("speeds go up and down and end", () => {
  assert.deepEqual([1, 2, 4].map((s) => nextSpeed(s, 1)), [2, 4, 4]);
  assert.deepEqual([1, 0.5, 0.25].map((s) => nextSpeed(s, -1)), [0.5, 0.25, 0.25]);
});

test("following closes a gap within half a second, without a seek, and without overshooting", () => {
  for (const [fps, speed, gap] of [[20, 1, 0.1], [50, 1, -0.05], [20, 4, 0.1], [20, 0.25, 0.02], [125, 1, 0.03]]) {
    let skew = gap;
    for (let t = 0; t < 0.5; t += 1 / 60) {
      const { rate, seek } = correction(skew, fps, speed);
      assert.ok(!seek);
      assert.ok(rate >= 0.0625 && rate <= 16, "what browsers play");
      skew -= (rate - speed) / 60;
      assert.ok(Math.abs(skew) <= Math.abs(gap) + 1e-9);
    }
    assert.ok(Math.abs(skew) * fps < 0.5, `${fps} fps at ${speed}: ${skew * fps} frames`);
  }
});

test("a clip in step keeps the chosen speed, one that is far off is sought", () => {
  assert.deepEqual(correction(0.001, 20, 2), { rate: 2, seek: false });
  assert.equal(correction(0.5, 20, 1).seek, true);
});

test("the stopwatch counts only what could be looked at", () => {
  let now = 0;
  const watch = new Stopwatch(() => now);
  now = 1000;
  watch.stop();
  now = 61_000; // the tab was hidden for a minute
  assert.equal(watch.elapsed(), 1000);
  watch.go();
  watch.go();
  now = 61_500;
  assert.equal(watch.elapsed(), 1500);
});
