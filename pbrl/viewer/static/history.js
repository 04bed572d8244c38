/** The drawer with the last answers: look at one again, change it. */

import { $, clipVideo, make, whenSeen } from "./dom.js";
import { clipsOf, isPair, said } from "./kinds.js";
import { inWords, mergeHistory } from "./states.js";

export class HistoryDrawer {
  /** fetch(n) -> Promise of the server's answers; local() -> {given, undone}; choose(entry): look at it again. */
  constructor({ fetch, local, choose }) {
    Object.assign(this, { fetch, local, choose });
    this.dialog = $("history");
    this.list = $("history-list");
    this.observer = whenSeen({ root: this.list });
    this.dialog.addEventListener("close", () => this.#clear());
  }

  async open() {
    this.#note("Loading…");
    this.dialog.showModal();
    let answers = [];
    let text = "";
    try {
      answers = (await this.fetch(50)).answers;
    } catch {
      text = "The server does not answer; these are the answers given in this tab.";
    }
    if (!this.dialog.open) return;
    const { given, undone } = this.local();
    const entries = mergeHistory(answers, given, undone);
    if (entries.length === 0) text = "Nothing answered yet.";
    this.#clear();
    this.#note(text);
    for (const entry of entries) this.list.append(this.#row(entry));
  }

  #row(entry) {
    const { pair } = entry;
    if (!isPair(pair)) entry.words ??= said(pair, entry.choice, entry.value, { ofItems: true });
    const words = entry.words ?? inWords(entry.choice, entry.strength);
    const time = new Date(1000 * entry.answered_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const videos = clipsOf(pair).slice(0, 3).map(({ clip }, i) => clipVideo(clip, isPair(pair) ? `${["left", "right"][i]} clip` : `clip ${i + 1}`));
    const clips = make("span", { class: `thumbs chose-${entry.choice}` }, ...videos);
    const text = make("span", { class: "said" }, make("strong", {}, words), make("small", {}, time));
    const button = make("button", { type: "button", class: "row", "aria-label": `${words}, ${time}. Look again` },
      clips, text, make("span", { class: "again" }, "Look again"));
    button.addEventListener("click", () => {
      this.dialog.close();
      this.choose(entry);
    });
    const play = () => videos.forEach((video) => video.play().catch(() => {}));
    const stop = () => videos.forEach((video) => video.pause());
    for (const event of ["pointerenter", "focus"]) button.addEventListener(event, play);
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, stop);
    videos.forEach((video) => this.observer.observe(video));
    return make("li", {}, button);
  }

  #note(text) {
    $("history-note").textContent = text;
    $("history-note").hidden = text === "";
  }

  #clear() {
    this.observer.disconnect();
    for (const video of this.list.querySelectorAll("video")) {
      video.removeAttribute("src");
      video.load(); // gives its memory back
    }
    this.list.replaceChildren();
  }
}
