/** Keys and clicks of the whole page, turned into actions. */

import { ANSWERS, actionFor, isPressable } from "./keys.js";
import { $ } from "./dom.js";

const IN_DIALOG = { help: "help", history: "history" }; // the key that opens a panel also closes it

/** act(name, {strength, keyAt}) -> whether it did anything; guard: KeyGuard; slight() -> bool; covering() -> the element
 * that stands where the clips would be, or null. */
export function listen({ act, guard, slight, covering }) {
  document.addEventListener("keydown", (event) => {
    if (event.repeat && (event.key === "Enter" || event.key === " ") && isPressable(event.target)) {
      event.preventDefault(); // a held Enter would press the focused button again and again
      return;
    }
    const action = actionFor(event, { slight: slight() });
    const dialog = document.querySelector("dialog[open]");
    const card = covering();
    if (card !== null) {
      if (event.key === "Enter" && !isPressable(event.target) && event.target.id !== "name") card.querySelector("button").click();
      return;
    }
    if (action === null || (dialog !== null && IN_DIALOG[action.name] !== dialog.id)) return;
    if (action.name !== "leave" && action.name !== "confirm") event.preventDefault(); // no scrolling, no quick find
    if (guard.accepts(action.name, event)) act(action.name, { ...action, keyAt: event.timeStamp });
  });
  document.addEventListener("keyup", (event) => guard.released(event));
  window.addEventListener("blur", () => guard.reset());

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button, [data-action]");
    if (button !== null && event.detail > 0) button.blur(); // else the next Space would press it again
    const name = button?.dataset.action;
    if (name === undefined) return;
    if (ANSWERS.has(name) && event.detail > 1) return; // the second half of a double click
    if (guard.accepts(name)) act(name, {
      strength: button.dataset.strength ?? "clear", digit: Number(button.dataset.digit), keyAt: event.timeStamp,
    });
  });
  for (const event of ["pointerup", "pointercancel"]) {
    $("scrub").addEventListener(event, () => $("scrub").blur()); // else the arrows would go on moving it
  }
}
