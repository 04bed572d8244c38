/** The next pairs and their clips, in time. */

import { Faulty, NoSession, OtherRun, Refused, Unreachable } from "./api.js";
import { clipsOf } from "./kinds.js";

/** Clips as blob: URLs. Keeps the last `keep` besides those in use, so that undo is instant; revokes the rest. */
export class ClipStore {
  constructor({ load, keep = 16, makeUrl = (b) => URL.createObjectURL(b), revoke = (u) => URL.revokeObjectURL(u) }) {
    Object.assign(this, { load, keep, makeUrl, revoke });
    this.urls = new Map(); // hash -> Promise<url>, least recently used first
  }

  /** A promise of the URL of one clip. */
  url(hash) {
    const url = this.urls.get(hash) ?? this.load(hash).then((blob) => this.makeUrl(blob));
    this.urls.delete(hash);
    this.urls.set(hash, url);
    url.catch(() => this.urls.delete(hash)); // so that it is asked for again
    return url;
  }

  /** Promise of the URLs of a question's clips, in the order of the screen. */
  all(card) {
    return Promise.all(clipsOf(card).map(({ clip }) => this.url(clip)));
  }

  /** Gives back what is neither in use nor recent. inUse: pairs. */
  trim(inUse) {
    const used = new Set(inUse.flatMap((card) => clipsOf(card).map(({ clip }) => clip)));
    const spare = [...this.urls.keys()].filter((hash) => !used.has(hash));
    for (const hash of spare.slice(0, Math.max(0, spare.length - this.keep))) {
      this.urls.get(hash).then(this.revoke, () => {});
      this.urls.delete(hash);
    }
  }
}

/** Pairs to come, both clips already in the browser. */
export class PairQueue {
  /** next(n, holding) -> Promise<{pairs, gone}>. heldElsewhere() -> query ids on show or on their way.
   * on: {ready(), failed(error)}.
   */
  constructor({ next, clips, heldElsewhere, on = {}, want = 3, now = Date.now }) {
    Object.assign(this, { next, clips, heldElsewhere, on, want, now });
    this.pairs = [];
    this.broken = new Map(); // query -> until when not to ask for it again
    this.filling = false;
    this.starved = false; // the last call brought nothing
    this.trouble = null; // why no pair came, if something failed: {cause: "server" | "clips", text}
    this.pinned = null; // the pair brought back to be shown at once: it stays, also where nobody needs its answer
  }

  get holding() {
    for (const [query, until] of this.broken) if (this.now() >= until) this.broken.delete(query);
    return [...new Set([...this.heldElsewhere(), ...this.pairs.map((p) => p.query), ...this.broken.keys()])];
  }

  peek() {
    return this.pairs[0] ?? null;
  }

  take() {
    return this.pairs.shift() ?? null;
  }

  putBack(pair) {
    this.pairs = [pair, ...this.pairs.filter((p) => p.query !== pair.query)];
  }

  /** A clip that does not load or play: not asked for again for a while. */
  setAside(pair, why, ms = 15_000) {
    this.trouble = { cause: "clips", text: why };
    this.broken.set(pair.query, this.now() + ms);
    this.pairs = this.pairs.filter((p) => p.query !== pair.query);
  }

  /** Asks for what is missing; pairs known from before a reload may be given first. */
  async fill(known = []) {
    if (this.filling) return;
    this.filling = true;
    try {
      for (const pair of known) await this.#admit(pair);
      while (this.pairs.length < this.want) {
        const { pairs, gone } = await this.next(this.want - this.pairs.length, this.holding);
        this.#drop(gone);
        let admitted = 0;
        for (const pair of pairs) admitted += await this.#admit(pair);
        this.starved = admitted === 0;
        if (admitted > 0 || this.broken.size === 0) this.trouble = null;
        if (this.starved) break; // nothing new is drawn; the next call asks again
      }
    } catch (error) {
      if (error instanceof Faulty || error instanceof Refused) this.trouble = { cause: "server", text: error.message };
      this.on.failed?.(error);
    } finally {
      this.filling = false;
    }
  }

  /** Keeps the server from giving to others what waits here, and leaves out what needs no answer any more. */
  async renew() {
    const holding = this.holding;
    if (holding.length === 0) return;
    try {
      this.#drop((await this.next(0, holding)).gone);
    } catch (error) {
      this.on.failed?.(error);
    }
  }

  #drop(gone) {
    const kept = this.pairs.filter((pair) => pair === this.pinned || !gone.includes(pair.query));
    if (kept.length === this.pairs.length) return;
    this.pairs = kept;
    this.on.ready?.(); // another pair is the next one now
  }

  async #admit(pair) {
    if (this.holding.includes(pair.query)) return false;
    try {
      await this.clips.all(pair);
    } catch (error) {
      if ([Unreachable, NoSession, OtherRun].some((kind) => error instanceof kind)) throw error;
      this.setAside(pair, error.message);
      return false;
    }
    if (this.holding.includes(pair.query)) return false; // undone meanwhile, so already on show
    this.pairs.push(pair);
    this.on.ready?.();
    return true;
  }
}
