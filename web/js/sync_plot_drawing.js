/** Draws picture strip, motion, waveform and what belongs together, on a 2-D context. */

import { Timeline, clock, perColumn, signed, withRoom } from "./timeline.js";

/** @typedef {import("./theme.js").Colours} Colours */
/** @typedef {import("./host.js").SavedFile} SavedFile */

/**
 * What the node returns for the page. Times are seconds from the start of the clip.
 * @typedef {object} SyncData
 * @property {number} duration
 * @property {number} fps
 * @property {[number, number][]} motion time and energy of each frame
 * @property {{min: number[], max: number[], rate: number}} waveform extremes in -1..1, `rate` pairs a second
 * @property {number[]} events when something sudden is seen
 * @property {number[]} onsets when something sudden is heard
 * @property {[number, number, number][]} matches event, onset, and how much later the sound is, in ms
 * @property {number | null} offset_ms
 * @property {number | null} matched share of the events that are heard
 * @property {SavedFile | null} strip
 * @property {SavedFile | null} audio
 */

/** @typedef {{top: number, height: number}} Lane */

const AXIS = 16; // height of the times below
const GAP = 6;
const MOST_STRIP = 0.35; // of the height
const TICK_GAP = 64;
const TIGHT_MS = 40; // about one frame: nobody sees it

/**
 * How the height is shared out.
 * @param {number} height
 * @param {number} stripHeight of the strip as wide as the plot; 0 without one
 * @returns {{strip: Lane, motion: Lane, links: Lane, sound: Lane, axis: Lane}}
 */
export function lanes(height, stripHeight) {
  const strip = Math.min(stripHeight, MOST_STRIP * height);
  const motionTop = strip ? strip + GAP : 0;
  const room = height - AXIS - GAP - motionTop;
  const [motion, links, sound] = [0.34, 0.18, 0.48].map((share) => share * room);
  const soundTop = motionTop + motion + links;
  return {
    strip: { top: 0, height: strip },
    motion: { top: motionTop, height: motion },
    links: { top: motionTop + motion, height: links },
    sound: { top: soundTop, height: sound },
    axis: { top: height - AXIS, height: AXIS },
  };
}

/**
 * @param {CanvasRenderingContext2D} ink
 * @param {{width: number, height: number}} size in CSS pixels
 * @param {SyncData} data
 * @param {HTMLImageElement | null} strip the frames side by side
 * @param {Colours} colours
 * @param {{motion: string, sound: string}} captions
 */
export function drawSyncPlot(ink, { width, height }, data, strip, colours, captions) {
  const line = new Timeline(data.duration, 0, width);
  const lane = lanes(height, strip ? (width * strip.naturalHeight) / strip.naturalWidth : 0);
  ink.clearRect(0, 0, width, height);
  ink.font = `11px ${colours.font}`;
  ink.lineJoin = "round";

  if (strip) drawStrip(ink, strip, width, lane.strip);
  drawAxis(ink, line, lane.axis, lane.motion.top, colours);
  drawMotion(ink, line, lane.motion, data, colours);
  drawWaveform(ink, line, lane.sound, data.waveform, colours);
  drawMarks(ink, line, lane.motion, data.events, matchedOf(data, 0), colours.seen);
  drawMarks(ink, line, lane.sound, data.onsets, matchedOf(data, 1), colours.heard);
  drawLinks(ink, line, lane.links, data, colours);
  drawCaption(ink, captions.motion, lane.motion, colours);
  drawCaption(ink, captions.sound, lane.sound, colours);
}

/**
 * The strip from side to side; of one that is too high, the middle.
 * @param {CanvasRenderingContext2D} ink
 * @param {HTMLImageElement} strip
 * @param {number} width
 * @param {Lane} lane
 */
function drawStrip(ink, strip, width, lane) {
  const high = (lane.height * strip.naturalWidth) / width;
  const top = (strip.naturalHeight - high) / 2;
  ink.drawImage(strip, 0, top, strip.naturalWidth, high, 0, lane.top, width, lane.height);
}

/**
 * The events (side 0) or onsets (side 1) that have a partner.
 * @param {SyncData} data
 * @param {0 | 1} side
 */
function matchedOf(data, side) {
  return new Set(data.matches.map((match) => match[side]));
}

/**
 * @param {CanvasRenderingContext2D} ink
 * @param {Timeline} line
 * @param {Lane} lane
 * @param {number} top where the lines begin
 * @param {Colours} colours
 */
function drawAxis(ink, line, lane, top, colours) {
  const ticks = line.ticks(TICK_GAP);
  const digits = ticks.length > 1 && ticks[1] < 1 ? (ticks[1] < 0.1 ? 2 : 1) : 0;
  ink.textBaseline = "bottom";
  for (const time of ticks) {
    const x = line.x(time);
    ink.globalAlpha = 0.5;
    ink.fillStyle = colours.line;
    ink.fillRect(Math.round(x), top, 1, lane.top - top);
    ink.globalAlpha = 1;
    ink.fillStyle = colours.quiet;
    const text = `${clock(time, digits)}${time < 60 ? " s" : ""}`;
    const room = ink.measureText(text).width;
    ink.textAlign = "left";
    ink.fillText(text, Math.min(x + 2, line.left + line.width - room), lane.top + lane.height);
  }
}

