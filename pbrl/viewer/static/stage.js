/** One stage for all kinds of questions: pairs on the player's two decks, others in a grid. The same calls as of `Player`. */

import { isPair } from "./kinds.js";

export class Stage {
  constructor(player, grid) {
    Object.assign(this, { player, grid });
    this.on = player;
  }

  get suspended() {
    return this.player.suspended;
  }

  get plays() {
    return this.on.plays;
  }

  set plays(plays) {
    this.on.plays = plays;
  }

  get frame() {
    return this.on.frame;
  }

  get playing() {
    return this.on.playing;
  }

  get length() {
    return this.on.length;
  }

  set holdS(seconds) {
    this.player.holdS = this.grid.holdS = seconds;
  }

  /** The clip whose first new frame tells that the next question is on show. */
  get firstVideo() {
    return this.on === this.grid ? this.grid.videos[0] : this.player.active.videos.left;
  }

  get fps() {
    return (this.on === this.grid ? this.grid.card : this.player.active.pair)?.fps ?? 1;
  }

  prepare(card, urls) {
    return isPair(card) ? this.player.prepare(card, { left: urls[0], right: urls[1] }) : this.grid.prepare(card, urls);
  }

  isPrepared(card) {
    return this.#of(card).isPrepared(card);
  }

  swap({ card, ...how }) {
    const next = this.#of(card);
    if (next !== this.on) this.on.hide();
    this.on = next;
    next.swap(how);
  }

  hide() {
    this.player.hide();
    this.grid.hide();
  }

  suspend(reason, yes) {
    this.player.suspend(reason, yes);
    this.grid.suspend(reason, yes);
  }

  toggle() { this.on.toggle(); }
  restart() { this.on.restart(); }
  step(direction) { this.on.step(direction); }
  seek(frame) { this.on.seek(frame); }
  changeSpeed(direction) { this.on.changeSpeed(direction); }
  flip(flipped) { this.on.flip(flipped); }

  #of(card) {
    return isPair(card) ? this.player : this.grid;
  }
}
