/** Foley Sync Plot in the browser: what is seen and what is heard over time, and playback to judge it by. */

import { addStylesheet, element, icon, paint, within } from "./dom.js";
import { fileUrl, language, registerPanel } from "./host.js";
import { fill, strings } from "./strings.js";
import { drawSyncPlot } from "./sync_plot_drawing.js";
import { Timeline, clock, signed } from "./timeline.js";

/** @typedef {import("./sync_plot_drawing.js").SyncData} SyncData */

const PLAY = "M2 1 L11 6 L2 11 Z";
const SHARPNESS = 2; // pixels drawn for each one shown, so that the graph may be zoomed in
const PAUSE = "M2 1h3v10h-3z M7 1h3v10h-3z";

class SyncPlot {
  constructor() {
    this.words = strings(language());
    this.sound = new Audio();
    this.sound.preload = "auto";
    /** @type {SyncData | null} */
    this.data = null;
    /** @type {HTMLImageElement | null} */
    this.strip = null;
    this.time = 0;

    const { plotLabel, legend } = this.words;
    this.canvas = element("canvas", { role: "img", "aria-label": plotLabel, title: legend });
    this.head = element("div", { class: "hyav-head", hidden: true });
    this.note = element("div", { class: "hyav-note" }, this.words.empty);
    this.stage = element("div", { class: "hyav-stage" }, this.canvas, this.head, this.note);
    const start = { type: "button", disabled: true, "aria-label": this.words.play };
    this.button = element("button", start, icon(PLAY));
    this.slider = element("input", {
      type: "range",
      min: 0,
      max: 1,
      value: 0,
      disabled: true,
      "aria-label": this.words.position,
    });
    this.clock = element("span", {}, "0.00 s");
    this.summary = element("div", { class: "hyav-quiet", role: "status" });
    const bar = element("div", { class: "hyav-bar" }, this.button, this.slider, this.clock);
    this.element = element("div", { class: "hyav-panel hyav-plot" }, this.stage, bar, this.summary);

    this.watcher = new ResizeObserver(() => this.redraw());
    this.watcher.observe(this.stage);
    this.listen();
  }

  listen() {
    this.button.addEventListener("click", () => this.toggle());
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.seekTo(event);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.canvas.hasPointerCapture(event.pointerId)) this.seekTo(event);
    });
    for (const event of ["play", "pause", "ended"]) {
      this.sound.addEventListener(event, () => this.showPlaying());
    }
    this.sound.addEventListener("error", () => this.showUnplayable());
  }

  /** @param {SyncData} data */
  show(data) {
    this.data = data;
    this.sound.pause();
    if (data.audio) this.sound.src = fileUrl(data.audio);
    else this.sound.removeAttribute("src");
    this.button.disabled = !data.audio;
    this.slider.disabled = false;
    this.slider.max = String(data.duration);
    this.slider.step = String(1 / data.fps); // an arrow key is one frame
    this.note.hidden = true;
    this.head.hidden = false;
    this.summary.textContent = summary(data, this.words);
    this.canvas.setAttribute("aria-label", `${this.words.plotLabel}: ${this.summary.textContent}`);
    this.showStrip(data);
    this.moveTo(0);
    this.redraw();
  }

  /** @param {SyncData} data */
  showStrip(data) {
    this.strip = null;
    if (!data.strip) return;
    const picture = new Image();
    picture.addEventListener("load", () => {
      if (this.data !== data) return;
      this.strip = picture;
      this.redraw();
    });
    picture.src = fileUrl(data.strip);
  }

  toggle() {
    if (!this.sound.paused) return this.sound.pause();
    if (this.data && this.time >= this.data.duration) this.seek(0);
    return void this.sound.play().catch(() => this.showUnplayable());
  }

  showUnplayable() {
    if (!this.data?.audio || !this.sound.error) return;
    this.button.disabled = true;
    this.summary.textContent = this.words.unplayable;
  }

  showPlaying() {
    const { paused } = this.sound;
    this.button.replaceChildren(icon(paused ? PLAY : PAUSE));
    this.button.setAttribute("aria-label", paused ? this.words.play : this.words.pause);
    if (!paused) this.follow();
  }

  /** Moves the head with the sound, once per picture of the screen, for as long as it plays. */
  follow() {
    this.moveTo(this.sound.currentTime);
    if (!this.sound.paused) requestAnimationFrame(() => this.follow());
  }

  /** @param {PointerEvent} event */
  seekTo(event) {
    if (this.data) this.seek(this.line().time(within(this.canvas, event).x));
  }

  /** @param {number} time */
  seek(time) {
    if (this.data?.audio) this.sound.currentTime = time;
    this.moveTo(time);
  }

  /** @param {number} time */
  moveTo(time) {
    if (!this.data) return;
    this.time = Math.min(time, this.data.duration);
    this.slider.value = String(this.time);
    this.clock.textContent = `${clock(this.time)} / ${clock(this.data.duration)} s`;
    this.slider.setAttribute("aria-valuetext", `${clock(this.time)} s`);
    this.head.style.transform = `translateX(${this.line().x(this.time)}px)`;
  }

  line() {
    return new Timeline(this.data?.duration ?? 1, 0, this.canvas.clientWidth);
  }

  redraw() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const colours = paint(this.element);
    if (!this.data || !width || !height) return;
    const sharpness = SHARPNESS * devicePixelRatio;
    this.canvas.width = Math.round(width * sharpness);
    this.canvas.height = Math.round(height * sharpness);
    const ink = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    ink.scale(sharpness, sharpness);
    drawSyncPlot(ink, { width, height }, this.data, this.strip, colours, this.words);
    this.moveTo(this.time);
  }

  remove() {
    this.sound.pause();
    this.watcher.disconnect();
  }
}

/**
 * The plot in one line.
 * @param {SyncData} data
 * @param {ReturnType<typeof strings>} words
 */
function summary(data, words) {
  if (!data.events.length) return words.nothingSeen;
  const matched = fill(words.matched, { matched: data.matches.length, events: data.events.length });
  if (data.offset_ms === null || !data.matches.length) return matched;
  return `${matched} · ${fill(words.offset, { offset: signed(data.offset_ms) })}`;
}

addStylesheet();
registerPanel("HunyuanAV.SyncPlot", {
  nodeId: "HunyuanAVFoleySyncPlot",
  key: "hyav_sync",
  size: [480, 320],
  create: () => new SyncPlot(),
});
