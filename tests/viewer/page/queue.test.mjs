import assert from "node:assert/strict";
import { test } from "node:test";

import { Api, NoSession, Refused, Unreachable, takeToken } from "../../../pbrl/viewer/static/api.js";
import { ClipStore, Outbox, PairQueue } from "../../../pbrl/viewer/static/queue.js";

class FakeStorage {
  constructor() { this.items = new Map(); }
  get length() { return this.items.size; }
  key(i) { return [...this.items.keys()][i]; }
  getItem(key) { return this.items.get(key) ?? null; }
  setItem(key, value) { this.items.set(key, value); }
  removeItem(key) { this.items.delete(key); }
}

/** A server that keeps answers by id, and that can be down or lose its reply. */
class FakeServer {
  constructor() { this.got = []; this.mode = "ok"; }
  post = async (path, body) => {
    if (this.mode === "down") throw new Unreachable("down");
    if (this.mode === "refuses") throw new Refused(404, "no such query");
    if (this.mode === "no session") throw new NoSession(401, "who?");
    this.got.push(`${path.slice(5)} ${body.id}`);
    if (this.mode === "loses the reply") throw new Unreachable("cut off");
    return { labels: this.got.length };
  };
}

const flush = () => new Promise((resolve) => setImmediate(resolve));
const answer = (id, query = 1) => ["/api/answer", { id, query }];

function setUp({ storage = new FakeStorage(), server = new FakeServer(), run = "r", on } = {}) {
  const timers = [];
  const setTimer = (call, ms) => timers.push({ call, ms });
  const outbox = new Outbox({ run, storage, post: server.post, on, setTimer, clearTimer: () => {} });
  return { outbox, storage, server, timers };
}

test("an answer is stored before it is sent and forgotten only when acknowledged", async () => {
  const { outbox, storage, server } = setUp();
  outbox.add(...answer("a"));
  assert.equal(storage.length, 1);
  await flush();
  assert.deepEqual(server.got, ["answer a"]);
  assert.equal(storage.length, 0);
  assert.equal(outbox.size, 0);
});

test("while the server is down answers pile up, with growing waits, and then go out once and in order", async () => {
  const { outbox, server, timers } = setUp();
  server.mode = "down";
  for (const id of ["a", "b", "c"]) outbox.add(...answer(id));
  for (let i = 0; i < 8; i++) {
    await flush();
    timers.at(-1).call();
  }
  await flush();
  const waits = timers.map((timer) => timer.ms);
  assert.ok(waits.every((ms, i) => i === 0 || ms >= waits[i - 1]) && waits.at(-1) === 8000 && waits[0] === 500, waits.join());
  assert.equal(outbox.size, 3);
  server.mode = "ok";
  await outbox.kick();
  assert.deepEqual(server.got, ["answer a", "answer b", "answer c"]);
});

test("a page opened anew sends what the old one could not", async () => {
  const old = setUp();
  old.server.mode = "down";
  for (const id of ["a", "b"]) old.outbox.add(...answer(id));
  await flush();
  const fresh = setUp({ storage: old.storage });
  assert.deepEqual(fresh.outbox.queries, [1, 1]);
  await fresh.outbox.kick();
  assert.deepEqual(fresh.server.got, ["answer a", "answer b"]);
  assert.equal(old.storage.length, 0);
});

test("answers kept for one run never reach another on the same port", async () => {
  const one = setUp({ run: "one" });
  one.server.mode = "down";
  one.outbox.add(...answer("a"));
  await flush();
  const other = setUp({ run: "other", storage: one.storage });
  assert.equal(other.outbox.size, 0);
  assert.equal(one.storage.length, 1);
});

test("two tabs never overwrite each other's answers", async () => {
  const storage = new FakeStorage();
  const server = new FakeServer();
  server.mode = "down";
  const [one, two] = [setUp({ storage, server }), setUp({ storage, server })];
  one.outbox.add(...answer("a"));
  two.outbox.add(...answer("b"));
  await flush();
  assert.equal(storage.length, 2);
  server.mode = "ok";
  await one.outbox.kick();
  assert.equal(storage.length, 1);
});

test("a lost reply means the same id again, which the server takes for the same answer", async () => {
  const { outbox, server } = setUp();
  server.mode = "loses the reply";
  outbox.add(...answer("a"));
  await flush();
  server.mode = "ok";
  await outbox.kick();
  assert.deepEqual(server.got, ["answer a", "answer a"]);
});

