import assert from "node:assert/strict";
import { test } from "node:test";

import { KeyGuard, actionFor, isTyping } from "../../../pbrl/viewer/static/keys.js";

const body = { tagName: "BODY", closest: () => null };
const button = { tagName: "BUTTON", closest: () => button };
const press = (key, more = {}) => ({ key, code: `Key${key.toUpperCase()}`, target: body, ...more });
const name = (...args) => actionFor(press(...args))?.name ?? null;

test("every key of the help means what it says", () => {
  const keys = {
    left: ["ArrowLeft", "a", "A"], right: ["ArrowRight", "d"], equal: ["ArrowDown", "s"], incomparable: ["ArrowUp", "w"],
    skip: ["x"], undo: ["z", "Backspace"], pause: [" "], stepBack: [","], stepForward: ["."], slower: ["["], faster: ["]"],
    restart: ["r"], swap: ["f"], camera: ["c"], history: ["h"], help: ["?"], leave: ["Escape"],
  };
  for (const [action, pressed] of Object.entries(keys)) for (const key of pressed) assert.equal(name(key), action, key);
  for (const key of ["q", "Tab", "Shift", "F1"]) assert.equal(name(key), null, key);
  assert.deepEqual([name("1"), name("Enter"), name("m")], ["digit", "confirm", "mark"]);
});

test("a shortcut of the browser is not ours, but AltGr is how some layouts write brackets", () => {
  for (const modifier of ["ctrlKey", "altKey", "metaKey"]) assert.equal(name("a", { [modifier]: true }), null);
  const altGraph = { ctrlKey: true, altKey: true, getModifierState: (m) => m === "AltGraph" };
  assert.equal(name("[", altGraph), "slower");
  assert.equal(name("a", { isComposing: true }), null);
});

test("what is typed into a field stays in the field", () => {
  for (const target of [{ tagName: "INPUT", type: "text" }, { tagName: "TEXTAREA" }, { tagName: "DIV", isContentEditable: true }]) {
    assert.ok(isTyping(target));
    assert.equal(name("a", { target }), null);
  }
  assert.ok(!isTyping({ tagName: "INPUT", type: "range" }));
});

test("arrows move a focused slider, letters still answer", () => {
  const target = { tagName: "INPUT", type: "range", closest: () => null };
  assert.equal(name("ArrowLeft", { target }), null);
  assert.equal(name("a", { target }), "left");
});

test("Space and Enter press a focused button and nothing else", () => {
  assert.equal(name(" ", { target: button }), null);
  assert.equal(name("a", { target: button }), "left");
  assert.equal(name(" "), "pause");
});

test("Shift means slightly only where the run asks for it, and only for the sides", () => {
  const shifted = press("ArrowLeft", { shiftKey: true });
  assert.deepEqual(actionFor(shifted, { slight: true }), { name: "left", strength: "slight" });
  assert.deepEqual(actionFor(shifted, { slight: false }), { name: "left", strength: "clear" });
  assert.equal(actionFor(press("s", { shiftKey: true }), { slight: true }).strength, "clear");
});

test("on a layout without Latin letters the key's place decides; on a Latin one its letter does", () => {
  assert.equal(name("ф", { code: "KeyA" }), "left"); // Russian
  assert.equal(name("q", { code: "KeyA" }), null); // French: A is elsewhere
  assert.equal(name("ü", { code: "BracketLeft" }), "slower"); // German
});

test("a held key acts once, a frame step goes on", () => {
  const guard = new KeyGuard({ now: () => 1000 });
  const accepts = (action, event) => guard.accepts(action, { code: "KeyA", repeat: false, ...event });
  assert.ok(accepts("left", {}));
  assert.ok(!accepts("left", { repeat: true }));
  assert.ok(!accepts("left", {})); // no `repeat`, but never released
  guard.released({ code: "KeyA" });
  assert.ok(accepts("left", {}));
  assert.ok(accepts("stepForward", { code: "Period", repeat: true }));
  guard.reset();
  assert.ok(accepts("left", {}));
});

test("no answer within 150 ms after the pair has changed, by key or by mouse", () => {
  let now = 0;
  const guard = new KeyGuard({ now: () => now });
  guard.pairChanged();
  for (const [at, taken] of [[0, false], [149, false], [150, true]]) {
    now = at;
    for (const action of ["left", "right", "equal", "incomparable", "skip", "undo"]) assert.equal(guard.accepts(action), taken);
    assert.ok(guard.accepts("pause"));
  }
});
