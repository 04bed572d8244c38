/** Whether somebody is here: what this page has, nobody else gets as long as that is so. */

const IDLE_MS = 120_000; // without a key or a touch, nobody is taken to be here
const RENEW_MS = 30_000; // a pair is kept for this page for two minutes

/** page: {desk, started}. */
export function watchPresence({ page, api }) {
  let activeAt = performance.now();

  function renew() {
    if (page.started && !document.hidden && performance.now() - activeAt < IDLE_MS) page.desk.pairs.renew();
  }

  function touched() {
    const away = performance.now() - activeAt > IDLE_MS;
    activeAt = performance.now();
    if (away) renew();
  }

  /** The page closes: what it has, others may have at once. */
  function giveBack() {
    const { desk } = page;
    if (!page.started || desk.pairs.holding.length === 0) return;
    const sent = new Set(desk.outbox.queries);
    const body = { annotator: desk.who.name, holding: desk.pairs.holding.filter((query) => !sent.has(query)), run: desk.run };
    api.post("/api/release", body, { keepalive: true }).catch(() => {}); // the leases end by themselves
  }

  document.addEventListener("visibilitychange", () => {
    page.desk?.labeller.suspend("hidden", document.hidden);
    if (!document.hidden) renew(); // a hidden tab's timers hardly run
  });
  for (const event of ["keydown", "pointerdown", "pointermove"]) {
    document.addEventListener(event, touched, { capture: true, passive: true });
  }
  window.addEventListener("pagehide", giveBack);
  window.addEventListener("pageshow", (event) => event.persisted && renew());
  window.addEventListener("beforeunload", (event) => {
    if (page.desk?.outbox.unsaved > 0) event.preventDefault(); // the browser asks whether to leave
  });
  setInterval(renew, RENEW_MS);
}
