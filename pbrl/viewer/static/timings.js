/** How long a key press takes to become the next pair: window.pbrlTimings, for tests and the curious. */

const timings = (window.pbrlTimings = []);

/** To be called right after the next pair's videos were told to play.
 *
 * keyAt: the key event's time stamp. All in ms from there: `swapped` (now), `painted` (the next picture of the page is
 * out), `frame` (the first new frame of the clip is presented; `mediaTime` says which).
 */
export function recordTiming(keyAt, video) {
  const entry = { swapped: performance.now() - keyAt, painted: null, frame: null };
  timings.push(entry);
  requestAnimationFrame(() => setTimeout(() => (entry.painted = performance.now() - keyAt)));
  video.requestVideoFrameCallback?.((_, { mediaTime }) => {
    entry.frame = performance.now() - keyAt;
    entry.mediaTime = mediaTime;
  });
}
