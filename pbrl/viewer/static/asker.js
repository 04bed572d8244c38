/** The answers to questions of other kinds than pairs, and the reasons for any answer: what is chosen, and the buttons. */

import { $, make, setText } from "./dom.js";
import { sideName } from "./layout.js";
import { begin, isPair, press, progress, steps, takesDigits } from "./kinds.js";

export class Asker {
  /** answer(choice, {value, keyAt}); stage: its frame, and the grid to mark; tags() -> words offered. */
  constructor({ answer, stage, tags }) {
    Object.assign(this, { answer, stage, tags });
    this.card = null;
    this.state = null;
    this.chosen = new Set(); // reasons
  }

  /** Another question is on show, or none. */
  show(card) {
    this.card = card;
    this.chosen.clear();
    this.state = card === null || isPair(card) ? null : begin(card);
    const other = this.state !== null;
    document.querySelector(".answers").hidden = other;
    $("kind-answers").hidden = !other;
    for (const button of document.querySelectorAll("[data-action=swap]")) button.hidden = other;
    if (other) $("kind-answers").replaceChildren(...this.#buttons());
    this.#draw();
  }

  /** Whether the action means something for the question on show. */
  takes(name, { digit = null, keyAt = null } = {}) {
    if (this.card === null) return false;
    if (name === "digit" && !takesDigits(this.card)) return this.#toggleTag(digit - 1);
    if (this.state === null) return false;
    if (name === "skip") return this.answer("skip", { keyAt });
    const done = press(this.card, this.state, { name, digit, frame: this.stage.frame });
    if (done === null) return false;
    if (done.value) return this.answer("answer", { value: done.value, keyAt });
    this.state = done.state;
    this.#draw();
    return true;
  }

  /** Actions that answer pairs and must not do so here. */
  get isOther() {
    return this.state !== null;
  }

  #toggleTag(at) {
    const tag = this.tags()[at];
    if (tag === undefined) return false;
    if (!this.chosen.delete(tag)) this.chosen.add(tag);
    this.#draw();
    return true;
  }

  #buttons() {
    const { kind } = this.card;
    const button = (action, text, key, more = {}) =>
      make("button", { type: "button", "data-action": action, ...more }, `${text} `, ...(key === "" ? [] : [make("kbd", {}, key)]));
    const rest = [button("skip", "Skip", "X", { class: "quiet" }), button("undo", "Undo", "Z", { class: "quiet" })];
    const main = { class: "main" };
    if (kind === "triplet") {
      const closer = (side, key) => make("button", { type: "button", "data-action": side, ...main },
        make("span", { "data-words": side, "data-than": "closer" }, `${sideName(side)} is closer`), " ", make("kbd", {}, key));
      return [closer("left", "←"), button("equal", "Equally close", "↓"), closer("right", "→"), ...rest];
    }
    if (kind === "outcome") {
      return [button("left", "Failure", "←", main), button("mark", "Mark the moment", "M"), button("right", "Success", "→", main), make("output", { id: "progress" }), ...rest];
    }
    if (kind === "rating") return [...this.#scale(button), ...rest];
    const numbers = this.card.items.map((_, i) => button("digit", `Clip ${i + 1}`, "", { "data-digit": i + 1 }));
    return [...numbers, make("output", { id: "progress" }), ...rest];
  }

  #scale(button) {
    const grades = steps(this.card);
    if (grades !== null) return grades.map((grade) => button("digit", `${grade}`, "", { "data-digit": grade, class: "main" }));
    const { low, high, scale } = this.card;
    const slider = make("input", { type: "range", min: low, max: high, step: "any", value: this.state.slider, "aria-label": scale });
    const shown = make("output", {}, `${this.state.slider} ${scale}`);
    slider.addEventListener("input", () => {
      this.state = { ...this.state, slider: Number(Number(slider.value).toPrecision(3)) };
      setText(shown, `${this.state.slider} ${scale}`);
    });
    return [slider, shown, button("confirm", "Give this rating", "Enter", { class: "main" })];
  }

  #draw() {
    const tags = this.tags();
    $("tags").hidden = tags.length === 0 || this.card === null;
    const keys = this.card !== null && !takesDigits(this.card);
    $("tags").replaceChildren(...tags.map((tag, i) => make("button",
      { type: "button", "data-action": "tag", "data-digit": i + 1, "aria-pressed": String(this.chosen.has(tag)) },
      tag, ...(keys ? [" ", make("kbd", {}, `${i + 1}`)] : []))));
    if (this.state === null) return;
    if ($("progress") !== null) setText($("progress"), progress(this.card, this.state));
    if (this.card.kind === "choice") this.stage.grid.mark(this.state.picks);
  }

  /** A click on a reason, also where number keys choose clips. */
  tag(digit) {
    return this.#toggleTag(digit - 1);
  }
}