test("an answer taken back before it left is never sent; one that may have left is followed by its undo", async () => {
  const { outbox, server } = setUp();
  server.mode = "down";
  outbox.add(...answer("a"));
  await flush(); // tried: the server may have it
  outbox.add(...answer("b"));
  assert.equal(outbox.withdraw("b"), true);
  assert.equal(outbox.withdraw("a"), false);
  outbox.add("/api/undo", { id: "a" });
  await flush();
  server.mode = "ok";
  await outbox.kick();
  assert.deepEqual(server.got, ["answer a", "undo a"]);
});

test("what the server refuses is reported and does not hold up the rest", async () => {
  const refused = [];
  const { outbox, server } = setUp({ on: { refused: (entry) => refused.push(entry.body.id) } });
  server.mode = "refuses";
  outbox.add(...answer("a"));
  await flush();
  server.mode = "ok";
  outbox.add(...answer("b"));
  await flush();
  assert.deepEqual([refused, server.got], [["a"], ["answer b"]]);
});

test("without a session nothing is dropped", async () => {
  const { outbox, server } = setUp();
  server.mode = "no session";
  outbox.add(...answer("a"));
  await flush();
  assert.equal(outbox.size, 1);
});

test("a full or forbidden storage does not stop the answers", async () => {
  const storage = new FakeStorage();
  storage.setItem = () => { throw new Error("QuotaExceededError"); };
  const { outbox, server } = setUp({ storage });
  outbox.add(...answer("a"));
  await flush();
  assert.deepEqual(server.got, ["answer a"]);
});

const pair = (query) => ({ query, repeat: null, left: { clip: `l${query}` }, right: { clip: `r${query}` } });

function pairQueue(server, load = async () => "blob") {
  const revoked = [];
  const clips = new ClipStore({ load, keep: 2, makeUrl: (b) => `${b}:`, revoke: (url) => revoked.push(url) });
  const shown = [];
  const queue = new PairQueue({ next: async (n, holding) => server(n, holding), clips, heldElsewhere: () => shown, now: () => 0 });
  return { queue, clips, shown, revoked };
}

test("three pairs are kept ready, and none is asked for that the page has", async () => {
  const asked = [];
  const { queue, shown } = pairQueue((n, holding) => {
    asked.push([n, [...holding]]);
    return [1, 2, 3, 4, 5].filter((q) => !holding.includes(q)).slice(0, n).map(pair);
  });
  await queue.fill();
  shown.push(queue.take().query);
  await queue.fill();
  assert.deepEqual(queue.pairs.map((p) => p.query), [2, 3, 4]);
  assert.deepEqual(asked, [[3, []], [1, [1, 2, 3]]]);
});

test("pairs known from before a reload come first and are not asked for again", async () => {
  const { queue } = pairQueue((n, holding) => [7, 8, 9].filter((q) => !holding.includes(q)).slice(0, n).map(pair));
  await queue.fill([pair(8)]);
  assert.deepEqual(queue.pairs.map((p) => p.query), [8, 7, 9]);
});

test("a clip that is gone sets its pair aside; an unreachable server does not", async () => {
  const failing = { error: new Refused(404, "no such clip") };
  const { queue } = pairQueue(() => [pair(1)], async () => { throw failing.error; });
  await queue.fill();
  assert.deepEqual([queue.pairs.length, queue.holding], [0, [1]]);
  queue.broken.clear();
  failing.error = new Unreachable("down");
  await queue.fill();
  assert.deepEqual(queue.holding, []);
});

test("clips not in use are given back, oldest first, and a failed one is fetched again", async () => {
  let fail = true;
  const { clips, revoked } = pairQueue(() => [], async (hash) => { if (hash === "x" && fail) throw new Error("no"); return hash; });
  await assert.rejects(clips.url("x"));
  fail = false;
  assert.equal(await clips.url("x"), "x:");
  for (const q of [1, 2, 3]) await clips.both(pair(q));
  clips.trim([pair(3)]);
  await flush();
  assert.deepEqual(revoked, ["x:", "l1:", "r1:"]);
});

test("the three ways a call can fail", async () => {
  const reply = (status, body = "{}") => new Api({ fetch: async () => new Response(body, { status }) }).get("/x");
  await assert.rejects(reply(401), NoSession);
  await assert.rejects(reply(404, '{"error": "no such query"}'), (e) => e instanceof Refused && e.message === "no such query");
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
