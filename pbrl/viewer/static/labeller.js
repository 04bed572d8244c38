/** The person's work: the pair on show, answering it, going back. Knows no DOM. */

import { Stopwatch } from "./clock.js";
import { Superseded } from "./deck.js";
import { isPair, said } from "./kinds.js";
import { layout } from "./layout.js";
import { inWords } from "./states.js";

const REMEMBERED = 50;

export class Labeller {
  /** memory: {load(), save(session)}, so that a reload loses nothing. on: {shown(current), empty(), said(text),
   * changed()}. annotator() -> name.
   */
  constructor({ outbox, pairs, clips, player, guard, memory, annotator, on, now = Date.now, uuid = newId }) {
    Object.assign(this, { outbox, pairs, clips, player, guard, memory, annotator, on, now, uuid });
    this.current = null;
    this.advancing = false;
    const { times = [], given = [], undone = [] } = memory.load();
    this.times = times; // seconds, of the answers given since the page was opened
    this.given = given; // newest last: {id, annotator, query, choice, strength, answered_at, pair}
    this.undone = new Set(undone);
    this.undoing = new Map(); // id -> the answer in words, until the server has said that it is taken back
    this.count = times.length; // for what is said only
    pairs.on.ready = () => this.advance();
  }

  /** Shows the next pair if none is on show; else only makes it ready. keyAt: when the key was pressed. */
  async advance(keyAt = null) {
    if (this.current !== null) return this.#prepareNext();
    const pair = this.pairs.peek();
    if (pair === null) {
      this.player.hide();
      this.on.empty();
      return;
    }
    if (this.player.isPrepared(pair)) return this.#show(this.pairs.take(), { keyAt });
    if (this.advancing) return;
    this.advancing = true;
    try {
      await this.player.prepare(pair, await this.clips.all(pair));
      if (this.current === null && this.pairs.peek() === pair) this.#show(this.pairs.take(), { keyAt });
    } catch (error) {
      if (!(error instanceof Superseded)) this.#unplayable(pair, error);
    } finally {
      this.advancing = false;
    }
    if (this.current === null && this.pairs.peek() !== null) this.advance(keyAt);
  }

  /** Takes an answer in screen terms: "left", "right", "equal", "incomparable" or "skip"; to other questions than pairs
   * "answer" with its value, about places, or "skip". tags: reasons. */
  answer(choice, { strength = "clear", keyAt = null, value = [], tags = [] } = {}) {
    const shown = this.current;
    if (shown === null) return false;
    const { pair, flipped } = shown;
    const [playsLeft, playsRight] = flipped ? ["right", "left"] : ["left", "right"];
    const [id, annotator] = [this.uuid(), this.annotator()];
    const swapped = pair.swapped !== flipped;
    this.outbox.add("/api/answer", {
      id, query: pair.query, repeat: pair.repeat, annotator, choice, strength, swapped,
      shown_at: shown.shownAt, played_at: shown.playedAt, response_ms: Math.round(shown.watch.elapsed()),
      plays_left: this.player.plays[playsLeft], plays_right: this.player.plays[playsRight],
      ...(isPair(pair) ? {} : { value, places: pair.places }), ...(tags.length > 0 ? { tags } : {}),
    });
    const seconds = this.now() / 1000;
    const seen = asSeen(pair, flipped);
    const words = isPair(pair) ? null : said(pair, choice, value, { way: layout() });
    this.given.push({ id, annotator, query: pair.query, choice, strength, words, answered_at: seconds, pair: seen });
    this.given.splice(0, this.given.length - REMEMBERED);
    if (choice !== "skip") this.times.push(seconds);
    const what = shown.review === null ? `Answer ${++this.count}` : "Changed"; // the number, or a repeated one is not read out
    this.on.said(`${what}: ${words ?? inWords(choice, strength, layout())}`);
    this.current = null;
    this.advance(keyAt);
    this.#remember();
    return true;
  }

  /** Takes back the last answer not yet taken back; its pair is shown again. */
  async undo(keyAt = null) {
    const last = this.given.pop();
    if (last === undefined) {
      this.on.said("There is no answer to take back");
      return;
    }
    this.undone.add(last.id);
    if (last.choice !== "skip") this.times.pop();
    this.count = Math.max(0, this.count - 1);
    const words = last.words ?? inWords(last.choice, last.strength, layout());
    if (this.outbox.withdraw(last.id)) this.on.said(`Taken back: ${words}`);
    else {
      this.undoing.set(last.id, words);
      this.on.said(`Taking back: ${words}`);
      this.outbox.add("/api/undo", { id: last.id, annotator: last.annotator });
    }
    this.#remember();
    await this.#bringBack(last.pair, null, keyAt);
  }

