/** Two clips on one clock, and a second pair of <video>s in which the next pair waits, loaded and hidden. */

import { correction, frameAt, leaderOf, nextSpeed } from "./clock.js";
import { Deck, SIDES } from "./deck.js";

export class Player {
  /** roots: the two decks' elements. on: {frame(frame, frames), state(player), loop(turning), played(side)}. */
  constructor(roots, { holdS = 0.3, on = {} } = {}) {
    this.decks = roots.map((root) => new Deck(root));
    this.holdS = holdS;
    this.on = on;
    this.speed = 1;
    this.playing = false; // what the person wants; a hidden tab or a dialog only suspends it
    this.suspended = new Set();
    this.frame = 0;
    this.turn = 0; // raised by everything that ends a wait for a seek or for the loop
    this.plays = { left: 0, right: 0 };
    this.decks.forEach((deck) => {
      for (const side of SIDES) deck.videos[side].addEventListener("ended", () => this.#ended(deck, side));
      this.#watch(deck);
    });
  }

  get active() {
    return this.decks[0];
  }

  get shown() {
    return this.active.root.classList.contains("active");
  }

  get length() {
    return this.active.pair === null ? 1 : Math.max(...Object.values(this.active.frames));
  }

  /** Loads a pair into the hidden videos, which may hold it already. */
  async prepare(pair, urls) {
    const deck = this.decks[1];
    if (deck.pair !== pair) {
      this.prepared = deck.load(pair, urls);
    } else {
      this.prepared = this.prepared.catch(() => deck.load(pair, urls)).then(() => deck.rewind());
    }
    await this.prepared;
  }

  isPrepared(pair) {
    const deck = this.decks[1];
    return deck.pair === pair && deck.loaded === true && SIDES.every((side) => deck.videos[side].currentTime === 0);
  }

  /** Changes to the prepared pair and plays it from `frame`. */
  swap({ flipped = false, frame = 0 } = {}) {
    const old = this.active;
    this.#stop();
    this.decks.reverse();
    this.prepared = Promise.resolve(); // the pair that leaves is loaded, should it come back
    this.active.flip(flipped);
    this.active.uncover();
    this.active.root.classList.add("active");
    old.root.classList.remove("active");
    old.pause();
    this.plays = { left: 0, right: 0 };
    this.playing = true;
    this.#setRate();
    this.#shows(frame);
    this.on.state?.(this);
    if (frame === 0) this.#start();
    else this.#playFrom(frame);
  }

  /** Nothing to show. */
  hide() {
    this.#stop();
    this.playing = false;
    this.active.pause();
    this.active.root.classList.remove("active");
  }

  toggle() {
    this.playing = !this.playing;
    this.on.state?.(this);
    if (this.playing) this.#resume();
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

  /** Stops at one frame. */
  seek(frame) {
    this.playing = false;
    this.on.state?.(this);
    this.#shows(Math.min(Math.max(frame, 0), this.length - 1));
    this.#pause();
  }

  changeSpeed(direction) {
    this.speed = nextSpeed(this.speed, direction);
    this.#setRate();
    this.on.state?.(this);
  }

  flip(flipped) {
    this.active.flip(flipped);
  }

  /** Stops while `reason` lasts (hidden tab, open dialog) without changing what the person wanted. */
  suspend(reason, yes) {
    const before = this.suspended.size;
    if (yes) this.suspended.add(reason);
    else this.suspended.delete(reason);
    if (!this.shown || !this.playing || (before > 0) === (this.suspended.size > 0)) return;
    if (yes) this.#pause();
    else this.#resume();
  }

  #resume() {
    this.#playFrom(this.frame >= this.length - 1 ? 0 : this.frame);
  }

  #setRate() {
    for (const side of SIDES) this.active.videos[side].playbackRate = this.speed;
  }

  #stop() {
    this.turn++;
    this.on.loop?.(false);
  }

  async #pause() {
    this.#stop();
    const turn = this.turn;
    this.active.pause();
    await this.active.seek(this.frame);
    if (turn === this.turn) this.active.uncover();
  }

  async #playFrom(frame) {
    this.#stop();
    const turn = this.turn;
    this.active.pause();
    await (frame === 0 ? this.active.rewind() : this.active.seek(frame));
    if (turn !== this.turn) return;
    this.active.uncover();
    this.#shows(frame);
    this.#setRate();
    this.#start();
  }

  #start() {
    if (!this.playing || this.suspended.size > 0) return;
    const { videos, frames } = this.active;
    for (const side of SIDES) {
      if (this.frame >= frames[side] && this.frame > 0) continue; // the shorter clip has ended
      videos[side].play().catch((error) => {
        if (error.name !== "NotAllowedError") return; // interrupted by a pause
        this.playing = false;
        this.on.state?.(this);
      });
    }
  }

  #shows(frame) {
    this.frame = frame;
    for (const side of SIDES) {
      this.active.figures[side].classList.toggle("over", frame >= this.active.frames[side]);
    }
    this.on.frame?.(frame, this.length);
  }

  /** Follows the leading clip's frames, of either deck, for as long as the page lives. */
  #watch(deck) {
    const followed = SIDES.map((side) => {
      const video = deck.videos[side];
      const exact = "requestVideoFrameCallback" in video;
      const again = () => (exact ? video.requestVideoFrameCallback(tick) : requestAnimationFrame(tick));
      const tick = (now, metadata) => {
        if (deck === this.active && this.shown) this.#presented(side, metadata?.mediaTime ?? video.currentTime);
        again();
      };
      return again;
    });
    followed.forEach((start) => start());
  }

  #presented(side, time) {
    const { videos, frames, pair } = this.active;
    if (side !== leaderOf(frames) || videos[side].paused || videos[side].seeking) return;
    this.#shows(frameAt(time, pair.fps, frames[side]));
    const other = videos[side === "left" ? "right" : "left"];
    if (other.paused || other.ended || other.seeking || videos[side].ended) return;
    const { rate, seek } = correction(videos[side].currentTime - other.currentTime, pair.fps, this.speed);
    if (seek) this.#playFrom(this.frame);
    else if (other.playbackRate !== rate) other.playbackRate = rate;
  }

  #ended(deck, side) {
    if (deck !== this.active || !this.shown || !this.playing) return;
    this.plays[side]++;
    this.on.played?.(this.plays);
    if (side !== leaderOf(deck.frames)) return;
    this.#shows(this.length - 1);
    this.on.loop?.(true);
    this.#turnAround();
  }

  /** Holds the last frame, goes back to the first under a still of it, and plays on: both clips in one moment. */
  async #turnAround() {
    const turn = this.turn;
    await this.#wait(this.holdS / 2); // the other clip may be a frame behind
    if (turn !== this.turn) return;
    this.active.cover();
    await Promise.all([this.#wait(this.holdS / 2), this.active.rewind()]);
    if (turn === this.turn) this.#playFrom(0);
  }

  #wait(seconds) {
    return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}
