/** Another camera for the pair on show: asked for, drawn by the server, then swapped in on the same frame. */

import { isPair } from "./kinds.js";

const POLL_MS = 300;
const LONGEST_MS = 30_000;

export class Cameras {
  /** post(path, body); labeller; say(text). */
  constructor({ post, labeller, say, wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms)) }) {
    Object.assign(this, { post, labeller, say, wait });
    this.names = [];
    this.turn = 0;
    this.chosen = null;
  }

  /** The camera after the one on show, which stays chosen for what follows. */
  async next() {
    const shown = this.labeller.current;
    if (shown === null || this.names.length < 2) return;
    const at = this.names.indexOf(this.wanted?.shown === shown ? this.wanted.camera : shown.camera ?? this.names[0]);
    this.chosen = this.names[(at + 1) % this.names.length];
    await this.#change(shown, this.chosen);
  }

  /** Another question is on show, as always first by the usual camera. */
  async keep() {
    const shown = this.labeller.current;
    if (shown === null || shown.camera !== null || !this.names.includes(this.chosen) || this.chosen === this.names[0]) return;
    await this.#change(shown, this.chosen);
  }

  async #change(shown, camera) {
    const turn = ++this.turn;
    this.wanted = { shown, camera };
    this.say(`Camera ${camera}: drawing…`);
    try {
      const pair = await this.#drawn(shown, camera, turn);
      if (pair === null) return;
      await this.labeller.replaceClips(pair, camera);
      if (this.labeller.current === shown) this.say(`Camera ${camera}`);
    } catch (error) {
      if (this.labeller.current === shown) this.say(`Camera ${camera}: ${error.message}`);
    }
  }

  /** The pair with the camera's clips, or null where the pair or the wish has changed meanwhile. */
  async #drawn(shown, camera, turn) {
    for (let waited = 0; waited < LONGEST_MS; waited += POLL_MS) {
      const reply = await this.post("/api/camera", { query: shown.pair.query, camera });
      if (this.labeller.current !== shown || turn !== this.turn) return null;
      if (reply.ready) {
        const { left, right, items } = reply; // segment order
        if (!isPair(shown.pair)) return { ...shown.pair, items: shown.pair.places.map((item) => items[item]) };
        return shown.pair.swapped ? { ...shown.pair, left: right, right: left } : { ...shown.pair, left, right };
      }
      await this.wait(POLL_MS);
    }
    throw new Error("not drawn in time");
  }
}
