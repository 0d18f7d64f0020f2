/** What nodes would have returned and saved: a ball that bounces and clicks, a picture with three faces. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";

export const SECONDS = 4;
const FPS = 25;
const RATE = 16_000; // samples a second
const BOUNCES = [0.52, 1.24, 1.96, 2.68, 3.4];
const CLICKS = [0.53, 1.25, 2.02, 2.7, 3.1]; // one late, one missing, one that nothing is seen for

/**
 * @param {string} folder
 * @returns {import("../../../web/js/sync_plot_drawing.js").SyncData}
 */
export function bouncingBall(folder) {
  const sound = clicks();
  writeFileSync(join(folder, "sound.wav"), wav(sound));
  writeFileSync(join(folder, "strip.svg"), strip());
  return {
    duration: SECONDS,
    fps: FPS,
    motion: Array.from({ length: SECONDS * FPS }, (_, i) => [i / FPS, motion(i / FPS)]),
    waveform: envelope(sound),
    events: BOUNCES,
    onsets: CLICKS,
    matches: [
      [0, 0, 10],
      [1, 1, 10],
      [2, 2, 60],
      [3, 3, 20],
    ],
    offset_ms: 15,
    matched: 0.8,
    strip: { filename: "strip.svg", subfolder: "", type: "temp" },
    audio: { filename: "sound.wav", subfolder: "", type: "temp" },
  };
}

/** @param {string} folder */
export function threeFaces(folder) {
  writeFileSync(join(folder, "faces.svg"), people());
  return {
    width: 704,
    height: 512,
    boxes: [
      [270, 120, 430, 320, 0.94],
      [90, 190, 200, 330, 0.9],
      [530, 200, 620, 310, 0.81],
    ],
    image: { filename: "faces.svg", subfolder: "", type: "temp" },
    picked: [270, 120, 430, 320],
  };
}

/** Height of the ball over the ground, 0..1. @param {number} time */
function height(time) {
  const phase = ((time - BOUNCES[0]) / 0.72) % 1;
  const share = phase < 0 ? phase + 1 : phase;
  return 4 * share * (1 - share);
}

/** @param {number} time */
function motion(time) {
  const near = Math.min(...BOUNCES.map((bounce) => Math.abs(time - bounce)));
  return 0.15 + 0.2 * Math.abs(height(time) - height(time - 0.04)) + Math.exp(-((near / 0.03) ** 2));
}

function clicks() {
  const sound = new Float64Array(SECONDS * RATE);
  for (const click of CLICKS) {
    for (let i = 0; i < RATE * 0.35; i++) {
      const at = Math.round(click * RATE) + i;
      if (at < sound.length) sound[at] += 0.7 * Math.exp(-i / 900) * Math.sin(i / 4 + 3 * Math.exp(-i / 200));
    }
  }
  return sound;
}

/** @param {Float64Array} sound */
function envelope(sound) {
  const rate = 100;
  const parts = Array.from({ length: SECONDS * rate }, (_, i) =>
    sound.subarray((i * RATE) / rate, ((i + 1) * RATE) / rate),
  );
  return { rate, min: parts.map((part) => Math.min(...part)), max: parts.map((part) => Math.max(...part)) };
}

/** 16 bit mono. @param {Float64Array} sound */
function wav(sound) {
  const bytes = Buffer.alloc(44 + 2 * sound.length);
  bytes.write("RIFF", 0);
  bytes.writeUInt32LE(36 + 2 * sound.length, 4);
  bytes.write("WAVEfmt ", 8);
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(RATE, 24);
  bytes.writeUInt32LE(2 * RATE, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write("data", 36);
  bytes.writeUInt32LE(2 * sound.length, 40);
  sound.forEach((sample, i) => bytes.writeInt16LE(Math.round(32000 * sample), 44 + 2 * i));
  return bytes;
}

function strip() {
  const frames = Array.from({ length: 12 }, (_, i) => {
    const y = 62 - 40 * height(((i + 0.5) * SECONDS) / 12);
    return `<g transform="translate(${i * 120})"><rect width="119" height="90" fill="#26323f"/>
      <rect y="76" width="119" height="14" fill="#5b4636"/><circle cx="60" cy="${y}" r="14" fill="#d9713c"/></g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="1440" height="90">${frames.join("")}</svg>`;
}

function people() {
  const heads = [
    [350, 220, 80, "#e0ac84"],
    [145, 260, 55, "#8d5a3b"],
    [575, 255, 45, "#f2c9a5"],
  ].map(([x, y, r, skin]) => {
    const size = Number(r);
    return `<g transform="translate(${x} ${y})"><ellipse cy="${size * 2.6}" rx="${size * 1.6}" ry="${size * 1.5}"
        fill="#35506b"/><ellipse rx="${size * 0.95}" ry="${size * 1.2}" fill="${skin}"/>
        <circle cx="${-size / 3}" cy="${-size / 6}" r="${size / 10}"/><circle cx="${size / 3}" cy="${-size / 6}"
        r="${size / 10}"/><path d="M${-size / 3} ${size / 2} q${size / 3} ${size / 4} ${(2 * size) / 3} 0" fill="none"
        stroke="#603" stroke-width="4"/></g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="704" height="512" viewBox="0 0 704 512">
    <rect width="704" height="512" fill="#c9d6c3"/>${heads.join("")}</svg>`;
}
