/** What each key and button does. */

import { OtherRun } from "./api.js";
import { $, saveAs, setText } from "./dom.js";
import { HistoryDrawer } from "./history.js";
import { LearnedPanel } from "./learned.js";
import { nextTheme } from "./toggle.js";
import { flash } from "./view.js";

const PAIR_ONLY = new Set(["left", "right", "equal", "incomparable", "swap"]);
const NEEDS_PAIR = new Set(["digit", "confirm", "mark", "tag", "left", "right", "equal", "incomparable", "skip", "pause", "restart", "stepBack",
  "stepForward", "slower", "faster", "swap", "camera"]);
const NEEDS_NOTHING = new Set(["theme", "help", "more"]);

/** page: {desk, started, study, asker}. give(choice, how) answers. Returns act(name, how), which does one action if it
 * means anything now, and returns whether it did. how: {strength, keyAt, digit}. */
export function makeActions({ page, api, connection, give }) {
  const answer = (choice) => ({ strength, keyAt }) => give(choice, { strength, keyAt });
  const drawer = new HistoryDrawer({
    fetch: (n) => api.get(`/api/history?annotator=${encodeURIComponent(page.desk.who.name)}&n=${n}`),
    local: () => page.desk.labeller,
    choose: (entry) => page.desk.labeller.review(entry),
  });
  const learned = new LearnedPanel({ fetch: () => api.get("/api/learned") });
  const help = { dialog: $("help"), open: () => $("help").showModal() };

  const actions = {
    left: answer("left"), right: answer("right"), equal: answer("equal"),
    incomparable: answer("incomparable"), skip: answer("skip"),
    undo: ({ keyAt }) => page.desk.labeller.undo(keyAt),
    pause: () => page.desk.stage.toggle(),
    restart: () => page.desk.stage.restart(),
    stepBack: () => page.desk.stage.step(-1),
    stepForward: () => page.desk.stage.step(1),
    slower: () => page.desk.stage.changeSpeed(-1),
    faster: () => page.desk.stage.changeSpeed(1),
    swap: () => page.desk.labeller.flip(),
    camera: () => page.desk.cameras.next(),
    leave: () => page.desk.labeller.leaveReview(),
    history: () => toggle(page, drawer),
    help: () => toggle(page, help),
    learned: () => toggle(page, learned),
    theme: nextTheme,
    more: () => $("more").setAttribute("aria-expanded", $("more").parentElement.classList.toggle("open")),
    dismiss: () => connection.dismiss(),
    sendAgain: () => page.desk.outbox.sendAgain(),
    saveRefused: () => saveRefused(page.desk),
    continue: () => goOn(page.desk, connection),
  };

  return (name, how = {}) => {
    if (!means(page, name)) return false;
    if (page.desk?.labeller.current != null && inItsOwnWay(page.asker, name, how)) return true;
    if (actions[name] === undefined || (page.asker.isOther && PAIR_ONLY.has(name))) return false;
    flash(name, how.strength);
    actions[name](how);
    return true;
  };
}

/** Whether there is now what the action is about. */
function means({ desk, started, study }, name) {
  if (desk === null) return NEEDS_NOTHING.has(name);
  if (NEEDS_PAIR.has(name) && (desk.labeller.current === null || study.covers)) return false;
  if (name === "leave" && !desk.labeller.current?.review) return false;
  return !((name === "undo" || name === "history") && (!started || study.covers));
}

/** Whether the question on show takes this action in its own way. */
const inItsOwnWay = (asker, name, how) => (name === "tag" ? asker.tag(how.digit) : asker.takes(name, how));

function toggle({ desk }, panel) {
  if (panel.dialog.open) panel.dialog.close();
  else {
    panel.open();
    desk?.labeller.suspend("dialog", true);
  }
}

function saveRefused({ run, outbox }) {
  saveAs(`pbrl-answers-${run.slice(0, 8)}.json`, outbox.refused.map(({ path, body, error }) => ({ path, body, error })));
}

/** A training that waits goes on without the rest. */
async function goOn(desk, connection) {
  try {
    await desk.post("/api/continue", {});
    setText($("said"), "Training goes on");
  } catch (error) {
    if (error instanceof OtherRun) setText($("said"), error.message); // or just too late: training does not wait any more
    else connection.unreachable(error);
  }
}
