/** Who labels in this tab. */

import { readJson, writeJson } from "./dom.js";

const NAMES = "pbrl.names"; // given in this browser, to be offered: never taken for the person who sits here now
const OFFERED = 8;

/** The name belongs to one tab and one run; several people may share a browser. */
export class Who {
  /** tab, browser: session and local storage, or null. */
  constructor({ run, tab, browser }) {
    Object.assign(this, { tab, browser, key: `pbrl.name.${run}` });
    this.name = readJson(tab, this.key, ""); // "" before the person has said it
  }

  /** Whether this tab knows who labels here; person: whose link it has opened, if any. */
  isHere(person) {
    return this.name !== "" && (person === null || person === this.name);
  }

  get offered() {
    return readJson(this.browser, NAMES, []);
  }

  take(name) {
    this.name = name.trim();
    writeJson(this.tab, this.key, this.name);
    writeJson(this.browser, NAMES, [this.name, ...this.offered.filter((n) => n !== this.name)].slice(0, OFFERED));
  }
}
