/** Face Mask in the browser: the faces over the picture; a click chooses one, dragging adjusts its box. */

import { addStylesheet, element, paint, within } from "./dom.js";
import { between, boxOf, chosen, enlarged, fitted, moved, resized, widgetsOf } from "./face_boxes.js";
import { fileUrl, language, registerPanel } from "./host.js";
import { fill, strings } from "./strings.js";
import { listen, setValues, values } from "./widgets.js";

/** @typedef {import("./face_boxes.js").Box} Box */
/** @typedef {import("./face_boxes.js").Choice} Choice */
/** @typedef {import("./host.js").LGraphNode} LGraphNode */
/** @typedef {import("./host.js").SavedFile} SavedFile */

/**
 * What the node returns for the page: boxes as x0, y0, x1, y1 in pixels and a score, the largest face first.
 * @typedef {{width: number, height: number, boxes: number[][], image: SavedFile}} FacesData
 */
/** @typedef {{x: "left" | "right", y: "top" | "bottom"}} Corner */

const WIDGETS = /** @type {const} */ ([
  "pick",
  "face_index",
  "pick_x",
  "pick_y",
  "box_left",
  "box_top",
  "box_right",
  "box_bottom",
  "enlarge",
]);
/** @type {Corner[]} */
const CORNERS = [
  { x: "left", y: "top" },
  { x: "right", y: "top" },
  { x: "left", y: "bottom" },
  { x: "right", y: "bottom" },
];
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const NUDGE = 0.005; // of the picture, for one arrow key
const STILL = 3; // pixels: a pointer that moves less has clicked

class FacePicker {
  /** @param {LGraphNode} node */
  constructor(node) {
    this.node = node;
    this.words = strings(language());
    /** @type {FacesData | null} */
    this.data = null;
    /** @type {Box[]} */
    this.faces = [];

    this.image = element("img", { alt: "", draggable: "false" });
    this.reach = element("div", { class: "hyav-reach" });
    this.boxes = element("div", { role: "radiogroup", "aria-label": this.words.facesLabel });
    this.picture = element(
      "div",
      { class: "hyav-picture", hidden: true },
      this.image,
      this.reach,
      this.boxes,
    );
    this.note = element("div", { class: "hyav-note" }, this.words.facesEmpty);
    this.stage = element("div", { class: "hyav-stage" }, this.picture, this.note);
    this.hint = element("span", { class: "hyav-quiet hyav-wide" }, this.words.hint);
    this.undo = element("button", { type: "button", disabled: true }, this.words.reset);
    const bar = element("div", { class: "hyav-bar" }, this.hint, this.undo);
    this.element = element("div", { class: "hyav-panel hyav-faces" }, this.stage, bar);

    this.watcher = new ResizeObserver(() => this.place());
    this.watcher.observe(this.stage);
    this.image.addEventListener("error", () => this.say(this.words.noPicture));
    this.undo.addEventListener("click", () => this.choose(this.undoTo));
    this.picture.addEventListener("pointerdown", (event) => this.drawBox(event));
    this.undoTo = 0; // the face that a box drawn by hand began with
    this.waiting = false;
    listen(node, WIDGETS, () => this.redrawSoon());
  }

  /** @param {FacesData} data */
  show(data) {
    this.data = data;
    this.faces = data.boxes.map((corners) => boxOf(corners, data.width, data.height));
    this.image.src = fileUrl(data.image);
    this.hint.textContent = data.boxes.length ? this.words.hint : this.words.noFaces;
    this.note.hidden = true;
    this.picture.hidden = false;
    this.place();
    this.redraw();
  }

  /** @param {string} text in place of the picture */
  say(text) {
    this.note.textContent = text;
    this.note.hidden = false;
    this.picture.hidden = true;
  }

  /** Fits the picture into the room there is. */
  place() {
    if (!this.data) return;
    const room = fitted(this.aspect, this.stage.clientWidth, this.stage.clientHeight);
    for (const [side, length] of Object.entries(room)) this.picture.style.setProperty(side, `${length}px`);
  }

  get aspect() {
    return this.data ? this.data.width / this.data.height : 1;
  }

