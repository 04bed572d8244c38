/** What must not get lost: answers on their way to the server. */

import { Faulty, OtherRun, Refused } from "./api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8_000;

const later = (call, ms) => setTimeout(call, ms); // the browser's own refuses to be called as a method

/** Answers and undos until the server has acknowledged them, in the order given.
 *
 * Each has its own key in the browser's storage, so that two tabs never overwrite each other's. The key and the body
 * name the run, so that answers never reach another run that happens to use the same port. Sending twice is harmless:
 * the server knows an answer by its UUID. What it refuses for good is kept under another key.
 */
export class Outbox {
  /** post(path, body) -> Promise. on: {acknowledged(entry, reply), otherRun(error), changed()}. */
  constructor({ run, storage, post, on = {}, now = Date.now, setTimer = later, clearTimer = (id) => clearTimeout(id) }) {
    Object.assign(this, { run, storage, post, on, now, setTimer, clearTimer });
    this.prefix = `pbrl.outbox.${run}.`;
    this.refusedPrefix = `pbrl.refused.${run}.`;
    this.serial = 0;
    this.entries = this.#stored(this.prefix);
    this.refused = this.#stored(this.refusedPrefix).filter((entry) => !entry.seen); // what the person is to be told
    this.wait = 0;
    this.error = null; // of the last try
    this.timer = null;
    this.busy = false;
    this.stopped = false; // another run is served: nothing is sent
  }

  get size() {
    return this.entries.length;
  }

  /** Queries answered here that the server may not know of yet. */
  get queries() {
    return this.entries.filter((entry) => entry.path === "/api/answer").map((entry) => entry.body.query);
  }

  /** Why what waits has failed, if the server has said so or if it failed more than once; or null. */
  get stuck() {
    return this.wait > FIRST_WAIT_MS || (this.wait > 0 && this.error instanceof Faulty) ? this.error.message : null;
  }

  /** How many of those that wait are in this page alone, since the browser's storage is full or forbidden. */
  get unsaved() {
    return this.entries.filter((entry) => !entry.saved).length;
  }

  add(path, body) {
    const order = `${String(this.now()).padStart(15, "0")}-${String(this.serial++).padStart(6, "0")}`;
    const key = `${this.prefix}${order}-${body.id}`;
    const entry = { key, path, body: { ...body, run: this.run }, tried: false };
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

  /** This run is served here (again). */
  resume() {
    this.stopped = false;
    return this.kick();
  }

  /** Sends what was refused once more: what was wrong with it may have been mended. */
  sendAgain() {
    const again = this.refused;
    this.refused = [];
    for (const { error, ...entry } of again) {
      this.storage?.removeItem(entry.key);
      const waiting = { ...entry, key: entry.key.replace(this.refusedPrefix, this.prefix) };
      this.#write(waiting);
      this.entries.push(waiting);
    }
    this.on.changed?.();
    return this.kick();
  }

  /** The person has read what was refused; it stays in the storage. */
  dismiss() {
    for (const entry of this.refused) this.#write({ ...entry, seen: true });
    this.refused = [];
    this.on.changed?.();
  }

  async #send() {
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.entries.length > 0 && !this.stopped) {
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

  /** Whether the next one may be sent. */
  async #deliver(entry) {
    let reply;
    try {
      reply = await this.post(entry.path, entry.body);
    } catch (error) {
      return this.#failed(entry, error);
    }
    this.wait = 0;
    this.#remove(entry);
    this.on.acknowledged?.(entry, reply);
    return true;
  }

  #failed(entry, error) {
    this.error = error;
    if (error instanceof Refused && error.final) {
      this.wait = 0;
      this.#remove(entry);
      const refused = { ...entry, key: entry.key.replace(this.prefix, this.refusedPrefix), error: error.message };
      this.#write(refused);
      this.refused.push(refused);
    } else if (error instanceof OtherRun) {
      this.stopped = true;
      this.on.otherRun?.(error);
    } else {
      this.wait = Math.min(Math.max(2 * this.wait, FIRST_WAIT_MS), LONGEST_WAIT_MS);
      this.timer = this.setTimer(() => this.kick(), this.wait);
    }
    this.on.changed?.();
    return error instanceof Refused && error.final;
  }

  #stored(prefix) {
    const entries = [];
    for (let i = 0; i < (this.storage?.length ?? 0); i++) {
      const key = this.storage.key(i);
      if (!key.startsWith(prefix)) continue;
      try {
        entries.push({ ...JSON.parse(this.storage.getItem(key)), key, saved: true });
      } catch {
        // half-written by a browser that crashed: there is nothing in it to send
      }
    }
    return entries.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** Storage that is full or forbidden leaves the entry in this page, from where it still gets sent. */
  #write(entry) {
    const { key, saved, ...kept } = entry;
    try {
      this.storage?.setItem(key, JSON.stringify(kept));
      entry.saved = Boolean(this.storage);
    } catch {
      entry.saved = false;
    }
  }

  #remove(entry) {
    this.entries = this.entries.filter((e) => e !== entry);
    this.storage?.removeItem(entry.key);
    this.on.changed?.();
  }
}
