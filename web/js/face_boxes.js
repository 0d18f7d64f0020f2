/**
 * Geometry of the face picker. A box is its four sides as fractions of the picture, 0 left or top, 1 right or
 * bottom: what the widgets of Face Mask hold.
 */

import { clamp } from "./timeline.js";

/** @typedef {{left: number, top: number, right: number, bottom: number}} Box */
/** @typedef {{pick: string, face_index: number, pick_x: number, pick_y: number}} Pick */
/** @typedef {Pick & Record<BoxWidget, number>} Choice */
/** @typedef {"box_left" | "box_top" | "box_right" | "box_bottom"} BoxWidget */

export const LEAST = 0.02; // of the picture: a smaller box could not be grasped
const STEP = 1000; // the widgets' steps in a picture

/**
 * @param {number[]} corners x0, y0, x1, y1 in pixels
 * @param {number} width
 * @param {number} height
 * @returns {Box}
 */
export function boxOf([x0, y0, x1, y1], width, height) {
  return { left: x0 / width, top: y0 / height, right: x1 / width, bottom: y1 / height };
}

/**
 * The box that the widgets mean, and the face it is (-1: drawn by hand, or no such face).
 * @param {Choice} choice
 * @param {Box[]} faces the largest first
 * @param {number} aspect width of the picture over its height
 * @returns {{box: Box | null, face: number}}
 */
export function chosen(choice, faces, aspect) {
  if (choice.pick === "box") {
    const { box_left, box_top, box_right, box_bottom } = choice;
    return { box: { left: box_left, top: box_top, right: box_right, bottom: box_bottom }, face: -1 };
  }
  const face =
    choice.pick === "index"
      ? choice.face_index
      : choice.pick === "point"
        ? faceAt(faces, choice.pick_x, choice.pick_y, aspect)
        : 0;
  return faces[face] ? { box: faces[face], face } : { box: null, face: -1 };
}

/**
 * The smallest face around a point, or the one whose centre is nearest; as Face Mask finds it.
 * @param {Box[]} faces
 * @param {number} x
 * @param {number} y
 * @param {number} aspect
 */
export function faceAt(faces, x, y, aspect) {
  const around = faces.filter((face) => holds(face, x, y));
  const best = around.length ? least(around, area) : least(faces, (face) => distance(face, x, y, aspect));
  return best ? faces.indexOf(best) : -1;
}

/**
 * A box moved, as far as the picture goes.
 * @param {Box} box
 * @param {number} dx
 * @param {number} dy
 * @returns {Box}
 */
export function moved({ left, top, right, bottom }, dx, dy) {
  const across = clamp(dx, -left, 1 - right);
  const down = clamp(dy, -top, 1 - bottom);
  return { left: left + across, top: top + down, right: right + across, bottom: bottom + down };
}

/**
 * A box with one corner put elsewhere; it stays in the picture and does not turn inside out.
 * @param {Box} box
 * @param {{x: "left" | "right", y: "top" | "bottom"}} corner
 * @param {number} x
 * @param {number} y
 * @returns {Box}
 */
export function resized(box, corner, x, y) {
  const { left, top, right, bottom } = box;
  return {
    left: corner.x === "left" ? clamp(x, 0, right - LEAST) : left,
    right: corner.x === "right" ? clamp(x, left + LEAST, 1) : right,
    top: corner.y === "top" ? clamp(y, 0, bottom - LEAST) : top,
    bottom: corner.y === "bottom" ? clamp(y, top + LEAST, 1) : bottom,
  };
}

/**
 * The box between two points, or null if it would be too small to have been meant.
 * @param {{x: number, y: number}} a
 * @param {{x: number, y: number}} b
 * @returns {Box | null}
 */
export function between(a, b) {
  const [left, right] = [a.x, b.x].map((x) => clamp(x, 0, 1)).sort((p, q) => p - q);
  const [top, bottom] = [a.y, b.y].map((y) => clamp(y, 0, 1)).sort((p, q) => p - q);
  return right - left < LEAST || bottom - top < LEAST ? null : { left, top, right, bottom };
}

/**
 * Where the mask reaches: the box drawn larger about its centre, as far as the picture goes.
 * @param {Box} box
 * @param {number} factor
 * @returns {Box}
 */
export function enlarged({ left, top, right, bottom }, factor) {
  const [x, y] = [(left + right) / 2, (top + bottom) / 2];
  const [across, down] = [((right - left) * factor) / 2, ((bottom - top) * factor) / 2];
  return {
    left: clamp(x - across, 0, 1),
    top: clamp(y - down, 0, 1),
    right: clamp(x + across, 0, 1),
    bottom: clamp(y + down, 0, 1),
  };
}

/**
 * The widgets' values for a box.
 * @param {Box} box
 * @returns {Record<BoxWidget, number>}
 */
export function widgetsOf({ left, top, right, bottom }) {
  const rounded = (/** @type {number} */ side) => Math.round(side * STEP) / STEP;
  return {
    box_left: rounded(left),
    box_top: rounded(top),
    box_right: rounded(right),
    box_bottom: rounded(bottom),
  };
}

/**
 * The largest picture of a given shape within a room, in its middle.
 * @param {number} aspect
 * @param {number} width
 * @param {number} height
 */
export function fitted(aspect, width, height) {
  const wide = Math.min(width, height * aspect);
  const high = wide / aspect;
  return { left: (width - wide) / 2, top: (height - high) / 2, width: wide, height: high };
}

/** @param {Box} box @param {number} x @param {number} y */
function holds({ left, top, right, bottom }, x, y) {
  return left <= x && x <= right && top <= y && y <= bottom;
}

/** @param {Box} box */
function area({ left, top, right, bottom }) {
  return (right - left) * (bottom - top);
}

/** In heights of the picture. @param {Box} box @param {number} x @param {number} y @param {number} aspect */
function distance({ left, top, right, bottom }, x, y, aspect) {
  return Math.hypot(((left + right) / 2 - x) * aspect, (top + bottom) / 2 - y);
}

/**
 * The first of those for which a measure is least.
 * @template T
 * @param {T[]} values
 * @param {(value: T) => number} measure
 * @returns {T | undefined}
 */
function least(values, measure) {
  return values.reduce(
    (/** @type {T | undefined} */ best, value) =>
      best === undefined || measure(value) < measure(best) ? value : best,
    undefined,
  );
}
