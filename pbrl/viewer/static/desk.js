/** Everything that belongs to one run; made when its id is known, so that nothing kept for another is used. */

import { Cameras } from "./camera.js";
import { $, readJson, safeStorage, setText, writeJson } from "./dom.js";
import { Grid } from "./grid.js";
import { Labeller } from "./labeller.js";
import { Outbox } from "./outbox.js";
import { Player } from "./player.js";
import { ClipStore, PairQueue } from "./queue.js";
import { Stage } from "./stage.js";
import { recordTiming } from "./timings.js";
import { drawFrame, drawPlayer } from "./view.js";
import { Who } from "./who.js";

/** on: {acknowledged(entry, reply), failed(error), shown(), changed(), line()}; `line` where only the notice may differ.
 *
 * Returns {run, who, post, outbox, pairs, player, labeller, cameras, known}; known: the pairs from before a reload.
 */
export function makeDesk({ run, api, guard, on }) {
  const [tab, browser] = [safeStorage("sessionStorage"), safeStorage()];
  const memoryKey = `pbrl.session.${run}`;
  const memory = { load: () => readJson(tab, memoryKey, {}), save: (session) => writeJson(tab, memoryKey, session) };
  const say = (text) => setText($("said"), text);
  const post = (path, body) => api.post(path, { ...body, run });
  const who = new Who({ run, tab, browser });
  const annotator = () => who.name;

  const outbox = new Outbox({
    run, storage: browser, post,
    on: { acknowledged: on.acknowledged, otherRun: on.failed, changed: on.line },
  });
  const clips = new ClipStore({ load: (hash) => api.clip(hash) });
  const pairs = new PairQueue({
    clips, on: { failed: on.failed },
    next: (n, holding) => post("/api/next", { annotator: annotator(), n, holding }),
    heldElsewhere: () => [...outbox.queries, ...(labeller.current === null ? [] : [labeller.current.pair.query])],
  });
  const shows = {
    frame: (frame, frames) => drawFrame(frame, frames, stage.fps),
    state: drawPlayer,
    loop: (turning) => $("stage").classList.toggle("turning", turning),
    played: () => labeller.played(),
  };
  const player = new Player([...document.querySelectorAll(".deck")], { on: shows });
  const grid = new Grid($("grid"), { on: shows });
  const stage = new Stage(player, grid);
  const labeller = new Labeller({
    outbox, pairs, clips, player: stage, guard, annotator, memory,
    on: {
      shown: on.shown, empty: on.changed, changed: on.changed, said: say,
      timed: (keyAt) => recordTiming(keyAt, stage.firstVideo),
    },
  });
  const cameras = new Cameras({ post, labeller, say });
  return { run, who, post, outbox, pairs, stage, player, labeller, cameras, known: memory.load().known ?? [] };
}
