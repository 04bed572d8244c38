/** Small helpers. Text goes in as text only; nothing here ever reads HTML. */

export const $ = (id) => document.getElementById(id);

/** Writes only what differs: a live region speaks again at every write. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** make("p", {class: "x", "aria-label": "y"}, "text", child) */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A short clip that plays while it is in sight and `playing` says so. */
export function clipVideo(hash, label) {
  const video = make("video", { playsinline: "", loop: "", preload: "metadata", "aria-label": label, tabindex: "-1" });
  video.muted = true;
  video.dataset.src = `/clips/${encodeURIComponent(hash)}.mp4`;
  return video;
}

/** Loads clips as they come into sight and unloads them after: a browser allows a page some seventy players only. */
export function whenSeen({ root = null, play = false } = {}) {
  return new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !target.src) {
        target.src = target.dataset.src;
        if (play) target.play().catch(() => {});
      } else if (!isIntersecting && target.src) {
        target.removeAttribute("src");
        target.load();
      }
    }
  }, { root, rootMargin: "100px" });
}

/** "localStorage" or "sessionStorage", or null where the browser forbids it. */
export function safeStorage(kind = "localStorage") {
  try {
    return window[kind];
  } catch {
    return null;
  }
}

/** Storage that may be missing or full. */
export function readJson(storage, key, otherwise) {
  try {
    return JSON.parse(storage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function writeJson(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    // forbidden or full: the page works on without it
  }
}

/** Offers a file for download. content: anything that JSON can say. */
export function saveAs(name, content) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(content, null, 2)], { type: "application/json" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
