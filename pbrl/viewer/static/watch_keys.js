/** What keys say to a policy that is watched. Pure: `node --test` reads it. */

const AXES = [["ArrowLeft", "ArrowRight"], ["ArrowDown", "ArrowUp"]];

/** The action that the held arrow keys are, as many numbers as the task has; null where none is held or means anything. */
export function pushOf(held, frame) {
  const axes = AXES.slice(0, frame?.keys ?? 0);
  if (!axes.some((keys) => keys.some((key) => held.has(key)))) return null;
  return axes.map(([less, more]) => held.has(more) - held.has(less));
}

/** {over, wrong, push} for the server. over: whether T has handed over to an expert. */
export function toldBy({ over, wrong, held, frame }) {
  const push = pushOf(held, frame);
  return { over: over || push !== null, wrong, push };
}
