/** "What the reward learned": how many fresh answers it foresaw, and the clips it ranks highest and lowest. */

import { $, clipVideo, make, whenSeen } from "./dom.js";

export class LearnedPanel {
  /** fetch() -> Promise of GET /api/learned. */
  constructor({ fetch }) {
    this.fetch = fetch;
    this.dialog = $("learned");
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.observer = whenSeen({ play: !this.still });
    this.dialog.addEventListener("close", () => this.#show(null, ""));
  }

  async open() {
    this.#show(null, "Loading…");
    this.dialog.showModal();
    try {
      const learned = await this.fetch();
      if (this.dialog.open) this.#show(learned, learned === null ? "Nothing has been learned yet." : "");
    } catch {
      this.#show(null, "The server does not answer.");
    }
  }

  #show(learned, text) {
    $("learned-text").textContent = learned === null ? text : summary(learned);
    $("learned-bar").hidden = !learned?.foreseen;
    if (learned?.foreseen) interval(learned.foreseen);
    this.observer.disconnect();
    for (const kind of ["best", "worst"]) {
      const column = $(`learned-${kind}`);
      column.closest("section").hidden = learned === null;
      const figures = (learned?.[kind] ?? []).map((clip) => this.#figure(clip, kind));
      column.replaceChildren(...figures);
      column.querySelectorAll("video").forEach((video) => this.observer.observe(video));
    }
  }

  #figure({ clip, score }, kind) {
    const caption = make("figcaption", {}, `learned reward ${score.toFixed(2)}`);
    const video = clipVideo(clip, `a clip the reward ranks ${kind}`);
    video.controls = this.still; // then it plays when asked to
    return make("figure", {}, video, caption);
  }
}

/** In words, with the interval and what chance would give. */
export function summary({ answers, foreseen }) {
  if (foreseen === null) return `The reward has learned from ${answers} answers; none is fresh enough to test it yet.`;
  const [share, low, high] = [foreseen.share, foreseen.low, foreseen.high].map(percent);
  return `The reward foresaw ${share} of ${foreseen.of} fresh answers, before it learned from them ` +
    `(95 % interval ${low} to ${high}; guessing gives 50 %). It has learned from ${answers} answers so far.`;
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function interval({ share, low, high }) {
  const bar = $("learned-bar");
  for (const [name, value] of Object.entries({ share, low, high })) bar.style.setProperty(`--${name}`, value);
}
