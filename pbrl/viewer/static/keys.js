/** Which action a key press means. Pure (no DOM), so that `node --test` can read it. */

export const ANSWERS = new Set(["left", "right", "equal", "incomparable", "skip", "digit", "confirm"]);
const STEPS = new Set(["stepBack", "stepForward"]); // the only actions that a held key repeats
const GUARDED = new Set([...ANSWERS, "undo"]); // those that change the pair

const BY_KEY = new Map([
  ["arrowleft", "left"], ["a", "left"],
  ["arrowright", "right"], ["d", "right"],
  ["arrowdown", "equal"], ["s", "equal"],
  ["arrowup", "incomparable"], ["w", "incomparable"],
  ["x", "skip"], ["z", "undo"], ["backspace", "undo"],
  [" ", "pause"], [",", "stepBack"], [".", "stepForward"],
  ["[", "slower"], ["]", "faster"], ["r", "restart"],
  ["f", "swap"], ["c", "camera"], ["h", "history"],
  ["?", "help"], ["escape", "leave"], ["m", "mark"], ["enter", "confirm"],
  ..."0123456789".split("").map((digit) => [digit, "digit"]),
]);

/** Where a layout writes no Latin letters (Cyrillic, Greek) or lacks the sign, the key's place decides. */
const BY_CODE = new Map([
  ["Comma", ","], ["Period", "."], ["BracketLeft", "["], ["BracketRight", "]"],
  ..."ADSWXZRFCHM".split("").map((letter) => [`Key${letter}`, letter.toLowerCase()]),
]);

const NOT_TYPED = new Set(["button", "submit", "reset", "checkbox", "radio", "range"]);

/** True where letters go into a text: a field, a list to choose from, editable text. */
export function isTyping(target) {
  const tag = target?.tagName?.toUpperCase();
  if (tag === "INPUT") return !NOT_TYPED.has((target.type ?? "text").toLowerCase());
  return tag === "TEXTAREA" || tag === "SELECT" || Boolean(target?.isContentEditable);
}

/** True where Space and Enter already do something: they press the button and nothing else. */
export function isPressable(target) {
  return Boolean(target?.closest?.("button, a[href], summary, input[type=checkbox], input[type=radio]"));
}

/** The action of one key press, or null.
 *
 * event: a KeyboardEvent or an object with its fields. slight: whether Shift means "slightly".
 * Returns {name, strength: "clear" | "slight"}.
 */
export function actionFor(event, { slight = false } = {}) {
  if (event.isComposing || event.metaKey || isTyping(event.target)) return null;
  const altGraph = event.getModifierState?.("AltGraph") ?? false; // how some layouts write [ and ]
  if ((event.ctrlKey || event.altKey) && !altGraph) return null;
  const key = event.key?.toLowerCase() ?? "";
  if ((key === " " || key === "enter") && isPressable(event.target)) return null;
  if (key.startsWith("arrow") && event.target?.type === "range") return null; // they move the slider
  const foreign = key.length === 1 && key.charCodeAt(0) > 126;
  const name = BY_KEY.get(key) ?? (foreign ? BY_KEY.get(BY_CODE.get(event.code)) : undefined);
  if (name === undefined) return null;
  const side = name === "left" || name === "right";
  const digit = name === "digit" ? { digit: Number(key) } : {};
  return { name, strength: side && slight && event.shiftKey ? "slight" : "clear", ...digit };
}

/** Lets a press through once: not while the key is held, and no answer just after the pair has changed. */
export class KeyGuard {
  /** now: () => milliseconds. quietMs: how long after a change of pair no answer is taken. */
  constructor({ now = () => performance.now(), quietMs = 150 } = {}) {
    this.now = now;
    this.quietMs = quietMs;
    this.changedAt = -Infinity;
    this.down = new Set();
  }

  pairChanged() {
    this.changedAt = this.now();
  }

  /** Whether this press (a button's click has no event) may do what it means. */
  accepts(name, event = null) {
    const held = event !== null && (event.repeat || this.down.has(event.code));
    if (event !== null) this.down.add(event.code);
    if (held && !STEPS.has(name)) return false;
    return !(GUARDED.has(name) && this.now() - this.changedAt < this.quietMs);
  }

  released(event) {
    this.down.delete(event.code);
  }

  /** The window lost the keyboard, so the keys' release may never be told. */
  reset() {
    this.down.clear();
  }
}