  /** Once for all the widgets that change together. */
  redrawSoon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.redraw();
    });
  }

  redraw() {
    paint(this.element);
    if (!this.data) return;
    const choice = /** @type {Choice & {enlarge: number}} */ (values(this.node, WIDGETS));
    const { box, face } = chosen(choice, this.faces, this.aspect);
    if (face >= 0) this.undoTo = face;
    this.undo.disabled = choice.pick !== "box" || !this.faces.length;
    this.reach.hidden = !box;
    if (box) lay(this.reach, enlarged(box, choice.enlarge));

    const focused = [...this.boxes.children].findIndex((child) => child === document.activeElement);
    const faces = this.faces.map((each, i) => this.face(each, i, i === face));
    const drawn = box && face < 0 ? [this.face(box, null, true)] : [];
    this.boxes.replaceChildren(...faces, ...drawn);
    const again = drawn.length ? drawn[0] : faces[focused];
    if (focused >= 0) again?.focus();
  }

  /**
   * @param {Box} box
   * @param {number | null} index null for a box drawn by hand
   * @param {boolean} isChosen
   */
  face(box, index, isChosen) {
    const name = index === null ? "✎" : String(index);
    const button = element(
      "button",
      { type: "button", role: "radio", class: "hyav-face", "aria-checked": String(isChosen) },
      element("span", { class: "hyav-name", "aria-hidden": "true" }, name),
    );
    button.setAttribute("aria-label", this.label(index));
    lay(button, box);
    button.addEventListener("keydown", (event) => this.key(event, box, index, isChosen));
    button.addEventListener("pointerdown", (event) => this.grasp(event, button, box, index, isChosen));
    if (isChosen) button.append(...CORNERS.map((corner) => this.corner(box, corner)));
    return button;
  }

  /** @param {number | null} index */
  label(index) {
    const score = index === null ? undefined : this.data?.boxes[index]?.[4];
    if (score === undefined) return this.words.drawnBox;
    return fill(this.words.face, { number: index ?? 0, score: Math.round(100 * score) });
  }

  /**
   * @param {Box} box
   * @param {Corner} corner
   */
  corner(box, corner) {
    const handle = element("span", { class: "hyav-corner", "aria-hidden": "true" });
    handle.style[corner.x] = handle.style[corner.y] = "0";
    handle.style.cursor = (corner.x === "left") === (corner.y === "top") ? "nwse-resize" : "nesw-resize";
    handle.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      this.drag(event, ({ x, y }) => resized(box, corner, x, y));
    });
    return handle;
  }

  /**
   * @param {PointerEvent} event
   * @param {HTMLElement} button
   * @param {Box} box
   * @param {number | null} index
   * @param {boolean} isChosen
   */
  grasp(event, button, box, index, isChosen) {
    event.stopPropagation();
    if (!isChosen && index !== null) return this.choose(index);
    const from = this.at(event);
    button.focus();
    return this.drag(event, ({ x, y }) => moved(box, x - from.x, y - from.y));
  }

  /** A new box, from where the pointer goes down. @param {PointerEvent} event */
  drawBox(event) {
    if (event.button !== 0) return;
    const from = this.at(event);
    this.drag(event, (to) => between(from, to));
  }

  /**
   * Follows the pointer, and sets the box that `boxAt` makes of where it is.
   * @param {PointerEvent} event
   * @param {(point: {x: number, y: number}) => Box | null} boxAt
   */
  drag(event, boxAt) {
    if (event.button !== 0) return;
    event.preventDefault();
    const start = { x: event.clientX, y: event.clientY };
    const done = new AbortController();
    let moving = false;
    /** @type {(event: PointerEvent) => void} */
    const follow = (now) => {
      moving ||= Math.hypot(now.clientX - start.x, now.clientY - start.y) > STILL;
      const box = moving ? boxAt(this.at(now)) : null;
      if (box) this.set(box);
    };
    this.picture.setPointerCapture(event.pointerId);
    this.picture.addEventListener("pointermove", follow, { signal: done.signal });
    for (const end of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) {
      this.picture.addEventListener(end, () => done.abort(), { signal: done.signal });
    }
  }

  /**
   * @param {KeyboardEvent} event
   * @param {Box} box
   * @param {number | null} index
   * @param {boolean} isChosen
   */
  key(event, box, index, isChosen) {
    const arrow = ARROWS[event.key];
    if (isChosen && arrow) {
      const [dx, dy] = arrow.map((step) => step * NUDGE);
      const corner = /** @type {const} */ ({ x: "right", y: "bottom" });
      const larger = () => resized(box, corner, box.right + dx, box.bottom + dy);
      this.set(event.shiftKey ? larger() : moved(box, dx, dy));
    } else if (index !== null && (event.key === "Enter" || event.key === " ")) {
      this.choose(index);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** Where a pointer is, in fractions of the picture. @param {PointerEvent} event */
  at(event) {
    const { x, y } = within(this.picture, event);
    return { x: x / this.picture.clientWidth, y: y / this.picture.clientHeight };
  }

  /** @param {number} index */
  choose(index) {
    setValues(this.node, { pick: "index", face_index: index });
  }

  /** @param {Box} box */
  set(box) {
    setValues(this.node, { pick: "box", ...widgetsOf(box) });
  }

  remove() {
    this.watcher.disconnect();
  }
}

/**
 * Puts an element over a part of the picture.
 * @param {HTMLElement} target
 * @param {Box} box
 */
function lay(target, { left, top, right, bottom }) {
  const places = { left, top, width: right - left, height: bottom - top };
  for (const [side, share] of Object.entries(places)) target.style.setProperty(side, `${100 * share}%`);
}

addStylesheet();
registerPanel("HunyuanAV.FacePicker", {
  nodeId: "HunyuanAVFaceMask",
  key: "hyav_faces",
  size: [400, 380],
  create: (node) => new FacePicker(node),
});
