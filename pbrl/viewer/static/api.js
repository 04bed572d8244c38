/** The server's HTTP interface, and the ways in which a call can fail. */

/** The server could not be reached, or something else answers at its address: worth trying again. */
export class Unreachable extends Error {}

/** The server answered that it cannot do this now, as with a full disk: worth trying again, and the cause is known. */
export class Faulty extends Unreachable {}

/** The server understood and said no; trying again does not help. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether it is about what was sent, so that the same would be refused for ever. */
  get final() {
    return this.status === 400 || this.status === 404;
  }
}

/** The server does not know this browser: the printed address has to be opened. */
export class NoSession extends Refused {}

/** The server serves another run than the one this was meant for. */
export class OtherRun extends Error {}

const TRY_AGAIN = new Set([408, 425, 429]);

export class Api {
  /** fetch: the browser's or a test's. timeoutMs: after how long an unanswered call counts as unreachable. */
  constructor({ fetch = (...args) => globalThis.fetch(...args), timeoutMs = 10_000 } = {}) {
    this.fetch = fetch;
    this.timeoutMs = timeoutMs;
  }

  get(path) {
    return this.#json(path, { method: "GET" });
  }

  /** more: of fetch, as {keepalive: true} for what is sent while the page closes. */
  post(path, body, more = {}) {
    const headers = { "Content-Type": "application/json", "X-Pbrl": "1" };
    return this.#json(path, { method: "POST", headers, body: JSON.stringify(body), ...more });
  }

  /** A clip's bytes, as a Blob. */
  async clip(hash) {
    return (await this.#call(`/clips/${encodeURIComponent(hash)}.mp4`, { method: "GET" })).blob();
  }

  async #json(path, options) {
    const response = await this.#call(path, options);
    if (response.status === 204) return null;
    try {
      return await response.json();
    } catch {
      throw new Unreachable(`${path}: the answer was cut off`);
    }
  }

  async #call(path, options) {
    let response;
    try {
      const signal = AbortSignal.timeout(this.timeoutMs);
      response = await this.fetch(path, { credentials: "same-origin", signal, ...options });
    } catch {
      throw new Unreachable(`${path}: no answer`);
    }
    // without this header it is another program on the port, or a proxy: what it says is not about our request
    if (!response.headers.has("x-pbrl")) throw new Unreachable("another program answers at this address");
    if (response.ok) return response;
    const message = await errorOf(response);
    if (response.status === 401) throw new NoSession(401, message);
    if (response.status === 409) throw new OtherRun(message);
    if (response.status >= 500 || TRY_AGAIN.has(response.status)) throw new Faulty(message);
    throw new Refused(response.status, message);
  }
}

async function errorOf(response) {
  try {
    return (await response.json()).error ?? `HTTP ${response.status}`;
  } catch {
    return `HTTP ${response.status}`;
  }
}

/** Takes the token out of the address bar, so that it is neither bookmarked nor read over a shoulder. */
export function takeToken(location, history) {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(null, "", location.pathname + location.search);
  return token;
}
