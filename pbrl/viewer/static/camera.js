/** Another camera for the pair on show: asked for, drawn by the server, then swapped in on the same frame. */

const POLL_MS = 300;
const LONGEST_MS = 30_000;

export class Cameras {
  /** post(path, body); labeller; say(text). */
  constructor({ post, labeller, say, wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms)) }) {
    Object.assign(this, { post, labeller, say, wait });
    this.names = [];
    this.turn = 0;
  }

  /** The camera after the one on show. */
  async next() {
    const shown = this.labeller.current;
    if (shown === null || this.names.length < 2) return;
    const turn = ++this.turn;
    const at = this.names.indexOf(this.wanted?.shown === shown ? this.wanted.camera : shown.camera ?? this.names[0]);
    const camera = this.names[(at + 1) % this.names.length];
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
        const { left, right } = reply; // segment order
        return shown.pair.swapped ? { ...shown.pair, left: right, right: left } : { ...shown.pair, left, right };
      }
      await this.wait(POLL_MS);
    }
    throw new Error("not drawn in time");
  }
}
