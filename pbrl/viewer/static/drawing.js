/** What the page looks like, from all that is known. */

import { $, setText } from "./dom.js";
import { layout } from "./layout.js";
import { emptyState, notice } from "./states.js";
import { inPlaces } from "./study.js";
import { drawEmpty, drawNotice, drawStrip, drawTitle, enableButtons } from "./view.js";

const canPlay = document.createElement("video").canPlayType('video/mp4; codecs="avc1.64001f"') !== "";

/** page: {desk, started, study, asker}; watched(): whether the question on show may be answered yet. */
export function draw({ page, connection, watched }) {
  const { desk, started, study, asker } = page;
  const { status } = connection;
  const current = desk?.labeller.current ?? null;
  study.draw();
  $("start").hidden = !(desk !== null && !started && canPlay && !status.owner && study.id !== "unknown");
  $("work").hidden = !$("start").hidden || !$("study").hidden;
  document.documentElement.dataset.view = $("work").hidden ? "start" : "work";
  if (status !== null) {
    drawStrip({ ...status, study: study.study ?? status.study }, { answers: desk?.labeller.times.length ?? 0, times: desk?.labeller.times ?? [] });
    $("learned-button").hidden = !status.learned;
  }
  drawEmpty(current !== null && canPlay ? null : emptyState(whyEmpty(page, connection)));
  if (current === null && asker.card !== null) asker.show(null);
  const asked = current?.pair.question ?? status?.question ?? "";
  setText($("question"), `${current?.pair.practice ? "Practice: " : ""}${inPlaces(asked, layout())}`);
  $("question").classList.toggle("unasked", current === null);
  enableButtons(current !== null, started && (desk?.labeller.given.length ?? 0) > 0, watched());
  drawLine({ page, connection });
}

function whyEmpty({ desk }, { link, status, kept, fault }) {
  const loading = desk !== null && (desk.labeller.advancing || (status?.ready > 0 && !desk.pairs.starved));
  const trouble = desk?.pairs.trouble?.cause === "clips" ? desk.pairs.trouble.text : null;
  return { link, status, kept, canPlay, loading, fault, trouble };
}

/** The line above the clips. */
export function drawLine({ page: { desk, started }, connection }) {
  const { link, status, moved, kept, refusal, fault } = connection;
  const ageS = (performance.now() - connection.statusAt) / 1000;
  const review = desk?.labeller?.current?.review ?? null;
  const empty = desk?.labeller?.current == null && started;
  const answers = { kept, stuck: desk?.outbox?.stuck ?? null, unsaved: desk?.outbox?.unsaved ?? 0, refused: refusal, fault };
  const line = notice({ link, status, ageS, moved, name: desk?.who.name, reviewing: review, empty, way: layout(), ...answers });
  if (line?.id === "waiting" && $("notice").dataset.id !== "waiting") setText($("said"), "Training is waiting for you");
  drawNotice(line, { reviewing: review !== null });
  drawTitle(status, ageS);
}
