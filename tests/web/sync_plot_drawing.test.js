import assert from "node:assert/strict";
import { test } from "node:test";

import { drawSyncPlot, lanes } from "../../web/js/sync_plot_drawing.js";

const COLOURS = {
  ground: "ground",
  text: "text",
  quiet: "quiet",
  line: "line",
  seen: "seen",
  heard: "heard",
  good: "good",
  bad: "bad",
  head: "head",
  font: "sans-serif",
};
const CAPTIONS = { motion: "Motion", sound: "Sound" };

/** @returns {import("../../web/js/sync_plot_drawing.js").SyncData} */
function clip() {
  return {
    duration: 4,
    fps: 25,
    motion: Array.from({ length: 100 }, (_, i) => [i / 25, i % 25 ? 0.1 : 1]),
    waveform: { min: Array(200).fill(-0.2), max: Array(200).fill(0.3), rate: 50 },
    events: [1, 2, 3],
    onsets: [1.01, 2.06],
    matches: [
      [0, 0, 10],
      [1, 1, 60],
    ],
    offset_ms: 35,
    matched: 2 / 3,
    strip: null,
    audio: null,
  };
}

/** A context that writes down what is drawn. */
function recorder() {
  /** @type {{call: string, colour: string, dash: number[], values: any[]}[]} */
  const drawn = [];
  /** @type {any} */
  const state = { strokeStyle: "", fillStyle: "", dash: [] };
  const ink = new Proxy(state, {
    get(target, name) {
      if (name in target) return target[name];
      if (name === "measureText") return (/** @type {string} */ text) => ({ width: 6 * text.length });
      if (name === "setLineDash") return (/** @type {number[]} */ dash) => void (target.dash = dash);
      return (/** @type {any[]} */ ...values) => {
        const colour = name === "stroke" || name === "lineTo" ? target.strokeStyle : target.fillStyle;
        drawn.push({ call: String(name), colour, dash: target.dash, values });
      };
    },
  });
  return { ink, drawn };
}

/** @param {ReturnType<typeof clip>} data */
function draw(data, width = 400, height = 240) {
  const { ink, drawn } = recorder();
  drawSyncPlot(ink, { width, height }, data, null, COLOURS, CAPTIONS);
  return drawn;
}

const texts = (/** @type {ReturnType<typeof draw>} */ drawn) =>
  drawn.filter(({ call }) => call === "fillText").map(({ values, colour }) => [values[0], colour]);

test("lanes fill the height, one below the other, however high the strip", () => {
  for (const stripHeight of [0, 28, 900]) {
    const { strip, motion, links, sound, axis } = lanes(300, stripHeight);
    assert.ok(motion.top >= strip.top + strip.height);
    assert.ok(strip.height <= 0.35 * 300);
    assert.equal(links.top, motion.top + motion.height);
    assert.equal(sound.top, links.top + links.height);
    assert.ok(sound.top + sound.height <= axis.top);
    assert.equal(axis.top + axis.height, 300);
  }
});

test("the strip keeps its shape; of one too high the middle is shown", () => {
  for (const [naturalWidth, naturalHeight] of [
    [1200, 60],
    [200, 400],
  ]) {
    const { ink, drawn } = recorder();
    const strip = /** @type {any} */ ({ naturalWidth, naturalHeight });
    drawSyncPlot(ink, { width: 400, height: 240 }, clip(), strip, COLOURS, CAPTIONS);
    const shown = drawn.find(({ call }) => call === "drawImage");
    const [, , top, wide, high, , , width, height] = shown?.values ?? [];
    assert.ok(Math.abs(wide / high - width / height) < 1e-9);
    assert.ok(Math.abs(top - (naturalHeight - high) / 2) < 1e-9);
  }
});

test("each match says how late the sound is, in red where it can be seen", () => {
  const said = texts(draw(clip()));
  assert.ok(said.some(([text, colour]) => text === "+10 ms" && colour === "good"));
  assert.ok(said.some(([text, colour]) => text === "+60 ms" && colour === "bad"));
});

test("an event without a sound is dashed", () => {
  const dashed = draw(clip()).filter(({ call, dash }) => call === "stroke" && dash.length);
  assert.deepEqual(
    dashed.map(({ colour }) => colour),
    ["seen"],
  );
});

test("nothing is drawn beyond the sides", () => {
  const data = { ...clip(), events: [0, 4], onsets: [0, 4] };
  data.matches = [
    [0, 0, 0],
    [1, 1, 0],
  ];
  for (const { call, values } of draw(data)) {
    if (!["lineTo", "moveTo", "fillRect"].includes(call)) continue;
    assert.ok(values[0] >= -0.5 && values[0] <= 400.5, call);
  }
});

test("a long clip costs no more strokes than there are pixels", () => {
  const motion = /** @type {[number, number][]} */ (Array.from({ length: 90_000 }, (_, i) => [i / 25, 0.5]));
  const data = { ...clip(), duration: 3600, motion };
  assert.ok(draw(data).length < 2500);
});

test("silence and a still picture are drawn without a word", () => {
  const data = { ...clip(), motion: [], waveform: { min: [], max: [], rate: 50 }, events: [], onsets: [] };
  data.matches = [];
  assert.ok(draw(data).length > 0);
});
