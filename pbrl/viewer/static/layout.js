/** Whether the two clips stand side by side or one above the other, and the words that fit. */

const GAP_PX = 14;
const REST_PX = 280; // of the window's height, for all but the clips
const WORTH = 1.15; // another layout than a window of this shape usually has must make the clips so much larger
const NAMES = { row: { left: "Left", right: "Right" }, column: { left: "Top", right: "Bottom" } };

/** "row" or "column", by the window's size alone: a notice that comes must not move the clips. Pure. ratio: of a clip. */
export function arrangement({ width, height, ratio }) {
  const free = Math.max(height - REST_PX, 100);
  const row = Math.min(free, (width - GAP_PX) / 2 / ratio);
  const column = Math.min((free - GAP_PX) / 2, width / ratio);
  const upright = width < height;
  const [usual, other] = upright ? [column, row] : [row, column];
  return upright === other > WORTH * usual ? "row" : "column";
}

export function layout() {
  return globalThis.document?.documentElement.dataset.layout ?? "row";
}

/** What the place of a clip is called now: Left, Right, Top or Bottom. */
export function sideName(side, way = layout()) {
  return NAMES[way][side];
}

/** Keeps the page's layout as fits the window; changed(): after it has become another one. ratio() -> of a clip.
 *
 * Returns what to call when the clips' shape has changed.
 */
export function watchLayout({ ratio, changed }) {
  const fit = () => {
    const way = arrangement({ width: innerWidth, height: innerHeight, ratio: ratio() });
    if (way === document.documentElement.dataset.layout) return;
    document.documentElement.dataset.layout = way;
    changed();
  };
  window.addEventListener("resize", fit);
  return fit;
}
