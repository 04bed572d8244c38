/** The server's HTTP interface, and the three ways in which a call can fail. */

/** The server could not be reached or could not answer now: worth trying again. */
export class Unreachable extends Error {}

/** The server understood and said no; trying again does not help. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The server does not know this browser: the printed address has to be opened. */
export class NoSession extends Refused {}

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

  post(path, body) {
    const headers = { "Content-Type": "application/json", "X-Pbrl": "1" };
    return this.#json(path, { method: "POST", headers, body: JSON.stringify(body) });
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
    if (response.ok) return response;
    const message = await errorOf(response);
    if (response.status === 401) throw new NoSession(401, message);
    if (response.status >= 500 || TRY_AGAIN.has(response.status)) throw new Unreachable(message);
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
