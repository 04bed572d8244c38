/** What must not get lost (answers on their way) and what should be there in time (the next pairs). */

import { NoSession, Unreachable } from "./api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8_000;

const later = (call, ms) => setTimeout(call, ms); // the browser's own refuses to be called as a method

/** Answers and undos until the server has acknowledged them, in the order given.
 *
 * Each has its own key in the browser's storage, so that two tabs never overwrite each other's, and the key names the
 * run, so that answers never reach another run that happens to use the same port. Sending twice is harmless: the
 * server knows an answer by its UUID.
 */
export class Outbox {
  /** post(path, body) -> Promise. on: {acknowledged(entry, reply), refused(entry, error), changed()}. */
  constructor({ run, storage, post, on = {}, now = Date.now, setTimer = later, clearTimer = (id) => clearTimeout(id) }) {
    Object.assign(this, { storage, post, on, now, setTimer, clearTimer });
    this.prefix = `pbrl.outbox.${run}.`;
    this.serial = 0;
    this.entries = this.#stored();
    this.wait = 0;
    this.timer = null;
    this.busy = false;
  }

  get size() {
    return this.entries.length;
  }

  /** Queries answered here that the server may not know of yet. */
  get queries() {
    return this.entries.filter((entry) => entry.path === "/api/answer").map((entry) => entry.body.query);
  }

  add(path, body) {
    const order = `${String(this.now()).padStart(15, "0")}-${String(this.serial++).padStart(6, "0")}`;
    const entry = { key: `${this.prefix}${order}-${body.id}`, path, body, tried: false };
    this.entries.push(entry);
    this.#write(entry);
    this.on.changed?.();
    this.kick();
  }

  /** Forgets an answer that has not left the browser; false where the server may have it already. */
  withdraw(id) {
    const entry = this.entries.find((e) => e.body.id === id && e.path === "/api/answer");
    if (entry === undefined || entry.tried) return false;
    this.#remove(entry);
    return true;
  }

  /** Sends now what waits for its next try. */
  kick() {
    this.clearTimer(this.timer);
    this.timer = null;
    return this.#send();
  }

  async #send() {
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.entries.length > 0) {
        const entry = this.entries[0];
        if (!entry.tried) {
          entry.tried = true;
          this.#write(entry); // a page closed during the call must not take it for unsent
        }
        if (!(await this.#deliver(entry))) break;
      }
    } finally {
      this.busy = false;
    }
  }

  async #deliver(entry) {
    try {
      const reply = await this.post(entry.path, entry.body);
      this.wait = 0;
      this.#remove(entry);
      this.on.acknowledged?.(entry, reply);
    } catch (error) {
      if (error instanceof Unreachable || error instanceof NoSession) {
        this.wait = Math.min(Math.max(2 * this.wait, FIRST_WAIT_MS), LONGEST_WAIT_MS);
        this.timer = this.setTimer(() => this.kick(), this.wait);
        this.on.changed?.();
        return false;
      }
      this.#remove(entry);
      this.on.refused?.(entry, error);
    }
    return true;
  }

  #stored() {
    const entries = [];
    for (let i = 0; i < (this.storage?.length ?? 0); i++) {
      const key = this.storage.key(i);
      if (!key.startsWith(this.prefix)) continue;
      try {
        entries.push({ ...JSON.parse(this.storage.getItem(key)), key });
      } catch {
        // half-written by a browser that crashed: there is nothing in it to send
      }
    }
    return entries.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  #write({ key, path, body, tried }) {
    try {
      this.storage?.setItem(key, JSON.stringify({ path, body, tried }));
    } catch {
      // storage full or forbidden: the entry still is in memory and gets sent
    }
  }

  #remove(entry) {
    this.entries.splice(this.entries.indexOf(entry), 1);
    this.storage?.removeItem(entry.key);
    this.on.changed?.();
  }
}

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

  /** Promise of {left, right} URLs. */
  async both(pair) {
    const [left, right] = await Promise.all([this.url(pair.left.clip), this.url(pair.right.clip)]);
    return { left, right };
  }

  /** Gives back what is neither in use nor recent. inUse: pairs. */
  trim(inUse) {
    const used = new Set(inUse.flatMap((pair) => [pair.left.clip, pair.right.clip]));
    const spare = [...this.urls.keys()].filter((hash) => !used.has(hash));
    for (const hash of spare.slice(0, Math.max(0, spare.length - this.keep))) {
      this.urls.get(hash).then(this.revoke, () => {});
      this.urls.delete(hash);
    }
  }
}

/** Pairs to come, both clips already in the browser. */
export class PairQueue {
  /** next(n, holding) -> Promise<PAIR[]>. heldElsewhere() -> query ids on show or on their way.
   * on: {ready(), failed(error)}.
   */
  constructor({ next, clips, heldElsewhere, on = {}, want = 3, now = Date.now }) {
    Object.assign(this, { next, clips, heldElsewhere, on, want, now });
    this.pairs = [];
    this.broken = new Map(); // query -> until when not to ask for it again
    this.filling = false;
    this.starved = false; // the last call brought nothing
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
  setAside(pair, ms = 15_000) {
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
        const fresh = await this.next(this.want - this.pairs.length, this.holding);
        let admitted = 0;
        for (const pair of fresh) admitted += await this.#admit(pair);
        this.starved = admitted === 0;
        if (this.starved) break; // nothing new is drawn; the next call asks again
      }
    } catch (error) {
      this.on.failed?.(error);
    } finally {
      this.filling = false;
    }
  }

  async #admit(pair) {
    if (this.holding.includes(pair.query)) return false;
    try {
      await this.clips.both(pair);
    } catch (error) {
      if (error instanceof Unreachable || error instanceof NoSession) throw error;
      this.setAside(pair);
      return false;
    }
    if (this.holding.includes(pair.query)) return false; // undone meanwhile, so already on show
    this.pairs.push(pair);
    this.on.ready?.();
    return true;
  }
}
