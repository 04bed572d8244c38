/** Arithmetic of the shared clock and of the time somebody looks at a pair. Pure. */

export const SPEEDS = [0.25, 0.5, 1, 2, 4];

/** The next speed up (direction 1) or down (-1). */
export function nextSpeed(speed, direction) {
  const at = SPEEDS.indexOf(speed) + direction;
  return SPEEDS[Math.min(Math.max(at, 0), SPEEDS.length - 1)];
}

/** The frame on show at `time` seconds, of a clip with `frames` frames. */
export function frameAt(time, fps, frames) {
  const frame = Math.floor(time * fps + 0.02); // a presentation time may be rounded down to the file's time base
  return Math.min(Math.max(frame, 0), frames - 1);
}

/** The middle of a frame in seconds: its edge belongs to one frame in one browser and to the next in another. */
export function timeOf(frame, fps, frames) {
  return (Math.min(Math.max(frame, 0), frames - 1) + 0.5) / fps;
}

/** How the following clip gets back to the leading one.
 *
 * skew: leader's time minus follower's, seconds. Returns the follower's playback rate, and whether only stopping
 * and seeking both helps: a seek costs more frames than a small skew has.
 */
export function correction(skew, fps, speed) {
  const frames = Math.abs(skew) * fps;
  if (frames > 3 && Math.abs(skew) > 0.08 * speed) return { rate: speed, seek: true };
  if (frames < 0.15) return { rate: speed, seek: false };
  const share = Math.min(Math.max(skew / (0.15 * speed), -0.4), 0.4); // closes the gap in about 0.15 s
  return { rate: speed * (1 + share), seek: false };
}

/** Which side's clip leads: the longer one, since the loop ends with it. */
export function leaderOf(frames) {
  return frames.right > frames.left ? "right" : "left";
}

/** Milliseconds that somebody could look at the pair: stops while the tab is hidden or something covers it. */
export class Stopwatch {
  constructor(now = () => performance.now()) {
    this.now = now;
    this.total = 0;
    this.since = now();
  }

  stop() {
    this.total = this.elapsed();
    this.since = null;
  }

  go() {
    this.since ??= this.now();
  }

  elapsed() {
    return this.total + (this.since === null ? 0 : this.now() - this.since);
  }
}