/**
 * @param {CanvasRenderingContext2D} ink
 * @param {Timeline} line
 * @param {Lane} lane
 * @param {SyncData} data
 * @param {Colours} colours
 */
function drawMotion(ink, line, lane, { motion }, colours) {
  if (!motion.length) return;
  const most = motion.reduce((peak, [, energy]) => Math.max(peak, energy), 1e-9);
  const floor = lane.top + lane.height;
  const crowded = motion.length > 2 * line.width;
  const columns = perColumn(
    motion.map(([, energy]) => energy),
    crowded ? Math.round(line.width) : motion.length,
  );
  ink.beginPath();
  ink.moveTo(line.left, floor);
  columns.forEach((energy, i) => {
    const x = crowded ? line.left + i : line.x(motion[i][0]);
    ink.lineTo(x, floor - (0.92 * lane.height * energy) / most);
  });
  ink.lineTo(line.left + line.width, floor);
  ink.globalAlpha = 0.35;
  ink.fillStyle = colours.seen;
  ink.fill();
  ink.globalAlpha = 1;
}

/**
 * @param {CanvasRenderingContext2D} ink
 * @param {Timeline} line
 * @param {Lane} lane
 * @param {SyncData["waveform"]} waveform
 * @param {Colours} colours
 */
function drawWaveform(ink, line, lane, waveform, colours) {
  if (!waveform.max.length) return;
  const width = Math.round(line.x(Math.min(waveform.max.length / waveform.rate, line.seconds)));
  const highs = perColumn(waveform.max, width);
  const lows = perColumn(waveform.min, width, Math.min);
  const loudest = Math.max(0.05, ...highs, ...lows.map((low) => -low));
  const middle = lane.top + lane.height / 2;
  const scale = (0.48 * lane.height) / loudest;
  ink.fillStyle = colours.heard;
  ink.globalAlpha = 0.6;
  highs.forEach((high, x) => {
    const top = middle - high * scale;
    ink.fillRect(x, top, 1, Math.max(middle - lows[x] * scale - top, 1));
  });
  ink.globalAlpha = 1;
}

/**
 * A line for each event; one that has no partner is dashed.
 * @param {CanvasRenderingContext2D} ink
 * @param {Timeline} line
 * @param {Lane} lane
 * @param {number[]} times
 * @param {Set<number>} matched
 * @param {string} colour
 */
function drawMarks(ink, line, lane, times, matched, colour) {
  ink.strokeStyle = colour;
  times.forEach((time, i) => {
    ink.setLineDash(matched.has(i) ? [] : [3, 3]);
    ink.lineWidth = matched.has(i) ? 1.5 : 1;
    ink.beginPath();
    ink.moveTo(line.x(time), lane.top);
    ink.lineTo(line.x(time), lane.top + lane.height);
    ink.stroke();
  });
  ink.setLineDash([]);
}

/**
 * From each event to its sound, with how much later the sound comes.
 * @param {CanvasRenderingContext2D} ink
 * @param {Timeline} line
 * @param {Lane} lane
 * @param {SyncData} data
 * @param {Colours} colours
 */
function drawLinks(ink, line, lane, data, colours) {
  ink.lineWidth = 1.5;
  for (const [event, onset, offset] of data.matches) {
    ink.strokeStyle = Math.abs(offset) <= TIGHT_MS ? colours.good : colours.bad;
    ink.beginPath();
    ink.moveTo(line.x(data.events[event]), lane.top);
    ink.lineTo(line.x(data.onsets[onset]), lane.top + lane.height);
    ink.stroke();
  }
  ink.textBaseline = "middle";
  ink.textAlign = "center";
  for (const { x, width, text, offset } of withRoom(labels(ink, line, data))) {
    ink.fillStyle = colours.ground;
    ink.fillRect(x - width / 2, lane.top + lane.height / 2 - 7, width, 14);
    ink.fillStyle = Math.abs(offset) <= TIGHT_MS ? colours.good : colours.bad;
    ink.fillText(text, x, lane.top + lane.height / 2);
  }
}

/**
 * @param {CanvasRenderingContext2D} ink
 * @param {Timeline} line
 * @param {SyncData} data
 */
function labels(ink, line, data) {
  return data.matches.map(([event, onset, offset]) => {
    const text = signed(offset);
    const width = ink.measureText(text).width + 6;
    const x = line.x((data.events[event] + data.onsets[onset]) / 2);
    const inside = Math.min(Math.max(x, line.left + width / 2), line.left + line.width - width / 2);
    return { x: inside, width, text, offset };
  });
}

/**
 * @param {CanvasRenderingContext2D} ink
 * @param {string} text
 * @param {Lane} lane
 * @param {Colours} colours
 */
function drawCaption(ink, text, lane, colours) {
  ink.textBaseline = "top";
  ink.textAlign = "left";
  const width = ink.measureText(text).width + 8;
  ink.globalAlpha = 0.75;
  ink.fillStyle = colours.ground;
  ink.fillRect(0, lane.top, width, 15);
  ink.globalAlpha = 1;
  ink.fillStyle = colours.quiet;
  ink.fillText(text, 4, lane.top + 2);
}
