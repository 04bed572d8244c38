/** What the page says: the numbers of the strip, the one-line notice, and the panel where no pair is there. Pure. */

import { sideName } from "./layout.js";

const NUMBER = new Intl.NumberFormat("en");
const PAUSE_S = 60; // a longer gap between two answers was a break, and counts as this much

export function count(n, one, many = `${one}s`) {
  return `${NUMBER.format(n)} ${n === 1 ? one : many}`;
}

function steps(n) {
  return NUMBER.format(n);
}

/** Answers per minute from their times in seconds, over the last twenty; null before the third. */
export function ratePerMinute(times) {
  const last = times.slice(-20);
  if (last.length < 3) return null;
  let seconds = 0;
  for (let i = 1; i < last.length; i++) seconds += Math.min(Math.max(last[i] - last[i - 1], 0), PAUSE_S);
  return seconds > 0 ? (60 * (last.length - 1)) / seconds : null;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** m:ss, for a countdown. */
export function countdown(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Seconds until training goes on by itself, or null; ageS: how old the status is. */
export function remaining(status, ageS) {
  if (status.trainer !== "waiting" || status.timeout_s == null || status.waiting_s == null) return null;
  return Math.max(0, status.timeout_s - status.waiting_s - ageS);
}

/** The progress strip; null where there is nothing to show, or people should not see it. session: {answers, times}, the answers given since the page was opened. */
export function strip(status, session) {
  if (status.study) return studyStrip(status.study);
  const rate = ratePerMinute(session.times);
  const spent = charged(status);
  // questions that wait for answers are charged already, and take time all the same
  const left = status.budget == null ? null : Math.max(0, status.budget - spent) + status.open;
  const eta = left === null || rate === null ? "–" : left === 0 ? "done" : duration((60 * left) / rate);
  const of = (value, whole) => (whole == null ? steps(value) : `${steps(value)} / ${steps(whole)}`);
  return {
    mine: steps(session.answers),
    labels: status.labels == null ? null : status.budget == null ? steps(status.labels) :
      `${count(status.labels, "label")} · ${of(spent, status.budget)}`,
    rate: rate === null ? "–" : rate.toFixed(rate < 10 ? 1 : 0),
    eta: status.budget == null ? null : eta,
    queue: `${steps(status.ready)} / ${steps(status.open)}`,
    steps: status.env_steps == null || status.mode === "labels only" ? null : of(status.env_steps, status.steps),
    share: status.budget ? Math.min(1, spent / status.budget) : 0,
  };
}

/** Of a study people see how far they are, and nothing else. */
function studyStrip({ done, quota }) {
  const mine = quota === null ? steps(done) : `${steps(done)} / ${steps(quota)}`;
  return { mine, labels: null, rate: null, eta: null, queue: null, steps: null, share: quota === null ? 0 : done / quota };
}

/** What the budget was charged: not the number of labels, since skipped pairs cost too and imported labels do not. */
function charged(status) {
  return status.spent ?? status.labels ?? 0;
}

/** What the server would not take, for the notice: {text, answers: whether there is something to send again}; null
 * where there is nothing. refused: the outbox's entries. */
export function refusalOf(refused) {
  if (refused.length === 0) return null;
  const answers = refused.filter((entry) => entry.path === "/api/answer").length;
  const what = answers > 0 ? count(answers, "answer") : count(refused.length, "undo", "undos");
  const kept = answers > 0 ? ` Kept in this browser, but not in the run.` : "";
  return { text: `The server refused ${what}: ${refused.at(-1).error}.${kept}`, answers: true };
}

function unsavedText(unsaved) {
  const what = count(unsaved, "answer is", "answers are");
  return `Leave this page open: ${what} not stored yet, and this browser keeps nothing (its storage is full or forbidden).`;
}

/** The line above the clips: {id, text, tone, goOn}, or null. The most pressing thing wins.
 *
 * kept: answers not delivered yet; stuck: why, if not for the link; unsaved: how many of them only this page has.
 * fault: what the server says that it cannot do now. ageS: the status's age. reviewing: the answer looked
 * at again. refused: what the server said no to. moved: {from, kept} of the run served here before. empty: whether the
 * panel stands where the clips would be, which then says the same at length.
 */
export function notice(now) {
  const { link, status, kept = 0, stuck = null, ageS = 0, reviewing = null, refused = null, moved = null, empty = false } = now;
  const { unsaved = 0, fault = null } = now;
  if (reviewing !== null) {
    const text = `You said: ${reviewing.words ?? inWords(reviewing.choice, reviewing.strength, now.way)}. A new answer replaces it.`;
    return { id: "review", tone: "info", text };
  }
  if (refused !== null) return { id: "refused", tone: "warn", text: refused.text, dismiss: true, again: refused.answers };
  if (unsaved > 0) return { id: "unsaved", tone: "warn", text: unsavedText(unsaved) };
  if (link === "otherrun") {
    return { id: "otherrun", tone: "warn", text: `Another run is served here now. ${keptText(kept)} Nothing was sent to it.` };
  }
  if (link === "down" && !empty) {
    const answers = kept === 0 ? "You can go on" : `${count(kept, "answer")} kept in this browser, you can go on`;
    return { id: "offline", tone: "warn", text: `The server does not answer. ${answers}; this page tries again by itself.` };
  }
  if (link === "nosession" && !empty && status !== null) {
    const text = `The server has forgotten this page. Open the address pbrl printed. ${keptText(kept)}`;
    return { id: "nosession", tone: "warn", text };
  }
  if (link !== "ok") return null;
  if (status === null) return null;
  if (moved !== null) return { id: "moved", tone: "warn", text: movedText(moved), dismiss: true };
  if (stuck !== null && kept > 0) {
    const text = `${keptText(kept)} The server does not take them now (${stuck}); this page tries again by itself.`;
    return { id: "stuck", tone: "warn", text };
  }
  if (fault !== null && !empty) {
    return { id: "fault", tone: "warn", text: `The server cannot go on now (${fault}). ${keptText(kept)} This page tries again by itself.` };
  }
  if (status.elsewhere && !empty) {
    const text = `${now.name || "This person"} also labels in another browser now. If that is not you, tell who runs this.`;
    return { id: "elsewhere", tone: "warn", text };
  }
  if (status.renderer.state === "failed" && !empty) {
    return { id: "renderer", tone: "warn", text: `No new clips can be drawn: ${status.renderer.message ?? "?"}` };
  }
  if (status.trainer === "waiting" && status.open > 0) {
    const time = remaining(status, ageS);
    const then = time === null ? "" : ` It goes on without the rest in ${countdown(time)}.`;
    const text = `Training is waiting for you: ${count(status.open, "question")} left.${then}`;
    return { id: "waiting", tone: "call", text, goOn: status.can_continue };
  }
  const ended = { finished: "Training has finished", interrupted: "Training was interrupted", stopped: "Training has stopped" };
  if (status.trainer in ended && status.mode !== "labels only" && status.open > 0) {
    return { id: "ended", tone: "info", text: `${ended[status.trainer]} – you can still label; the answers are kept.` };
  }
  return null;
}

/** What stands where the clips would be: {id, title, text, busy}. Called only where no pair can be shown. */
export function emptyState({ link, status, kept = 0, canPlay = true, loading = false, fault = null, trouble = null }) {
  if (!canPlay) {
    return panel("codec", "This browser cannot play the clips",
      "They are H.264 video in MP4. Open this address in Chrome, Edge, Safari, or Firefox with system codecs.");
  }
  if (link === "nosession") {
    return panel("nosession", "This page needs the address with its token",
      "Open the address that pbrl printed when it started; it ends in #token=… " + keptText(kept), true);
  }
  if (link === "otherrun") {
    return panel("otherrun", "Another run is served here now", `${keptText(kept)} This page changes to the new run.`, true);
  }
  if (link === "down") {
    return panel("offline", "The server does not answer",
      `Is pbrl still running? ${keptText(kept)} This page tries again by itself.`, true);
  }
  if (fault !== null) {
    return panel("fault", "The server cannot go on now",
      `It says: ${fault}.\n${keptText(kept)} This page tries again by itself, and goes on once that is mended.`, true);
  }
  if (status === null) return panel("connecting", "Connecting…", "Asking pbrl for the state of the run.", true);
  if (status.owner) {
    return panel("owner", "This address is for looking",
      "Each person answers through a link of their own, which pbrl printed below this one.");
  }
  if (trouble !== null && status.open > 0) {
    return panel("trouble", "The next clips cannot be shown", `${trouble}. ${keptText(kept)} This page tries again by itself.`, true);
  }
  if (loading) return panel("loading", "Loading the next clips…", "They are drawn; the browser is fetching them.", true);
  if (status.open > 0) return waitingForClips(status);
  if (status.done) {
    const [title, sum] = status.budget == null ? ["That was all – thank you", ""] :
      ["The budget is spent – thank you", `${count(status.labels, "label is", "labels are")} in. `];
    return panel("spent", title, `${sum}${afterwards(status)} Your answers can still be changed in the history (H).`);
  }
  return waitingForQuestions(status);
}

function waitingForClips(status) {
  if (status.renderer.state === "failed") {
    return panel("renderer", "The clips cannot be drawn",
      `${status.renderer.message ?? "The renderer gave no reason."}\n` +
      `${count(status.open, "question waits", "questions wait")}; they appear here once drawing works again.`);
  }
  if (status.ready > 0) {
    return panel("elsewhere", "The last questions are with somebody else",
      `${count(status.open, "question is", "questions are")} on show in another window. What stays unanswered there comes here.`, true);
  }
  return panel("drawing", "Drawing the clips…",
    `${count(status.open, "question waits", "questions wait")}. The first pair appears by itself.`, true);
}

function waitingForQuestions(status) {
  const at = status.next_questions_at;
  const when = at == null || status.env_steps == null ? "" : ` at step ${steps(at)} (now at ${steps(status.env_steps)})`;
  if (status.mode === "labels only") {
    return panel("answered", "All questions are answered", "Thank you. Nothing else is asked in this run.");
  }
  if (status.trainer === "starting" || status.trainer === "collecting") {
    return panel("collecting", "The agent is collecting experience",
      `The ${(status.mine?.answers ?? 0) > 0 ? "next" : "first"} questions come${when || " as soon as it has enough"}. They appear here by themselves.`, true);
  }
  if (status.trainer === "training" || status.trainer === "waiting") {
    return panel("answered", "All questions are answered",
      `Training goes on with your answers. The next questions come${when || " when it has collected more"}.`, true);
  }
  const ended = { finished: "has finished", interrupted: "was interrupted", stopped: "has stopped" };
  return panel("ended", `Training ${ended[status.trainer] ?? "has ended"}`,
    "All its questions are answered, and nothing else is asked. " +
    (status.trainer === "finished" ? "Thank you." : "Questions appear here if it is resumed."));
}

function afterwards(status) {
  const going = ["starting", "collecting", "training", "waiting"].includes(status.trainer);
  return going ? "Training goes on without further questions." : "Nothing else is asked.";
}

function keptText(kept) {
  return kept === 0 ? "No answer is lost." : `${count(kept, "answer is", "answers are")} kept in this browser.`;
}

function movedText({ from, kept }) {
  const them = kept === 0 ? "" : ` ${keptText(kept)} They go out when that run is served here again.`;
  return `Another run is served here now, no longer ${from}.${them}`;
}

function panel(id, title, text, busy = false) {
  return { id, title, text, busy };
}

const SAID = { equal: "equally good", incomparable: "can’t tell", skip: "skipped" };

/** An answer in words. way: of the layout, "row" or "column". */
export function inWords(choice, strength = "clear", way = "row") {
  const said = SAID[choice] ?? `${sideName(choice, way).toLowerCase()} is better`;
  return strength === "slight" && choice !== "equal" ? said.replace("is ", "is slightly ") : said;
}

/** The history: the server's answers (newest first) with those made here that it may not know yet. */
export function mergeHistory(fromServer, local, undone) {
  const entries = new Map(fromServer.map((entry) => [entry.id, entry]));
  for (const entry of local) entries.set(entry.id, entry);
  const newest = [...entries.values()].filter((e) => !undone.has(e.id)).sort((a, b) => b.answered_at - a.answered_at);
  const seen = new Set(); // an answer replaced by a later one of the same question is no longer one
  return newest.filter((entry) => {
    const question = `${entry.query}/${entry.pair.repeat ?? ""}`;
    return !seen.has(question) && seen.add(question);
  });
}
