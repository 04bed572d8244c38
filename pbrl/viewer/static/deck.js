/** One pair's two <video>s: loading, seeking, and a still of each to seek under. */

import { timeOf } from "./clock.js";
import { sideName } from "./layout.js";

export const SIDES = ["left", "right"];
const LOAD_MS = 8_000;

/** `left` and `right` are as the server sent them; `flip` changes only where they are drawn. */
export class Deck {
  constructor(root) {
    this.root = root;
    this.figures = { left: root.querySelector(".clip.left"), right: root.querySelector(".clip.right") };
    this.videos = { left: root.querySelector(".left video"), right: root.querySelector(".right video") };
    this.stills = { left: root.querySelector(".left canvas"), right: root.querySelector(".right canvas") };
    this.pair = null;
    this.loading = 0;
  }

  get frames() {
    return { left: this.pair.left.frames, right: this.pair.right.frames };
  }

  /** Resolves when the first frames can be drawn; rejects where a clip cannot be played. */
  async load(pair, urls) {
    const turn = ++this.loading;
    this.pair = pair;
    this.root.dataset.query = pair.query;
    this.root.dataset.swapped = pair.swapped;
    this.loaded = false;
    await Promise.all(SIDES.map((side) => loadVideo(this.videos[side], urls[side])));
    if (turn !== this.loading) throw new Superseded();
    this.loaded = true;
  }

  /** Shows one frame on both. */
  seek(frame) {
    return this.#seekTo((side) => timeOf(frame, this.pair.fps, this.frames[side]));
  }

  rewind() {
    return this.#seekTo(() => 0);
  }

  flip(flipped) {
    this.root.classList.toggle("flipped", flipped);
    this.name(flipped);
  }

  /** Says where each clip is. */
  name(flipped = this.root.classList.contains("flipped")) {
    this.videos.left.setAttribute("aria-label", `${sideName(flipped ? "right" : "left")} clip`);
    this.videos.right.setAttribute("aria-label", `${sideName(flipped ? "left" : "right")} clip`);
  }

  pause() {
    for (const side of SIDES) this.videos[side].pause();
  }

  /** Puts a still of what is on show before both videos: under it they may seek, each in its own time. */
  cover() {
    for (const side of SIDES) {
      const [video, still] = [this.videos[side], this.stills[side]];
      [still.width, still.height] = [video.videoWidth, video.videoHeight];
      still.getContext("2d").drawImage(video, 0, 0);
      still.hidden = false;
    }
  }

  uncover() {
    for (const side of SIDES) this.stills[side].hidden = true;
  }

  #seekTo(time) {
    return Promise.all(SIDES.map((side) => seekVideo(this.videos[side], time(side))));
  }
}

/** A later load of the same videos took over. */
export class Superseded extends Error {}

export function loadVideo(video, url) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => done(reject, new Error("the clip did not load")), LOAD_MS);
    const loaded = () => done(resolve);
    const failed = () => done(reject, new Error(video.error?.message || "the clip cannot be played"));
    function done(settle, value) {
      clearTimeout(timer);
      video.removeEventListener("loadeddata", loaded);
      video.removeEventListener("error", failed);
      settle(value);
    }
    video.addEventListener("loadeddata", loaded);
    video.addEventListener("error", failed);
    video.src = url;
    video.load();
  });
}

export function seekVideo(video, time) {
  if (!video.seeking && !video.ended && Math.abs(video.currentTime - time) < 1e-5) return Promise.resolve();
  return new Promise((resolve) => {
    video.addEventListener("seeked", resolve, { once: true });
    video.currentTime = time;
  });
}
