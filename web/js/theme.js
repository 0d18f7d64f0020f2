/** Colours for what we draw: the page's own for text and ground, and a few of ours that suit it. */

/**
 * @typedef {object} Colours
 * @property {string} ground behind a drawing
 * @property {string} text
 * @property {string} quiet for what is read second
 * @property {string} line
 * @property {string} seen for what happens in the picture
 * @property {string} heard for what is heard
 * @property {string} good
 * @property {string} bad
 * @property {string} head the line that moves with playback
 * @property {string} font the page's typeface
 */

const ON_DARK = { seen: "#f0a24a", heard: "#5aa9f8", good: "#6fcf7c", bad: "#f2777a", head: "#ffffff" };
const ON_LIGHT = { seen: "#b25a00", heard: "#0f62c4", good: "#1f7a32", bad: "#c0272d", head: "#111111" };

/**
 * The colours at an element, read from the page's CSS variables.
 * @param {HTMLElement} element
 * @returns {Colours}
 */
export function coloursAt(element) {
  const style = getComputedStyle(element);
  /** @type {(name: string, otherwise: string) => string} */
  const variable = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  const ground = variable("--comfy-input-bg", "#222222");
  return {
    ground,
    text: variable("--input-text", "#dddddd"),
    quiet: variable("--descrip-text", "#999999"),
    line: variable("--border-color", "#4e4e4e"),
    font: style.fontFamily || "sans-serif",
    ...(isDark(ground) ? ON_DARK : ON_LIGHT),
  };
}

/**
 * Whether light text stands out on a colour, by its relative luminance (WCAG 2).
 * @param {string} colour "#rgb", "#rrggbb" or "rgb(r, g, b)"; others count as dark, ComfyUI's default
 */
export function isDark(colour) {
  const channels = rgb(colour);
  if (!channels) return true;
  const [r, g, b] = channels.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.179;
}

/** @param {string} colour */
function rgb(colour) {
  const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})(?:[0-9a-f]{2})?$/i.exec(colour)?.[1];
  if (hex?.length === 3) return [...hex].map((digit) => parseInt(digit + digit, 16));
  if (hex) return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const numbers = /^rgba?\(/i.test(colour)
    ? colour
        .match(/[\d.]+/g)
        ?.slice(0, 3)
        .map(Number)
    : undefined;
  return numbers?.length === 3 ? numbers : undefined;
}
