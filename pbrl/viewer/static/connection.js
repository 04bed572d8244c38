/** How the page and the server get on: who is here, which run it is, how things are, and what went wrong. */

import { Faulty, NoSession, OtherRun, Refused, Unreachable, takeToken } from "./api.js";
import { readJson, writeJson } from "./dom.js";
import { refusalOf } from "./states.js";

const POLL_MS = 1_000;
const HIDDEN_POLL_MS = 5_000;
const NOBODY = "-"; // whose counts are asked for before the person has given a name
const MOVED = "pbrl.moved";
const PERSON = "pbrl.person";

/** What is known of the server. on: {begin(), draw()}; begin: the run is known now.
 *
 * page: {desk, started, study}, what exists once the run is known. tab: the storage of this tab.
 */
export class Connection {
  link = "connecting"; // "ok" | "down" | "nosession" | "otherrun"
  status = null;
  statusAt = 0; // when it came, performance.now()
  #statusFault = null; // why the server could not say how things are
  #refused = null; // of what is no answer
  #token = takeToken(location, history);

  constructor({ api, tab, page, on }) {
    Object.assign(this, { api, tab, page, on });
    this.person = readJson(tab, PERSON, null); // whose link this tab has opened; null: who is here types a name
    this.moved = readJson(tab, MOVED, null); // the run that this tab showed before: {from, kept}
    window.addEventListener("hashchange", () => {
      this.#token = takeToken(location, history) ?? this.#token;
      if (this.#token !== null) this.link = "connecting"; // it may be another person's
    });
    window.addEventListener("online", () => page.desk?.outbox.kick());
  }

  /** How many answers wait to be sent. */
  get kept() {
    return this.page.desk?.outbox?.size ?? 0;
  }

  get refusal() {
    return refusalOf(this.page.desk?.outbox?.refused ?? []) ?? this.#refused;
  }

  get fault() {
    const trouble = this.page.desk?.pairs?.trouble ?? null;
    return this.#statusFault ?? (trouble?.cause === "server" ? trouble.text : null);
  }

  async poll() {
    await this.look();
    setTimeout(() => this.poll(), document.hidden ? HIDDEN_POLL_MS : POLL_MS);
  }

  /** Asks how things are. */
  async look() {
    const { api, page } = this;
    try {
      if (this.link !== "ok") this.#takePerson(await api.post("/api/session", { token: this.#token, annotator: this.person }));
      const name = this.person ?? (page.desk?.who.name || NOBODY);
      this.#takeStatus(await api.get(`/api/status?annotator=${encodeURIComponent(name)}`));
      this.#statusFault = null;
      if (this.link === "ok" && page.started) page.desk.pairs.fill();
    } catch (error) {
      if (error instanceof Faulty) this.#statusFault = error.message;
      this.unreachable(error);
    }
    this.on.draw();
  }

  /** The server says whose link was opened. */
  #takePerson(reply) {
    const before = this.person;
    this.person = reply?.person ?? null;
    writeJson(this.tab, PERSON, this.person);
    if (this.page.desk !== null && before !== this.person) location.reload(); // another person's link, in the same tab
  }

  #takeStatus(fresh) {
    const { page } = this;
    if (page.desk !== null && page.desk.run !== fresh.run) return this.#changeRun();
    const back = this.link !== "ok";
    this.link = "ok";
    this.status = fresh;
    this.statusAt = performance.now();
    if (page.desk === null) this.on.begin();
    page.desk.stage.holdS = fresh.hold_s;
    page.desk.cameras.names = fresh.cameras;
    if (page.started) page.study.told(fresh.study ?? null);
    if (back) page.desk.outbox.resume();
  }

  /** Another run took over the port: nothing that is here belongs to it. */
  #changeRun() {
    this.link = "otherrun";
    this.page.desk.outbox.stopped = true;
    writeJson(this.tab, MOVED, { from: this.status.name ?? "the run of before", kept: this.kept });
    location.reload();
  }

  unreachable(error) {
    if (error instanceof NoSession) {
      this.link = "nosession";
      this.#token = null; // of no use: from here on a cookie that another tab has got may do
    } else if (error instanceof OtherRun) this.link = "otherrun"; // the next status tells which
    else if (error instanceof Faulty) this.link = this.link === "down" ? "ok" : this.link; // it answers, and said what is wrong
    else if (error instanceof Unreachable) this.link = "down";
    else if (error instanceof Refused) this.#refused = { text: `The server refused something: ${error.message}`, answers: false };
    else reportError(error); // ours: errors.js shows it
    this.on.draw();
  }

  acknowledged(entry, reply) {
    const { page } = this;
    this.#refused = null;
    if (entry.path === "/api/undo") page.desk?.labeller.takenBack(entry.body.id, reply.pair);
    if (reply?.study) page.study.told(reply.study);
    if (reply?.mine && this.status !== null) this.status = { ...this.status, labels: reply.labels, mine: reply.mine };
    this.on.draw();
  }

  /** The person has read what was refused, or that this is another run. */
  dismiss() {
    if (this.refusal !== null) {
      this.#refused = null;
      this.page.desk.outbox.dismiss();
    } else {
      this.moved = null;
      writeJson(this.tab, MOVED, null);
    }
    this.on.draw();
  }
}