  /** The server has taken an answer back; `pair` is as it wants it answered now, null if it had no such answer. */
  takenBack(id, pair) {
    const words = this.undoing.get(id) ?? "an earlier answer";
    this.undoing.delete(id);
    if (pair === null) return this.on.said(`Nothing was taken back, the answer was not found: ${words}`);
    this.on.said(`Taken back: ${words}`);
    for (const known of [this.current?.pair, ...this.pairs.pairs]) {
      if (known?.query === pair.query) known.repeat = pair.repeat;
    }
  }

  /** Shows an answered pair again; the next answer replaces `entry`'s. */
  review(entry) {
    return this.#bringBack(entry.pair, entry, null);
  }

  /** Leaves the pair looked at again as it was answered. */
  leaveReview() {
    if (!this.current?.review) return false;
    this.current = null;
    this.on.said("Left as it was");
    this.advance();
    return true;
  }

  /** Exchanges the sides on the screen. */
  flip() {
    if (this.current === null || !isPair(this.current.pair)) return;
    this.current.flipped = !this.current.flipped;
    this.player.flip(this.current.flipped);
    this.on.said("Sides exchanged");
    this.on.changed();
  }

  /** Shows the current pair's other clips (another camera), on the frame it is at. */
  async replaceClips(pair, camera) {
    const shown = this.current;
    await this.player.prepare(pair, await this.clips.all(pair));
    if (this.current !== shown) return;
    const { plays, frame, playing } = this.player;
    shown.pair = pair;
    shown.camera = camera;
    this.player.swap({ card: pair, flipped: shown.flipped, frame: Math.min(frame, this.player.length - 1) });
    this.player.plays = plays;
    if (!playing) this.player.seek(frame);
    this.on.changed();
    this.#prepareNext();
  }

  /** Not looking: the tab is hidden, or something covers the pair. */
  suspend(reason, yes) {
    this.player.suspend(reason, yes);
    if (this.player.suspended.size > 0) this.current?.watch.stop();
    else this.current?.watch.go();
  }

  played() {
    if (this.current === null || this.current.playedAt !== null || Math.min(...Object.values(this.player.plays)) < 1) return;
    this.current.playedAt = this.now() / 1000;
    this.on.changed();
  }

  async #bringBack(pair, review, keyAt) {
    if (this.current !== null && this.current.review === null) this.pairs.putBack(this.current.pair);
    this.current = null;
    this.pairs.putBack(pair);
    this.pairs.pinned = pair;
    this.reviewing = review;
    await this.advance(keyAt);
  }

  #show(pair, { keyAt }) {
    const review = this.reviewing?.pair === pair ? this.reviewing : null;
    this.current = {
      pair, flipped: false, review, camera: null, playedAt: null, shownAt: this.now() / 1000, watch: new Stopwatch(),
    };
    this.pairs.pinned = null;
    this.guard.pairChanged();
    this.player.swap({ card: pair });
    if (keyAt !== null) this.on.timed?.(keyAt);
    if (this.player.suspended.size > 0) this.current.watch.stop();
    this.on.shown(this.current);
    this.#remember();
    this.#prepareNext();
    this.clips.trim([pair, ...this.pairs.pairs]);
    this.pairs.fill();
  }

  async #prepareNext() {
    const pair = this.pairs.peek();
    if (pair === null || this.player.isPrepared(pair)) return;
    try {
      await this.player.prepare(pair, await this.clips.all(pair));
    } catch (error) {
      if (!(error instanceof Superseded)) this.#unplayable(pair, error);
    }
  }

  #unplayable(pair, error) {
    this.pairs.setAside(pair, error.message);
    this.on.said(`A pair was left out: ${error.message}`);
  }

  #remember() {
    const known = this.current === null ? this.pairs.pairs : [this.current.pair, ...this.pairs.pairs];
    this.memory.save({ times: this.times, given: this.given, undone: [...this.undone].slice(-200), known });
    this.on.changed();
  }
}

/** The pair with the sides as they were on the screen, so that looking at it again shows what was answered. */
function asSeen(pair, flipped) {
  return flipped ? { ...pair, swapped: !pair.swapped, left: pair.right, right: pair.left } : pair;
}

/** A UUID, version 4. The browser's own `randomUUID` exists on https and localhost only, random numbers everywhere. */
export function newId(random = (bytes) => crypto.getRandomValues(bytes)) {
  const bytes = random(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
