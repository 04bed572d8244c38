import assert from "node:assert/strict";
import { test } from "node:test";

import { Faulty, NoSession, OtherRun, Refused, Unreachable } from "../../../pbrl/viewer/static/api.js";
import { Outbox } from "../../../pbrl/viewer/static/outbox.js";
import { Who } from "../../../pbrl/viewer/static/who.js";

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
  constructor() { this.got = []; this.runs = []; this.mode = "ok"; }
  post = async (path, body) => {
    if (this.mode === "down") throw new Unreachable("down");
    if (this.mode === "faulty") throw new Faulty("disk is full");
    if (this.mode === "refuses") throw new Refused(this.status ?? 404, "no such query");
    if (this.mode === "other run") throw new OtherRun("another run");
    if (this.mode === "no session") throw new NoSession(401, "who?");
    this.got.push(`${path.slice(5)} ${body.id}`);
    this.runs.push(body.run);
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

test("what the server refuses is kept aside until dismissed, also over a reload, and does not hold up the rest", async () => {
  const { outbox, server, storage } = setUp();
  server.mode = "refuses";
  outbox.add(...answer("a"));
  await flush();
  server.mode = "ok";
  outbox.add(...answer("b"));
  await flush();
  assert.deepEqual(server.got, ["answer b"]);
  const again = setUp({ storage });
  for (const box of [outbox, again.outbox]) {
    assert.deepEqual(box.refused.map((e) => [e.body.id, e.error]), [["a", "no such query"]]);
    assert.equal(box.size, 0);
  }
  again.outbox.dismiss();
  assert.deepEqual(again.outbox.refused, []);
  assert.deepEqual(setUp({ storage }).outbox.refused, []);
  const [key] = storage.items.keys();
  assert.ok(key.startsWith("pbrl.refused.r.") && JSON.parse(storage.getItem(key)).body.id === "a");
});

test("only 400 and 404 are refusals; after anything else the answer is kept and tried again", async () => {
  for (const [status, refused] of [[400, 1], [404, 1], [403, 0], [405, 0], [413, 0], [415, 0]]) {
    const { outbox, server, timers } = setUp();
    Object.assign(server, { mode: "refuses", status });
    outbox.add(...answer("a"));
    await flush();
    assert.deepEqual([outbox.refused.length, outbox.size, timers.length], [refused, 1 - refused, 1 - refused], `${status}`);
  }
  const { outbox, server, timers } = setUp();
  outbox.post = () => { throw new TypeError("a bug of this page"); };
  outbox.add(...answer("a"));
  await flush();
  assert.equal(outbox.stuck, null); // once happens
  outbox.kick();
  await flush();
  assert.equal(outbox.stuck, "a bug of this page");
  outbox.post = server.post;
  await timers.at(-1).call();
  assert.deepEqual([server.got, outbox.stuck], [["answer a"], null]);
});

test("what comes of an acknowledged answer touches no other", async () => {
  const { outbox, server, storage } = setUp({ on: { acknowledged: () => { throw new Error("a bug of this page"); } } });
  server.mode = "down";
  outbox.add(...answer("a"));
  outbox.add(...answer("b"));
  await flush();
  server.mode = "ok";
  await assert.rejects(outbox.kick());
  assert.deepEqual([outbox.size, storage.length], [1, 1]);
});

test("every answer names its run; where another is served, it is kept and nothing more is sent", async () => {
  const told = [];
  const { outbox, server, storage, timers } = setUp({ on: { otherRun: (error) => told.push(error) } });
  server.mode = "other run";
  outbox.add(...answer("a"));
  await flush();
  server.mode = "ok"; // even then: only the status says which run is served
  outbox.add(...answer("b"));
  await outbox.kick();
  assert.deepEqual([server.got, outbox.size, storage.length, timers.length, told.length], [[], 2, 2, 0, 1]);
  await outbox.resume();
  assert.deepEqual([server.got, server.runs], [["answer a", "answer b"], ["r", "r"]]);
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

test("a name belongs to one tab and one run, and is only offered to others", () => {
  const [tab, otherTab, browser] = [new FakeStorage(), new FakeStorage(), new FakeStorage()];
  const who = (run, t) => new Who({ run, tab: t, browser });
  const ada = who("r", tab);
  assert.deepEqual([ada.name, ada.offered], ["", []]);
  ada.take(" ada ");
  assert.equal(who("r", tab).name, "ada"); // after a reload
  assert.equal(who("other", tab).name, "");
  assert.equal(who("r", otherTab).name, "");
  who("r", otherTab).take("ben");
  assert.deepEqual([who("r", tab).name, who("r", otherTab).name], ["ada", "ben"]);
  assert.deepEqual(who("other", otherTab).offered, ["ben", "ada"]);
  const without = new Who({ run: "r", tab: null, browser: null });
  without.take("cleo");
  assert.deepEqual([without.name, without.offered], ["cleo", []]);
});

test("a fault of the server is named at once, and the answer waits", async () => {
  const server = new FakeServer();
  server.mode = "faulty";
  const { outbox, storage, timers } = setUp({ server });
  outbox.add(...answer("a"));
  await flush();
  assert.deepEqual([outbox.stuck, outbox.size, outbox.refused.length, storage.length], ["disk is full", 1, 0, 1]);
  server.mode = "ok";
  await timers.at(-1).call();
  assert.deepEqual([outbox.stuck, outbox.size, server.got], [null, 0, ["answer a"]]);
});

test("what was refused is sent again when asked to, and counts once", async () => {
  const server = new FakeServer();
  server.mode = "refuses";
  const { outbox, storage } = setUp({ server });
  outbox.add(...answer("a"));
  outbox.add(...answer("b", 2));
  await flush();
  await flush();
  assert.equal(outbox.refused.length, 2);
  await outbox.sendAgain();
  assert.deepEqual([outbox.refused.length, outbox.size, storage.length], [2, 0, 2]); // refused once more
  server.mode = "ok";
  await outbox.sendAgain();
  assert.deepEqual([server.got, outbox.refused.length, storage.length], [["answer a", "answer b"], 0, 0]);
});

test("a browser that keeps nothing is known to keep nothing", async () => {
  const full = new FakeStorage();
  full.setItem = () => { throw new Error("QuotaExceededError"); };
  for (const storage of [full, null]) {
    const server = new FakeServer();
    server.mode = "down";
    const { outbox } = setUp({ storage, server });
    outbox.add(...answer("a"));
    assert.equal(outbox.unsaved, 1);
    server.mode = "ok";
    await flush();
    await outbox.kick();
    assert.deepEqual([outbox.unsaved, server.got], [0, ["answer a"]]);
  }
  const { outbox } = setUp();
  outbox.add(...answer("a"));
  assert.equal(outbox.unsaved, 0);
});
