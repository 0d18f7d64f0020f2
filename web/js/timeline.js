/**
 * Arithmetic of pictures over time: where a second lies, and what of a long series one column of pixels
 * shows. Lengths are CSS pixels, times are seconds.
 */

const TICK_STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];

/** A stretch of time laid out from left to right. */
export class Timeline {
  /**
   * @param {number} seconds
   * @param {number} left
   * @param {number} width
   */
  constructor(seconds, left, width) {
    this.seconds = seconds;
    this.left = left;
    this.width = Math.max(width, 1);
  }

  /** @param {number} time */
  x(time) {
    return this.left + (this.width * time) / this.seconds;
  }

  /** The time at x, kept within the stretch. @param {number} x */
  time(x) {
    return clamp(((x - this.left) / this.width) * this.seconds, 0, this.seconds);
  }

  /**
   * Round times to write below, at least `gap` pixels apart.
   * @param {number} gap
   */
  ticks(gap) {
    const least = (gap / this.width) * this.seconds;
    const step = TICK_STEPS.find((candidate) => candidate >= least) ?? Math.ceil(least / 3600) * 3600;
    return Array.from({ length: Math.floor(this.seconds / step + 1e-9) + 1 }, (_, i) => i * step);
  }
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/**
 * One number per column: the strongest of those that fall into it, so that no short peak is lost.
 * @param {number[]} values evenly spaced over the whole width
 * @param {number} columns
 * @param {(a: number, b: number) => number} stronger
 */
export function perColumn(values, columns, stronger = Math.max) {
  return Array.from({ length: columns }, (_, column) => {
    const first = Math.floor((column * values.length) / columns);
    const end = Math.max(Math.ceil(((column + 1) * values.length) / columns), first + 1);
    return values.slice(first, end).reduce((a, b) => stronger(a, b));
  });
}

/**
 * The labels that have room, from left to right: one that would touch its neighbour is left out.
 * @template {{x: number, width: number}} Label
 * @param {Label[]} labels by their centres
 * @param {number} gap
 * @returns {Label[]}
 */
export function withRoom(labels, gap = 4) {
  const kept = [];
  let end = -Infinity;
  for (const label of [...labels].sort((a, b) => a.x - b.x)) {
    if (label.x - label.width / 2 < end + gap) continue;
    kept.push(label);
    end = label.x + label.width / 2;
  }
  return kept;
}

/**
 * 75.25 as "1:15.25", 3.5 as "3.50".
 * @param {number} time
 * @param {number} digits after the point
 */
export function clock(time, digits = 2) {
  const unit = 10 ** digits;
  const rounded = Math.round(time * unit) / unit;
  const minutes = Math.floor(rounded / 60);
  const seconds = (rounded - 60 * minutes).toFixed(digits);
  return minutes ? `${minutes}:${seconds.padStart(digits ? digits + 3 : 2, "0")}` : seconds;
}

/** A signed offset: "+12 ms", "−3 ms", "0 ms". @param {number} milliseconds */
export function signed(milliseconds) {
  const rounded = Math.round(milliseconds);
  if (!rounded) return "0 ms";
  return `${rounded > 0 ? "+" : "−"}${Math.abs(rounded)} ms`;
}
