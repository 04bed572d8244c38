import assert from "node:assert/strict";
import { test } from "node:test";

import { Api, NoSession, OtherRun, Refused, Unreachable, takeToken } from "../../../pbrl/viewer/static/api.js";
import { ClipStore, PairQueue } from "../../../pbrl/viewer/static/queue.js";

const flush = () => new Promise((resolve) => setImmediate(resolve));
const pair = (query) => ({ query, repeat: null, left: { clip: `l${query}` }, right: { clip: `r${query}` } });

function pairQueue(server, load = async () => "blob") {
  const revoked = [];
  const clips = new ClipStore({ load, keep: 2, makeUrl: (b) => `${b}:`, revoke: (url) => revoked.push(url) });
  const shown = [];
  const queue = new PairQueue({ next: async (n, holding) => ({ gone: [], ...server(n, holding) }), clips, heldElsewhere: () => shown, now: () => 0 });
  return { queue, clips, shown, revoked };
}

test("three pairs are kept ready, and none is asked for that the page has", async () => {
  const asked = [];
  const { queue, shown } = pairQueue((n, holding) => {
    asked.push([n, [...holding]]);
    return { pairs: [1, 2, 3, 4, 5].filter((q) => !holding.includes(q)).slice(0, n).map(pair) };
  });
  await queue.fill();
  shown.push(queue.take().query);
  await queue.fill();
  assert.deepEqual(queue.pairs.map((p) => p.query), [2, 3, 4]);
  assert.deepEqual(asked, [[3, []], [1, [1, 2, 3]]]);
});

test("pairs known from before a reload come first and are not asked for again", async () => {
  const { queue } = pairQueue((n, holding) => ({ pairs: [7, 8, 9].filter((q) => !holding.includes(q)).slice(0, n).map(pair) }));
  await queue.fill([pair(8)]);
  assert.deepEqual(queue.pairs.map((p) => p.query), [8, 7, 9]);
});

test("renewing names all that is held and drops what needs no answer any more, but not what is on show", async () => {
  const asked = [];
  let gone = [];
  const { queue, shown } = pairQueue((n, holding) => {
    asked.push([n, [...holding]]);
    return { gone, pairs: [1, 2, 3, 4, 5, 6].filter((q) => !holding.includes(q)).slice(0, n).map(pair) };
  });
  await queue.renew();
  assert.deepEqual(asked, []); // nothing is held
  await queue.fill();
  shown.push(queue.take().query);
  await queue.fill();
  let told = 0;
  queue.on.ready = () => told++;
  await queue.renew();
  assert.deepEqual([asked.at(-1), told], [[0, [1, 2, 3, 4]], 0]);
  gone = [1, 2, 4];
  await queue.renew();
  assert.deepEqual([queue.pairs.map((p) => p.query), shown, told], [[3], [1], 1]);
  queue.putBack(queue.pinned = pair(2)); // taken back, about to be shown
  await queue.renew();
  assert.deepEqual(queue.pairs.map((p) => p.query), [2, 3]);
  const failed = [];
  queue.on.failed = (error) => failed.push(error.message);
  queue.next = async () => { throw new Unreachable("down"); };
  await queue.renew();
  assert.deepEqual([queue.pairs.length, failed], [2, ["down"]]);
});

test("a call for more also drops what is gone", async () => {
  const { queue } = pairQueue(() => ({ gone: [1], pairs: [pair(3)] }));
  queue.pairs = [pair(1), pair(2)];
  queue.want = 2;
  await queue.fill();
  queue.want = 3;
  await queue.fill();
  assert.deepEqual(queue.pairs.map((p) => p.query), [2, 3]);
});

test("a clip that is gone sets its pair aside; an unreachable server does not", async () => {
  const failing = { error: new Refused(404, "no such clip") };
  const { queue } = pairQueue(() => ({ pairs: [pair(1)] }), async () => { throw failing.error; });
  await queue.fill();
  assert.deepEqual([queue.pairs.length, queue.holding], [0, [1]]);
  queue.broken.clear();
  failing.error = new Unreachable("down");
  await queue.fill();
  assert.deepEqual(queue.holding, []);
});

test("clips not in use are given back, oldest first, and a failed one is fetched again", async () => {
  let fail = true;
  const { clips, revoked } = pairQueue(() => ({ pairs: [] }), async (hash) => { if (hash === "x" && fail) throw new Error("no"); return hash; });
  await assert.rejects(clips.url("x"));
  fail = false;
  assert.equal(await clips.url("x"), "x:");
  for (const q of [1, 2, 3]) await clips.all(pair(q));
  clips.trim([pair(3)]);
  await flush();
  assert.deepEqual(revoked, ["x:", "l1:", "r1:"]);
});

test("the four ways a call can fail", async () => {
  const get = (status, body, headers) => new Api({ fetch: async () => new Response(body, { status, headers }) }).get("/x");
  const reply = (status, body = "{}") => get(status, body, { "x-pbrl": "1" });
  await assert.rejects(reply(401), NoSession);
  await assert.rejects(reply(409), OtherRun);
  await assert.rejects(reply(404, '{"error": "no such query"}'), (e) => e instanceof Refused && e.message === "no such query");
  for (const status of [400, 403, 404, 413]) {
    await assert.rejects(reply(status), (e) => e instanceof Refused && e.final === [400, 404].includes(status));
  }
  for (const status of [200, 400, 401, 404, 409]) await assert.rejects(get(status, "{}", {}), Unreachable); // another program
  for (const status of [500, 503, 429]) await assert.rejects(reply(status), Unreachable);
  await assert.rejects(reply(200, "<html>"), Unreachable);
  await assert.rejects(new Api({ fetch: async () => { throw new TypeError("refused"); } }).get("/x"), Unreachable);
});

test("the token leaves the address bar", () => {
  const calls = [];
  const location = { hash: "#token=abc", pathname: "/", search: "" };
  assert.equal(takeToken(location, { replaceState: (...args) => calls.push(args) }), "abc");
  assert.deepEqual(calls, [[null, "", "/"]]);
  assert.equal(takeToken({ hash: "" }, null), null);
});
