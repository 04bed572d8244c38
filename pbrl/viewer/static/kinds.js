/** How questions of other kinds than pairs are answered, key by key. Pure: `node --test` reads it. */

import { sideName } from "./layout.js";

const PICKS = { best: 1, worst: 1, best_and_worst: 2 };
const ORDINALS = ["best", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"];

export function isPair(card) {
  return card.items === undefined;
}

/** All clips of a question, in the order of the screen. */
export function clipsOf(card) {
  return card.items ?? [card.left, card.right];
}

/** Whether number keys choose something here; else they are free for reasons. */
export function takesDigits(card) {
  return card.kind === "choice" || (card.kind === "rating" && steps(card) !== null);
}

/** What a press of a key does: {state} while the answer is not complete, {value} once it is; null: nothing.
 *
 * state: {picks: places in the order chosen, mark: frame or null, slider: number}. name: the action of the key; digit: of a
 * number key. `value` is about places of the screen.
 */
export function press(card, state, { name, digit = null, frame = 0 }) {
  if (card.kind === "choice") return name === "digit" ? pick(card, state, digit - 1) : clear(state, name);
  if (card.kind === "triplet") {
    const said = { left: 0, equal: 0.5, right: 1 }[name];
    return said === undefined ? null : { value: [said] };
  }
  if (card.kind === "rating") return rate(card, state, name, digit);
  if (card.kind === "outcome") {
    if (name === "mark") return { state: { ...state, mark: state.mark === frame ? null : frame } };
    const step = state.mark === null ? -1 : state.mark * card.every;
    return { left: { value: [0, step] }, right: { value: [1, step] } }[name] ?? null;
  }
  return null;
}

export function begin(card) {
  return { picks: [], mark: null, slider: card.kind === "rating" ? (card.low + card.high) / 2 : null };
}

function pick(card, state, place) {
  const k = card.items.length;
  if (place < 0 || place >= k) return null;
  if (state.picks.includes(place)) return { state: { ...state, picks: state.picks.filter((p) => p !== place) } };
  const picks = [...state.picks, place];
  const wanted = PICKS[card.wanted] ?? k - 1; // the last one of a ranking is clear
  if (picks.length < wanted) return { state: { ...state, picks } };
  const rest = card.wanted === "ranking" ? [...Array(k).keys()].filter((p) => !picks.includes(p)) : [];
  return { value: [...picks, ...rest] };
}

/** The key that takes back an answer first takes back what was chosen here. */
function clear(state, name) {
  return name === "undo" && state.picks.length > 0 ? { state: { ...state, picks: state.picks.slice(0, -1) } } : null;
}

/** The grades of a scale of few whole numbers, each with its key; null where a slider has to do. */
export function steps({ low, high }) {
  const few = Number.isInteger(low) && Number.isInteger(high) && low >= 0 && high <= 9 && high - low > 1; // 0 to 1 is a share
  return few ? Array.from({ length: high - low + 1 }, (_, i) => low + i) : null;
}

function rate(card, state, name, digit) {
  if (name === "digit") return steps(card)?.includes(digit) ? { value: [digit] } : null;
  return name === "confirm" && steps(card) === null ? { value: [state.slider] } : null;
}

/** What is chosen so far, and what comes next. */
export function progress(card, state) {
  const place = (p) => (p === undefined ? "–" : p + 1);
  if (card.wanted === "best_and_worst") return `best ${place(state.picks[0])}, worst ${place(state.picks[1])}`;
  if (card.wanted === "ranking") {
    const so = state.picks.map((p) => p + 1).join(", ");
    return `${so === "" ? "" : `${so} – `}now the ${ORDINALS[state.picks.length]}`;
  }
  if (card.kind === "outcome") return state.mark === null ? "no moment marked" : `marked: frame ${state.mark + 1}`;
  return "";
}

/** An answer in words; value: about items, as the server keeps it, or about places. */
export function said(card, choice, value, { ofItems = false, way = "row" } = {}) {
  if (choice === "skip") return "skipped";
  const number = (x) => (ofItems ? card.places.indexOf(x) : x) + 1;
  if (card.kind === "choice") {
    const [first, second] = value.map(number);
    return { best: `best: ${first}`, worst: `worst: ${first}`, best_and_worst: `best: ${first}, worst: ${second}` }[card.wanted] ??
      `ranking: ${value.map(number).join(", ")}`;
  }
  if (card.kind === "rating") return `${value[0]} ${card.scale}`;
  if (card.kind === "outcome") return value[0] === 1 ? "success" : "failure";
  const x = ofItems && card.places[1] === 2 ? 1 - value[0] : value[0];
  return x === 0.5 ? "equally close" : `${sideName(x < 0.5 ? "left" : "right", way).toLowerCase()} is closer`;
}

/** Rows and columns that show k clips largest. */
export function gridOf(k, { width, height, ratio }) {
  const sizes = Array.from({ length: k }, (_, i) => i + 1).map((columns) => {
    const rows = Math.ceil(k / columns);
    return { columns, rows, size: Math.min(width / columns, (height / rows) * ratio) };
  });
  return sizes.reduce((best, one) => (one.size > best.size + 1e-6 ? one : best));
}
