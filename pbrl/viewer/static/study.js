/** The steps of a study around its questions: consent, instructions, what practice tells, breaks, and the end. */

import { $, setText } from "./dom.js";
import { sideName } from "./layout.js";
import { count, countdown } from "./states.js";

const QUIET_MS = 400; // a key that was meant for the pair before does nothing here

/** What the panel says: {id, title, text, button, keys, code, url}; null while questions are asked. Pure.
 *
 * study: as the server tells it. feedback: on the practice pair that was answered last, until it is read. ageS: how old
 * `study` is. kept: answers not delivered yet. way: of the layout.
 */
export function panelOf(study, { feedback = null, ageS = 0, kept = 0, way = "row" } = {}) {
  if (feedback !== null) return feedbackPanel(feedback, way);
  if (study === null) return null;
  const { stage } = study;
  if (stage === "consent") {
    return { id: stage, title: "Before you take part", text: study.text, button: "I agree and take part",
      note: "If you do not agree, close this page: nothing is stored." };
  }
  if (stage === "instructions") return { id: stage, title: "What you do", text: study.text, button: "Go on", keys: true };
  if (stage === "break") return breakPanel(study, ageS);
  if (stage === "unknown") {
    return { id: stage, title: "Open this study from Prolific", text: "This address does not say who you are (PROLIFIC_PID)." };
  }
  return stage === "done" ? donePanel(study, kept) : null;
}

function feedbackPanel({ right, side, text }, way) {
  const better = side === "equal" ? "Both are equally good." : `${sideName(side, way)} was better.`;
  return { id: "feedback", title: right ? "Right" : "Not quite", button: "Go on",
    text: [right ? "" : `${better} This pair comes once more.`, text].filter(Boolean).join("\n") || better };
}

function breakPanel({ done, quota, rest_s: restS }, ageS) {
  const left = Math.max(0, restS - ageS);
  const so = quota === null ? count(done, "question") : `${done} of ${count(quota, "question")}`;
  const wait = left > 0 ? `It goes on in ${countdown(left)}.` : "Go on when you like.";
  return { id: "break", title: "A break", text: `You have answered ${so}. Look away from the screen for a while. ${wait}`,
    button: "Go on", wait: left > 0 };
}

function donePanel({ code = null, url = null }, kept) {
  const text = kept > 0 ? `Leave this page open: ${count(kept, "answer is", "answers are")} not stored yet.` : "All your answers are stored.";
  return { id: "done", title: "That was all – thank you", text, code: kept > 0 ? null : code, url: kept > 0 ? null : url };
}

/** Where labels of sides stand in a text, as {left}. */
export function inPlaces(text, way) {
  return text.replace(/\{(left|right)\}/g, (_, side) => sideName(side, way));
}

export class StudyPanel {
  /** take(step) -> Promise of the study then; kept() -> answers not delivered; changed(): another stage, or read. */
  constructor({ take, kept, changed, now = () => performance.now() }) {
    Object.assign(this, { take, kept, changed, now });
    this.study = null; // null: there is none, or it is not known yet where this person is
    this.feedback = null;
    this.toldAt = 0;
    this.shownAt = 0;
    this.id = null; // of the panel on show
    $("study-button").addEventListener("click", () => this.#press());
  }

  /** The server has said where this person is. */
  told(study) {
    const before = this.study?.stage;
    this.study = study;
    this.toldAt = this.now();
    if (study?.feedback) this.feedback = study.feedback;
    if (study?.stage !== before || study?.feedback) this.changed();
  }

  /** Whether something of it stands where the clips would be. */
  get covers() {
    return this.#panel() !== null;
  }

  get fullPlay() {
    return this.study?.full_play ?? false;
  }

  get noSkip() {
    return this.study !== null && !this.study.skip;
  }

  draw() {
    const panel = this.#panel();
    $("study").hidden = panel === null;
    if (panel === null) {
      this.id = null;
      return;
    }
    setText($("study-title"), panel.title);
    setText($("study-text"), panel.text);
    setText($("study-note"), panel.note ?? "");
    $("study-keys").hidden = !panel.keys;
    $("study-code").hidden = !panel.code;
    setText($("study-code-text"), panel.code ?? "");
    $("study-link").hidden = !panel.url;
    if (panel.url) $("study-link").href = panel.url;
    $("study-button").hidden = !panel.button;
    setText($("study-button").firstChild, `${panel.button ?? ""} `);
    $("study-button").setAttribute("aria-disabled", String(Boolean(panel.wait)));
    if (this.id === panel.id) return;
    this.id = panel.id;
    this.shownAt = this.now();
    (panel.button ? $("study-button") : $("study-title")).focus();
  }

  #panel() {
    const layout = document.documentElement.dataset.layout ?? "row";
    return panelOf(this.study, { feedback: this.feedback, ageS: (this.now() - this.toldAt) / 1000, kept: this.kept(), way: layout });
  }

  async #press() {
    const panel = this.#panel();
    if (!panel?.button || panel.wait || this.now() - this.shownAt < QUIET_MS) return;
    if (this.feedback === null) return this.told(await this.take(panel.id));
    this.feedback = null;
    this.changed();
  }
}
