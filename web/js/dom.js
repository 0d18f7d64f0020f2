/** Small pieces of the page. */

import { coloursAt, isDark } from "./theme.js";

/**
 * An element with its attributes and what is in it; properties with a value of undefined are left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean | undefined>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/**
 * A drawing of 12 x 12 units.
 * @param {string} path
 */
export function icon(path) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 12 12");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS(space, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

/**
 * Hands our colours to the stylesheet.
 * @param {HTMLElement} panel
 */
export function paint(panel) {
  const colours = coloursAt(panel);
  panel.style.setProperty("--hyav-seen", colours.seen);
  panel.style.setProperty("--hyav-heard", colours.heard);
  panel.style.setProperty("--hyav-head", colours.head);
  panel.style.setProperty("--hyav-on-accent", isDark(colours.seen) ? "#ffffff" : "#111111");
  return colours;
}

/** The stylesheet of all panels, asked for once. */
export function addStylesheet() {
  const href = new URL("../css/panels.css", import.meta.url).href;
  if (document.querySelector(`link[href="${href}"]`)) return;
  document.head.append(element("link", { rel: "stylesheet", href }));
}

/**
 * Where a pointer is within an element, in the element's own pixels: the canvas may be zoomed.
 * @param {HTMLElement} target
 * @param {PointerEvent} event
 */
export function within(target, event) {
  const box = target.getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) * target.clientWidth) / box.width,
    y: ((event.clientY - box.top) * target.clientHeight) / box.height,
  };
}
