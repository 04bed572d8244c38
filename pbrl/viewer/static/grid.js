/** Up to nine clips that play together, for questions of other kinds than pairs. The same calls as of `Player`. */

import { frameAt, nextSpeed, timeOf } from "./clock.js";
import { make } from "./dom.js";
import { gridOf } from "./kinds.js";
import { layout } from "./layout.js";
import { loadVideo, seekVideo } from "./deck.js";

export class Grid {
  /** on: as of `Player`. */
  constructor(root, { holdS = 0.3, on = {} } = {}) {
    Object.assign(this, { root, holdS, on });
    this.speed = 1;
    this.playing = false;
    this.suspended = new Set();
    this.frame = 0;
    this.turn = 0;
    this.plays = { left: 0, right: 0 };
    this.card = null;
    this.next = null; // {card, figures, ready}
    new ResizeObserver(() => requestAnimationFrame(() => this.#arrange())).observe(root.parentElement);
  }

  get videos() {
    return [...this.root.querySelectorAll("video")];
  }

  get length() {
    return this.card === null ? 1 : Math.max(...this.card.items.map((item) => item.frames));
  }

  /** Loads a question's clips out of sight. */
  async prepare(card, urls) {
    if (this.next?.card !== card) {
      const figures = card.items.map((_, place) => figure(card, place));
      const next = { card, figures, loaded: false };
      next.ready = Promise.all(figures.map((f, place) => loadVideo(f.querySelector("video"), urls[place])));
      this.next = next;
    }
    const next = this.next;
    await next.ready;
    next.loaded = true;
  }

  isPrepared(card) {
    return this.next?.card === card && this.next.loaded;
  }

  swap({ frame = 0 } = {}) {
    this.#stop();
    const { card, figures } = this.next;
    this.next = null;
    this.card = card;
    this.root.replaceChildren(...figures);
    this.root.dataset.query = card.query;
    this.root.dataset.kind = card.kind;
    this.root.classList.add("active");
    this.plays = { left: 0, right: 0 };
    this.playing = true;
    const lead = this.#leader();
    lead.addEventListener("ended", () => this.#ended(lead));
    this.#follow(lead);
    this.#arrange();
    this.on.state?.(this);
    this.#playFrom(frame);
  }

  hide() {
    this.#stop();
    this.playing = false;
    this.videos.forEach((video) => video.pause());
    this.root.classList.remove("active");
    this.root.replaceChildren();
    delete this.root.dataset.query;
    this.card = null;
  }

  toggle() {
    this.playing = !this.playing;
    this.on.state?.(this);
    if (this.playing) this.#playFrom(this.frame >= this.length - 1 ? 0 : this.frame);
    else this.#pause();
  }

  restart() {
    this.playing = true;
    this.on.state?.(this);
    this.#playFrom(0);
  }

  step(direction) {
    this.seek(this.frame + direction);
  }

  seek(frame) {
    this.playing = false;
    this.on.state?.(this);
    this.#shows(Math.min(Math.max(frame, 0), this.length - 1));
    this.#pause();
  }

  changeSpeed(direction) {
    this.speed = nextSpeed(this.speed, direction);
    for (const video of this.videos) video.playbackRate = this.speed;
    this.on.state?.(this);
  }

  flip() {}

  suspend(reason, yes) {
    const before = this.suspended.size;
    if (yes) this.suspended.add(reason);
    else this.suspended.delete(reason);
    if (this.card === null || !this.playing || (before > 0) === (this.suspended.size > 0)) return;
    if (yes) this.#pause();
    else this.#playFrom(this.frame);
  }

  /** Shows what is chosen: the rank of each place, or none. */
  mark(ranks) {
    [...this.root.children].forEach((node, place) => {
      const rank = ranks.indexOf(place);
      node.classList.toggle("picked", rank >= 0);
      node.querySelector(".rank").textContent = rank >= 0 ? `${rank + 1}` : "";
    });
  }

  #leader() {
    const longest = this.card.items.reduce((best, item, i, all) => (item.frames > all[best].frames ? i : best), 0);
    return this.videos[longest];
  }

  #stop() {
    this.turn++;
    this.on.loop?.(false);
  }

  #seek(frame) {
    const { items, fps } = this.card;
    return Promise.all(this.videos.map((video, i) => seekVideo(video, frame === 0 ? 0 : timeOf(frame, fps, items[i].frames))));
  }

  async #pause() {
    this.#stop();
    this.videos.forEach((video) => video.pause());
    await this.#seek(this.frame);
  }

  async #playFrom(frame) {
    this.#stop();
    const turn = this.turn;
    this.videos.forEach((video) => video.pause());
    await this.#seek(frame);
    if (turn !== this.turn) return;
    this.#shows(frame);
    if (!this.playing || this.suspended.size > 0) return;
    this.videos.forEach((video, i) => {
      video.playbackRate = this.speed;
      if (frame < this.card.items[i].frames) video.play().catch(() => {});
    });
  }

  #shows(frame) {
    this.frame = frame;
    [...this.root.children].forEach((node, i) => node.classList.toggle("over", frame >= this.card.items[i].frames));
    this.on.frame?.(frame, this.length);
  }

  #follow(lead) {
    const tick = (_, { mediaTime }) => {
      if (!lead.isConnected) return;
      if (!lead.paused && !lead.seeking) this.#shows(frameAt(mediaTime, this.card.fps, this.length));
      lead.requestVideoFrameCallback(tick);
    };
    lead.requestVideoFrameCallback?.(tick);
  }

  async #ended(lead) {
    if (!lead.isConnected || !this.playing) return;
    this.plays = { left: this.plays.left + 1, right: this.plays.right + 1 };
    this.on.played?.(this.plays);
    this.#shows(this.length - 1);
    this.on.loop?.(true);
    const turn = this.turn;
    await new Promise((resolve) => setTimeout(resolve, 1000 * this.holdS));
    if (turn === this.turn) this.#playFrom(0);
  }

  #arrange() {
    const { width, height } = this.root.parentElement.getBoundingClientRect();
    const first = this.videos[0];
    if (!first || width === 0 || this.card === null) return;
    const ratio = (first.videoWidth || 1) / (first.videoHeight || 1);
    const k = this.videos.length;
    const triplet = layout() === "row" ? { columns: k, rows: 1 } : { columns: 1, rows: k }; // or words would not fit
    const { columns, rows } = this.card.kind === "triplet" ? triplet : gridOf(k, { width, height, ratio });
    for (const [name, value] of Object.entries({ columns, rows, ratio })) this.root.style.setProperty(`--${name}`, value);
  }
}

/** One clip with its number; in a triplet the first one stands in the middle and has no number. */
function figure(card, place) {
  const reference = card.kind === "triplet" && place === 0;
  const name = card.items.length === 1 ? "Clip" : reference ? "Reference" : `Clip ${card.kind === "triplet" ? place : place + 1}`;
  const video = make("video", { playsinline: "", preload: "auto", "aria-label": name, tabindex: "-1" });
  video.muted = true;
  const tag = make("span", { class: "number" }, reference ? "reference" : `${place + 1}`);
  const node = make("figure", { class: `clip item${reference ? " reference" : ""}` }, video, make("span", { class: "over-tag" }, "ended"),
    make("span", { class: "rank" }));
  if (card.kind === "choice" || reference) node.append(tag);
  if (card.kind === "choice") Object.assign(node.dataset, { action: "digit", digit: place + 1 });
  return node;
}
