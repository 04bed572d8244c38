// Not a module, and the first script: it tells of what goes wrong in all others, also of one that cannot be loaded.
(() => {
  const told = new Set();

  function tell(text) {
    const line = document.getElementById("fault");
    if (line === null) return document.addEventListener("DOMContentLoaded", () => tell(text), { once: true });
    if (told.has(text)) return;
    told.add(text);
    document.getElementById("fault-text").textContent =
      `Something in this page failed: ${text}. Answers that were taken are kept; reload the page, and tell who runs it.`;
    line.hidden = false;
  }

  function where(error, file, line) {
    const text = String(error?.message ?? error ?? "unknown");
    return file ? `${text} (${file.split("/").pop()}:${line})` : text;
  }

  window.addEventListener("error", (event) => {
    const source = event.target;
    if (event instanceof ErrorEvent) tell(where(event.error ?? event.message, event.filename, event.lineno));
    else if (["SCRIPT", "LINK"].includes(source?.tagName)) tell(`${source.src || source.href} could not be loaded`);
  }, true);
  window.addEventListener("unhandledrejection", ({ reason }) => {
    const [, file, line] = /([^/\s]+\.js):(\d+)/.exec(reason?.stack ?? "") ?? [];
    tell(where(reason, file, line));
  });
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("fault-close").addEventListener("click", () => {
      document.getElementById("fault").hidden = true;
      told.clear();
    });
  });
})();
